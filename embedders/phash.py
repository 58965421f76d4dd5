"""How a picture looks in 64 bits: the perceptual hash, which scaling, recompressing and slight retouching leave nearly as it is."""

from __future__ import annotations

import numpy as np


def phash(pixels: np.ndarray) -> int:
    """The hash of uint8 [H, W, 3] as a signed number, which PostgreSQL's bigint takes; its bits are those of ImageHash's hex text.

    A picture without structure (one colour) has hardly any bits set, while any other has about half.
    """
    import imagehash
    from PIL import Image

    bits = imagehash.phash(Image.fromarray(np.ascontiguousarray(pixels))).hash  # [8, 8] bool
    return int(np.packbits(bits.reshape(-1)).view(">i8")[0])
