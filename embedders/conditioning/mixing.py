"""SDXL conditioning as numbers: averaged, interpolated, pushed away, put together of two sides. Pure numpy.

Lengths. Texts of different length have different numbers of sections of 77 tokens. Cross-attention is a softmax over tokens, so
token states that are repeated whole give what they gave before: ComfyUI itself makes two conditionings of one batch alike so
(`comfy.conds.CONDCrossAttn`). We do the same, where ConditioningAverage cuts the longer one or appends zeros, which are tokens to
attend to like any other and take attention from the text: with weight 1 it would not give the image's own conditioning back.

Norms. A token's states are two encoders' side by side, 768 numbers of CLIP-L and 1280 of CLIP-G, and each side has a length of its
own; angles and norms are taken of each side alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SECTION = 77  # tokens; the first of each begins it, and under causal attention its state is the same whatever the text is
CLIP_L = 768  # numbers, the first of a token's states
SIDES = (slice(0, CLIP_L), slice(CLIP_L, None))  # of token states [T, 2048]
LONGEST = 12 * SECTION  # tokens that repeating may lead to
_SAME_OR_OPPOSITE = 1e-3  # of the sine of an angle, in float32


class Conditioning(NamedTuple):
    """SDXL's cross-attention input [T, 2048] and its pooled output [1280]."""

    states: np.ndarray
    pooled: np.ndarray


def common_length(lengths: Sequence[int]) -> int:
    """The tokens that whole repeats of all these lead to; where those are too many, the longest."""
    least = math.lcm(*lengths)
    return least if least <= max(LONGEST, *lengths) else max(lengths)


def repeated(states: np.ndarray, length: int) -> np.ndarray:
    """The token states [T, 2048] one after the other until there are `length`, in float32."""
    return np.asarray(states, np.float32)[np.arange(length) % len(states)]


def spread(clip_l: np.ndarray, clip_g: np.ndarray) -> np.ndarray:
    """The two vectors at each position of a section, [77, 2048] float32: all that they tell by themselves."""
    return np.tile(np.concatenate([clip_l, clip_g]).astype(np.float32), (SECTION, 1))


def average(several: Sequence[Conditioning], weights: Sequence[float], keep_norm: bool = False) -> Conditioning:
    """The weighted average, token by token, of the pooled outputs too; weights count by their shares of the sum.

    Of two of one length it is ConditioningAverage's. Averages of unlike vectors are short; with `keep_norm` each token and the
    pooled output get the average of the norms instead.
    """
    total = float(sum(weights))
    parts = [(one, weight / total) for one, weight in zip(several, weights, strict=True) if weight]
    length = common_length([len(one.states) for one, _ in parts])
    states, pooled = np.zeros((length, parts[0][0].states.shape[1]), np.float32), np.zeros(len(parts[0][0].pooled), np.float32)
    norms, pooled_norm = [np.zeros((length, 1), np.float32) for _ in SIDES], 0.0
    for one, share in parts:
        aligned, vector = repeated(one.states, length), np.asarray(one.pooled, np.float32)
        states += np.float32(share) * aligned
        pooled += np.float32(share) * vector
        if keep_norm:
            for norm, side in zip(norms, SIDES):
                norm += share * _norm(aligned[:, side])
            pooled_norm += share * _norm(vector)
    if keep_norm:
        for norm, side in zip(norms, SIDES):
            states[:, side] = _with_norm(states[:, side], norm)
        pooled = _with_norm(pooled, pooled_norm)
    return Conditioning(states, pooled)


def between(a: Conditioning, b: Conditioning, t: float, spherical: bool = False) -> Conditioning:
    """The conditioning at `t` from a (0) to b (1), which are given back as they are at the ends, and where both are one and the same.

    Spherical: directions turn at an even pace on the arc between them, norms change evenly; each token's two sides and the
    pooled output for themselves.
    """
    if t in (0, 1) or a is b:
        return b if t == 1 else a
    if not spherical:
        return average((a, b), (1 - t, t))
    length = common_length([len(a.states), len(b.states)])
    one, other = repeated(a.states, length), repeated(b.states, length)
    states = np.concatenate([_on_arc(one[:, side], other[:, side], t) for side in SIDES], axis=1)
    return Conditioning(states, _on_arc(np.asarray(a.pooled, np.float32), np.asarray(b.pooled, np.float32), t))


def path(stops: Sequence[Conditioning], t: float, spherical: bool = False) -> Conditioning:
    """The conditioning at `t` (0 to 1) on the way through all stops, with legs of equal duration."""
    leg, within = leg_of(len(stops), t)
    return between(stops[leg], stops[leg + 1], within, spherical)


def leg_of(stops: int, t: float) -> tuple[int, float]:
    """Which leg of the way through so many stops `t` is on, counted from 0, and how far on it (0 to 1)."""
    at = t * (stops - 1)
    leg = min(int(at), stops - 2)
    return leg, at - leg


