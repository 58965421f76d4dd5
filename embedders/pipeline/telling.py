"""Telling how far a run is, also while it waits: a cancel is heard within a second, whatever is being waited for."""

from __future__ import annotations

from .records import Progress


class Telling:
    """Calls `progress`, in the thread that runs the models; `again` repeats what was told last."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = ("Looking through the folder", 0, 0)

    def __call__(self, stage: str, done: int, total: int) -> None:
        self._last = (stage, done, total)
        self._progress(stage, done, total)

    def again(self) -> None:
        self._progress(*self._last)
