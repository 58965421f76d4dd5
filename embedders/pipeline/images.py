"""New and changed files: read, embed, store; and vectors of images that an earlier run had no encoder for."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from ..errors import EmbedderError
from ..folders.scan import FileEntry
from ..metadata import READER_VERSION
from ..pictures.decode import NO_PIXELS
from ..pictures.reading import Reader
from .ahead import Ahead, close_all
from .batches import Pace, batches, usable_rows
from .files import FoundFiles
from .prepared import BATCH_BYTES, Batch, File, InFlight, as_known, held_against, prepared
from .records import Run

CLAIMED_AT_ONCE = 64  # files; other runs leave alone what this one has claimed, so it claims little ahead
CLAIMED_AHEAD = 128
ASKED_AT_ONCE = 64  # images that lack a vector
BATCHES_AHEAD = 2  # that are read and not yet embedded
NOTHING_CAME = 0.5  # seconds, after which what has come goes to the model
EXPECTED_AT = 5000  # vectors to come, of which the store is told while the scan goes on; then as they get more by a quarter
JUDGED_AT = 256  # files, by which a run is judged: of how many of them the content is new


def read_files(run: Run, files: FoundFiles) -> None:
    """Read, embed and store new files; content that the library already has only gains a path, and a side-car's text.

    Four things go on at once: files are looked for and claimed, read, embedded (in this thread), and written.
    """
    flying, pace = InFlight(), Pace.of(run.encoders.image)
    reader = Reader(run.root, run.definitions, older_sizes=run.store.older_sizes(), known=run.store.known_contents)
    expected, handled, fresh, stages = _Expected(run), 0, 0, []

    def tell() -> None:
        complete = files.complete  # before the number, which grows until then
        if (seen := handled + run.report.elsewhere) >= JUDGED_AT:
            expected.tell(files.changed * fresh // seen, complete)
        if files.changed or files.complete:
            run.progress("Reading images", seen, files.changed)
        else:
            run.progress("Looking through the folder", run.report.found, run.report.found)

    try:
        stages.append(claimed := Ahead(_claimed(run, files), "claims", CLAIMED_AHEAD))
        stages.append(ready := _ahead(prepared(run.root, reader, claimed.steadily(NOTHING_CAME), pace, held_against(run.store, flying))))
        while (batch := run.next_of(ready, "files", tell)) is not None:
            tell()
            handled += batch.files
            fresh += len(batch.fresh)
            vectors, usable = _embed(run, batch, pace)
            run.put(partial(_write, run, files, flying, batch, vectors, usable))
            del batch, vectors
    finally:
        files.stop()
        close_all(*stages)
    run.writer.drain()


def fill_image_vectors(run: Run, unchanged: Callable[[str], bool]) -> None:
    """Embed images that were indexed without this encoder, from files that still hold them."""
    lacking, pace, expected, handled = _Lacking(run, unchanged), Pace.of(run.encoders.image), _Expected(run), 0
    ready = _ahead(prepared(run.root, Reader(run.root), lacking, pace, as_known))
    try:
        while (batch := run.next_of(ready, "files")) is not None:
            complete = lacking.complete
            expected.tell(lacking.total, complete)
            run.progress("Image vectors", handled, lacking.total)
            handled += batch.files
            run.report.skipped += batch.refused
            vectors, usable = _embed(run, batch, pace)
            if usable:
                ids = [lacking.ids[batch.fresh[row][0].path] for row in usable]
                run.put(partial(run.store.add_image_vectors, ids, vectors[usable]))
                run.report.count("image", len(usable))
            lacking.forget(batch)
            del batch, vectors
    finally:
        lacking.stopped = True
        close_all(ready)
    run.writer.drain()


class _Lacking:
    """Files of images without a vector, page by page from the store; `ids` of those that are on their way, by path.

    Other runs may be at the same images: each begins at another place of a page, and leaves out what has a vector by then.
    """

    def __init__(self, run: Run, unchanged: Callable[[str], bool]) -> None:
        self._store, self._unchanged = run.store, unchanged
        self.ids: dict[str, int] = {}
        self.total = 0
        self.stopped = self.complete = False

    def __iter__(self) -> Iterator[FileEntry]:
        after = 0
        while not self.stopped and (page := self._store.images_without_vector(after)):
            after = page[-1][0]
            files = {image_id: entry for image_id, entry in page if self._unchanged(entry.path)}  # one of each image
            self.total += len(files)
            first = random.randrange(len(files) or 1)
            for _, some in batches([*files][first:] + [*files][:first], ASKED_AT_ONCE):
                left = set(self._store.still_without_vector(some))
                self.total -= len(some) - len(left)
                for image_id in (image_id for image_id in some if image_id in left):
                    self.ids[files[image_id].path] = image_id
                    yield files[image_id]
        self.complete = True

    def forget(self, batch: Batch) -> None:
        for path in (*(entry.path for entry, _ in batch.fresh), *(path for path, _ in batch.refused)):
            self.ids.pop(path, None)


class _Expected:
    """Tells the store how many vectors will come, once it can be judged: a large run is written in another way."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._next, self._told = EXPECTED_AT, 0

    def tell(self, count: int, complete: bool) -> None:
        if count >= self._next or (complete and count and not self._told):
            self._told, self._next = count, count + count // 4 + 1
            self._run.writer.put(partial(self._run.store.expect, count))


