"""`run.py verify`, `repair` and `prune`: Library Upkeep, from a shell. No model is loaded."""

from __future__ import annotations

from .context import Context
from .errors import DONE, SKIPPED
from .progress import Bar
from .report import check_report, write_report

_NOTHING_YET = "\nNothing was removed: `prune --yes` removes it from the library, for good."


def upkeep(context: Context) -> int:
    """Look at everything, and do what was asked for; the exit code."""
    from ..upkeep import WOULD_PRUNE, attend
    from ..upkeep_report import problems, upkeep_record, upkeep_text

    given, bar = context.given, Bar(context.cancel, context.given.quiet)
    action = WOULD_PRUNE if given.command == "prune" and not given.yes else given.command
    check_report(given.json)
    try:
        bar("Opening the library", 0, 0)
        with context.cancel.politely():
            found, pruned = attend(context.library(), action, given.thorough, given.even_if_all_are_gone, given.unused_texts, bar)
    finally:
        bar.close()
    text = upkeep_text(found, action, pruned) + _NOTHING_YET * (action == WOULD_PRUNE and bool(pruned.gone.files or pruned.fileless))
    write_report(given.json, upkeep_record(found, action, pruned), text)
    return SKIPPED if given.strict and problems(found) else DONE
