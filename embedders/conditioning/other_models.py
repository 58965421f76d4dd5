"""The conditioning of other models put together of SDXL's: of its token states and its two pooled vectors. Pure numpy.

SDXL's refiner reads CLIP-G alone. Stable Diffusion 3 reads SDXL's token states filled up with zeros to 4096 numbers, T5's states
after them, and both pooled vectors. Flux reads T5's states and CLIP-L's pooled vector. (comfy/sdxl_clip.py, comfy/text_encoders/
sd3_clip.py and flux.py.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .mixing import CLIP_L, Conditioning, average

REFINER, FLUX, SD3 = "SDXL refiner", "Flux", "Stable Diffusion 3"
T5_WIDTH, FLUX_T5_LENGTH = 4096, 256


class Piece(NamedTuple):
    """What one text gives: token states [T, 2048], and the pooled vectors [768] and [1280]; None where a target needs none."""

    states: np.ndarray | None
    clip_l: np.ndarray | None
    clip_g: np.ndarray | None


class OtherConditioning(NamedTuple):
    """The target's cross-attention input [T, width] and its pooled output [n], float32."""

    states: np.ndarray
    pooled: np.ndarray


def put_together(target: str, piece: Piece, t5: np.ndarray | None) -> OtherConditioning:
    """The conditioning of `target`; `t5` [n, 4096] where there is a T5. Flux without it has zeros in its place.

    Flux's states are `t5` itself: of many images whose T5 reads one text they are in memory once.
    """
    if target == REFINER:
        return _float32(piece.states[:, CLIP_L:], piece.clip_g)
    if target == FLUX:
        return _float32(no_t5() if t5 is None else t5, piece.clip_l)
    states = np.pad(np.asarray(piece.states, np.float32), ((0, 0), (0, T5_WIDTH - piece.states.shape[1])))
    both = states if t5 is None else np.concatenate([states, np.asarray(t5, np.float32)])
    return _float32(both, np.concatenate([piece.clip_l, piece.clip_g]))


def no_t5() -> np.ndarray:
    """What Flux is given in the place of T5's states where there are none, [256, 4096]."""
    return np.zeros((FLUX_T5_LENGTH, T5_WIDTH), np.float32)


def average_pieces(pieces: Sequence[Piece], weights: Sequence[float]) -> Piece:
    """The weighted average of several, token by token as `mixing.average`, and of the pooled vectors."""
    clip_l = None if pieces[0].clip_l is None else _mean([piece.clip_l for piece in pieces], weights)
    if pieces[0].states is None:
        return Piece(None, clip_l, None)
    mixed = average([Conditioning(piece.states, piece.clip_g) for piece in pieces], weights)
    return Piece(mixed.states, clip_l, mixed.pooled)


def _mean(vectors: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    total = float(sum(weights))
    return sum((np.float32(weight / total) * np.asarray(vector, np.float32) for vector, weight in zip(vectors, weights)), np.float32(0))


def _float32(states: np.ndarray, pooled: np.ndarray) -> OtherConditioning:
    return OtherConditioning(np.ascontiguousarray(states, np.float32), np.array(pooled, np.float32))
