"""How the command ends."""

from __future__ import annotations

DONE = 0
FAILED = 1
WRONG = 2  # what was asked for can't be done; nothing was changed
SKIPPED = 3  # with --strict: done, but for files that could not be read
CANCELLED = 130  # as shells number it; a termination gives 143


class UsageError(RuntimeError):
    """What was asked for can't be done; the message names the cause and the next step."""
