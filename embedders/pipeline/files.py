"""What lies in the folder, held against what the library knows of it: a stream of files to read, made in a thread of its own."""

from __future__ import annotations

import marshal
import queue
import threading
import time
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Protocol, TypeVar

from ..folders.known_files import KnownFiles
from ..folders.scan import FileEntry, OnError, Stopped
from .ahead import CLOSING_SECONDS
from .records import IndexReport, Progress, Store

SORTED_AT_ONCE = 512  # files that are held against the library together
SORTED_AFTER = 0.2  # seconds after which those found so far are: a slow drive shall not hold up the readers
MARKED_AT_ONCE = 5000
T = TypeVar("T")


class Source(Protocol):
    """Where a run's files come from: a folder (`scan.Scan`), or a list."""

    def files(self, on_error: OnError, stopped: Stopped) -> Iterator[FileEntry]: ...
    def labels(self) -> Iterator[tuple[str, tuple[str, ...]]]: ...  # (path, labels) of files that have some of their own
    def covers(self, path: str) -> bool: ...  # whether a file that was not among them may be held to be gone
    def is_gone(self, path: str) -> bool | None: ...  # None: not there, but perhaps on a drive that is not mounted


class FoundFiles:
    """The new and the changed files of a source, by iterating, while a thread looks for more.

    It looks to the end, whoever reads how slowly: how large a run is decides how it is written, and its progress. What waits is packed, in
    some 20 bytes a file. `changed` grows meanwhile, and `complete` tells that it is done growing. Leaving the `with` ends the thread.
    """

    def __init__(self, source: Source, known: KnownFiles, report: IndexReport) -> None:
        self._source, self._known, self._report = source, known, report
        self._lots: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, name="diffusion-toolkit-scan", daemon=True)
        self.changed = 0
        self.complete = False

    def __enter__(self) -> FoundFiles:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._thread.join(CLOSING_SECONDS)

    def stop(self) -> None:
        """End the search, and whoever iterates, in any thread."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def __iter__(self) -> Iterator[FileEntry]:
        return (entry for entry in self.arriving() if entry is not None)

    def arriving(self) -> Iterator[FileEntry | None]:
        """The same files, and None a few times a second while none comes."""
        while not self._stopped.is_set():
            try:
                lot = self._lots.get(timeout=0.2)
            except queue.Empty:
                yield None
                continue
            if isinstance(lot, BaseException):
                raise lot
            if lot is None:
                return
            yield from _unpacked(lot)

    def other_sidecar(self, entry: FileEntry) -> bool:
        """Whether the text beside a file came, went or changed since the library read it."""
        return self._known.other_sidecar(entry)

    def unchanged(self, path: str) -> bool:
        """Whether this file was found as the library knows it; of all of them once `complete`."""
        return self._known.unchanged(path)

    def settle(self, store: Store, progress: Progress) -> None:
        """When all is found: label what was known already, and mark what is gone, unmark what is there again.

        A folder in which nothing is left of what was known is more likely a drive that is not mounted, and so is one that is empty:
        nothing of it is marked.
        """
        for labels, paths in self._labelled():  # with the run's too
            store.label_files(paths, labels)
        if store.labels_files:
            for number, paths in enumerate(_lots(self._known.unchanged_paths(), MARKED_AT_ONCE)):
                progress("Labels of known images", number * MARKED_AT_ONCE, self._report.unchanged)
                store.label_files(paths)
        for paths in _lots(self._known.returned_paths(), MARKED_AT_ONCE):
            store.unmark_missing(paths)
        unseen = (path for path in self._known.unseen_paths() if self._source.covers(path))
        judged = self._known.seen > 0
        for paths in _lots(unseen, MARKED_AT_ONCE):
            progress("Files that are gone", self._report.missing, self._report.missing)
            looks = [(path, self._source.is_gone(path) if judged else None) for path in paths]
            if gone := [path for path, is_gone in looks if is_gone]:
                marked, moved = store.mark_missing(gone)  # another run may have marked some
                self._report.missing += marked
                self._report.moved += moved
            if doubtful := [path for path, is_gone in looks if is_gone is None]:
                self._report.all_gone += store.count_unmarked(doubtful)  # without those that another run found elsewhere, and marked

    def _labelled(self) -> Iterator[tuple[tuple[str, ...], list[str]]]:
        """Unchanged files with labels of their own, those of the same labels together."""
        known = ((labels, path) for path, labels in self._source.labels() if self._known.unchanged(path))
        for lot in _lots(known, MARKED_AT_ONCE):
            together: dict[tuple[str, ...], list[str]] = {}
            for labels, path in lot:
                together.setdefault(labels, []).append(path)
            yield from together.items()

    def _look(self) -> None:
        try:
            entries = self._source.files(lambda *problem: self._report.skipped.append(problem), self._stopped.is_set)
            while not self._stopped.is_set() and (lot := _next_lot(entries)):
                unchanged = self._known.sort(lot).tolist()
                self._report.found += len(lot)
                self._report.unchanged += sum(unchanged)
                changed = [entry for entry, same in zip(lot, unchanged) if not same]
                self.changed += len(changed)
                if changed:
                    self._lots.put(_packed(changed))
            self.complete = not self._stopped.is_set()
            self._lots.put(None)
        except BaseException as error:  # it is the reader's, who waits for files
            self._lots.put(error)


def _next_lot(entries: Iterator[FileEntry]) -> list[FileEntry]:
    lot, until = [], time.monotonic() + SORTED_AFTER
    for entry in entries:
        lot.append(entry)
        if len(lot) == SORTED_AT_ONCE or time.monotonic() > until:
            break
    return lot


def _packed(lot: list[FileEntry]) -> bytes:
    return zlib.compress(marshal.dumps([tuple(entry) for entry in lot]), 1)


def _unpacked(lot: bytes) -> list[FileEntry]:
    return [FileEntry(*fields) for fields in marshal.loads(zlib.decompress(lot))]


def _lots(items: Iterator[T], size: int) -> Iterator[list[T]]:
    while lot := list(islice(items, size)):
        yield lot
