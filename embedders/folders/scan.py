"""Find the image and video files below a folder, in a fixed order, without leaving the root."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import NamedTuple

from ..metadata.containers.sidecar import SUFFIXES as SIDECARS
from ..metadata.containers.sidecar import sidecar_names
from .hidden import is_hidden
from .presence import Names, Nearest, is_gone

log = logging.getLogger("diffusion_toolkit")

MEDIA_TYPES = {  # of what is indexed, and none that a browser would run; Python's own table hangs on its version and the system
    ".png": "image/png", ".apng": "image/apng", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jpe": "image/jpeg", ".jfif": "image/jpeg",
    ".webp": "image/webp", ".avif": "image/avif", ".bmp": "image/bmp", ".dib": "image/bmp", ".gif": "image/gif", ".tif": "image/tiff",
    ".tiff": "image/tiff", ".exr": "image/x-exr", ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".webm": "video/webm",
    ".mkv": "video/x-matroska",
}  # fmt: skip
SUFFIXES = frozenset(MEDIA_TYPES)

OnError = Callable[[str, str], None]
"""Told (path relative to the root, reason) of each thing that was left out but might have been an image."""

Stopped = Callable[[], bool]
"""Whether nobody wants more files: asked also where none is found, as in a folder of other things or one that answers slowly."""

LONGEST_PATH = 2600  # bytes below the root: an index of the library takes no more
LONGEST_OF_WINDOWS = 259  # letters of a whole path, where an administrator has not allowed more
TOO_LONG = f"its path below the root is longer than {LONGEST_PATH:,} bytes; move it up, or give its folders shorter names"
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9\xb9\xb2\xb3]) *(\..*)?", re.IGNORECASE)  # before Windows 11 with any ending
LOOK_EVERY = 500  # things in a folder, between two such questions


class ScanError(ValueError):
    """The folder that was asked for can't be scanned at all."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


class FileEntry(NamedTuple):  # made in half the time of a frozen record
    """One image file; `path` is relative to the root, with `/` on every system.

    `sidecar_mtime_ns` is that of the newest text beside it which is read with it, 0 when there is none. `labels` are its own, of
    an image list.
    """

    path: str
    size: int
    mtime_ns: int
    sidecar_mtime_ns: int = 0
    labels: tuple[str, ...] = ()


