"""`run.py index --ray`: the driver's part, from the library's connection string to one report of all workers."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ... import db
from ...db.shared import connection_string
from ...embedders.pipeline import Encoders, IndexReport
from ..indexing.index_run import finish, server_began, together
from ..indexing.index_store import told_apart
from .ray_cluster import Cluster, connected
from .context import Context
from .index import absolute
from .models import Recipe
from .progress import Bar
from .words import ShellWords

if TYPE_CHECKING:
    from ..indexing.index_run import Job, JobFiles
    from .share import Answer

_OF_THE_SHARE = ("found", "unchanged", "all_gone", "elsewhere")  # counted by whose share it is; what is marked, by who marks it


def run_on_ray(
    context: Context, library: db.Library, job: Job, files: JobFiles, recipe: Recipe, bar: Bar
) -> tuple[tuple[IndexReport, db.Counts, str], list[str]]:
    """What `index_run.run` gives, and what the workers noted."""
    given, states, server = context.given, _states_bytes(library), server_began(library, bar)
    setup = {
        "comfyui": str(context.comfyui),
        "arguments": list(context.comfyui_arguments),
        "object_info": absolute(given.object_info),
        "recipe": {**dataclasses.asdict(recipe), "script": absolute(recipe.script)},
        "library": library.name,
        "job": {**dataclasses.asdict(job), "root": str(job.root), "image_list": str(job.image_list or "")},
    }
    # The standard output is the report's, and Ray prints what its machines say.
    with redirect_stdout(sys.stderr), connected(given.ray, given.workers, given.verbose) as ray:
        context.cancel.take_signals()  # which Ray has taken
        with Cluster(ray, context.package, setup, connection_string(library), given.workers, bar) as cluster:
            begun = cluster.begin()
            began = time.monotonic()
            images = cluster.images()
            texts = cluster.texts() if {"text", "clip_l", "clip_g", "token_states"} & begun[0]["encoders"].keys() else []
            lost, seconds = len(cluster.lost), time.monotonic() - began
    report = report_of_all(files.report(), [*images, *texts], {one["run"] for one in begun})
    report.seconds, report.all_gone = seconds, still_away(library, files, report)
    report.states_bytes = max(0, _states_bytes(library) - states)  # each worker saw those of all
    report.replaced = _activate(library, begun[0]["encoders"])
    names = begun[0]["names"]
    encoders = Encoders(**{kind: SimpleNamespace(name=name) if name else None for kind, name in names.items()})
    notes = list(dict.fromkeys(note for one in begun for note in one["notes"]))
    notes += [f"{lost} of the workers died or hung; their shares were done by others"] if lost else []
    return finish(library, report, encoders, bar, words=ShellWords(), began=server), notes


def report_of_all(lines: IndexReport, answers: Sequence[Answer], workers: set[str]) -> IndexReport:
    """One of all shares, and of a list's `lines`. Of what a worker left to others, that is told which is not of these `workers`: not
    the files of its share that a helper read."""
    reports = [report_of(*answer) for answer in answers]
    report = together([lines, *reports])
    helped = (one for one, (_, helping) in zip(reports, answers) if helping)
    read = sum(one.added + one.known_elsewhere + one.reread + one.skipped.total for one in helped)
    report.elsewhere = max(0, report.elsewhere - read)
    report.others -= workers
    return report


def still_away(library: db.Library, files: JobFiles, report: IndexReport) -> int:
    """How many of `report.all_gone` are not marked by now: a worker counts them when it is done with its share, and others that link
    images to their new places mark some of these later. It is no more than what is known, not marked, and was not met."""
    if not report.all_gone:
        return 0
    met = min(report.found, report.unchanged + report.added + report.known_elsewhere + report.reread)  # more where a share was done twice
    unmarked = 0
    with library.connection() as connection:
        for part, source in files.parts():
            parts = db.files_of_root(connection, db.ensure_root(connection, part.root_name, str(part.root)), part.subfolder)
            unmarked += sum(not file.missing and source.covers(file.path) for known in parts for file in known)
    return min(report.all_gone, max(0, unmarked - met))


def report_of(answer: Mapping[str, Any], helping: bool) -> IndexReport:
    """A worker's report as it came over Ray."""
    report = IndexReport()
    for field in dataclasses.fields(IndexReport):
        value, before = answer[field.name], getattr(report, field.name)
        if isinstance(before, list):
            before.extend(tuple(item) for item in value)
            before.total = answer["totals"][field.name]
        elif not (helping and field.name in _OF_THE_SHARE):
            setattr(report, field.name, value)
    return report


def _states_bytes(library: db.Library) -> int:
    with library.connection() as connection:
        return db.token_states_bytes(connection)


def _activate(library: db.Library, made: Mapping[str, tuple[str, str]]) -> set[tuple[str, str]]:
    with library.connection() as connection:
        found = [db.find_encoder(connection, family, fingerprint) for family, (fingerprint, _) in made.items()]
        return told_apart(db.activate_encoders(connection, [encoder.id for encoder in found if encoder is not None]))
