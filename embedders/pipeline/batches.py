"""Cutting work into batches, and keeping out what no vector can be stored of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from .records import IndexReport

T = TypeVar("T")


def usable_rows(vectors: np.ndarray, names: Sequence[str], report: IndexReport) -> list[int]:
    """The rows that a cosine is defined for once they are float16; each other one is reported, and ends nothing."""
    with np.errstate(over="ignore"):
        halves = vectors.astype(np.float16)
    good = np.isfinite(halves).all(axis=1) & halves.any(axis=1)
    report.skipped += [(names[row], "its vector is zero or not finite") for row in np.flatnonzero(~good)]
    return np.flatnonzero(good).tolist()


def batches(items: Sequence[T], size: int) -> Iterator[tuple[int, Sequence[T]]]:
    for start in range(0, len(items), size):
        yield start, items[start : start + size]


class Pace:
    """How many images go to the model at once. A cancel waits for one batch, so it shall take about a second, not a minute."""

    FEWEST, MOST, LIMIT = 4, 64, 512
    SECONDS = (0.5, 2.0)  # a batch that took less is followed by a larger one, one that took more by a smaller

    def __init__(self, worth: int = 0) -> None:
        """`worth`: so many the model can take at once, on all its devices."""
        self.size = 8
        self._most = min(self.LIMIT, max(self.MOST, worth))

    @classmethod
    def of(cls, model: Any) -> Pace:
        """For a model, which may say how many it can take."""
        return cls(getattr(model, "batch_size", 0))

    def took(self, images: int, seconds: float) -> None:
        shortest, longest = self.SECONDS
        if seconds > longest:
            self.size = max(self.FEWEST, self.size // 2)
        elif seconds < shortest and images >= self.size // 2:
            self.size = min(self._most, self.size * 2)
