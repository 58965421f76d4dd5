"""Images that an older reader has read: their prompts and settings are read anew, from what the library keeps of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ..metadata import READER_VERSION, NodeDefinitions, interpret, read_metadata
from .batches import batches
from .records import IndexReport, Progress, Store

PIECES_BATCH = 32  # images whose stored metadata is read anew in one transaction


def read_anew(
    root: Path, unchanged: Callable[[str], bool], store: Store, definitions: NodeDefinitions, report: IndexReport, progress: Progress
) -> None:
    """Let this reader read what an older one has read: the metadata that the library keeps, byte for byte.

    A file is opened again only where that holds no prompt, since this reader also looks in places that the older did not.
    Where no file of such an image was found unchanged, it waits for a run that finds one.
    """
    older = store.images_read_before(READER_VERSION)
    for done, batch in batches(older, PIECES_BATCH):
        progress("Reading prompts anew", done, len(older))
        pieces, from_pieces, from_files = store.stored_pieces([id_ for id_, _ in batch]), {}, {}
        for id_, (path, *others) in batch:
            found = interpret(pieces[id_], name=PurePosixPath(path).name, definitions=definitions)
            if found.prompt is not None or found.prompt_origin.where:
                from_pieces[id_] = found
            else:
                here = next((one for one in (path, *others) if unchanged(one)), None)
                if here is None:
                    continue
                try:
                    found = from_files[id_] = read_metadata(root / here, definitions=definitions)
                except OSError:  # gone since the scan
                    continue
            report.tell(path, found)
        store.update_readings(from_pieces, from_files=False)
        store.update_readings(from_files, from_files=True)
        report.read_anew += len(from_pieces) + len(from_files)
        report.opened_again += len(from_files)
