"""What of a narrow picture an image vector is made from: CLIP's preparation scales its short side to 224 and keeps a square in the middle.

Of a line of 1 x 30,000 pixels it makes 18 GB on its way to that square, and what lies at the ends is in no vector.
"""

from __future__ import annotations

from typing import TypeVar

Pixels = TypeVar("Pixels")  # a numpy array or a tensor

LEAST_KEPT = 8  # times the short side: the square in the middle, and far more than the filter's reach about it


def used_centre(pixels: Pixels) -> Pixels:
    """A view of [H, W, ...] whose long side is at most ten times the short one, from which the same square is made.

    As much is left out at either end, in whole squares, so that the square's pixels fall on the same places: to the last bit where
    the scaled long side needed no rounding, else within a thirtieth of one of its pixels.
    """
    height, width = pixels.shape[:2]
    short = min(height, width)
    left_out = short * max(0, (max(height, width) - LEAST_KEPT * short) // (2 * short)) if short else 0
    if not left_out:
        return pixels
    return pixels[left_out:-left_out] if height > width else pixels[:, left_out:-left_out]
