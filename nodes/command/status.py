"""`run.py status`: Library Status, from a shell."""

from __future__ import annotations

from .context import Context
from .errors import DONE, SKIPPED
from .report import check_report, write_report


def status(context: Context) -> int:
    """Print it; the exit code."""
    from ..library.status_report import read_status, status_record, status_text
    from .words import ShellWords

    check_report(context.given.json)
    found = read_status(context.library(), ShellWords())
    write_report(context.given.json, status_record(found), status_text(found))
    return SKIPPED if context.given.strict and found.problems else DONE
