"""Which of the files that a library knows are on the disk, and where a drive may only be missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .known_files import Row


@dataclass
class Presence:
    """What became of the known files of one root. What is doubtful is not gone: it may be on a drive that is not mounted."""

    root: Path
    mounted: bool = True
    known: int = 0
    there: int = 0  # as they were, or changed
    changed: int = 0
    unread: int = 0  # that can't be looked at
    witness: str = ""  # a file that is there
    gone: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    empty_folders: dict[str, int] = field(default_factory=dict)  # folders that are there and empty, and how many files they lack
    unmarked: int = 0  # gone, and not yet marked as missing
    returned: list[str] = field(default_factory=list)  # marked as missing, and there, or not to be looked at


def look_at(root: Path, parts: Iterable[Sequence[Row]], tell: Callable[[int], None] = lambda done: None) -> Presence:
    """Look at every known file; `tell` hears how many are done, and may raise.

    A file counts as gone where the nearest folder above it that is there holds anything: a folder that is there and empty is what a
    drive that is not mounted leaves. Where not one known file of the root is there, none is gone.
    """
    presence = Presence(root, mounted=root.is_dir())
    nearest = Nearest(root)
    for rows in parts:
        tell(presence.known)
        presence.known += len(rows)
        if not presence.mounted:
            continue
        for path, size, mtime_ns, _, missing in rows:
            try:
                status = os.stat(os.path.join(root, path))
            except (FileNotFoundError, NotADirectoryError):
                empty = nearest.empty_folder(os.path.dirname(path))
                if empty is None:
                    presence.gone.append(path)
                    presence.unmarked += not missing
                    continue
                presence.empty_folders[empty] = presence.empty_folders.get(empty, 0) + 1
                presence.doubtful.append(path)
                continue
            except (OSError, ValueError):
                presence.unread += 1
            else:
                presence.there += 1
                presence.changed += (status.st_size, status.st_mtime_ns) != (size, mtime_ns)
                presence.witness = presence.witness or path
            if missing:
                presence.returned.append(path)
    if not presence.there and presence.gone:
        presence.doubtful += presence.gone
        presence.gone, presence.unmarked = [], 0
    return presence


def still_gone(presence: Presence, paths: Sequence[str]) -> list[str]:
    """Those of these paths that are gone at this moment. OSError where the drive is not there any more."""
    there = presence.root / presence.witness if presence.witness else presence.root
    gone = [path for path in paths if is_gone(presence.root, path)]
    there.stat()
    return gone


def is_gone(root: str | Path, path: str) -> bool:
    """Whether there is no such file now; one that can't be looked at may be there."""
    try:
        os.stat(os.path.join(root, path))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        pass
    return False


class Nearest:
    """The folders in which files are missing; looks once at each."""

    def __init__(self, root: str | Path) -> None:
        self._root = root
        self._empty: dict[str, str | None] = {}

    def empty_folder(self, folder: str) -> str | None:
        """The nearest folder that is there, `folder` or one above it, where it holds nothing; None where it holds something."""
        if folder not in self._empty:
            place = os.path.join(self._root, folder)
            try:
                with os.scandir(place) as entries:
                    self._empty[folder] = place if next(entries, None) is None else None
            except (FileNotFoundError, NotADirectoryError):
                self._empty[folder] = self.empty_folder(os.path.dirname(folder)) if folder else place
            except OSError:
                self._empty[folder] = place  # nobody knows what it holds
        return self._empty[folder]
