"""One run: read what is new in a folder, make the vectors that are missing, hand both to the library in batches."""

from __future__ import annotations

import time
from pathlib import Path

from ..metadata import NodeDefinitions
from .anew import read_anew
from .files import FoundFiles, Source
from .images import fill_image_vectors, read_files
from .records import Encoders, IndexReport, Progress, Run, StandBack, Store
from .telling import Telling
from .texts import fill_clip, fill_text_vectors
from .writer import Writer


def index_folder(
    root: Path,
    source: Source,
    store: Store,
    encoders: Encoders,
    *,
    token_state_budget: int = 5 * 2**30,
    definitions: NodeDefinitions = {},
    progress: Progress = lambda stage, done, total: None,
) -> IndexReport:
    """Index the images below `root` that `source` gives. `token_state_budget` is bytes on disk of the library.

    Files whose size and modification time are known are not opened; what an older reader made of their metadata is made
    anew from the metadata itself, which the library keeps. Images come first, model by model afterwards, so that one model
    at a time needs to be in memory. `definitions` are the running ComfyUI's, for the reader.

    `progress` is called here, by the thread that owns the models: before each batch, and twice a second while anything is
    waited for. What it raises ends the run within a batch, or some seconds where a drive or a server does not answer, and what is
    embedded by then is written; after StandBack there is a report all the same.
    """
    started = time.monotonic()
    report, telling = IndexReport(), Telling(progress)
    try:
        with Writer(telling.again) as writer:
            run = Run(root, store, encoders, definitions, report, writer, telling)
            with FoundFiles(source, store.known_files(), report) as files:
                read_files(run, files)
                files.settle(store, telling)
            if encoders.image is not None:
                fill_image_vectors(run, files.unchanged)
            read_anew(run, files.unchanged)
            if encoders.text is not None:
                fill_text_vectors(run)
            if encoders.clip is not None:
                fill_clip(run, token_state_budget)
    except StandBack:
        report.unfinished = True
    report.seconds = time.monotonic() - started
    return report
