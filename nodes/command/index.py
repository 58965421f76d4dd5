"""`run.py index`: Index Folder, from a shell."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from .comfyui import load_definitions
from .context import Context
from .errors import DONE, SKIPPED, UsageError
from .folders import below_a_root, is_list
from .models import Recipe, load_models
from .progress import Bar


def index(context: Context) -> int:
    """Run it; the exit code."""
    from ... import db
    from ...embedders.scan import normal_subfolder
    from ..host import open_library
    from ..index_report import summary
    from ..index_run import Job, run

    given = context.given
    listed = Path(given.folder).expanduser().absolute() if is_list(given.folder, given.root) else None
    name, root, below = below_a_root(given.folder, given.root) if listed is None else ("", Path(), "")
    budget = int(given.token_state_budget * 2**30)
    job = Job(name, root, normal_subfolder(below), given.recursive, given.pattern, budget, given.labels, given.namespace, listed)
    recipe = Recipe(given.clip_vision, given.checkpoint, given.text_embedder, given.models_from)
    bar = Bar(context.cancel, given.quiet)
    try:
        bar("Opening the library", 0, 0)
        library = open_library(given.library)
        if given.ray:
            from .ray_index import run_on_ray

            with context.cancel.politely():
                (report, counts, text), notes = run_on_ray(context, library, job, recipe, bar)
        else:
            with library.connection() as connection:
                active = db.active_encoders(connection)
            with _inference(recipe):
                encoders, notes = load_models(recipe, active, lambda what: bar(what, 0, 0))
                bar("Reading ComfyUI's node classes", 0, 0)
                definitions = load_definitions(given.object_info)
                with context.cancel.politely():
                    report, counts, text = run(library, job, encoders, definitions, bar)
    finally:
        bar.close()
    asked = {"library": library.name, "root": name, "subfolder": job.subfolder, "list": str(listed) if listed else None}
    write_report(given.json, {**asked, **summary(report, counts), "notes": notes}, "\n".join([text, *(f"Note: {note}." for note in notes)]))
    return SKIPPED if given.strict and report.skipped else DONE


def _inference(recipe: Recipe) -> AbstractContextManager[Any]:
    """As ComfyUI runs its nodes. Without models there is no need of torch, which takes seconds to import."""
    if not recipe.has_models:
        return nullcontext()
    import torch

    return torch.inference_mode()


def write_report(file: str | None, record: dict[str, Any], text: str) -> None:
    """The text to the standard output and the record to `file`; with "-" the record in the text's place."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a prompt may hold letters that a console lacks
    encoded = json.dumps(record, indent=1)
    if file == "-":
        print(encoded)
        return
    print(text)
    if file is not None:
        try:
            Path(file).write_text(encoded + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"The report can't be written to {file} ({error}). What was indexed is in the library.") from error
