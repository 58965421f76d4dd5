"""Memory for pixels is used again, but never while anybody still sees it."""

from __future__ import annotations

import gc

import numpy as np
from diffusion_toolkit.embedders.pictures.pixel_buffers import PixelBuffers

SHAPE = (600, 500, 3)


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_that_nobody_holds_is_used_again():
    buffers = PixelBuffers(2**24)
    first = buffers.take(SHAPE)
    where = address(first)
    del first
    gc.collect()
    assert address(buffers.take((590, 500, 3))) == where  # of the same size, rounded up


def test_a_view_of_it_is_enough_to_keep_it():
    buffers = PixelBuffers(2**24)
    first = buffers.take(SHAPE)
    first[:] = 7
    views = [first[::-1][10:20, ::2], memoryview(first), first.reshape(-1).view(np.int8)]
    del first
    while views:
        other = buffers.take(SHAPE)
        other[:] = 9
        assert (np.asarray(views.pop()) == 7).all()


def test_a_small_picture_takes_no_more_than_it_needs():
    buffers = PixelBuffers(2**24)
    small = buffers.take((100, 200, 3))
    assert small.shape == (100, 200, 3)
    del small
    gc.collect()
    assert not any(buffers._free.values())  # it was none of those that are used again, which are of whole steps


def test_no_more_is_kept_than_was_allowed():
    buffers = PixelBuffers(3 * 2**20)
    held = [buffers.take(SHAPE) for _ in range(10)]
    held.clear()
    gc.collect()
    assert sum(len(waiting) for waiting in buffers._free.values()) == 3


def test_sizes_that_nobody_asks_for_any_more_make_room_for_those_of_now():
    buffers = PixelBuffers(3 * 2**20)
    held = [buffers.take(SHAPE) for _ in range(3)]
    held.clear()
    larger = buffers.take((1200, 500, 3))  # two steps
    where = address(larger)
    del larger
    gc.collect()
    assert {size: len(waiting) for size, waiting in buffers._free.items()} == {2**20: 1, 2**21: 1}
    assert address(buffers.take((1200, 500, 3))) == where
