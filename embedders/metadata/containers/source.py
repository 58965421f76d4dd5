"""A file's content, read where it is asked for: a path is seeked through and never read whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TypeVar

from ..records import MAX_TEXT_BYTES, Pieces

_HEAD, _WINDOW = 32 * 2**10, 512  # read at once: most texts lie in the head; further on it is hopping from size to size
MAX_PIECES = 1000
_MAX_PROBLEMS = 20
MAX_STEPS = 400_000  # chunks, boxes or blocks that are hopped over: some tenths of a second

if hasattr(os, "pread"):
    _pread = os.pread
else:

    def _pread(descriptor: int, size: int, at: int) -> bytes:
        os.lseek(descriptor, at, os.SEEK_SET)  # Windows
        return os.read(descriptor, size)


class NotRegular(OSError):
    """A folder, FIFO, socket or device where a file was expected."""


_S = TypeVar("_S", bound="Source")


class Source:
    """Bytes by place. Reading beyond the end gives fewer; a place or size below zero gives none."""

    def __init__(self, data: bytes) -> None:
        self.size, self._window = len(data), data

    def read(self, at: int, size: int) -> bytes:
        return self._window[at : at + size] if at >= 0 and size > 0 else b""

    def close(self) -> None:
        """Nothing to close for a content in memory."""

    def __enter__(self: _S) -> _S:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileSource(Source):
    """A regular file, opened without waiting for anyone: OSError for what is none, and what can't be read."""

    def __init__(self, path: Path | str) -> None:
        self.descriptor, status = open_regular(path)
        self.mtime_ns = status.st_mtime_ns
        try:
            super().__init__(_pread(self.descriptor, _HEAD, 0))
            self.size, self._at = status.st_size, 0
        except BaseException:
            self.close()
            raise

    def read(self, at: int, size: int) -> bytes:
        """In few steps: a picture's chunks are hopped over by the dozen."""
        begin = at - self._at
        if begin >= 0 and size > 0 and begin + size <= len(self._window):
            return self._window[begin : begin + size]
        if at < 0 or size <= 0 or at >= self.size:
            return b""
        if size > _WINDOW:
            return _pread(self.descriptor, min(size, self.size - at), at)
        self._window, self._at = _pread(self.descriptor, _WINDOW, at), at
        return self._window[:size]

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def open_regular(path: Path | str, flags: int = 0) -> tuple[int, os.stat_result]:
    """A file descriptor to read a regular file, and what is known of it. A FIFO is refused, not waited for."""
    wanted = os.O_RDONLY | flags
    for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOCTTY"):
        wanted |= getattr(os, name, 0)
    descriptor = os.open(path, wanted)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise NotRegular(f"{path} is not a regular file")
    return descriptor, status


def report(pieces: Pieces, problem: str) -> None:
    """Of a file that is wrong all over, only the first problems."""
    if len(pieces.problems) < _MAX_PROBLEMS:
        pieces.problems.append(problem)


def room(pieces: Pieces, source: Source) -> int:
    """How many bytes more may be kept of a file: values may overlap in EXIF, and unpack to far more than the file."""
    if len(pieces.raw) >= MAX_PIECES:
        return 0
    kept = sum(map(len, pieces.raw.values()))
    return min(MAX_TEXT_BYTES, 4 * 2**20 + 32 * source.size - kept, 2 * MAX_TEXT_BYTES - kept)


class SourceFile:
    """A source as FFmpeg reads it: a file object without a name, so that no other file can be asked for by it."""

    def __init__(self, source: Source) -> None:
        self._source, self._at = source, 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(self._at, self._source.size - self._at if size < 0 else size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._source.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
