"""`run.py index`: Index Folder, from a shell."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .comfyui import load_definitions
from .errors import DONE, SKIPPED, UsageError
from .folders import below_a_root
from .models import Recipe, load_models
from .progress import Bar, Cancel


def index(given: argparse.Namespace, cancel: Cancel) -> int:
    """Run it; the exit code."""
    import torch

    from ... import db
    from ...embedders.scan import normal_subfolder
    from ..host import open_library
    from ..index_report import summary
    from ..index_run import Job, run

    name, root, below = below_a_root(given.folder, given.root)
    job = Job(
        name, root, normal_subfolder(below), given.recursive, given.pattern, int(given.token_state_budget * 2**30), given.labels, given.namespace
    )
    bar = Bar(cancel, given.quiet)
    try:
        bar("Opening the library", 0, 0)
        library = open_library(given.library)
        with library.connection() as connection:
            active = db.active_encoders(connection)
        with torch.inference_mode():
            recipe = Recipe(given.clip_vision, given.checkpoint, given.text_embedder, given.models_from)
            encoders, notes = load_models(recipe, active, lambda what: bar(what, 0, 0))
            bar("Reading ComfyUI's node classes", 0, 0)
            definitions = load_definitions(given.object_info)
            with cancel.politely():
                report, counts, text = run(library, job, encoders, definitions, bar)
    finally:
        bar.close()
    write_report(given.json, {"library": library.name, "root": name, "subfolder": job.subfolder, **summary(report, counts), "notes": notes},
                 "\n".join([text, *(f"Left out: {note}." for note in notes)]))  # fmt: skip
    return SKIPPED if given.strict and report.skipped else DONE


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
