"""`run.py verify`, `repair` and `prune`: Library Upkeep, from a shell. No model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .context import Context
from .errors import DONE, SKIPPED
from .progress import Bar
from .report import check_report, write_report

if TYPE_CHECKING:
    from argparse import Namespace

    from ...db import Library
    from ..upkeep import Found, Progress, Pruned

WOULD_PRUNE = "show what prune would remove"  # as the node calls it
_NOTHING_YET = "\nNothing was removed: `prune --yes` removes it from the library, for good."


def upkeep(context: Context) -> int:
    """Look at everything, and do what was asked for; the exit code."""
    from ..upkeep_report import problems, upkeep_record, upkeep_text

    given, bar = context.given, Bar(context.cancel, context.given.quiet)
    check_report(given.json)
    try:
        bar("Opening the library", 0, 0)
        with context.cancel.politely():
            action, found, pruned = attend(context.library(), given, bar)
    finally:
        bar.close()
    text = upkeep_text(found, action, pruned) + _NOTHING_YET * (action == WOULD_PRUNE and bool(pruned.gone.files or pruned.fileless))
    write_report(given.json, upkeep_record(found, action, pruned), text)
    return SKIPPED if given.strict and problems(found) else DONE


def attend(library: Library, given: Namespace, progress: Progress) -> tuple[str, Found, Pruned | None]:
    """(action, what is found at the end, what was or would be removed)."""
    from ..upkeep import look, prune, repair, would_prune

    command, doubtful, pruned = given.command, given.even_if_all_are_gone, None
    thorough = command != "prune" and given.thorough
    found = look(library, thorough, doubtful, progress)
    if command == "prune" and not given.yes:
        return WOULD_PRUNE, found, would_prune(library, found)
    if command == "verify":
        return command, found, None
    if command == "prune":
        pruned = prune(library, found, given.unused_texts, progress)
    else:
        repair(library, found, progress)
    after = look(library, False, doubtful, progress)
    after.done, after.vectors, after.states = found.done, [] if thorough else None, [] if thorough else None
    return command, after, pruned