def _claimed(run: Run, files: FoundFiles) -> Iterator[FileEntry]:
    """The files that no other run has, claimed a few at a time, and at once where no more come."""
    waiting: list[FileEntry] = []
    for entry in files.arriving():
        if entry is not None:
            waiting.append(entry)
        if entry is None or len(waiting) == CLAIMED_AT_ONCE:
            yield from _taken(run, waiting)
            waiting = []
    if not files.stopped:
        yield from _taken(run, waiting)


def _taken(run: Run, entries: list[FileEntry]) -> Iterator[FileEntry]:
    if entries:
        taken = run.store.claim(entries)
        run.report.elsewhere += len(entries) - len(taken)
        yield from taken


def _ahead(batches: Iterator[Batch]) -> Ahead[Batch]:
    return Ahead(batches, "batches", BATCHES_AHEAD, lambda batch: batch.size, BATCHES_AHEAD * BATCH_BYTES)


def _embed(run: Run, batch: Batch, pace: Pace) -> tuple[np.ndarray | None, list[int]]:
    """The vectors [n, 1024] of the fresh images and the rows that can be stored; then nobody needs pixels any more."""
    began, vectors, usable = time.monotonic(), None, []
    if run.encoders.image is not None and batch.fresh:
        try:
            vectors, rows = run.encoders.image.encode([image.pixels for _, image in batch.fresh]), list(range(len(batch.fresh)))
        except EmbedderError:
            vectors, rows = _each_alone(run, batch)
        usable = [rows[row] for row in usable_rows(vectors[rows], [batch.fresh[row][0].path for row in rows], run.report)]
    if batch.fresh:
        pace.took(len(batch.fresh), time.monotonic() - began)
    for files in (batch.fresh, batch.copies, batch.twins, batch.known):
        files[:] = [(entry, replace(image, pixels=NO_PIXELS), *id_) for entry, image, *id_ in files]
    return vectors, usable


def _each_alone(run: Run, batch: Batch) -> tuple[np.ndarray, list[int]]:
    """The vectors, and the rows that have one: an image that the encoder fails at is skipped with the reason, and ends no run.

    Raises:
        EmbedderError: it fails at a plain picture too, so that it is not for want of these images.
    """
    encode = run.encoders.image.encode
    vectors, rows = np.repeat(encode([np.zeros((224, 224, 3), np.uint8)]), len(batch.fresh), axis=0), []
    for row, (entry, image) in enumerate(batch.fresh):
        try:
            vectors[row] = encode([image.pixels])[0]
        except EmbedderError as error:
            run.report.skipped.append((entry.path, f"no vector can be made of it: {error}"))
        else:
            rows.append(row)
    return vectors, rows


def _write(run: Run, files: FoundFiles, flying: InFlight, batch: Batch, vectors: np.ndarray | None, usable: list[int]) -> None:
    """One batch into the library, by the writer's thread: new images first, then further paths of what is there by then."""
    store, report = run.store, run.report
    if vectors is None:
        store.add_images(batch.fresh, None)
    else:
        rows = set(usable)
        store.add_images([batch.fresh[row] for row in usable], vectors[usable])
        store.add_images([file for row, file in enumerate(batch.fresh) if row not in rows], None)
        report.count("image", len(usable))
    flying.written(image.hash for _, image in batch.fresh)
    copies, twins = _with_ids(run, batch.copies), batch.known + _with_ids(run, batch.twins)
    older = set(store.read_before(READER_VERSION, {id_ for _, _, id_ in twins})) if twins else set()
    told = {id_: (entry.path, image.metadata) for entry, image, id_ in twins if id_ in older or files.other_sidecar(entry)}
    store.update_readings({id_: metadata for id_, (_, metadata) in told.items()}, from_files=True)
    moved = store.link_files(copies + twins)  # last: once a file is known as it is now, the text beside it is not looked at again
    store.release([path for path, _ in batch.refused])
    report.skipped += batch.refused
    report.missing += moved
    report.moved += moved
    report.added += len(batch.fresh)
    report.known_elsewhere += len(copies) + len(twins) - len(told)
    report.reread += len(told)
    report.read_anew += len(told.keys() & older)
    report.sidecars_read += len(told.keys() - older)
    for path, metadata in [*told.values(), *((entry.path, image.metadata) for entry, image in batch.fresh)]:
        report.tell(path, metadata)


def _with_ids(run: Run, files: list[File]) -> list[tuple[FileEntry, object, int]]:
    ids = run.store.find_images([image.hash for _, image in files]) if files else {}
    return [(entry, image, ids[image.hash]) for entry, image in files if image.hash in ids]
