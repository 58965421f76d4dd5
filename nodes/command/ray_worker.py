"""One worker of a run on Ray: ComfyUI, the models and the pipeline in a process that Ray started, on whatever machine.

Nothing is raised to the driver, nor handed to it, that is not of Python's own types: Ray's processes do not know this package.
"""

from __future__ import annotations

import logging
import os
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .comfyui import read_definitions, start
from .errors import UsageError
from .later import Definitions, Inference
from .models import Recipe, load_models
from .share import NoFiles, Share, SharedSource, SharedStore

TOLD_SECONDS = 0.5  # between two reports to the driver, which also tell whether to go on


@dataclass(frozen=True)
class Setup:
    """All that a worker is told, in Python's own types, so that it can travel."""

    comfyui: str
    arguments: list[str]
    object_info: str | None
    recipe: dict[str, Any]
    library: str
    job: dict[str, Any]


class Stopped(BaseException):
    """The driver wants no more."""


class Work:
    """What a worker keeps between two calls."""

    def __init__(self, setup: dict[str, Any], tell: Callable[[str, int, int], bool]) -> None:
        """`tell` says how far this worker is, and returns whether to go on."""
        self._setup, self._tell = Setup(**setup), tell
        self._inference = Inference()
        self._told = 0.0

    def begin(self, connection: str) -> dict[str, Any]:
        """Load what is needed; who made the vectors, by family: fingerprint and name. `connection` is the library's, a secret."""
        return _answer(lambda: self._begin(connection))

    def images(self, number: int, of: int) -> dict[str, Any]:
        """Read and embed this share of the files."""
        return _answer(lambda: self._index(Share(number, of), files=True))

    def texts(self, number: int, of: int) -> dict[str, Any]:
        """Encode this share of the texts."""
        return _answer(lambda: self._index(Share(number, of), files=False))

    def _begin(self, connection: str) -> dict[str, Any]:
        from ... import db
        from ...db.shared import is_this_machine
        from ..indexing.index_run import Job
        from ..indexing.index_store import encoder_records, this_process

        setup = self._setup
        start(Path(setup.comfyui), setup.arguments)
        list_ = setup.job["image_list"]
        self._job = Job(**{**setup.job, "root": Path(setup.job["root"]), "image_list": Path(list_) if list_ else None})
        if not list_ and not self._job.root.is_dir():
            raise UsageError(f"{platform.node()} has no folder {self._job.root}: the images must lie at the same path on every machine.")
        os.environ.pop("DIFFUSION_TOOLKIT_DSN", None)  # the driver's library, whatever this machine calls by that name
        try:
            self._library = db.open_library(setup.library, Path(), {setup.library: connection})
        except db.LibraryError as error:
            if not is_this_machine(connection):
                raise
            raise UsageError(
                f"{platform.node()} can't reach the library {setup.library!r}: its server listens on the machine alone that the command "
                "runs on. For several machines put it on a server that all of them reach, see the README, 'Which folders, which database'."
            ) from error
        with self._library.connection() as conn:
            active = db.active_encoders(conn)
        self._tell("Loading the models", 0, 0)
        self._definitions = read_definitions(setup.object_info) if setup.object_info else Definitions()
        with self._inference:
            self._encoders, notes = load_models(Recipe(**setup.recipe), active, lambda what: self._progress(what, 0, 0), self._inference)
            made = {record.family: [record.fingerprint, record.name] for record in encoder_records(self._encoders)}
        names = {kind: getattr(getattr(self._encoders, kind), "name", None) for kind in ("image", "text", "clip")}
        return {"machine": platform.node(), "run": this_process(), "encoders": made, "names": names, "notes": notes}

    def _index(self, share: Share, files: bool) -> dict[str, Any]:
        from ...embedders.pipeline import Encoders
        from ..indexing.index_run import JobFiles, index_part, together

        all_ = self._encoders
        encoders = Encoders(image=all_.image) if files else Encoders(text=all_.text, clip=all_.clip)
        reports = []
        for part, source in JobFiles(self._job, self._progress, check=False).parts():
            arguments = (part.root_name, part.root, part.subfolder, encoders, [part.labels], part.namespace, self._progress)
            with SharedStore(share, self._library, *arguments) as store, self._inference:
                part = replace(part, token_state_budget=part_of_budget(part.token_state_budget, store.token_states_bytes(), share.of))
                ours = SharedSource(source, share) if files else NoFiles()
                reports.append(index_part(part, ours, store, encoders, self._definitions, self._progress))
        report = together(reports)
        told = {field.name: getattr(report, field.name) for field in fields(report)}  # not asdict, which copies a million ids
        lists = [name for name, value in told.items() if isinstance(value, list)]
        return {**told, **{name: list(told[name]) for name in lists}, "totals": {name: getattr(report, name).total for name in lists}}

    def _progress(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told > TOLD_SECONDS or not done:
            self._told = now
            if not self._tell(stage, done, total):
                raise Stopped


def part_of_budget(budget: int, used: int, workers: int) -> int:
    """Each worker counts what it adds itself, from what is used now: so each gets its part of the rest."""
    return used + max(0, budget - used) // workers


def _answer(work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """What it returns, or what went wrong, in words."""
    try:
        return dict(work())
    except Stopped:
        return {"stopped": True}
    except Exception as error:
        logging.getLogger("diffusion_toolkit").error("%s", error)
        known = isinstance(error, UsageError) or type(error).__module__ == "diffusion_toolkit"
        return {"error": str(error), "usage": isinstance(error, UsageError), "trace": "" if known else traceback.format_exc()}
