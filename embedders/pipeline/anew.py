"""Images that an older reader has read: their prompts and settings are read anew, from what the library keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

from ..metadata import READER_VERSION, ImageMetadata, interpret, read_metadata
from .batches import batches
from .records import Run

PIECES_BATCH = 32  # images whose stored metadata is read anew in one transaction


def read_anew(run: Run, unchanged: Callable[[str], bool]) -> None:
    """Let this reader read what an older one has read: the metadata that the library keeps, byte for byte.

    A file is opened again only where that holds no prompt, since this reader also looks in places that the older did not.
    Where no file of such an image was found unchanged, it waits for a run that finds one.
    """
    before = 0
    for page in _pages(run):
        for done, batch in batches(page, PIECES_BATCH):
            run.progress("Reading prompts anew", before + done, before + len(page))
            pieces, from_pieces, from_files = run.store.stored_pieces([id_ for id_, _ in batch]), {}, {}
            for id_, (path, *others) in batch:
                found = interpret(pieces[id_], name=PurePosixPath(path).name, definitions=run.definitions)
                if found.prompt is not None or found.prompt_origin.where:
                    from_pieces[id_] = found
                else:
                    here = next((one for one in (path, *others) if unchanged(one)), None)
                    if here is None:
                        continue
                    try:
                        found = from_files[id_] = read_metadata(run.root / here, definitions=run.definitions)
                    except OSError:  # gone since the scan
                        continue
                run.report.tell(path, found)
            run.writer.put(partial(_write, run, from_pieces, from_files))
        before += len(page)
    run.writer.drain()


def _pages(run: Run) -> Iterator[Sequence[tuple[int, Sequence[str]]]]:
    """A million images by their paths are not held at once."""
    after = 0
    while page := run.store.images_read_before(READER_VERSION, after):
        after = page[-1][0]
        yield page


def _write(run: Run, from_pieces: Mapping[int, ImageMetadata], from_files: Mapping[int, ImageMetadata]) -> None:
    run.store.update_readings(from_pieces, from_files=False)
    run.store.update_readings(from_files, from_files=True)
    run.report.read_anew += len(from_pieces) + len(from_files)
    run.report.opened_again += len(from_files)
