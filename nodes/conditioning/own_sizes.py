"""The choice of the nodes that can tell SDXL an image's own size, and which size that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...db import StoredImage

NO_SIZES, OWN_SIZES = "none", "the image's own"


def asked_size(image: StoredImage) -> tuple[int, int]:
    """Width and height that were asked of the image's sampler, its picture's own where none is known."""
    return image.asked_width or image.width, image.asked_height or image.height
