"""What a person or a system has hidden: it is not indexed, and a folder with nothing else in it counts as empty."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def is_hidden(entry: os.DirEntry[str] | Path, windows: bool = os.name == "nt") -> bool:
    """By its name; on Windows also by its attribute, as the bin of a drive is, in which deleted pictures lie. What can't be looked at is
    not: whoever reads it next says why."""
    if entry.name.startswith("."):
        return True
    try:
        return windows and bool(entry.stat(follow_symlinks=False).st_file_attributes & stat.FILE_ATTRIBUTE_HIDDEN)  # a folder's list has it
    except OSError:
        return False
