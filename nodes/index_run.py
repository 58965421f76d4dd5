"""One run of the indexing pipeline over a library, from its store to its report: what Index Folder and the command have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import db
from ..embedders.image_list import ImageList, ListError
from ..embedders.pipeline import Encoders, IndexReport, Progress, StandBack, index_folder
from ..embedders.pipeline.records import Named
from ..embedders.scan import Scan
from .approximate import refresh_approximation
from .host import roots
from .index_report import report_text
from .index_store import FolderStore
from .patience import Patience

if TYPE_CHECKING:
    from ..db import Counts, Library
    from ..embedders.pipeline.files import Source


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
    image_list: Path | None = None  # in the folder's place: files below whatever roots


def run(
    library: Library,
    job: Job,
    encoders: Encoders,
    definitions: Mapping[str, Mapping[str, Any]],
    progress: Progress,
    files: JobFiles | None = None,
) -> tuple[IndexReport, Counts, str]:
    """Index, make the encoders of this run the active ones, and `finish`. `files` are the job's, where they were looked at before."""
    files = files or JobFiles(job, progress)
    reports = [files.report()]
    for part, source in files.parts():
        about = (part.root_name, part.root, part.subfolder, encoders, [part.labels], part.namespace)
        with FolderStore(library, *about, progress) as store:
            reports.append(index_part(part, source, store, encoders, definitions, progress))
            if reports[-1].unfinished:
                break
            store.activate()
    return finish(library, together(reports), encoders, progress)


class JobFiles:
    """The files of a job: those of its folder, or of its list, which may lie below several roots.

    Raises:
        ListError, ScanError: the list or the folder can't be used.
    """

    def __init__(self, job: Job, progress: Progress = lambda stage, done, total: None) -> None:
        self._job, self._roots = job, roots()
        self._list = None
        if job.image_list is not None:
            tell = lambda lines: progress("Lines of the image list", lines, lines)  # noqa: E731
            self._list = ImageList(job.image_list, self._roots, db.normal_labels, tell)
        if self._list is not None and not self._list.counts:
            fault = " {}: {}.".format(*self._list.problems[0]) if self._list.problems else ""
            raise ListError(f"The image list {job.image_list} names no image.{fault} Write one path on each line, as path,label,label2.")

    def parts(self) -> Iterator[tuple[Job, Source]]:
        """The job for each root that it has files below, with these files."""
        job = self._job
        if self._list is None:
            yield job, Scan(job.root, job.subfolder, job.recursive, job.pattern)
        else:
            for name in self._list.counts:
                yield replace(job, root_name=name, root=self._roots[name], subfolder=""), self._list.of_root(name)

    def report(self) -> IndexReport:
        """Of the lines that name no file."""
        return IndexReport(skipped=self._list.problems if self._list is not None else Named())


def index_part(
    part: Job, source: Source, store: FolderStore, encoders: Encoders, definitions: Mapping[str, Mapping[str, Any]], progress: Progress
) -> IndexReport:
    """The pipeline over the files of one root."""
    return index_folder(
        part.root,
        part.subfolder,
        store,
        encoders,
        source=source,
        token_state_budget=part.token_state_budget,
        definitions=definitions,
        progress=store.patience.telling(progress),
    )


def together(reports: Iterable[IndexReport]) -> IndexReport:
    """One report of several: of the roots of a list, or of workers. A file that two of them name for one reason is named once."""
    whole, named = IndexReport(), {}
    for report in reports:
        for name, value in ((field.name, getattr(report, field.name)) for field in fields(IndexReport)):
            before = getattr(whole, name)
            if isinstance(before, Named):
                known = named.setdefault(name, set())
                new = [item for item in dict.fromkeys(value) if item not in known]
                known.update(new)
                before.extend(new)
                before.total += value.total - len(value)  # those that are counted and not named
            elif isinstance(before, dict):
                before.update({kind: before.get(kind, 0) + n for kind, n in value.items()})
            else:
                setattr(whole, name, before or value if isinstance(before, bool) else before + value)
    return whole


def finish(library: Library, report: IndexReport, encoders: Encoders, progress: Progress) -> tuple[IndexReport, Counts, str]:
    """Bring what searches use up to date when all of a run is written; the report, also in words."""
    refreshed = fitted = ""
    patience = Patience()
    telling = patience.telling(progress)
    try:
        if not report.unfinished:
            refreshed = db.refresh_search(library, telling)
            fitted = refresh_approximation(library, telling) if encoders.clip is not None else ""
    except StandBack:
        report.unfinished = True
    counts = patience.again(partial(_counts, library))
    text = report_text(report, counts, encoders, library.warnings)
    if refreshed:
        text += f"\nSearch: {refreshed}."
    if fitted:
        text += f"\nApproximation of token states: {fitted}."
    return report, counts, text


def _counts(library: Library) -> Counts:
    with library.connection() as connection:
        return db.counts(connection)