class Scan:
    """The image files of `root`/`subfolder`, sorted by name, a folder's files before its sub-folders.

    `pattern` is a list of globs such as `*.png;*cat*`, case-insensitive, over file names, or over the path below the
    root where a glob holds a `/`; empty means all. Hidden files and folders (`.thumbs`, Windows' bin) are left out. Symbolic links
    are followed where they stay in the root, each real folder once. What can't be read is told to `on_error` (logged
    when there is none) and left out. ScanError at once when the folder is missing or lies outside the root.
    """

    def __init__(self, root: Path, subfolder: str = "", recursive: bool = True, pattern: str = "") -> None:
        if not root.is_dir():
            raise ScanError(f"The root folder {root} does not exist or is not a folder. Create it, or correct its setting.")
        self._root = os.path.realpath(root)
        parts = _parts(subfolder)
        self._start, self._name = os.path.join(self._root, *parts), "/".join(parts)
        if not os.path.isdir(self._start):
            if os.path.isfile(self._start):
                raise ScanError(f"{subfolder!r} is a file. Name the folder that it is in; a pattern such as {parts[-1]!r} takes it alone.")
            raise ScanError(f"There is no folder {subfolder!r} in {root}. Check the spelling of the sub-folder.")
        if not contains(self._root, os.path.realpath(self._start)):
            raise ScanError(f"The sub-folder {subfolder!r} leads out of {root}. Configure its target as a root of its own.")
        self._globs = globs_of(pattern)
        self._recursive, self._nearest, self._names = recursive, Nearest(self._root), Names(self._root)
        self._on_error: OnError = lambda path, why: log.warning("%s: %s", path, why)

    def files(self, on_error: OnError | None = None, stopped: Stopped = lambda: False) -> Iterator[FileEntry]:
        """Depth first with a stack of its own: folders may nest deeper than Python recurses."""
        self._on_error = on_error or self._on_error
        stack = [(self._start, self._name)]
        seen: set[str] = set()
        while stack and not stopped():
            folder, path = stack.pop()
            try:
                real = os.path.realpath(folder)
            except OSError as error:
                self._on_error(path or ".", f"the folder can't be read ({why_unread(error, folder)})")
                continue
            if not contains(self._root, real):
                self._on_error(path, "is a link that leads out of the root; configure its target as a root of its own")
            elif real not in seen:
                seen.add(real)
                folders: list[tuple[str, str]] = []
                yield from self._folder(folder, path, folders, stopped)
                if self._recursive:
                    stack += reversed(folders)

    def covers(self, path: str) -> bool:
        """Whether a file of this path would be among `files`, were it there."""
        folder, _, name = path.rpartition("/")
        inside = folder == self._name or (self._recursive and (not self._name or folder.startswith(f"{self._name}/")))
        return inside and self._wanted(name, path)

    def labels(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        return iter(())

    def is_gone(self, path: str) -> bool | None:
        """None where it is not there, and may be on a drive that is not mounted."""
        if not is_gone(self._root, path, self._names):
            return False
        return True if self._nearest.mount_point(path) is None else None

    def _folder(self, folder: str, path: str, folders: list[tuple[str, str]], stopped: Stopped) -> Iterator[FileEntry]:
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._on_error(path or ".", f"the folder can't be read ({why_unread(error, folder)})")
            return
        # Where the drive takes any case, as on Windows and macOS, a.TXT is the text of a.png: who asks for a.txt finds it.
        beside = {name for entry in listed if (name := entry.name.lower()).endswith(SIDECARS)}
        for number, entry in enumerate(listed):
            if number % LOOK_EVERY == LOOK_EVERY - 1 and stopped():
                return
            below = f"{path}/{entry.name}" if path else entry.name
            try:
                if is_hidden(entry):
                    continue
                folder_found = entry.is_dir()
                if not folder_found and not self._wanted(entry.name, below):
                    continue
                if printable(below) != below:
                    self._on_error(printable(below), "its name is not UTF-8; rename it to have it indexed")
                elif folder_found:
                    folders.append((entry.path, below))
                elif is_too_long(below):
                    self._on_error(below, TOO_LONG)
                elif (found := self._file(entry, below, beside)) is not None:
                    yield found
            except OSError as error:
                self._on_error(printable(below), f"can't be read ({why_unread(error, entry.path)})")

    def _wanted(self, name: str, path: str) -> bool:
        return is_wanted(name, path, self._globs)

    def _file(self, entry: os.DirEntry[str], path: str, beside: set[str]) -> FileEntry | None:
        if entry.is_symlink() and not contains(self._root, os.path.realpath(entry.path)):
            self._on_error(path, "is a link that leads out of the root; configure its target as a root of its own")
            return None
        # Not entry.stat(): on Windows it may hold an older size of a file that is open or was linked.
        status = os.stat(entry.path)
        if not stat.S_ISREG(status.st_mode):
            self._on_error(path, "is not a regular file")
            return None
        return FileEntry(path, status.st_size, status.st_mtime_ns, _newest(entry.path, beside) if beside else 0)


def why_unread(error: OSError, place: str, windows: bool = os.name == "nt") -> str:
    """In the system's words. Windows' for a path that is too long are that there is none, and for an open file that it is not permitted."""
    words = error.strerror or str(error)
    if windows and isinstance(error, PermissionError) and getattr(error, "winerror", None) in (None, 32):  # 5 is a matter of rights
        words += "; another program may have it open"
    if device := device_in(place, windows):
        words += f"; Windows keeps the name {device} for a device: rename it"
    if windows and len(place) > LONGEST_OF_WINDOWS:
        words += f"; its whole path has {len(place)} letters, and Windows takes {LONGEST_OF_WINDOWS}: move it up, or allow long paths by LongPathsEnabled"
    return words


def globs_of(pattern: str) -> list[str]:
    return [glob.strip().lower() for glob in pattern.split(";") if glob.strip()]


def is_wanted(name: str, path: str, globs: Sequence[str]) -> bool:
    """Whether a file is an image or video by its name, and matches one of the globs, if there are any."""
    name = name.lower()
    stem, dot, suffix = name.rpartition(".")
    if not stem or dot + suffix not in SUFFIXES:
        return False
    return not globs or any(fnmatchcase(path.lower() if "/" in glob else name, glob) for glob in globs)


def newest_of(texts: Iterable[str]) -> int:
    """When one of these was last written, 0 where there is none: of regular files only, since links are not read."""
    newest = 0
    for text in texts:
        try:
            status = os.lstat(text)
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            newest = max(newest, status.st_mtime_ns)
    return newest


def _newest(image: str, beside: set[str]) -> int:
    return newest_of(text for _, text in sidecar_names(image) if os.path.basename(text).lower() in beside)


def device_in(path: str, windows: bool = os.name == "nt") -> str:
    """The first name in a path that Windows may take for a device's, in the place of a file's or folder's; "" where there is none."""
    return next(filter(_DEVICE.fullmatch, re.split(r"[\\/]", path)), "") if windows else ""


def refuse_device(folder: str) -> None:
    """For a folder that is not there. Windows gives all kinds of answers when it is asked for a device's, `\\\\.\\NUL` among them.

    Raises:
        ScanError: a name in it is a device's.
    """
    if device := device_in(folder):
        raise ScanError(
            f"There can be no folder {folder!r}: Windows keeps the name {device} for a device, as CON, PRN, AUX, NUL, COM1 and LPT1. Rename the "
            "folder, on the system that made it, and name it anew."
        )


def normal_subfolder(subfolder: str) -> str:
    """A sub-folder as the person typed it, relative and with `/`, as paths are stored; ScanError when it leaves the root."""
    return "/".join(_parts(subfolder))


def _parts(subfolder: str) -> tuple[str, ...]:
    """A sub-folder as the person typed it, in the spelling of this system; ScanError when it is not below the root."""
    path = PurePath(subfolder.strip())
    if path.is_absolute() or path.drive or path.root or ".." in path.parts or "\0" in subfolder:
        raise ScanError(
            f"The sub-folder {subfolder!r} is not below the root. Give a path relative to the root, without '..'."
        )
    return path.parts


def contains(root: str, path: str) -> bool:
    try:
        return os.path.commonpath((root, path)) == root
    except ValueError:  # on Windows: different drives
        return False


def on_another_host(path: str, roots: Iterable[PurePath]) -> bool:
    """Whether Windows would ask another computer for it, or a device, with the user's name and password, if only to see whether it is
    there. A share that a root is on may be asked. Elsewhere two slashes are as good as one, where that leads below a root."""

    def share(place: object) -> list[str]:
        plain = re.sub(r"^//[?.]/unc/", "//", str(place).replace("\\", "/").lower())
        return plain.split("/")[2:4] if plain.startswith("//") else []

    if os.name != "nt" and any(contains(str(root), one_slash(path)) for root in roots):
        return False
    return bool(share(path)) and share(path) not in map(share, roots)


def one_slash(path: str) -> str:
    """A whole path as systems other than Windows understand it: pathlib and os.path keep two slashes at the beginning."""
    return f"/{path.lstrip('/')}" if os.name != "nt" and path.startswith("//") else path


def is_too_long(path: str) -> bool:
    return len(path) > LONGEST_PATH // 4 and len(path.encode()) > LONGEST_PATH  # a letter takes at most 4 bytes


def printable(path: str) -> str:
    """`path` itself when it is UTF-8; else with the bytes that are not as `\\xNN`."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    return path
