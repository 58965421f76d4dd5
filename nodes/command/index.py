"""`run.py index`: Index Folder, from a shell."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from .comfyui import read_definitions, refuse_chosen_devices
from .context import Context
from .errors import DONE, SKIPPED, UsageError
from .folders import below_a_root, is_list
from .later import Definitions, Inference
from .models import Recipe, load_models
from .progress import Bar
from .report import check_report, write_report

if TYPE_CHECKING:
    from ...embedders.pipeline import Progress
    from ..indexing.index_run import Job, JobFiles


def index(context: Context) -> int:
    """Run it; the exit code."""
    from ... import db
    from ..indexing.index_report import summary
    from ..indexing.index_run import run
    from .words import ShellWords

    given = context.given
    check_report(given.json)
    if given.ray:
        refuse_chosen_devices()
    elif given.workers:
        raise UsageError("--workers is for --ray: this machine's GPUs are all used without it. Leave it out, or add --ray local.")
    recipe = Recipe(given.clip_vision, given.checkpoint, given.text_embedder, given.models_from)
    bar = Bar(context.cancel, given.quiet)
    try:
        job, files = asked_for(given, bar)
        own = Definitions()
        definitions = read_definitions(given.object_info) if given.object_info else own
        bar("Opening the library", 0, 0)
        library = context.library()
        if given.ray:
            from .ray_index import run_on_ray

            with context.cancel.politely():
                (report, counts, text), notes = run_on_ray(context, library, job, files, recipe, bar)
        else:
            with library.connection() as connection:
                active = db.active_encoders(connection)
            with Inference() as inference:
                encoders, notes = load_models(recipe, active, lambda what: bar(what, 0, 0), inference)
                with context.cancel.politely():
                    report, counts, text = run(library, job, encoders, definitions, own.telling(bar), files, words=ShellWords())
                if own.loading_seconds:
                    loading = f"up to {own.loading_seconds:.1f} s went into loading ComfyUI's node classes"
                    notes.append(f"of the time of indexing {loading}; --object-info spares that")
    finally:
        bar.close()
    listed = str(job.image_list) if job.image_list is not None else None
    asked = {"library": library.name, "root": job.root_name, "subfolder": job.subfolder, "list": listed}
    write_report(given.json, {**asked, **summary(report, counts), "notes": notes}, "\n".join([text, *(f"Note: {note}." for note in notes)]))
    return SKIPPED if given.strict and (report.skipped or report.all_gone) else DONE


def asked_for(given: Namespace, progress: Progress) -> tuple[Job, JobFiles]:
    """What to index, looked at before a model is loaded, which takes minutes.

    Raises:
        UsageError: there is nothing of the kind, or a label is none.
    """
    from ...db import normal_label, normal_labels
    from ...embedders.folders.scan import ScanError, normal_subfolder
    from ...embedders.pipeline.image_list import ListError
    from ..indexing.index_run import Job, JobFiles

    for_folders = {"--root": given.root is not None, "--pattern": given.pattern, "--no-recursive": not given.recursive}
    listed = absolute(given.folder) if is_list(given.folder, [option for option, is_given in for_folders.items() if is_given]) else None
    budget = int(given.token_state_budget * 2**30)
    try:
        name, root, below = below_a_root(given.folder, given.root) if listed is None else ("", Path(), "")
        normal_labels([given.labels])
        normal_label(given.namespace, "namespace")
        where = (name, root, normal_subfolder(below), given.recursive, given.pattern)
        job = Job(*where, budget, given.labels, given.namespace, Path(listed) if listed else None)
        files = JobFiles(job, progress)
        list(files.parts())
    except (ListError, ScanError, ValueError) as error:
        raise UsageError(str(error)) from error
    return job, files


def absolute(file: str | None) -> str | None:
    return str(Path(file).expanduser().absolute()) if file else None
