"""What our nodes ask of ComfyUI: its folders, the library in them, progress, and text on a node."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..db import Library

log = logging.getLogger("diffusion_toolkit")

PACKAGE = Path(__file__).resolve().parent.parent
ROOTS_VARIABLE = "DIFFUSION_TOOLKIT_ROOTS"


class ConfigurationError(RuntimeError):
    """A setting of the administrator that can't be used."""


def names_missing_requirements(execute: Callable) -> Callable:
    """Turn a failed import inside a node into a message that says what to install, and where."""

    @functools.wraps(execute)
    def checked(*args: Any, **inputs: Any) -> Any:
        try:
            return execute(*args, **inputs)
        except ImportError as error:
            raise RuntimeError(
                f"Diffusion Toolkit can't import {error.name or 'a dependency'} ({error}). Install its requirements with\n"
                f'"{sys.executable}" -m pip install -r "{PACKAGE / "requirements.txt"}"\nand restart ComfyUI.'
            ) from error

    return checked


def toolkit_directory() -> Path:
    """Our own folder in ComfyUI's user directory: the embedded library, and `config.json`."""
    import folder_paths

    return Path(folder_paths.get_user_directory()) / "diffusion_toolkit"


def open_library(name: str, linked: str | None = None) -> Library:
    """The library by name, or the one that arrived over a link."""
    from ..db import open_library as connect

    library = connect(linked or name, toolkit_directory() / "library")
    for warning in library.warnings:
        log.warning("%s", warning)
    return library


def library_fingerprint(name: str) -> str:
    """Changes whenever the library does, so that a search is cached exactly as long as it stays true.

    A library that can't be opened gives a new value each time: the node then runs and shows the reason itself.
    """
    try:
        from ..db import generation

        with open_library(name).connection() as connection:
            return f"generation {generation(connection)}"
    except (ImportError, RuntimeError):
        return fresh_fingerprint()


def fresh_fingerprint() -> str:
    """A value never given before. Not NaN: it is saved with the prompt, where JSON has no NaN."""
    import uuid

    return uuid.uuid4().hex


def roots() -> dict[str, Path]:
    """The folders that may be indexed and read from, by name: ComfyUI's output and input, and the administrator's.

    More come from the variable DIFFUSION_TOOLKIT_ROOTS (`name=path` or plain paths, separated as in PATH) and from
    `{"roots": {"name": "path"}}` in `<user directory>/diffusion_toolkit/config.json`.

    Raises:
        ConfigurationError: the configuration file can't be read.
    """
    import folder_paths

    found = {
        "output": Path(folder_paths.get_output_directory()).resolve(),
        "input": Path(folder_paths.get_input_directory()).resolve(),
    }
    for item in filter(None, os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep)):
        name, _, path = item.rpartition("=") if "=" in item else ("", "", item)
        found[name or Path(path).name] = Path(path).expanduser().resolve()
    config = toolkit_directory() / "config.json"
    if config.is_file():
        try:
            named = json.loads(config.read_text(encoding="utf-8"))["roots"]
            found.update({str(name): Path(path).expanduser().resolve() for name, path in named.items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f'{config} can\'t be read ({error}). It should hold {{"roots": {{"name": "/path/to/images"}}}}.'
            ) from error
    return found


def root_names() -> list[str]:
    """The names for a combo. A broken configuration is told when a node runs, not by a node that fails to load."""
    try:
        return list(roots())
    except ConfigurationError as error:
        log.error("%s", error)
        return ["output", "input"]


def readable_file(root: str | None, path: str | None) -> Path | None:
    """The stored file, if it is still there and inside a root that is configured now; else None."""
    if root is None or path is None:
        return None
    file = (Path(root) / path).resolve()
    if not any(file.is_relative_to(allowed) for allowed in roots().values()):
        return None
    return file if file.is_file() else None


def show_text(node: Any, text: str) -> None:
    """Show a line on the running node while it works; `ui` text takes its place when it is done."""
    from server import PromptServer

    if node.hidden.unique_id is not None:
        PromptServer.instance.send_progress_text(text, node.hidden.unique_id)


def progress_on(node: Any) -> Callable[[str, int, int], None]:
    """A callback (stage, done, total) that moves the node's bar and text, and raises when the user cancels."""
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar

    bar = ProgressBar(1)

    def progress(stage: str, done: int, total: int) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(done, max(total, 1))
        show_text(node, f"{stage}: {done} of {total}")

    return progress
