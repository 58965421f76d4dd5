"""Shares of a run: files by a hash of their path, texts by their id, so that workers need not talk; and who is at which share."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..indexing.index_store import FolderStore

Answer = tuple[dict[str, Any], bool]  # what a worker said of a share, and whether it only helped with it
HELPED_FROM = 1000  # files that a worker has left: for fewer, looking through the folder once more doesn't pay

if TYPE_CHECKING:
    import numpy as np

    from ...embedders.folders.scan import FileEntry, OnError, Stopped
    from ...embedders.pipeline.files import Source


@dataclass(frozen=True)
class Share:
    """Number `number` of `of` shares, which together are everything and have nothing in common."""

    number: int
    of: int

    def has_file(self, path: str) -> bool:
        return zlib.crc32(path.encode("utf-8", "surrogateescape")) % self.of == self.number

    def has_id(self, id_: int) -> bool:
        return id_ % self.of == self.number


class Shares:
    """Which shares of a run are still to be done, and who is at each. Of one that a worker died at, nothing counts as done."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.answers: list[Answer] = []
        self._at: dict[int, list[int]] = {share: [] for share in range(count)}  # the workers at each open share, its owner first
        self._again: set[int] = set()  # to be done from its start by whoever comes next
        self._helped: set[tuple[int, int]] = set()

    @property
    def complete(self) -> bool:
        return not self._at

    def take(self, worker: int, behind: Sequence[int] = ()) -> int | None:
        """A share for this worker: one that nobody is at, else that of a worker who is `behind`; None where there is none."""
        free = [share for share, workers in self._at.items() if not workers]
        if free:
            share = worker if worker in free else free[0]
            self._again.discard(share)
            self._helped.discard((worker, share))
        else:
            late = (self._of(other) for other in behind)
            share = next((one for one in late if one is not None and (worker, one) not in self._helped), None)
            if share is None:
                return None
            self._helped.add((worker, share))
        self._at[share].append(worker)
        return share

    def done(self, worker: int, answer: dict[str, Any]) -> None:
        share = self._of(worker)
        assert share is not None, "a worker is done with what it has taken"
        self.answers.append((answer, (worker, share) in self._helped))
        self._at[share].remove(worker)
        if not self._at[share] and share not in self._again:
            del self._at[share]

    def died(self, worker: int) -> None:
        """What it had claimed is free again, and others may have passed it by."""
        share = self._of(worker)
        if share is not None:
            self._at[share].remove(worker)
            self._again.add(share)

    def _of(self, worker: int) -> int | None:
        return next((share for share, workers in self._at.items() if worker in workers), None)


class SharedSource:
    """The files of a source that are in a share; what is gone is told by the worker whose share it was in."""

    def __init__(self, source: Source, share: Share) -> None:
        self._source, self._share = source, share

    def files(self, on_error: OnError, stopped: Stopped = lambda: False) -> Iterator[FileEntry]:
        def ours(path: str, problem: str) -> None:
            if self._share.has_file(path):  # else each worker would name it
                on_error(path, problem)

        return (entry for entry in self._source.files(ours, stopped) if self._share.has_file(entry.path))

    def covers(self, path: str) -> bool:
        return self._share.has_file(path) and self._source.covers(path)

    def is_gone(self, path: str) -> bool | None:
        return self._source.is_gone(path)

    def labels(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        return (item for item in self._source.labels() if self._share.has_file(item[0]))


class NoFiles:
    """The source of a run that has only texts to do."""

    def files(self, on_error: OnError, stopped: Stopped = lambda: False) -> Iterator[FileEntry]:
        return iter(())

    def covers(self, path: str) -> bool:
        return False

    def is_gone(self, path: str) -> bool:
        return False

    def labels(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        return iter(())


class SharedStore(FolderStore):
    """The store of one worker of several."""

    def __init__(self, share: Share, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._share = share

    def expect(self, files: int) -> None:
        super().expect(files * self._share.of)  # what pays is measured by all that come

    def images_read_before(self, version: int, after: int = 0) -> Sequence[tuple[int, Sequence[str]]]:
        """Some of an id above `after`, none only where there are none in any share."""
        while found := super().images_read_before(version, after):
            if ours := [item for item in found if self._share.has_id(item[0])]:
                return ours
            after = max(id_ for id_, _ in found)
        return []

    def texts_without(self, family: str) -> tuple[np.ndarray, np.ndarray]:
        ids, lengths = super().texts_without(family)
        ours = ids % self._share.of == self._share.number
        return ids[ours], lengths[ours]

    def count_without(self, family: str, longest: int) -> int:
        return (super().count_without(family, longest) + self._share.number) // self._share.of  # those of all shares are the whole
