"""Narrow pictures: the middle that a vector is made from."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit.embedders.pictures.narrow import used_centre


@pytest.mark.parametrize("shape", [(1, 30_000), (3, 100), (101, 7), (1000, 10_001)])
def test_of_a_narrow_picture_the_middle_is_kept(shape: tuple[int, int]) -> None:
    pixels = np.arange(shape[0] * shape[1]).reshape(*shape, 1)
    kept = used_centre(pixels)
    short, long = sorted(kept.shape[:2])
    left_out = (max(shape) - long) // 2
    assert 8 * short <= long < 10 * short and left_out % short == 0
    assert np.array_equal(kept, pixels[left_out:-left_out] if shape[0] > shape[1] else pixels[:, left_out:-left_out])


@pytest.mark.parametrize("shape", [(10, 99), (99, 10), (1, 1), (0, 0)])
def test_others_stay_as_they_are(shape: tuple[int, int]) -> None:
    pixels = np.empty((*shape, 3), np.uint8)
    assert used_centre(pixels) is pixels
