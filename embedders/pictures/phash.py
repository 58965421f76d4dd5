"""How a picture looks in 64 bits: the perceptual hash, which scaling, recompressing and slight retouching leave nearly as it is.

ImageHash's `phash`: grey values, made 32 x 32 by Lanczos' filter; their cosine transform's lowest 8 x 8 waves, each held against
the middle one. Of a large picture that filter costs as much as decoding does, so it is averaged over small blocks first, which
these waves do not see: mostly the same bits, sometimes two others of those next to the middle, in a tenth of the time.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_SIDE, _WAVES = 32, 8
_LUMA = (np.float32(0.299), np.float32(0.587), np.float32(0.114))  # ITU-R 601-2, as Pillow's "L"
SMALL = 200_000  # pixels; up to so many the steps are ImageHash's own
_SAMPLES = 90  # along a side, at most, that the filter works on; products of more rows and columns OpenBLAS gives to threads
_PLACES = 213  # of a block, at most, of which its weight is the mean: beyond a side of 19,170 they would take gigabytes


def phash(pixels: np.ndarray, small: np.ndarray | None = None) -> int:
    """The hash of uint8 [H, W, 3] as a signed number, which PostgreSQL's bigint takes; its bits are those of ImageHash's hex text.

    A picture without structure (one colour) has hardly any bits set, while any other has about half. `small` is `made_small` of
    the picture, where somebody has made it already.
    """
    from scipy.fftpack import dct

    height, width, _ = pixels.shape
    if small is None:
        small = made_small(pixels) if height * width > SMALL else _as_imagehash(pixels)
    waves = dct(dct(small, axis=0), axis=1)[:_WAVES, :_WAVES]  # by the same steps: of a symmetric picture some are zero but for rounding
    in_order = np.sort(waves, axis=None)
    middle = (in_order[31] + in_order[32]) / 2  # np.median, which takes a tenth of a millisecond
    return int(np.packbits((waves > middle).reshape(-1)).view(">i8")[0])


def _as_imagehash(pixels: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))


def made_small(pixels: np.ndarray) -> np.ndarray:
    """uint8 [32, 32] of a picture of more than `SMALL` pixels."""
    height, width, _ = pixels.shape
    rows, columns = -(-height // _SAMPLES), -(-width // _SAMPLES)
    if columns > _PLACES:  # numpy adds up rows in one go, columns by slices: of a line of millions there are too many
        return made_small(pixels.swapaxes(0, 1)).T
    grey = _column_sums(_luma(_row_sums(pixels, rows)), columns)  # [h, w] of at most 90 x 90
    small = _filter(height, rows) @ grey @ _filter(width, columns).T
    return np.clip(np.rint(small), 0, 255).astype(np.uint8)


def _row_sums(pixels: np.ndarray, size: int) -> np.ndarray:
    """[h, W, 3]: sums of `size` rows; the last of the rows that are left where `size` does not divide them."""
    height, width, channels = pixels.shape
    whole = height // size
    wide = np.uint16 if size <= 257 else np.uint32
    sums = np.empty((-(-height // size), width * channels), wide)
    np.add.reduce(pixels[: whole * size].reshape(whole, size, -1), 1, wide, sums[:whole])
    if whole * size < height:
        np.add.reduce(pixels[whole * size :].reshape(height - whole * size, -1), 0, wide, sums[whole])
    return sums.reshape(-1, width, channels)


def _luma(sums: np.ndarray) -> np.ndarray:
    grey = sums[:, :, 0] * _LUMA[0]
    grey += sums[:, :, 1] * _LUMA[1]
    grey += sums[:, :, 2] * _LUMA[2]
    return grey


def _column_sums(values: np.ndarray, size: int) -> np.ndarray:
    """[h, w]: sums of `size` columns, as `_row_sums`; by slices, since numpy is slow at adding up short rows."""
    width = values.shape[1]
    whole = width // size
    sums = values[:, : whole * size : size].copy()
    for place in range(1, size):
        sums += values[:, place : whole * size : size]
    if whole * size < width:
        sums = np.concatenate([sums, values[:, whole * size :].sum(1, keepdims=True)], axis=1)
    return sums


@lru_cache(maxsize=64)
def _filter(length: int, size: int) -> np.ndarray:
    """[32, blocks] float32: what a sum of `size` neighbours counts in each of the 32 values, for a side of `length`.

    Pillow's rule for Lanczos' filter, whose weights are averaged over each block: centres at (i + 1/2) * scale, three lobes,
    stretched where the side shrinks; the weights of one value add up to one.
    """
    if size > _PLACES:
        whole, rest = divmod(length, size)
        shorter = whole * _PLACES + -(-rest * _PLACES // size)
        return _filter(shorter, _PLACES) * np.float32(_PLACES / size)
    scale = length / _SIDE
    stretch = max(scale, 1.0)
    centre = (np.arange(_SIDE)[:, None] + 0.5) * scale  # [32, 1]
    place = np.arange(length)[None, :]
    reach = 3 * stretch
    used = (place >= np.floor(centre - reach + 0.5)) & (place < np.floor(centre + reach + 0.5))
    at = (place + 0.5 - centre) / stretch
    weights = np.where(used & (abs(at) < 3), np.sinc(at) * np.sinc(at / 3), 0.0)
    weights /= weights.sum(1, keepdims=True)
    starts = np.arange(0, length, size)
    counts = np.diff(np.append(starts, length))
    return (np.add.reduceat(weights, starts, axis=1) / counts).astype(np.float32)
