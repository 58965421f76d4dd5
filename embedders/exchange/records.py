"""What an exchange file holds of an image, and what is checked of it before anybody computes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..conditioning.mixing import SECTION

# Each vector of a file by name: the family of encoders that makes it, and its numbers. The five of an image, and the style
# of its negative prompt, without which its negative conditioning could not be made again.
VECTORS = {
    "prompt": ("text", 1024),
    "negative": ("text", 1024),
    "image": ("image", 1024),
    "clip_l": ("clip_l", 768),
    "clip_g": ("clip_g", 1280),
    "negative_clip_l": ("clip_l", 768),
    "negative_clip_g": ("clip_g", 1280),
}
SIDES = ("positive", "negative")
STATES_WIDTH = 2048  # 768 of CLIP-L and 1280 of CLIP-G
POOLED_WIDTH = 1280
MOST_TOKENS = SECTION * 256  # of a text: 20,000 tokens, more than anybody writes
_HALF_MAX = 65504.0


class ExchangeError(ValueError):
    """A file can't be read or written as asked; the message says why and what to do."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


@dataclass(frozen=True)
class MadeBy:
    """The encoder of one family of vectors, as the library that exported them knows it."""

    fingerprint: str
    name: str
    dims: int


@dataclass(frozen=True)
class States:
    """SDXL's conditioning of one text; `key` is equal for equal texts of one export, which are written once."""

    states: np.ndarray  # [tokens, 2048]
    pooled: np.ndarray  # [1280]
    key: int | None = None


@dataclass(frozen=True)
class Embeddings:
    """One image. `about` is what is known of it, as JSON takes it: prompts, size, settings, labels.

    `made_by`, by family of encoders, is told by readers where the format tells it; a writer is given it once for all images.
    """

    image_id: int
    vectors: Mapping[str, np.ndarray]  # by name of VECTORS, [dims] each
    states: Mapping[str, States] = field(default_factory=dict)  # by side
    about: Mapping[str, Any] = field(default_factory=dict)
    made_by: Mapping[str, MadeBy] = field(default_factory=dict)


def checked_vector(vector: np.ndarray, dims: int, where: str) -> np.ndarray:
    """`vector` [dims] as float32; ExchangeError for another length, NaN, infinity, or no direction."""
    vector = np.asarray(vector, np.float32)
    if vector.ndim != 1 or len(vector) != dims:
        raise ExchangeError(f"{where} has {_numbers(vector.shape)} where {dims} are needed. It was made by another kind of model.")
    _check_finite(vector, where)
    if not vector.any():
        raise ExchangeError(f"{where} is zero in all of its {dims} numbers. Export the image again.")
    return vector


def checked_states(states: np.ndarray, pooled: np.ndarray, where: str) -> States:
    """Both as float32; ExchangeError for other shapes and for what is not finite."""
    states, pooled = np.asarray(states, np.float32), np.asarray(pooled, np.float32)
    if states.ndim != 2 or states.shape[1] != STATES_WIDTH or not 0 < len(states) <= MOST_TOKENS or len(states) % SECTION:
        raise ExchangeError(f"{where} has {_numbers(states.shape)} where sections of 77 tokens x {STATES_WIDTH} are needed.")
    _check_finite(states, where)
    return States(states, checked_vector(pooled, POOLED_WIDTH, f"The pooled output of {where}"))


def as_half(values: np.ndarray, where: str) -> np.ndarray:
    """`values` as float16, which is what the library stores, so nothing is lost; ExchangeError where it would not hold them."""
    with np.errstate(over="ignore"):
        halves = np.asarray(values).astype("<f2")
    if not np.isfinite(halves).all():
        raise ExchangeError(f"{where} has numbers that are not finite or beyond float16's {_HALF_MAX:g}.")
    return halves


def _check_finite(values: np.ndarray, where: str) -> None:
    good = np.isfinite(values)
    if not good.all():
        nan = int(np.isnan(values).sum())
        bad = f"{nan} numbers that are NaN" if nan else f"{int((~good).sum())} numbers that are infinite"
        raise ExchangeError(f"{where} has {bad}: the file is damaged, or its model failed. Export the image again.")


def _numbers(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} numbers" if len(shape) == 1 else "the shape " + " x ".join(map(str, shape))
