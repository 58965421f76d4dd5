"""How the command ends."""

from __future__ import annotations

DONE = 0
FAILED = 1
WRONG = 2  # what was asked for can't be done; nothing was changed
SKIPPED = 3  # with --strict: done, but for files that could not be read, or whose drive is away
CANCELLED = 130  # as shells number it; a termination gives 143


class UsageError(RuntimeError):
    """What was asked for can't be done, which is seen before anything is; the message names the cause and the next step."""


class ReportError(RuntimeError):
    """What was asked for is done, and the report of it can't be written."""

    __module__ = "diffusion_toolkit"  # it names the cause, as all our own errors do


class LoadError(RuntimeError):
    """A model, or ComfyUI's node classes, can't be had when a run turns out to need them; what was written is kept."""

    __module__ = "diffusion_toolkit"
