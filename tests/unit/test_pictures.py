"""The picture of a stored image, as the graph gets it."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from host.comfy_models import import_comfy
from PIL import Image


def test_a_picture_is_handed_over_without_a_warning(tmp_path: Path) -> None:
    import_comfy()
    from diffusion_toolkit.nodes.pictures import picture_of

    drawn = np.random.default_rng(7).integers(0, 256, (8, 8, 4), np.uint8)
    for pixels in (drawn[:, :, :3], drawn):  # the first is Pillow's own memory, which is read-only
        Image.fromarray(pixels).save(tmp_path / "a.png")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture, note = picture_of(None, tmp_path / "a.png", "")
        assert note == "" and np.array_equal((picture[0] * 255).round().numpy().astype(np.uint8), drawn[:, :, :3])
