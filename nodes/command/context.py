"""What a command runs in."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .progress import Cancel


@dataclass(frozen=True)
class Context:
    """The command line, the ComfyUI that it runs with, and the folder that run.py lies in."""

    given: argparse.Namespace
    comfyui: Path
    comfyui_arguments: Sequence[str]
    package: Path
    cancel: Cancel
