"""The command's way from its arguments to its exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ..config import ConfigurationError
from ..wording import program
from .arguments import parse
from .comfyui import find_comfyui, start
from .context import Context
from .errors import FAILED, WRONG, UsageError
from .progress import Cancel, Cancelled, set_up_log


def main(arguments: Sequence[str], package: Path) -> int:
    """Run the command; its exit code. `package` is the folder that run.py was started from."""
    options = parse(arguments)
    set_up_log(options.given.verbose)
    try:
        with Cancel() as cancel:
            comfyui = find_comfyui(options.given.comfyui, package)
            start(comfyui, options.comfyui_arguments)
            from .index import index
            from .search import search
            from .status import status
            from .upkeep import upkeep

            run = {"index": index, "status": status, "search": search}.get(options.given.command, upkeep)
            return run(Context(options.given, comfyui, options.comfyui_arguments, package, cancel))
    except Cancelled as error:
        print("Cancelled. What was written is kept; the same command goes on from there.", file=sys.stderr)
        return error.code
    except ImportError as error:
        needed = f'{program(sys.executable)} -m pip install -r "{package / "requirements.txt"}"'
        what = f"can't import {error.name or 'a dependency'} ({error})"
        print(f"run.py: {what}. Run it with the Python that runs ComfyUI, after\n{needed}", file=sys.stderr)
        return WRONG
    except (RuntimeError, ValueError) as error:
        return _tell(error)


def _tell(error: Exception) -> int:
    """A message for a person is printed alone; whatever else went wrong with its traceback."""
    if isinstance(error, (UsageError, ConfigurationError)):
        print(f"run.py: {error}", file=sys.stderr)
        return WRONG
    if type(error).__module__ == "diffusion_toolkit":  # our own errors name the cause and the next step
        print(f"run.py: {error}", file=sys.stderr)
        return FAILED
    raise error
