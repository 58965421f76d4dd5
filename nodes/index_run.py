"""One run of the indexing pipeline over a library, from its store to its report: what Index Folder and the command have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import db
from ..embedders.pipeline import Encoders, IndexReport, Progress, StandBack, index_folder
from .approximate import refresh_approximation
from .index_report import report_text
from .index_store import FolderStore

if TYPE_CHECKING:
    from ..db import Counts, Library


@dataclass(frozen=True)
class Job:
    """What to index, and what to do with it."""

    root_name: str
    root: Path
    subfolder: str = ""
    recursive: bool = True
    pattern: str = ""
    token_state_budget: int = 5 * 2**30  # bytes on disk, in the whole library
    labels: str = ""
    namespace: str = ""


def run(
    library: Library, job: Job, encoders: Encoders, definitions: Mapping[str, Mapping[str, Any]], progress: Progress
) -> tuple[IndexReport, Counts, str]:
    """Index, make the encoders of this run the active ones, and `finish`."""
    with FolderStore(library, job.root_name, job.root, job.subfolder, encoders, [job.labels], job.namespace) as store:
        report = index_folder(
            job.root,
            job.subfolder,
            store,
            encoders,
            recursive=job.recursive,
            pattern=job.pattern,
            token_state_budget=job.token_state_budget,
            definitions=definitions,
            progress=store.patience.telling(progress),
        )
        if not report.unfinished:
            store.activate()
    return finish(library, report, encoders, progress)


def finish(library: Library, report: IndexReport, encoders: Encoders, progress: Progress) -> tuple[IndexReport, Counts, str]:
    """Bring what searches use up to date when all of a run is written; the report, also in words."""
    refreshed = fitted = ""
    try:
        if not report.unfinished:
            refreshed = db.refresh_search(library, progress)
            fitted = refresh_approximation(library, progress) if encoders.clip is not None else ""
    except StandBack:
        report.unfinished = True
    with library.connection() as connection:
        counts = db.counts(connection)
    text = report_text(report, counts, encoders, library.warnings)
    if refreshed:
        text += f"\nSearch: {refreshed}."
    if fitted:
        text += f"\nApproximation of token states: {fitted}."
    return report, counts, text
