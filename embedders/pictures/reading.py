"""Read many files at once, ahead of whoever uses them, and never more than fit into memory."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..folders.scan import FileEntry, why_unread
from ..metadata import NodeDefinitions
from .decode import ImageError, ImageFile, Ways, read_image
from .png_workers import PngWorkers

MOST_WORKERS = 16
AHEAD = 4  # files in flight for each worker
MOST_BYTES = 512 * 2**20  # of contents and pixels in flight; one file may be larger, and is then alone


class Read(NamedTuple):
    """One file of those asked for: its image, or why there is none."""

    entry: FileEntry
    image: ImageFile | None
    problem: str = ""


class Reader:
    """A context manager: threads that read files of `root`, to be used by one thread.

    What is read is for vectors: of large pictures and of JPEGs fewer pixels are handed over (`decode.Ways.shrink`). Most of the
    work is done without Python's lock: reading, hashing, Pillow's decoding; plain PNGs go to processes (`png_workers`).
    `older_sizes` are the sizes of files whose images a library still knows by sha256: files of such a size get that hash too; None
    says that any size may be. `known` tells the contents that a library has, by the first 8 bytes of their hashes as sorted int64;
    it is asked once, when there is a first file to read. Those are not decoded again. That a new content has the 8 bytes of one of
    a million has a chance of 5e-14, and shows when the library is asked for the whole hash.
    """

    def __init__(
        self,
        root: Path,
        definitions: NodeDefinitions = {},
        *,
        older_sizes: Collection[int] | None = (),
        known: Callable[[], np.ndarray] = lambda: np.empty(0, np.int64),
        workers: int | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._root, self._definitions, self._most_bytes = root, definitions, most_bytes
        self._older_sizes = None if older_sizes is None else np.unique(np.fromiter(older_sizes, np.int64, len(older_sizes)))
        self._ask_known = known
        self._workers = workers or min(_cores(), MOST_WORKERS)

    def __enter__(self) -> Reader:
        self._pngs = PngWorkers(self._workers)
        # One more than workers, so that a worker has its next file at once; more yet, so that slow disks are asked for several.
        self._threads = _Threads(2 * self._workers + 1)
        return self

    def __exit__(self, *_: object) -> None:
        """What is not yet begun is left; what is being read is waited for, be the drive as slow as it may."""
        self._pngs.stop()
        self._threads.close()
        self._pngs.close()

    def read(self, entries: Iterable[FileEntry | None]) -> Iterator[Read | None]:
        """The files in the order of `entries`, which are asked for only as far ahead as the workers can use.

        A None among them, which is given back, says that nothing else comes for now: those before it are not kept waiting.
        """
        room = _Room(self._most_bytes)
        flying: deque[Future[Read]] = deque()
        try:
            number = 0
            for entry in entries:
                if entry is None:
                    while flying:
                        yield _next(flying, room)
                    yield None
                    continue
                if number == 0:
                    self._known = self._ask_known()
                flying.append(self._threads.submit(partial(self._read, entry, partial(room.take, number))))
                number += 1
                if len(flying) >= self._workers * AHEAD:
                    yield _next(flying, room)
            while flying:
                yield _next(flying, room)
        finally:
            room.close()
            for future in flying:
                future.cancel()

    def _read(self, entry: FileEntry, take: partial[None]) -> Read:
        ways = Ways(self._knew, self._knows, take, partial(self._pngs.begin, entry.path), shrink=True)
        try:
            return Read(entry, read_image(self._root / entry.path, definitions=self._definitions, ways=ways))
        except ImageError as error:
            return Read(entry, None, str(error))
        except OSError as error:
            return Read(entry, None, why_unread(error, str(self._root / entry.path)))
        except MemoryError:
            return Read(entry, None, "there is not enough memory to read it")

    def _knew(self, size: int) -> bool:
        """Whether the library may know a file of this size by its sha256."""
        return self._older_sizes is None or _holds(self._older_sizes, size)

    def _knows(self, hash: bytes) -> bool:
        return _holds(self._known, int.from_bytes(hash[:8], "big", signed=True))


class _Threads:
    """As `concurrent.futures` has them, but daemons: at its end Python waits for that one's, and for one that hangs in a dead drive
    for ever."""

    def __init__(self, count: int) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Read], Callable[[], Read]] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"diffusion_toolkit_reader_{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Callable[[], Read]) -> Future[Read]:
        future: Future[Read] = Future()
        self._jobs.put((future, job))
        return future

    def close(self) -> None:
        with suppress(queue.Empty):
            while (waiting := self._jobs.get_nowait()) is not None:
                waiting[0].cancel()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (asked := self._jobs.get()) is not None:
            future, job = asked
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except BaseException as error:
                    future.set_exception(error)
            del asked, future, job  # what was read is not held here until the next file comes


class _Room:
    """Bytes that files in flight may hold together. The next one to be delivered is never kept waiting, so all are delivered."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[int, int] = {}  # by the file's number
        self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def take(self, number: int, size: int) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or number == self._next or sum(self._held.values()) + size <= self._most
            )
            self._held[number] = self._held.get(number, 0) + size

    def delivered(self) -> None:
        with self._changed:
            self._held.pop(self._next, None)
            self._next += 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _next(flying: deque[Future[Read]], room: _Room) -> Read:
    read = flying.popleft().result()
    room.delivered()
    return read


def _holds(numbers: np.ndarray, number: int) -> bool:
    place = int(np.searchsorted(numbers, number))
    return place < len(numbers) and int(numbers[place]) == number


def _cores() -> int:
    """That this process may use, which in a container or under `taskset` is fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
