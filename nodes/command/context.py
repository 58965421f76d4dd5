"""What a command runs in."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UsageError
from .progress import Cancel

if TYPE_CHECKING:
    from ...db import Library


@dataclass(frozen=True)
class Context:
    """The command line, the ComfyUI that it runs with, and the folder that run.py lies in."""

    given: argparse.Namespace
    comfyui: Path
    comfyui_arguments: Sequence[str]
    package: Path
    cancel: Cancel

    def library(self) -> Library:
        """The library that was named.

        Raises:
            UsageError: there is none of this name.
            LibraryError, ConfigurationError: it can't be had.
        """
        from ...db import LibraryError
        from ..host import library_names, open_library

        try:
            return open_library(self.given.library)
        except LibraryError as error:
            if self.given.library in library_names():
                raise
            raise UsageError(str(error)) from error
