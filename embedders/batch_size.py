"""How much goes through a model at once: what free memory holds, and half of it whenever memory turned out not to be enough."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from .errors import EmbedderError

Item = TypeVar("Item")
Launched = TypeVar("Launched")
Result = TypeVar("Result")

SHARE = 0.7  # of the memory that is free; the rest is for what can't be foreseen, such as a library's workspaces
_TOLD = ("out of memory", "not enough memory", "can't allocate memory", "could not allocate", "alloc failed", "insufficient memory")
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
        self.most = most  # lowered where memory was not enough for it
        self.size = most
        self._what = what

    def fit(self, free: int, unit: int) -> None:
        """Take what `free` bytes hold, where one unit takes about `unit` bytes."""
        self.size = max(1, min(self.most, int(free * SHARE) // max(1, unit)))

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
        When memory is not enough, what is under way is finished, `relieve(False)` called, and the same items tried in halves. Where
        one item alone is too much, `relieve(True)` shall free whatever else is in memory.

        Raises:
            EmbedderError: there is not enough memory for one item.
        """
        results: list[Result] = []
        under_way: list[Launched] = []  # at most one
        start, alone = 0, False
        while start < len(items):
            batch = self._next(items, start, cost)
            told = ""
            try:
                launched = launch(batch)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                told = str(error).split("\n")[0] or type(error).__name__
            if not told:
                start, alone = start + len(batch), False
                if under_way:
                    results.append(finish(under_way.pop()))
                under_way.append(launched)
                del launched
                continue
            # outside of `except`, since the error holds on to all that its frames hold
            while under_way:
                results.append(finish(under_way.pop()))
            if alone:
                raise EmbedderError(
                    f"There is not enough memory for even one {self._what} ({told}). Close other programs that use the same memory, or "
                    "start ComfyUI with --lowvram, or with --cpu."
                )
            alone = len(batch) == 1
            self._halve(len(batch), max(map(cost, batch)), told)
            relieve(alone)
        results += [finish(launched) for launched in under_way]
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
        self.size = self.most = max(1, largest * (items // 2))
        log.info("Not enough memory for %d %ss at once; going on with %d. (%s)", items, self._what, max(1, items // 2), told)
