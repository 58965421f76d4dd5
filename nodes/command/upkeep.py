"""`run.py verify`, `repair` and `prune`: Library Upkeep, from a shell. No model is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .context import Context
from .errors import DONE, SKIPPED, UsageError
from .progress import Bar
from .report import check_report, write_report

if TYPE_CHECKING:
    from ...db import Library

_NOTHING_YET = "\nNothing was removed: `prune --yes` removes it from the library, for good."
_INDEX_FIRST = " Run `index` first: what was only moved or renamed would lose its labels."


def upkeep(context: Context) -> int:
    """Look at everything, and do what was asked for; the exit code."""
    from ..library.upkeep import attend
    from ..library.upkeep_actions import PRUNE, WOULD_PRUNE
    from ..library.upkeep_report import problems, upkeep_record, upkeep_text
    from .words import ShellWords

    given, bar = context.given, Bar(context.cancel, context.given.quiet)
    action = WOULD_PRUNE if given.command == "prune" and not given.yes else given.command
    check_report(given.json)
    try:
        bar("Opening the library", 0, 0)
        with context.cancel.politely():
            library = context.library()
            if action == PRUNE:
                _refuse_beside_a_run(library)
            found, pruned = attend(library, action, given.thorough, given.even_if_all_are_gone, given.unused_texts, bar, ShellWords())
    finally:
        bar.close()
    text = upkeep_text(found, action, pruned)
    if action == WOULD_PRUNE and (pruned.gone.files or pruned.fileless):
        text += _NOTHING_YET + _INDEX_FIRST * bool(pruned.unsought)
    write_report(given.json, upkeep_record(found, action, pruned), text)
    return SKIPPED if given.strict and problems(found) else DONE


def _refuse_beside_a_run(library: Library) -> None:
    """UsageError before anything is looked at, which may take an hour; one that begins later is refused by `attend`."""
    from ... import db

    with library.reading() as connection:
        try:
            db.refuse_beside_a_run(connection)
        except db.LibraryError as error:
            raise UsageError(str(error)) from error