def two_sides(clip_l_of: Conditioning, clip_g_of: Conditioning, empty: Conditioning | None) -> Conditioning:
    """CLIP-L's side of one with CLIP-G's side and pooled output of another: CLIPTextEncodeSDXL's of two texts.

    As there, the shorter is filled up with the sections of the empty text; without it, by repeating.
    """
    length = max(len(clip_l_of.states), len(clip_g_of.states))
    sides = [_filled(one.states, length, empty)[:, side] for one, side in zip((clip_l_of, clip_g_of), SIDES)]
    return Conditioning(np.concatenate(sides, axis=1), np.asarray(clip_g_of.pooled, np.float32))


class Disliked:
    """What to be pushed away from: the mean of several, computed once for all that are pushed from it.

    Sums are of float64, so that one can be taken out of them again without a trace.
    """

    def __init__(self, several: Sequence[Conditioning]) -> None:
        self.several = several
        self._tokens: np.ndarray | None = None
        self._states: dict[int, np.ndarray] = {}  # by length
        self._pooled = sum(np.asarray(one.pooled, np.float64) for one in several)

    def mean_token(self, without: Conditioning | None) -> np.ndarray:
        """The mean [2048] over the tokens of each; `without` one of them that does not count."""
        if self._tokens is None:
            self._tokens = sum(_mean_token(np.asarray(one.states, np.float32)).astype(np.float64) for one in self.several)
        return self._mean(self._tokens, None if without is None else _mean_token(np.asarray(without.states, np.float32)))

    def mean_states(self, length: int, without: Conditioning | None) -> np.ndarray:
        """The mean [length, 2048] of the token states, each repeated to that length."""
        if length not in self._states:
            self._states[length] = sum(repeated(one.states, length).astype(np.float64) for one in self.several)
        return self._mean(self._states[length], None if without is None else repeated(without.states, length))

    def mean_pooled(self, without: Conditioning | None) -> np.ndarray:
        """The mean [1280] of the pooled outputs."""
        return self._mean(self._pooled, None if without is None else np.asarray(without.pooled, np.float32))

    def _mean(self, total: np.ndarray, left_out: np.ndarray | None) -> np.ndarray:
        if left_out is None:
            return (total / len(self.several)).astype(np.float32)
        return ((total - left_out) / (len(self.several) - 1)).astype(np.float32)


def pushed(
    one: Conditioning, away: Disliked | Sequence[Conditioning], strength: float, token_by_token: bool = False, among: bool = False
) -> Conditioning:
    """`one`, moved on in the direction from the mean of `away` to it; at strength 1 as far again. Norms stay as they were.

    `among` tells that `one` is in `away` too, where it then does not count.

    What a direction of token states is: a text's words stand at other positions than another's, so that the difference of two
    tokens at one position is mostly one of words that have nothing to do with each other. The mean over positions keeps what the
    whole text shares; taken at the same positions of both, what belongs to the position cancels out. So every token moves by the
    difference of these means. `token_by_token` moves each by its own difference, along the line that `between` goes. A
    section's first token is the same in every text: it neither counts nor moves.
    """
    away = away if isinstance(away, Disliked) else Disliked(away)
    without = one if among else None
    length = common_length([len(one.states), *(len(other.states) for other in away.several)]) if token_by_token else len(one.states)
    states = repeated(one.states, length)
    moving = np.arange(length) % SECTION != 0
    if token_by_token:
        step = (states - away.mean_states(length, without))[moving]
    else:
        step = _mean_token(states) - away.mean_token(without)
    moved = states.copy()
    for side in SIDES:
        before = states[moving, side]
        moved[moving, side] = _with_norm(before + np.float32(strength) * step[..., side], _norm(before))
    pooled = np.asarray(one.pooled, np.float32)
    return Conditioning(moved, _with_norm(pooled + np.float32(strength) * (pooled - away.mean_pooled(without)), _norm(pooled)))


def _mean_token(states: np.ndarray) -> np.ndarray:
    """The mean [2048] over all tokens but each section's first."""
    return states[np.arange(len(states)) % SECTION != 0].mean(0)


def _filled(states: np.ndarray, length: int, empty: Conditioning | None) -> np.ndarray:
    if len(states) == length or empty is None:
        return repeated(states, length)
    return np.concatenate([np.asarray(states, np.float32), repeated(empty.states, length - len(states))])


def _on_arc(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Spherical interpolation of the last axis, straight where the directions are the same or opposite (or one is zero)."""
    length_a, length_b = _norm(a), _norm(b)
    unit_a, unit_b = a / np.maximum(length_a, 1e-12), b / np.maximum(length_b, 1e-12)
    angle = np.arccos(np.clip((unit_a * unit_b).sum(-1, keepdims=True), -1, 1))
    sine = np.sin(angle)
    straight = (sine < _SAME_OR_OPPOSITE) | (length_a == 0) | (length_b == 0)
    safe = np.where(straight, 1, sine)
    arc = (np.sin((1 - t) * angle) * unit_a + np.sin(t * angle) * unit_b) / safe * ((1 - t) * length_a + t * length_b)
    return np.where(straight, (1 - t) * a + t * b, arc).astype(np.float32)


def _norm(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1, keepdims=True)


def _with_norm(vectors: np.ndarray, norm: np.ndarray | float) -> np.ndarray:
    """The vectors with these norms; zero ones stay zero."""
    return (vectors * (norm / np.maximum(_norm(vectors), 1e-12))).astype(np.float32)
