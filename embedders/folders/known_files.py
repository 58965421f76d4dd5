"""What a library remembers of the files of a folder, in about a hundred bytes each, and which of them a scan has met."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from .scan import FileEntry

Row = tuple[str, int, int, int, bool]
"""Of one file: path, size, mtime_ns, sidecar_mtime_ns, and whether it is marked as missing."""

_MISSING, _SEEN, _UNCHANGED = 1, 2, 4


class KnownFiles:
    """Held as arrays: a million files take 100 MB, where a dictionary of records takes 500.

    A path is looked up by Python's own hash of it, 64 bits with a secret of this process: among a million files two
    share one with a probability of 3e-8, and then also have to agree in size and time to be mistaken for each other.
    One thread may sort while others ask.
    """

    def __init__(self, parts: Iterable[Sequence[Row]] = ()) -> None:
        """`parts` are rows as they come from the library, some thousands at a time."""
        self._paths: list[bytes] = []  # a part each, parted by NUL, which no path holds
        self._starts: list[int] = []  # the first row of each part
        hashes, numbers, flags = [], [], []
        total = 0
        for rows in parts:
            if not rows:
                continue
            paths, sizes, mtimes, sidecars, missing = zip(*rows)
            self._starts.append(total)
            self._paths.append("\0".join(paths).encode("utf-8"))
            total += len(rows)
            hashes.append(_hashes(paths))
            numbers.append(np.array([sizes, mtimes, sidecars], np.int64))  # [3, n]
            flags.append(np.array(missing, np.uint8) * _MISSING)
        hashed = np.concatenate(hashes) if hashes else np.empty(0, np.int64)
        order = np.argsort(hashed)
        self._hashes = hashed[order]
        self._numbers = np.concatenate(numbers, axis=1)[:, order] if numbers else np.empty((3, 0), np.int64)
        self._flags = np.concatenate(flags)[order] if flags else np.empty(0, np.uint8)
        self._rows = order.astype(np.uint32)  # where the library had it

    def __len__(self) -> int:
        return len(self._hashes)

    @property
    def bytes(self) -> int:
        arrays = (self._hashes, self._numbers, self._flags, self._rows)
        return sum(array.nbytes for array in arrays) + sum(map(len, self._paths))

    def sort(self, entries: Sequence[FileEntry]) -> np.ndarray:
        """Note that a scan has met these; which of them are as they were: bool [n]."""
        places, known = self._find(_hashes([entry.path for entry in entries]))
        numbers = np.array([entry[1:4] for entry in entries], np.int64).reshape(-1, 3).T  # size and times: [3, n]
        same = known & (self._numbers[:, places] == numbers).all(axis=0) if len(self) else known
        self._flags[places[known]] |= _SEEN
        self._flags[places[same]] |= _UNCHANGED
        return same

    def other_sidecar(self, entry: FileEntry) -> bool:
        """Whether the text beside a file came, went or changed since the library read it."""
        place = self._place(entry.path)
        return entry.sidecar_mtime_ns != (0 if place is None else int(self._numbers[2, place]))

    def gone(self, paths: Sequence[str]) -> None:
        """Note that these are marked as missing by now, whether the scan has met them or not."""
        places, known = self._find(_hashes(paths))
        self._flags[places[known]] = _MISSING

    def unchanged(self, path: str) -> bool:
        """Whether the scan has met this file as the library knows it."""
        place = self._place(path)
        return place is not None and bool(self._flags[place] & _UNCHANGED)

    @property
    def seen(self) -> int:
        """How many known files the scan has met."""
        return int(np.count_nonzero(self._flags & _SEEN))

    def unchanged_paths(self) -> Iterator[str]:
        return self._paths_of(self._flags & _UNCHANGED != 0)

    def unseen_paths(self) -> Iterator[str]:
        """Known files that no scan has met, but for those that are marked as missing already."""
        return self._paths_of(self._flags & (_SEEN | _MISSING) == 0)

    def returned_paths(self) -> Iterator[str]:
        """Files that are marked as missing, and were met again as they were. A changed one is read, which unmarks it."""
        return self._paths_of(self._flags & (_UNCHANGED | _MISSING) == _UNCHANGED | _MISSING)

    def _find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where each would stand, and whether it stands there."""
        if not len(self):
            return np.zeros(len(hashes), np.intp), np.zeros(len(hashes), bool)
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self) - 1)
        return places, self._hashes[places] == hashes

    def _place(self, path: str) -> int | None:
        (place,), (known,) = self._find(_hashes([path]))
        return int(place) if known else None

    def _paths_of(self, chosen: np.ndarray) -> Iterator[str]:
        """Part by part, in the library's order."""
        rows = np.sort(self._rows[chosen])
        for first, part in zip(self._starts, self._paths):
            last = first + part.count(b"\0") + 1
            here = rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)]
            if len(here):
                paths = part.decode("utf-8").split("\0")
                yield from (paths[row - first] for row in here.tolist())


def _hashes(paths: Sequence[str]) -> np.ndarray:
    return np.fromiter(map(hash, paths), np.int64, len(paths))
