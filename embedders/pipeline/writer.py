"""What a run has made goes to the library in a thread of its own, in order, while the models make more."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from .records import TICK_SECONDS, StandBack

JOBS = 2  # batches that wait to be written; so many are lost by a crash at most, and one that is being written
PARTING_SECONDS = 15.0  # what the last batches are waited for after a cancel or an error

log = logging.getLogger("diffusion_toolkit")


class Writer:
    """Takes jobs, functions that call the store. Its first error is raised in the thread that puts; later jobs are dropped.

    Leaving the `with` block waits until all is written, also after an error or a cancel: what has been embedded is not thrown
    away; where that fails it is logged, and raised in place of StandBack. `tick` is called while the putting thread waits, and
    may raise to cancel; the job is kept even then.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._jobs: deque[Callable[[], None]] = deque()
        self._busy = self._closing = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="diffusion_toolkit_writer", daemon=True)

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, raised: BaseException | None, _: object) -> None:
        try:
            if kind is None:
                self.drain()
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(PARTING_SECONDS)
            if self._thread.is_alive():
                log.warning("The last batch of a run is still being written; it goes on in the background.")
            if self._error is not None and kind is not None and raised is not self._error:
                if kind is StandBack:  # after which the report says that all is written
                    raise self._error
                log.error("What was embedded before the end of a run was not written: %s", self._error)

    def put(self, job: Callable[[], None]) -> None:
        """Hand over a job once fewer than JOBS wait; raises what an earlier one raised."""
        try:
            self._wait(lambda: len(self._jobs) < JOBS)
        finally:
            with self._changed:
                if self._error is None:
                    self._jobs.append(job)
                    self._changed.notify_all()

    def check(self) -> None:
        """Raise what a job raised."""
        if self._error is not None:
            raise self._error

    def drain(self) -> None:
        """Return when everything is written: what is asked of the library next sees it."""
        self._wait(lambda: not self._jobs and not self._busy)

    def _wait(self, enough: Callable[[], object]) -> None:
        while True:
            with self._changed:
                done = self._changed.wait_for(lambda: self._error is not None or enough(), TICK_SECONDS)
                if self._error is not None:
                    raise self._error
            if done:
                return
            self._tick()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._jobs or self._closing)
                if not self._jobs:
                    return
                job, self._busy = self._jobs.popleft(), True
                self._changed.notify_all()
            try:
                job()
            except BaseException as error:
                with self._changed:
                    self._error = error
                    self._jobs.clear()
                    self._busy = False
                    self._changed.notify_all()
                return
            del job
