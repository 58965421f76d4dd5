"""One run of the indexing pipeline over a library, from its store to its report: what Index Folder and the command have in common."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ... import db
from ...db.health import status
from ...embedders.folders.presence import Names
from ...embedders.folders.scan import Scan, ScanError
from ...embedders.pipeline import Encoders, IndexReport, Progress, StandBack, index_folder
from ...embedders.pipeline.image_list import ImageList, ListError
from ...embedders.pipeline.records import Named
from ..conditioning.approximate import refresh_approximation
from ..host import ROOTS_VARIABLE, config_file, log, roots
from ..wording import some
from .index_report import report_text
from .index_store import FolderStore
from .patience import Patience

if TYPE_CHECKING:
    from ...db import Counts, Library, Words
    from ...embedders.pipeline.files import Source


FAULTS_NAMED = 5  # lines of a list of which none is good
LOOKED_AT = 10_000  # a list of at most so many images must name one that is there; on a network's drive each look takes milliseconds
TELL_EVERY = 10  # looks

T = TypeVar("T")


class LabelError(ValueError):
    """Labels were given, and there is none among them."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


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
    may_be_missing: bool = False  # a sub-folder that is not there holds nothing, in the place of an error


def run(
    library: Library,
    job: Job,
    encoders: Encoders,
    definitions: Mapping[str, Mapping[str, Any]],
    progress: Progress,
    files: JobFiles | None = None,
    refresh: bool = True,
    words: Words | None = None,
) -> tuple[IndexReport, Counts, str]:
    """Index, make the encoders of this run the active ones, and `finish`. `files` are the job's, where they were looked at before;
    the report is in the nodes' words, or in these."""
    files, began = files or JobFiles(job, progress), server_began(library, progress)
    reports = [files.report()]
    for part, source in files.parts():
        about = (part.root_name, part.root, part.subfolder, encoders, [part.labels], part.namespace)
        with FolderStore(library, *about, progress) as store:
            reports.append(index_part(part, source, store, encoders, definitions, progress))
            if reports[-1].unfinished:
                break
            reports[-1].replaced = store.activate()
    report, counts, text = finish(library, together(reports), encoders, progress, refresh, words, began)
    looked = job.image_list is None and not report.unfinished and (job.root / job.subfolder).is_dir()
    if looked and not report.found and job.pattern.strip():
        text = f"No image here matches the pattern {job.pattern.strip()}.\n{text}"
    return report, counts, text


class JobFiles:
    """The files of a job: those of its folder, or of its list, which may lie below several roots. Without `check` a list need not
    name a file that can be had: whoever shares its work out has looked.

    Raises:
        ListError, ScanError, LabelError: the list, the folder or the labels can't be used.
    """

    def __init__(self, job: Job, progress: Progress = lambda stage, done, total: None, check: bool = True) -> None:
        self._job, self._roots = job, roots()
        if job.labels.strip() and not db.normal_labels([job.labels]):
            raise LabelError(f"There is no label in {job.labels!r}. Write words, parted by commas, or nothing.")
        self._list = None
        if job.image_list is not None:
            tell = lambda lines: progress("Lines of the image list", lines, lines)  # noqa: E731
            self._list = ImageList(job.image_list, self._roots, db.normal_labels, tell)
            if check and sum(self._list.counts.values()) <= LOOKED_AT:
                self._refuse_without_a_file(self._list, progress)

    def _refuse_without_a_file(self, images: ImageList, progress: Progress) -> None:
        """ListError where no line names a file that can be had: before a model is loaded, as for a folder that is not there.

        Of a longer list the run itself tells it, file by file.
        """
        missing, calls = Named(), count()

        def stopped() -> bool:  # asked for each file, and now and then on the way to the next
            if next(calls) % TELL_EVERY == 0:
                progress("Files of the image list", missing.total, sum(images.counts.values()))
            return False

        for name in images.counts:
            if next(images.of_root(name).files(lambda *problem: missing.append(problem), stopped), None) is not None:
                return
        faults = sorted([*images.problems, *missing], key=_in_order)[:FAULTS_NAMED]
        more = images.problems.total + missing.total - len(faults)
        told = "".join(f"\n{place}: {why}." for place, why in faults) + (f"\n{some(more, 'line')} more." if more else "")
        raise ListError(
            f"The image list {images.file} names no image that can be had. Write one path on each line, as path,label,label2: "
            f"whole, or relative to the list's own folder.{told}"
        )

    def parts(self) -> Iterator[tuple[Job, Source]]:
        """The job for each root that it has files below, with these files."""
        job = self._job
        if self._list is None:
            if not job.root.is_dir():
                own = job.root_name in ("output", "input")
                set_in = "ComfyUI's own setting of it" if own else f"it in {config_file()} or {ROOTS_VARIABLE}"
                raise ScanError(
                    f"{job.root} does not exist or is not a folder: it is the root {job.root_name!r}. If it lies on a drive or a share, connect that; "
                    f"else make the folder, or correct {set_in}."
                )
            if job.may_be_missing and not (job.root / job.subfolder).exists():
                return
            job = replace(job, subfolder=Names(job.root).spelled(job.subfolder))  # typed in another case, its files would be others
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
    report = index_folder(
        part.root,
        source,
        store,
        encoders,
        token_state_budget=part.token_state_budget,
        definitions=definitions,
        progress=store.patience.telling(progress),
    )
    report.overwritten = store.overwritten
    report.others, report.labelled, report.labels_of_lines = store.others, store.labelled, store.labels_of_lines
    report.labels, report.namespaces = set(store.labels), {store.namespace} - {""}
    return report


