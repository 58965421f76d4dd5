"""A run outlives a server that goes away for a while: what it was about to do is done again once the server is back."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ...embedders.pipeline import Progress

SECONDS = 120.0  # a server is waited for, from the first time it did not answer
TICK_SECONDS = 0.5  # between two looks whether the person has cancelled
PAUSES = (0.5, 1.0, 2.0, 4.0)  # between two tries, the last one again and again

T = TypeVar("T")


class Patience:
    """Tries again what failed because the server went away, for two minutes, while the person is told and may cancel."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._waiting: dict[int, float] = {}  # since when, by thread
        self._thread = threading.get_ident()
        self._progress: Progress | None = None
        self._at = ("Opening the library", 0, 0)

    def telling(self, progress: Progress) -> Progress:
        """`progress` for a run in this thread, which also tells of waiting, in whatever thread. When it raises, waiting ends."""

        def told(stage: str, done: int, total: int) -> None:
            self._at = (stage, done, total)
            try:
                progress(self._said() or stage, done, total)
            except BaseException:
                self.give_up()
                raise

        self._thread, self._progress = threading.get_ident(), told
        return told

    def give_up(self) -> None:
        """The run ends: what does not succeed at once from now on fails."""
        self._over.set()

    def again(self, action: Callable[[], T]) -> T:
        """What `action` returns, tried until the server takes it. It may have been done before its answer got lost.

        Raises:
            ServerTrouble: the server has not come back.
        """
        from ... import db

        thread, began, tries = threading.get_ident(), 0.0, 0
        try:
            while True:
                try:
                    return action()
                except db.TryAgain as error:
                    began = began or time.monotonic()
                    pause = PAUSES[min(tries, len(PAUSES) - 1)]
                    if self._over.is_set() or time.monotonic() + pause > began + self._seconds:
                        waited = time.monotonic() - began
                        raise db.ServerTrouble(f"{error} It was waited for {waited:.0f} s. What was written is kept.") from error
                self._waiting[thread], tries = began, tries + 1
                self._wait(pause)
        finally:
            self._waiting.pop(thread, None)

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if threading.get_ident() == self._thread and self._progress is not None:
                self._progress(*self._at)
            if self._over.wait(min(left, TICK_SECONDS)):
                return

    def _said(self) -> str:
        if not (since := list(self._waiting.values())):
            return ""
        waited = time.monotonic() - min(since)
        return f"Waiting for the library's server ({waited:.0f} s of at most {self._seconds:.0f}); {self._at[0]}"


def patient(method: Callable[..., T]) -> Callable[..., T]:
    """For a method that does its work in transactions which may be done twice, of an object that has a `Patience`."""

    @functools.wraps(method)
    def tried(self: Any, *arguments: Any, **options: Any) -> T:
        return self.patience.again(lambda: method(self, *arguments, **options))

    return tried
