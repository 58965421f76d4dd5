"""SDXL's token states of a text from its CLIP-L and CLIP-G vectors alone: a linear map, fitted in closed form on texts whose states are known.

Two pooled vectors of 2,048 numbers can't hold the 157,696 of a section, but texts of one library are alike, and what is alike can be
learnt. Reduced-rank ridge regression over all positions at once: with centred inputs X [n, 2048] and states Y [n, 76 * 2048], the ridge
solution X (X'X + c)^-1 X'Y, brought to the rank r that loses least of its fitted values (Reinsel and Velu, Multivariate Reduced-Rank
Regression, 1998). All of it goes through n x n matrices, so no matrix of 2048 x 157,696 is ever made. The first position is not
estimated: CLIP's text towers look only backwards, so the state of the token that begins every text is the same in all texts.
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from .mixing import SECTION

WIDTH = 2048
RANK = 120
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # times the mean eigenvalue; leave-one-out chooses
_COLUMNS = 4 * WIDTH  # of Y that are float32 in memory at once


@dataclass(frozen=True)
class Error:
    """How far estimates are from the truth, over all positions but the first, which is always exact."""

    relative: float  # length of all differences over that of all states
    cosine: float  # mean over positions
    explained: float  # share of what distinguishes texts, at each position, that the estimate has; 0: their means alone
    texts: int


@dataclass(frozen=True)
class Inputs:
    """Brings both vectors to the scale and the few directions in which the texts of the library differ."""

    mean: np.ndarray  # [2048] float32
    scale: np.ndarray  # [2048] float32: both vectors weigh alike, whatever their lengths
    short: np.ndarray  # [2048, k] float16, orthonormal columns: principal directions, the widest first

    def shortened(self, clip_l: np.ndarray, clip_g: np.ndarray) -> np.ndarray:
        """[n, k] float32: the vectors along those directions."""
        return self.centred(clip_l, clip_g) @ self.short.astype(np.float32)

    def centred(self, clip_l: np.ndarray, clip_g: np.ndarray) -> np.ndarray:
        """[n, 2048] float32 of vectors [n, 768] and [n, 1280]."""
        return (np.concatenate([clip_l, clip_g], axis=1).astype(np.float32) - self.mean) * self.scale


@dataclass(frozen=True)
class VectorMap:
    """The map from the two vectors to a section of token states."""

    means: np.ndarray  # [77, 2048] float16
    mean: np.ndarray  # [2048] float32: of the inputs
    into: np.ndarray  # [2048, rank] float32
    out: np.ndarray  # [rank, 76 * 2048] float16

    def predict(self, clip_l: np.ndarray, clip_g: np.ndarray) -> np.ndarray:
        """Token states [n, 77, 2048] float32 of vectors [n, 768] and [n, 1280]."""
        centred = np.concatenate([clip_l, clip_g], axis=1).astype(np.float32) - self.mean
        moved = (centred @ self.into) @ self._wide_out  # [n, 76 * 2048]
        states = np.repeat(self.means.astype(np.float32)[None], len(centred), axis=0)
        states[:, 1:] += moved.reshape(-1, SECTION - 1, WIDTH)
        return states

    @functools.cached_property
    def _wide_out(self) -> np.ndarray:
        """`out` as float32, 75 MB: made once, since making it takes longer than a text's estimate does."""
        return self.out.astype(np.float32)

    def to_bytes(self) -> bytes:
        return packed({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> VectorMap:
        return cls(**unpacked(data))


def fit_inputs(clip_l: np.ndarray, clip_g: np.ndarray, kept: int) -> tuple[Inputs, np.ndarray, np.ndarray]:
    """`Inputs` of these vectors, and the eigenvalues [n] and eigenvectors [n, n] (ascending) of the Gram matrix of what it centres."""
    both = np.concatenate([clip_l, clip_g], axis=1).astype(np.float32)
    spread = [max(float(of_tower.var(axis=0).sum()), 1e-12) ** -0.5 for of_tower in (clip_l, clip_g)]
    scale = np.repeat(np.array(spread, np.float32), (clip_l.shape[1], clip_g.shape[1]))
    mean = both.mean(axis=0)
    centred = (both - mean) * scale
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    wide = np.flatnonzero(values[::-1] > 1e-6 * values[-1])[:kept]
    order = len(values) - 1 - wide
    short = (centred.T @ vectors[:, order].astype(np.float32)) / np.sqrt(values[order]).astype(np.float32)
    return Inputs(mean, scale, short.astype(np.float16)), np.maximum(values, 0), vectors


def fit_vectors(
    inputs: Inputs,
    clip_l: np.ndarray,
    clip_g: np.ndarray,
    values: np.ndarray,
    vectors: np.ndarray,
    states: np.ndarray,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> VectorMap:
    """The map for texts with these vectors and first sections `states` [n, 77, 2048] float16, from `fit_inputs`' results.

    The penalty is the one of least leave-one-out error, which ridge regression has in closed form: a text's residual over one less
    its leverage. What is large is kept as float16, as the states themselves are.
    """
    n = len(states)
    means = np.stack([states[:, place].mean(axis=0, dtype=np.float32) for place in range(SECTION)])
    flat, offset = states[:, 1:].reshape(n, -1), means[1:].reshape(-1)
    parts = [slice(start, start + _COLUMNS) for start in range(0, flat.shape[1], _COLUMNS)]
    gram = np.zeros((n, n), np.float64)
    for done, part in enumerate(parts):
        tell(done, 2 * len(parts))
        block = flat[:, part].astype(np.float32) - offset[part]
        gram += block @ block.T
    rotated = vectors.T @ gram @ vectors
    penalty = _best_penalty(values, vectors, rotated)
    shrunk = values / (values + penalty)
    # Fitted values are H Y with H = U diag(shrunk) U'. Their leading left directions come from H Y Y' H, n x n.
    squares, left = np.linalg.eigh(shrunk[:, None] * rotated * shrunk[None])
    kept = np.flatnonzero(squares[::-1] > 1e-9 * max(squares[-1], 1e-30))[:RANK]
    order = n - 1 - kept
    left, lengths = left[:, order], np.sqrt(squares[order])
    mix = (vectors @ (shrunk[:, None] * left) / lengths).T.astype(np.float32)  # [rank, n]: rows of right directions are mix Y
    out = np.empty((len(kept), flat.shape[1]), np.float16)
    loads = np.zeros((n, len(kept)), np.float64)  # Y times the right directions
    for done, part in enumerate(parts):
        tell(len(parts) + done, 2 * len(parts))
        block = flat[:, part].astype(np.float32) - offset[part]
        rows = mix @ block
        loads += block @ rows.T
        out[:, part] = rows * _UNIT
    dual = vectors @ ((vectors.T @ loads) / (values + penalty)[:, None])  # [n, rank]
    into = inputs.scale[:, None] * (inputs.centred(clip_l, clip_g).T @ dual.astype(np.float32)) / _UNIT
    return VectorMap(means.astype(np.float16), inputs.mean, into.astype(np.float32), out)


_UNIT = 256.0  # right directions are of length 1 over 155,648 numbers: beneath float16's precision without it


def _best_penalty(values: np.ndarray, vectors: np.ndarray, rotated: np.ndarray) -> float:
    """Of least leave-one-out error; `rotated` is U' Y Y' U."""
    unit = max(float(values.mean()), 1e-12)
    n = len(values)
    found = {}
    for penalty in PENALTIES:
        shrunk = values / (values + penalty * unit)
        residual = vectors * (1 - shrunk)  # rows of (I - H) U
        squares = np.einsum("ij,jk,ik->i", residual, rotated, residual, optimize=True)
        leverage = np.minimum((vectors**2) @ shrunk + 1 / n, 0.999)
        found[penalty] = float((squares / (1 - leverage) ** 2).sum())
    return min(found, key=found.get) * unit


def error_of(estimates: np.ndarray, states: np.ndarray, means: np.ndarray) -> Error:
    """`estimates` and `states` [n, 77, 2048], `means` [77, 2048] those of other texts, which `explained` compares with."""
    difference = truth_length = spread = cosines = 0.0
    for estimate, truth in zip(estimates, states):
        truth, estimate = truth[1:].astype(np.float64), estimate[1:].astype(np.float64)
        difference += float(((estimate - truth) ** 2).sum())
        truth_length += float((truth**2).sum())
        spread += float(((truth - means[1:]) ** 2).sum())
        lengths = np.linalg.norm(estimate, axis=1) * np.linalg.norm(truth, axis=1)
        cosines += float(((estimate * truth).sum(axis=1) / np.maximum(lengths, 1e-12)).mean())
    return Error((difference / max(truth_length, 1e-12)) ** 0.5, cosines / max(len(states), 1), 1 - difference / max(spread, 1e-12), len(states))


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as an uncompressed zip of NumPy files, which checks itself when it is read."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def unpacked(data: bytes) -> dict[str, np.ndarray]:
    """What `packed` wrote. ValueError where it is damaged."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    except (zipfile.BadZipFile, OSError, EOFError, KeyError) as error:
        raise ValueError(f"not a fitted map, or a damaged one: {error}") from error
