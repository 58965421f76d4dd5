"""What a command runs in."""

from __future__ import annotations

import argparse
import os
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
        """The library that was named. `index` makes the one that comes with this package where it is not there yet.

        Raises:
            UsageError, ConfigurationError: there is none of this name, or none yet, or it can't be had until something is corrected.
            ServerTrouble: its server is not there or can't do its work now, as with a full disk: the same command may do later.
        """
        from ...db import LibraryError, Refused, ServerTrouble
        from ..host import open_library

        if self.given.command != "index":
            self._refuse_without_own_library()
        try:
            return open_library(self.given.library)
        except LibraryError as error:
            if isinstance(error, ServerTrouble) and not isinstance(error, Refused):
                raise
            raise UsageError(str(error)) from error

    def _refuse_without_own_library(self) -> None:
        from ...db.connection import VARIABLE
        from ..config import configured_libraries
        from ..host import config_file, toolkit_directory

        if self.given.library != "default" or os.environ.get(VARIABLE, "").strip():
            return
        place = toolkit_directory() / "library"
        if not place.is_dir() and "default" not in configured_libraries(config_file()):
            raise UsageError(
                f"There is no library yet: {place} is not there. `index` makes it. If you have one: name the ComfyUI that it belongs to "
                f"(--comfyui, -- --base-directory, -- --user-directory), or set {VARIABLE} as where that starts."
            )
