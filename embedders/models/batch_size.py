"""How much goes through a model at once: what free memory holds, and half of it whenever memory turned out not to be enough."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..errors import EmbedderError

Item = TypeVar("Item")
Launched = TypeVar("Launched")
Result = TypeVar("Result")

SHARE = 0.7  # of the memory that is free; the rest is for what can't be foreseen, such as a library's workspaces
_TOLD = ("out of memory", "not enough memory", "can't allocate memory", "could not allocate", "alloc failed", "alloc_failed")
_TOLD += ("insufficient memory",)
_TOLD += ("when calling `cublascreate", "when calling `hipblascreate")  # at the first product of all, on a full GPU
GOOD_BATCHES = 8  # after which more is tried again
log = logging.getLogger("diffusion_toolkit")


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA and ROCm have an error class for it; MPS, DirectML and the CPU raise a RuntimeError that only its text tells apart."""
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _TOLD)


class BatchSize:
    """Cuts items into batches for one model on one device. What it learned about memory holds as long as it lives.

    The size is in units that the caller chooses: images, sections, or tokens (`cost`); a padded batch takes as many units as its
    costliest item has, times its items.
    """

    def __init__(self, most: int, what: str = "item") -> None:
        self.most = self._limit = most  # lowered where memory was not enough for it
        self._fits = most  # by what was free when it was looked at
        self._what = what
        self._good, self._wait, self._grown = 0, GOOD_BATCHES, False

    @property
    def size(self) -> int:
        return max(1, min(self.most, self._fits))

    def fit(self, free: int, unit: int) -> None:
        """Take what `free` bytes hold, where one unit takes about `unit` bytes."""
        self._fits = int(free * SHARE) // max(1, unit)

    def run(
        self,
        items: Sequence[Item],
        launch: Callable[[Sequence[Item]], Launched],
        finish: Callable[[Launched], Result],
        relieve: Callable[[bool], None],
        cost: Callable[[Item], int] = lambda item: 1,
    ) -> list[Result]:
        """The results of the batches that `items` were cut into, in order.

        A device works on one batch while the next is being prepared: `launch` begins a batch and need not wait for it, `finish` does.
        When memory is not enough for either, the same items are tried in halves, after `relieve(False)`. Where one item alone is too
        much, `relieve(True)` shall free whatever else is in memory.

        Raises:
            EmbedderError: there is not enough memory for one item.
        """
        results: list[Result] = []
        under_way: list[tuple[Sequence[Item], Launched]] = []  # at most one batch
        start = done = 0
        alone = -1  # the item that is tried with everything else freed: nothing is launched beside it
        while done < len(items):
            batch, launched, told = items[:0] if under_way and alone == done else self._next(items, start, cost), None, ""
            if len(batch):
                launched, told = _tried(launch, batch)
            if under_way:
                first, its = under_way.pop()
                result, lost = _tried(finish, its)
                del its
                if lost:
                    batch, told = first, lost
                else:
                    results.append(result)
                    done += len(first)
                    self._went_well()
            if told:
                launched = None
                if alone == done:
                    raise EmbedderError(
                        f"There is not enough memory for even one {self._what} ({told}). Close other programs that use the same memory, "
                        "or start ComfyUI with --lowvram, or with --cpu."
                    )
                start, alone = done, done if len(batch) == 1 else -1
                self._halve(len(batch), max(map(cost, batch)), told)
                relieve(len(batch) == 1)
            elif len(batch):
                start += len(batch)
                under_way.append((batch, launched))
                del launched
        return results

    def _next(self, items: Sequence[Item], start: int, cost: Callable[[Item], int]) -> Sequence[Item]:
        end, largest = start, 0
        while end < len(items):
            largest = max(largest, cost(items[end]))
            if end > start and largest * (end + 1 - start) > self.size:
                break
            end += 1
        return items[start:end]

    def _halve(self, items: int, largest: int, told: str) -> None:
        self.most = max(1, largest * (items // 2))
        self._wait *= 2 if self._grown else 1
        self._good, self._grown = 0, False
        log.info("Not enough memory for %d %ss at once; going on with %d. (%s)", items, self._what, max(1, items // 2), told)

    def _went_well(self) -> None:
        """Memory may be free again by now: after some batches twice as many are tried, each time later if it was too early."""
        self._good += 1
        if self.most < self._limit and self._good >= self._wait:
            self.most, self._good, self._grown = min(self._limit, 2 * self.most), 0, True


def _tried(step: Callable[[Any], Result], batch: Any) -> tuple[Result | None, str]:
    """The result, or what was said for want of memory; not the error, which holds on to all that its frames hold."""
    try:
        return step(batch), ""
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None, str(error).split("\n")[0] or type(error).__name__
