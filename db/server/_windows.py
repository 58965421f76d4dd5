"""What Windows asks for: paths that PostgreSQL's programs can read, and patience with a file that someone else has open."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..errors import LibraryError

_T = TypeVar("_T")
_LONGEST = 190  # characters; a path has 260 there, and PostgreSQL's own files lie up to 60 deeper
_PATIENCE = 10.0  # seconds, as PostgreSQL's own programs have


def readable(path: Path) -> Path:
    """The path as PostgreSQL's programs can take it; LibraryError where there is none.

    On Windows they read it in the system's code page, which lacks most of the world's letters. There it is given by its short names, such as
    MNBRO~1, where the disk keeps any. The path must exist.
    """
    if sys.platform != "win32" or _fits(str(path)):
        return path
    import ctypes

    short = ctypes.create_unicode_buffer(1 << 15)
    if ctypes.windll.kernel32.GetShortPathNameW(str(path), short, len(short)) and _fits(short.value):
        return Path(short.value)
    raise LibraryError(
        f"PostgreSQL can't use {path}: it is too long, or has a %NAME% or letters that this Windows' code page lacks, and its disk keeps no short names. "
        "Move ComfyUI, or its --user-directory alone, to a short path of plain letters, or name a server in DIFFUSION_TOOLKIT_DSN."
    )


def _fits(path: str) -> bool:
    if len(path) > _LONGEST or path.count("%") > 1:  # pg_ctl starts the server through cmd, which replaces %NAME%
        return False
    try:
        path.encode("mbcs", "strict")
    except UnicodeEncodeError:
        return False
    return True


def patiently(action: Callable[[], _T]) -> _T:
    """Do what Windows refuses while a virus scanner, or another reader, has the file open: that is mostly over at once."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return action()
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > deadline:
                raise
        time.sleep(0.02)
