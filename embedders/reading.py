"""Read many files at once, ahead of whoever uses them, and never more than fit into memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .decode import ImageError, ImageFile, read_image
from .metadata import NodeDefinitions
from .scan import FileEntry

AHEAD = 4  # files in flight for each worker


class Read(NamedTuple):
    """One file of those asked for: its image, or why there is none."""

    entry: FileEntry
    image: ImageFile | None
    problem: str = ""


class Reader:
    """A context manager: workers that read files of `root`, to be used by one thread.

    `older_sizes` are the sizes of files whose images a library still knows by sha256: files of such a size get that hash too.
    """

    def __init__(
        self, root: Path, definitions: NodeDefinitions = {}, *, older_sizes: Collection[int] = (), workers: int | None = None
    ) -> None:
        self._root, self._definitions, self._older_sizes = root, definitions, older_sizes
        self._workers = workers or min(os.cpu_count() or 1, 32)
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Reader:
        self._pool = ThreadPoolExecutor(self._workers, "diffusion_toolkit_reader")
        return self

    def __exit__(self, *_: object) -> None:
        """What is not yet begun is left; what is being read is waited for, which takes no longer than one file."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def read(self, entries: Iterable[FileEntry]) -> Iterator[Read]:
        """The files in the order of `entries`, which are asked for only as far ahead as the workers can use."""
        assert self._pool is not None, "a Reader is used in a with statement"
        flying: deque[Future[Read]] = deque()
        try:
            for entry in entries:
                flying.append(self._pool.submit(self._read, entry))
                if len(flying) >= self._workers * AHEAD:
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()
        finally:
            for future in flying:
                future.cancel()

    def _read(self, entry: FileEntry) -> Read:
        try:
            return Read(entry, read_image(self._root / entry.path, definitions=self._definitions))
        except ImageError as error:
            return Read(entry, None, str(error))
        except OSError as error:
            return Read(entry, None, error.strerror or str(error))
