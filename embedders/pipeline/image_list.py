"""An image list: a text file that names images, one a line, as `path,label,label2`. A way in beside a folder.

    # Lines that begin with # are left out, and so are empty ones.
    cats/tabby.png,cat,striped
    "cats/one, two.png",cat
    /mnt/photos/sea.jpg

A path is whole, or relative to the folder that the list lies in; one that holds a comma stands in quotes, as in CSV.
"""

from __future__ import annotations

import codecs
import csv
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from ..folders.presence import Names
from ..folders.scan import (
    SUFFIXES,
    TOO_LONG,
    FileEntry,
    OnError,
    Stopped,
    contains,
    is_too_long,
    newest_of,
    on_another_host,
    one_slash,
    printable,
    why_unread,
)
from ..metadata.containers.sidecar import sidecar_names
from .records import Named

SUFFIXES_OF_LISTS = (".txt", ".csv", ".lst")
MAX_BYTES = 2**30
MAX_LINES = 10_000_000
NO_LIST_AFTER = 1000  # lines with something on them and not one image: another kind of text
LOOK_EVERY = 1000  # lines between two questions whether to go on
_QUOTES = "; a path that holds a comma stands in quotes"
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))  # as Windows writes them


class ListError(ValueError):
    """The list can't be used at all."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


class ImageList:
    """A list that was read, and the files of it that lie below `roots`: those of each root are a source of their own.

    It is held as its bytes, and gone through anew for each purpose: a million lines take 60 MB.
    """

    def __init__(
        self,
        file: Path,
        roots: Mapping[str, Path],
        normal_labels: Callable[[list[str]], list[str]] = sorted,
        tell: Callable[[int], None] = lambda lines: None,
    ) -> None:
        """`roots` are folders by name, resolved; `normal_labels` makes labels as the library keeps them, ValueError where it can't.

        `tell` hears how many lines are read, and may raise.
        """
        self.file = Path(os.path.abspath(file))
        self._text = _read(self.file)
        self._roots = sorted(roots.items(), key=lambda root: len(root[1].parts), reverse=True)  # of nested ones the inner is meant
        self._names = ", ".join(roots)
        self._spelling = {name: Names(folder) for name, folder in roots.items()}
        self._normal_labels = normal_labels
        self.problems = Named()  # ("line 7: cats/x.png", why it is left out), but for files that can't be had
        counts: dict[str, int] = {}

        def on_error(place: str, why: str) -> None:
            self.problems.append((place, why))
            if self.problems.total == NO_LIST_AFTER and not counts:
                first = "{}: {}".format(*self.problems[0])
                raise ListError(f"The first {NO_LIST_AFTER:,} lines of {self.file} name no image ({first}). Is it an image list?")

        def stopped() -> bool:
            tell(self._number)
            return False

        for line in self._lines(on_error, stopped):
            counts[line[0]] = counts.get(line[0], 0) + 1
        self.counts = {name: counts[name] for name in roots if name in counts}  # files named, by root

    def of_root(self, name: str) -> ListedFiles:
        return ListedFiles(self, name, dict(self._roots)[name])

    def files(self, root: str, stopped: Stopped = lambda: False) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """(place in the list, path below the root, labels) of the files below this root, each once."""
        for name, place, path, labels in self._lines(lambda *_: None, stopped):
            if name == root:
                yield place, path, labels

    def _lines(self, on_error: OnError, stopped: Stopped) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
        """(root, place, path, labels) of each good line; the others are told to `on_error`.

        A place has the text of its line only where that begins with an image's path: any text can be named as a list, also one that
        is not for the eyes of whoever sees the report.
        """
        met: set[int] = set()
        within = lru_cache(4096)(self._folder)
        for number, raw in enumerate(_split(self._text), 1):
            if number % LOOK_EVERY == 0:
                self._number = number
                if stopped():
                    return
            if number > MAX_LINES:
                raise ListError(f"The image list {self.file} has more than {MAX_LINES:,} lines. Part it.")
            place = f"line {number}"
            try:
                line = raw.decode("utf-8").strip()
            except UnicodeDecodeError:
                on_error(place, "is not UTF-8; save the list as UTF-8")
                continue
            if not line or line.startswith("#"):
                continue
            try:
                path, *labels = next(csv.reader([line], skipinitialspace=True))
                path = path.strip()
                _check_name(path)
                place = f"line {number}: {path}"
                kept = tuple(self._normal_labels([label for label in labels if label.strip()]))
                root, below = self._placed(path, within)
            except (ValueError, csv.Error) as error:
                on_error(place, str(error))
                continue
            except OSError as error:  # as Windows' of a folder called CON
                on_error(place, f"can't be read ({why_unread(error, path)})")
                continue
            if (key := hash((root, below))) in met:
                if kept:
                    on_error(place, "was named on an earlier line; only the labels given there count")
                continue
            met.add(key)
            yield root, place, below, kept

    def _placed(self, path: str, within: Callable[[str], tuple[str, str, bool]]) -> tuple[str, str]:
        """The root that a path as it was written lies in, and the path below it; ValueError says what is wrong with it.

        Where upper and lower case are one, it is spelled as its folders have it: a scan would know the file by no other path.
        """
        folder, name = os.path.split(os.path.join(self.file.parent, os.path.expanduser(path)))
        root, below, case_is_one = within(folder)
        name = self._spelling[root].spelled_in(below, name) if case_is_one else name
        return root, f"{below}/{name}" if below else name

    def _folder(self, folder: str) -> tuple[str, str, bool]:
        """The same of a folder, and whether upper and lower case are one in it."""
        root, below = self._within(folder)
        below = self._spelling[root].spelled(below)
        return root, below, self._spelling[root].case_is_one(below)

    def _within(self, folder: str) -> tuple[str, str]:
        """As it was named first: what lies behind a link in a root is known by the link's path. The system is asked where `..` leads."""
        if on_another_host(folder, [root for _, root in self._roots]):
            raise ValueError("lies on another computer, where none of the configured roots is")
        folder = one_slash(folder)
        real = os.path.realpath(folder)
        for place in (real,) if ".." in Path(folder).parts else (os.path.normpath(folder), real):
            for name, root in self._roots:
                if contains(str(root), place):
                    return name, "/".join(Path(place).relative_to(root).parts)
        raise ValueError(f"{os.path.normpath(folder)} lies below none of the configured roots: {self._names}")