def together(reports: Iterable[IndexReport]) -> IndexReport:
    """One report of several: of the roots of a list, or of workers. A file that two of them name for one reason is named once, and
    in the order of the names, since threads name them as they come."""
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
            elif isinstance(before, set):
                before |= value  # in place: ids of a million images are 66 MB
            elif isinstance(before, dict):
                before.update({kind: before.get(kind, 0) + n for kind, n in value.items()})
            else:
                setattr(whole, name, before | value if isinstance(before, bool) else before + value)
    for name in named:
        getattr(whole, name).sort(key=_in_order)
    return whole


def _in_order(item: tuple[str, str]) -> list[str | tuple[int, str]]:
    """Line 9 before line 10."""
    parts = re.split(r"(\d+)", item[0])  # text and digits in turn; of digits, which may be thousands, the longer are the greater number
    return [(len(part.lstrip("0")), part.lstrip("0")) if place % 2 else part for place, part in enumerate(parts)]


def server_began(library: Library, progress: Progress) -> datetime:
    """When the library's server was started, for `finish`. One that is away is waited for."""
    patience = Patience()
    patience.telling(progress)
    return patience.again(partial(_with, library, status.server_began))


def finish(
    library: Library,
    report: IndexReport,
    encoders: Encoders,
    progress: Progress,
    refresh: bool = True,
    words: Words | None = None,
    began: datetime | None = None,
) -> tuple[IndexReport, Counts, str]:
    """Bring what searches use up to date when all of a run is written; the report, also in words.

    Without `refresh`, and where `progress` asks to stand back meanwhile, the report says that this is to be done yet. Where the server
    was started since it `began`, that is told, and logged.
    """
    refreshed = fitted = restarted = ""
    patience, started = Patience(), time.monotonic()
    telling = patience.telling(progress)
    try:
        if refresh and not report.unfinished:
            refreshed = db.refresh_search(library, telling)
            fitted = refresh_approximation(library, telling) if encoders.clip is not None else ""
    except StandBack:
        refresh = False
    report.unrefreshed = not (refresh or report.unfinished)
    report.seconds_after = time.monotonic() - started
    counts = patience.again(partial(_with, library, db.counts))
    if began not in (None, patience.again(partial(_with, library, status.server_began))):
        restarted = "The library's PostgreSQL server ended during this run and was started again. What was being written then was written once more"
        restarted += "; server.log in the library's folder may tell why." if library.embedded else "; its log may tell why."
        log.warning(restarted)
    lost = patience.again(partial(_without_file, library, report)) if report.overwritten else []
    report.overwritten = {(image.image_id, image.root, image.path) for image in lost}
    text = report_text(report, counts, encoders, library.warnings, words or db.Words(), lost, restarted)
    if refreshed:
        text += f"\nSearch: {refreshed}."
    if fitted:
        text += f"\nApproximation of token states: {fitted}."
    return report, counts, text


def _with(library: Library, ask: Callable[[db.Connection], T]) -> T:
    with library.connection() as connection:
        return ask(connection)


def _without_file(library: Library, report: IndexReport) -> list[db.GoingImage]:
    """Of the images that were overwritten, those that the run found nowhere else."""
    with library.connection() as connection:
        return db.without_file(connection, {image_id: (root, path) for image_id, root, path in report.overwritten})
