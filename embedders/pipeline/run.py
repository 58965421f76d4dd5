"""One run: read what is new in a folder, make the vectors that are missing, hand both to the library in batches."""

from __future__ import annotations

import time
from pathlib import Path

from ..metadata import NodeDefinitions
from ..scan import Scan
from .anew import read_anew
from .files import FoundFiles
from .images import fill_image_vectors, read_files
from .records import Encoders, IndexReport, Progress, Store
from .texts import fill_clip, fill_text_vectors


def index_folder(
    root: Path,
    subfolder: str,
    store: Store,
    encoders: Encoders,
    *,
    recursive: bool = True,
    pattern: str = "",
    token_state_budget: int = 5 * 2**30,
    definitions: NodeDefinitions = {},
    progress: Progress = lambda stage, done, total: None,
) -> IndexReport:
    """Index the images under `root`/`subfolder`. `token_state_budget` is in bytes on disk, for the whole library.

    Files whose size and modification time are known are not opened; what an older reader made of their metadata is made
    anew from the metadata itself, which the library keeps. Images come first, model by model afterwards, so that one model
    at a time needs to be in memory. `definitions` are the running ComfyUI's, for the reader.
    """
    started = time.monotonic()
    report = IndexReport()
    with FoundFiles(Scan(root, subfolder, recursive, pattern), store.known_files(), report) as files:
        read_files(root, files, store, encoders, definitions, report, progress)
        files.settle(store, progress)
    if encoders.image is not None:
        fill_image_vectors(root, files.unchanged, store, encoders.image, report, progress)
    read_anew(root, files.unchanged, store, definitions, report, progress)
    if encoders.text is not None:
        fill_text_vectors(store, encoders.text, report, progress)
    if encoders.clip is not None:
        fill_clip(store, encoders.clip, token_state_budget, report, progress)
    report.seconds = time.monotonic() - started
    return report
