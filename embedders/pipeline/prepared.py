"""Files on their way to the models: read, held against the library, and cut into batches, in a thread of their own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..folders.scan import FileEntry
from ..pictures.decode import ImageFile
from ..pictures.reading import Read, Reader
from .batches import Pace
from .records import Store

FILES = 64  # in one batch, where the library knows most of them and the model has little to do
LONGEST = 2.0  # seconds that a batch is waited for: a slow drive fills none
BATCH_BYTES = 192 * 2**20  # of pixels and metadata in one batch: 64 pictures of 1024 x 1024
CHANGED = "it changed while it was read; the next run reads it"
FORGOTTEN = "its image was taken out of the library meanwhile; the next run reads it"

File = tuple[FileEntry, ImageFile]


@dataclass
class Batch:
    """Files that were read together, by what is to become of them."""

    files: int = 0
    size: int = 0  # bytes
    fresh: list[File] = field(default_factory=list)  # to be embedded: one of each content
    copies: list[File] = field(default_factory=list)  # of these; they are linked
    twins: list[File] = field(default_factory=list)  # of what an earlier batch has brought, which is not yet written
    known: list[tuple[FileEntry, ImageFile, int]] = field(default_factory=list)  # with the id of their image
    refused: list[tuple[str, str]] = field(default_factory=list)  # path, reason


class InFlight:
    """Contents that are embedded or about to be, and not yet in the library: a copy that comes meanwhile is linked after them.

    The thread that prepares adds, the one that writes removes once the library has them. Asked *before* the library is, it
    leaves no gap: what is neither in flight nor, afterwards, in the library is new.
    """

    def __init__(self) -> None:
        self._hashes: set[bytes] = set()

    def __contains__(self, hash: bytes) -> bool:
        return hash in self._hashes

    def add(self, hashes: Iterable[bytes]) -> None:
        self._hashes.update(hashes)

    def written(self, hashes: Iterable[bytes]) -> None:
        self._hashes.difference_update(hashes)


def prepared(
    root: Path, reader: Reader, entries: Iterable[FileEntry | None], pace: Pace, sort: Callable[[Batch, list[File]], None]
) -> Iterator[Batch]:
    """Batches in the order of `entries`, of as many files for the model as `pace` says; `sort` shares out what was read.

    There are fewer in one where they are large, where they come slowly, and before a None among the entries.
    """
    with reader:
        batch, read, until = Batch(), [], 0.0
        for one in reader.read(entries):
            if one is not None:
                until = until if batch.files else time.monotonic() + LONGEST
                batch.files += 1
                image, problem = _settled(root, one)
                if image is None:
                    batch.refused.append((one.entry.path, problem))
                else:
                    read.append((one.entry, image))
                    batch.size += size_of(image)
                del image  # a large picture is not held while the next one is waited for
            full = one is None or batch.size >= BATCH_BYTES or batch.files >= max(FILES, pace.size) or time.monotonic() > until
            del one
            if read and (full or len(batch.fresh) + len(read) >= pace.size):
                sort(batch, read)
                read = []
            if batch.files and (full or len(batch.fresh) >= pace.size):
                done, batch = batch, Batch()  # no pixels are held here while the batch waits
                yield done
                del done
        if batch.files:
            sort(batch, read)
            yield batch


def size_of(image: ImageFile) -> int:
    return image.pixels.nbytes + sum(map(len, image.metadata.raw.values()))


def held_against(store: Store, flying: InFlight) -> Callable[[Batch, list[File]], None]:
    """Shares out files by what the library, and this run, know of their contents."""

    def sort(batch: Batch, read: list[File]) -> None:
        if older := {image.older_hash: image.hash for _, image in read if image.older_hash is not None}:
            store.renew_hashes(older)
        waiting = {image.hash for _, image in read if image.hash in flying}
        known = store.find_images([image.hash for _, image in read if image.hash not in waiting])
        first: dict[bytes, int] = {}  # content -> its place in `fresh`
        for entry, image in read:
            if image.hash in waiting:
                batch.twins.append((entry, image))
            elif image.hash in known:
                batch.known.append((entry, image, known[image.hash]))
            elif image.phash is None:  # known when the run began, so it was not decoded
                batch.refused.append((entry.path, FORGOTTEN))
            elif image.hash not in first:
                first[image.hash] = len(batch.fresh)
                batch.fresh.append((entry, image))
            elif entry.sidecar_mtime_ns:  # of several copies the one with a text beside it is read
                place = first[image.hash]
                batch.copies.append(batch.fresh[place])
                batch.fresh[place] = (entry, image)
            else:
                batch.copies.append((entry, image))
        flying.add(first)

    return sort


def as_known(batch: Batch, read: list[File]) -> None:
    """Everything that is still the file that it was goes to the model."""
    for entry, image in read:
        if (image.size, image.mtime_ns) == (entry.size, entry.mtime_ns):
            batch.fresh.append((entry, image))
        else:
            batch.refused.append((entry.path, CHANGED))


def _settled(root: Path, read: Read) -> tuple[ImageFile | None, str]:
    """The image, of the size and time by which the next scan knows its file; or why it can't be used.

    A file that is another now than when it was read, half old and half new, is left to the next run.
    """
    try:
        status = os.stat(root / read.entry.path)
        now = (status.st_size, status.st_mtime_ns)
    except OSError:
        now = None
    found = (read.entry.size, read.entry.mtime_ns)
    if read.image is None:
        return None, CHANGED if now is not None and now != found else read.problem
    if now == found:  # a network drive may give an open file another time than its path; scans ask for that of the path
        return replace(read.image, size=found[0], mtime_ns=found[1]), ""
    return (read.image, "") if now == (read.image.size, read.image.mtime_ns) else (None, CHANGED)
