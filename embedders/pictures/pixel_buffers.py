"""Memory for pixels, used again: to ask the system for fresh pages costs as much as to fill them four times."""

from __future__ import annotations

import math
import weakref
from collections import defaultdict, deque
from itertools import count

import numpy as np

_STEP = 2**20  # bytes; sizes are rounded up to it, so that pictures of nearly the same size share buffers


class PixelBuffers:
    """Gives arrays to any thread, and has their memory back once nobody holds the array or a view of it any more.

    At most `most` bytes wait to be used again, those that were asked for last. No locks: what comes back may come at any moment, also within `take`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._free: dict[int, deque[bytearray]] = defaultdict(deque)
        self._asked: dict[int, int] = {}  # when memory of a size was last asked for
        self._now = count()

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """uint8 of this shape, with anything in it."""
        size = math.prod(shape)
        if size < _STEP // 2:  # hundreds of small pictures in flight would hold a whole step each
            return np.empty(shape, np.uint8)
        rounded = -(-size // _STEP) * _STEP
        self._asked[rounded] = next(self._now)
        try:
            buffer = self._free[rounded].pop()
        except IndexError:
            buffer = bytearray(rounded)
        # Every view that is made of it has this array as its base, since it is the last that is one: so it lives as long as they do.
        owner = np.frombuffer(buffer, np.uint8, size)
        weakref.finalize(owner, self._back, buffer).atexit = False
        return owner.reshape(shape)

    def _back(self, buffer: bytearray) -> None:
        self._free[len(buffer)].append(buffer)
        sizes = sorted(list(self._free), key=self._asked.__getitem__)
        while sizes and sum(size * len(self._free[size]) for size in list(self._free)) > self._most:
            try:
                self._free[sizes[0]].popleft()
            except IndexError:
                del sizes[0]