class ListedFiles:
    """The files of a list below one root, as `pipeline.files.Source`. What a list doesn't name is not held to be gone."""

    def __init__(self, images: ImageList, name: str, root: Path) -> None:
        self._list, self._name, self._root = images, name, os.path.realpath(root)
        self._inside = lru_cache(4096)(lambda folder: contains(self._root, os.path.realpath(folder)))

    def files(self, on_error: OnError, stopped: Stopped = lambda: False) -> Iterator[FileEntry]:
        """In the order of the list; each that can't be had is told with its line."""
        for place, path, labels in self._list.files(self._name, stopped):
            if stopped():
                return
            file = os.path.join(self._root, path)
            try:
                status = os.stat(file)
                if not stat.S_ISREG(status.st_mode):
                    on_error(place, "is not a regular file")
                elif not self._inside(os.path.dirname(file)) or (os.path.islink(file) and not contains(self._root, os.path.realpath(file))):
                    on_error(place, "is a link that leads out of the root; configure its target as a root of its own")
                elif printable(path) != path:
                    on_error(place, "its name is not UTF-8; rename it to have it indexed")
                elif is_too_long(path):
                    on_error(place, TOO_LONG)
                else:
                    yield FileEntry(path, status.st_size, status.st_mtime_ns, newest_of(text for _, text in sidecar_names(file)), labels)
            except FileNotFoundError:
                parted = any(os.path.splitext(label)[1].lower() in SUFFIXES for label in labels)  # a label reads like the end of a path
                on_error(place, f"there is no such file in {os.path.dirname(file)}{_QUOTES if parted else ''}")
            except OSError as error:
                on_error(place, f"can't be read ({error.strerror or error})")

    def labels(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        return ((path, labels) for _, path, labels in self._list.files(self._name) if labels)

    def covers(self, path: str) -> bool:
        return False

    def is_gone(self, path: str) -> bool:
        return False


def _check_name(path: str) -> None:
    """ValueError says why it can't be the path of an image."""
    if "\0" in path or not path:
        raise ValueError("is no path")
    if os.path.splitext(path)[1].lower() not in SUFFIXES:
        raise ValueError(f"is no image or video by its name{'' if '.' in os.path.basename(path) else _QUOTES}")


def _split(text: bytes) -> Iterator[bytes]:
    start = 0
    while start <= len(text):
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _read(file: Path) -> bytes:
    """The list as UTF-8, with \\n between its lines."""
    try:
        status = os.stat(file)  # before it is opened: a pipe would be waited for
        if not stat.S_ISREG(status.st_mode):
            raise ListError(f"{file} is not a file. An image list is a text file with a path on each line.")
        if status.st_size > MAX_BYTES:
            raise ListError(f"The image list {file} has {status.st_size:,} bytes; {MAX_BYTES:,} is the most. Part it.")
        text = file.read_bytes()
    except OSError as error:
        raise ListError(f"The image list {file} can't be read ({error.strerror or error}). Check its path.") from error
    for mark, encoding in _MARKS:
        if text.startswith(mark):
            text = text[len(mark) :]
            if encoding != "utf-8":
                text = text.decode(encoding, "replace").encode("utf-8")
            break
    if b"\0" in text[:4096]:
        raise ListError(f"{file} is no text. An image list is a text file with a path on each line.")
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
