"""What one stage of a run makes for the next, made in a thread of its own and only so far ahead as memory allows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

CLOSING_SECONDS = 5.0  # what a thread is waited for that is to stop; one that hangs in a dead network folder is left behind

T = TypeVar("T")


class Ahead(Generic[T]):
    """Draws `items` in a thread, at most `count` of them ahead, nor more than `most` by their `size`; one always fits.

    Items are taken in order, by iterating or by `take`; what the thread raised is raised there. `close` ends both sides.
    """

    def __init__(
        self, items: Iterable[T], name: str, count: int, size: Callable[[T], int] = lambda item: 0, most: int = 0
    ) -> None:
        self._items, self._count, self._size, self._most = items, count, size, most
        self._ready: deque[tuple[T, int]] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None
        self.ended = False  # nothing more will be added
        self._thread = threading.Thread(target=self._draw, name=f"diffusion_toolkit_{name}", daemon=True)
        self._thread.start()

    def take(self, timeout: float | None = None) -> T | None:
        """The next item, None when there is no more; TimeoutError when none came in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._ready or self.ended or self._closed, timeout):
                raise TimeoutError
            if self._ready and not self._closed:
                item, size = self._ready.popleft()
                self._held -= size
                self._changed.notify_all()
                return item
            if self._error is not None and not self._closed:
                raise self._error
            return None

    def __iter__(self) -> Iterator[T]:
        while (item := self.take()) is not None:
            yield item

    def steadily(self, seconds: float) -> Iterator[T | None]:
        """The items, and None whenever none came for so long."""
        while True:
            try:
                item = self.take(seconds)
            except TimeoutError:
                yield None
            else:
                if item is None:
                    return
                yield item
                del item

    def close(self) -> None:
        """Let both sides end: whoever waits here is woken, the thread stops at its next item. It is not waited for; `join` does."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()

    def join(self) -> None:
        self._thread.join(CLOSING_SECONDS)

    def _draw(self) -> None:
        items = iter(self._items)
        try:
            for item in items:
                if not self._add(item):
                    break
                del item  # nothing is held beyond the queue while the next one is made
        except BaseException as error:  # also an interrupt of the host: it belongs to whoever takes the items
            self._error = error
        finally:
            try:
                if (close := getattr(items, "close", None)) is not None:
                    close()  # a generator's own `with` blocks and `finally` end here, in the thread they began in
            except Exception as error:
                self._error = self._error or error
            with self._changed:
                self.ended = True
                self._changed.notify_all()

    def _add(self, item: T) -> bool:
        """Once there is room; False when nobody wants it any more."""
        size = self._size(item)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._ready or self._has_room(size))
            if self._closed:
                return False
            self._ready.append((item, size))
            self._held += size
            self._changed.notify_all()
            return True

    def _has_room(self, size: int) -> bool:
        return len(self._ready) < self._count and (not self._most or self._held + size <= self._most)


def close_all(*stages: Ahead) -> None:
    """First tell all of them, then wait: a stage may itself be waiting for the one before it."""
    for stage in stages:
        stage.close()
    for stage in stages:
        stage.join()
