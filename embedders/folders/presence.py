"""Which of the files that a library knows are on the disk, and where a drive may only be missing."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .hidden import is_hidden

if TYPE_CHECKING:
    from .known_files import Row

DRIVES_IN = ("/Volumes", "/media", "/mnt", "/run/media")
DRIVES_OF_USERS_IN = ("/media", "/run/media")  # each in a folder of the user's name


@dataclass
class Presence:
    """What became of the known files of one root. What is doubtful is not gone: it may be on a drive that is not mounted."""

    root: Path
    mounted: bool = True
    known: int = 0
    there: int = 0  # as they were, or changed
    unread: int = 0  # that can't be looked at
    witness: str = ""  # a file that is there
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    mount_points: dict[str, int] = field(default_factory=dict)  # folders at which a drive may be missing, and how many files they lack
    unmarked: int = 0  # gone, and not yet marked as missing
    returned: list[str] = field(default_factory=list)  # marked as missing, and there, or not to be looked at


def look_at(root: Path, parts: Iterable[Sequence[Row]], tell: Callable[[int], None] = lambda done: None) -> Presence:
    """Look at every known file; `tell` hears how many are done, and may raise.

    `Nearest` tells where a drive may be missing. Where not one known file of the root is there, none is gone.
    """
    presence = Presence(root, mounted=root.is_dir())
    nearest, names = Nearest(root), Names(root)
    for rows in parts:
        tell(presence.known)
        presence.known += len(rows)
        if not presence.mounted:
            continue
        for path, size, mtime_ns, _, missing in rows:
            try:
                status = os.stat(os.path.join(root, path))
            except (FileNotFoundError, NotADirectoryError):
                point = nearest.mount_point(path)
                if point is None:
                    presence.gone.append(path)
                    presence.unmarked += not missing
                    continue
                presence.mount_points[point] = presence.mount_points.get(point, 0) + 1
                presence.doubtful.append(path)
                continue
            except (OSError, ValueError):
                presence.unread += 1
            else:
                if missing and names.otherwise(path):
                    presence.gone.append(path)
                    continue
                presence.there += 1
                if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
                    presence.changed.append(path)
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
    names = Names(presence.root)
    gone = [path for path in paths if is_gone(presence.root, path, names)]
    there.stat()
    return gone


def is_gone(root: str | Path, path: str, names: Names) -> bool:
    """Whether there is no such file now, or none of this name; one that can't be looked at may be there."""
    try:
        os.stat(os.path.join(root, path))
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return names.otherwise(path)


class Names:
    """How what is in the folders below a root is spelled; looks once at each.

    Where upper and lower case are one, as on Windows and macOS, `a.png` is still found when it is called `A.png` now.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = root
        self._listed: dict[str, dict[str, list[str]]] = {}

    def otherwise(self, path: str) -> bool:
        """Whether the file that is found by this path, or a folder on the way, is there by another spelling alone."""
        return self.spelled(path) != path

    def spelled(self, path: str) -> str:
        """The path as its folders have it; as it is, where no other spelling of it is seen: a list may be older than what is found."""
        whole = ""
        for name in path.split("/"):
            if self._may_be_another(whole, name):
                name = self.spelled_in(whole, name)
            whole = f"{whole}/{name}" if whole else name
        return whole

    def spelled_in(self, folder: str, name: str) -> str:
        """The same of one name, in a folder that is spelled so: by the folder's list alone, where that has it."""
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
        there = self._listed[folder].get(_folded(name), [])
        return name if name in there else next((other for other in there if self._are_one(folder, name, other)), name)

    def case_is_one(self, folder: str) -> bool:
        """Whether this folder is found by another spelling; so are the files in it then."""
        other = folder.swapcase()
        return os.path.exists(os.path.join(self._root, other) if other != folder else str(Path(self._root, folder)).swapcase())

    def _may_be_another(self, folder: str, name: str) -> bool:
        """Whether it is worth a look at the folder's list, which may be long: not where no other spelling leads to it."""
        others = {name.swapcase()} if name.isascii() else {name.swapcase(), *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))}
        return name.endswith((".", " ")) or any(os.path.exists(os.path.join(self._root, folder, other)) for other in others - {name})

    def _list(self, folder: str) -> dict[str, list[str]]:
        """Spellings by what they have in common; none where the folder can't be read."""
        spelled: dict[str, list[str]] = {}
        try:
            for name in os.listdir(os.path.join(self._root, folder)):
                spelled.setdefault(_folded(name), []).append(name)
        except OSError:
            pass
        return spelled

    def _are_one(self, folder: str, name: str, other: str) -> bool:
        try:
            return os.path.samefile(os.path.join(self._root, folder, name), os.path.join(self._root, folder, other))
        except OSError:
            return False


def _folded(name: str) -> str:
    """Windows finds `cats` by `cats.` too."""
    return unicodedata.normalize("NFC", name).casefold().rstrip(". ")


class Nearest:
    """Where a drive may be missing, of the folders in which files are; looks once at each.

    A drive that is not mounted leaves a folder with nothing in it, or with hidden files alone, or a link that leads nowhere. Or nothing
    at all: udisks, macOS and autofs remove the folder too, but only from one in which they mount drives.
    """

    def __init__(self, root: str | Path) -> None:
        self._root = os.path.realpath(root)
        self._points: dict[str, str | None] = {}
        self._holders: dict[str, str | None] = {}

    def mount_point(self, path: str) -> str | None:
        """The folder at which the drive of this file, which is not there, may be missing; None where the file is gone."""
        file = os.path.join(self._root, path)
        return os.path.dirname(file) if os.path.islink(file) else self._of_folder(os.path.dirname(path))

    def _of_folder(self, folder: str) -> str | None:
        if folder not in self._points:
            self._points[folder] = self._look(folder)
        return self._points[folder]

    def _look(self, folder: str) -> str | None:
        place = os.path.join(self._root, folder)
        try:
            with os.scandir(place) as entries:
                return None if any(not is_hidden(entry) for entry in entries) else place
        except FileNotFoundError:
            if os.path.lexists(place):  # a link, on Windows also a junction
                return place
        except NotADirectoryError:
            pass
        except OSError:
            return place  # nobody knows what it holds
        if not folder:
            return place
        above = os.path.dirname(folder)
        return self._of_folder(above) or self._holder(above)

    def _holder(self, folder: str) -> str | None:
        """This folder, if it is one in which drives are mounted."""
        if folder not in self._holders:
            place = os.path.normpath(os.path.join(self._root, folder))
            self._holders[folder] = place if _holds_drives(place) else None
        return self._holders[folder]


def _holds_drives(place: str) -> bool:
    if place in DRIVES_IN or (os.path.dirname(place) in DRIVES_OF_USERS_IN and not os.path.ismount(place)):
        return True
    try:
        own = os.stat(place).st_dev
        with os.scandir(place) as entries:
            folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return False
    return any(_device(folder) != own for folder in folders)


def _device(folder: str) -> int | None:
    """None where it does not answer, as a drive may not."""
    try:
        return os.stat(folder).st_dev
    except OSError:
        return None
