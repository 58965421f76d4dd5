"""A prompt put together of phrases, so that all of it lies as near as possible to given vectors.

Where no encoder is at hand, a prompt's vector is estimated: as the mean of known texts' vectors, plus what each of its words added to
them. Those additions are one ridge regression over the known texts: measured with a real sentence encoder, it tells a text's vector
better than the mean of the texts that hold its phrases (see "Prompts from vectors" in benchmarks/RESULTS.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .phrases import key_of, words_of

if TYPE_CHECKING:
    from scipy import sparse

RIDGE = 0.1  # of the mean of the kernel's diagonal; from 0.03 to 0.3 makes no difference worth a choice
TRIED = 8  # phrases that are tried with the encoder at each step, those best by estimate
LEAST_GAIN = 0.004  # for which a phrase is added, of what the best phrase alone scores above all phrases' mean: spaces differ in scale
_HELD_OUT = 10  # every tenth text is held out once, to tell how good the estimates are
_FEW = 20  # texts, below which that would tell nothing

Score = Callable[[Sequence[Sequence[str]]], np.ndarray]
"""The scores [n] of n prompts, each given as its phrases."""
Progress = Callable[[str, int, int], None]
"""Told (stage, done, total) before each step; it may raise to cancel."""


class WordVectors:
    """What words add to a text's vector: `estimate` is of prompts that were never encoded.

    A text of n different words is taken as mean + (their vectors' sum) / sqrt(n). `held_out` is the mean cosine of estimates with the
    vectors of texts that were left out to try it; None where there are too few texts. `mean` [dims] is what all texts have in common.
    """

    def __init__(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """`vectors` [n, dims] of length 1, aligned with `texts`; a text may be there several times."""
        self.held_out: float | None = None
        order = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        if len(order) >= _FEW:
            left_out = np.array([order[text] % _HELD_OUT == 0 for text in texts])
            known = [text for text, out in zip(texts, left_out) if not out]
            tried = [text for text, out in zip(texts, left_out) if out]
            self._fit(known, vectors[~left_out])
            found = self.estimate([words_of(text) for text in tried])
            self.held_out = float((found * vectors[left_out]).sum(axis=1).mean())
        self._fit(texts, vectors)

    def _fit(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Ridge regression in its dual form: the kernel is as large as there are texts, whatever the number of words."""
        from scipy import linalg

        words = [words_of(text) for text in texts]
        self._words = {word: place for place, word in enumerate(dict.fromkeys(word for some in words for word in some))}
        held = self._held(words)
        self.mean = vectors.mean(axis=0)
        kernel = (held @ held.T).toarray().astype(np.float64)
        kernel[np.diag_indices_from(kernel)] += RIDGE * max(np.trace(kernel) / len(kernel), 1e-6)
        weights = linalg.solve(kernel, vectors - self.mean, assume_a="pos")
        self._added = np.asarray(held.T @ weights, np.float32)  # [words, dims]

    def estimate(self, prompts: Sequence[Sequence[str]]) -> np.ndarray:
        """Unit vectors [n, dims] of prompts given as their words; words that no text holds add nothing."""
        found = self.mean + self._held(prompts) @ self._added
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    def _held(self, prompts: Sequence[Sequence[str]]) -> sparse.csr_matrix:
        """[n, words]: 1 / sqrt(number of different words) where a prompt has a word."""
        from scipy import sparse

        places = [sorted({self._words[word] for word in words if word in self._words}) for words in prompts]
        ends = np.cumsum([0, *map(len, places)])
        values = [len(some) ** -0.5 for some in places for _ in some]
        columns = [place for some in places for place in some]
        return sparse.csr_matrix((np.array(values, np.float32), columns, ends), (len(prompts), max(1, len(self._words))))


@dataclass(frozen=True)
class Composed:
    """The phrases in the order in which they were chosen, the score of all of them as one prompt, and of each alone."""

    phrases: tuple[str, ...]
    score: float
    alone: tuple[float, ...]


def compose(
    candidates: Sequence[str],
    guess: Score,
    score: Score | None = None,
    most: int = 12,
    *,
    beginnings: Sequence[Sequence[str]] = (),
    progress: Progress = lambda stage, done, total: None,
) -> Composed:
    """The prompt of at most `most` candidates that scores highest, as far as single steps lead to it.

    Each step adds or takes out the phrase by which the score of the whole prompt grows most. Where `score` is given, which may
    cost much, the prompt that is best by `guess` is only where it begins, and of the phrases that could be added the TRIED best
    by `guess` are tried. It may also begin with one of `beginnings`, such as the phrases of the nearest texts: then the prompt is no
    worse than these. ValueError without candidates.
    """
    if not candidates:
        raise ValueError("there are no phrases to make a prompt of")
    alone = guess([[phrase] for phrase in candidates])
    least = LEAST_GAIN * float(alone.max() - alone.mean())
    given = [list(some[:most]) for some in beginnings if some]
    chosen, best = _climb([], -np.inf, candidates, guess, None, most, least, progress)
    if given:
        other = _climb(*_best(given, guess), candidates, guess, None, most, least, progress)
        chosen, best = max((chosen, best), other, key=lambda made: made[1])
    if score is not None:
        given += [chosen[:n] for n in range(1, len(chosen) + 1)]
        chosen, best = _climb(*_best(given, score), candidates, score, guess, most, least, progress)
    alone = (score or guess)([[phrase] for phrase in chosen])
    return Composed(tuple(chosen), best, tuple(alone.tolist()))


def _best(prompts: Sequence[list[str]], score: Score) -> tuple[list[str], float]:
    found = score(prompts)
    place = int(np.argmax(found))
    return prompts[place], float(found[place])


def _climb(
    chosen: list[str],
    best: float,
    candidates: Sequence[str],
    score: Score,
    guess: Score | None,
    most: int,
    least: float,
    progress: Progress,
) -> tuple[list[str], float]:
    """Step by step to a higher score; what is needless is taken out at the same score."""
    while True:
        progress("Putting phrases together" if guess is None else "Scoring prompts", len(chosen), most)
        less = [chosen[:place] + chosen[place + 1 :] for place in range(len(chosen))] if len(chosen) > 1 else []
        more = [[*chosen, phrase] for phrase in _not_said(candidates, chosen)] if len(chosen) < most else []
        if guess is not None and len(more) > TRIED:
            more = [more[place] for place in np.argsort(-guess(more), kind="stable")[:TRIED]]
        if not less and not more:
            return chosen, best
        found = score([*less, *more])
        least_gain = np.array([0.0] * len(less) + [least] * len(more))
        place = int(np.argmax(found - least_gain))
        if found[place] < best + least_gain[place] or (place >= len(less) and found[place] <= best):
            return chosen, best
        chosen, best = [*less, *more][place], float(found[place])


def _not_said(candidates: Sequence[str], chosen: Sequence[str]) -> list[str]:
    """Those that bring a word which the prompt has not."""
    said = {word for phrase in chosen for word in words_of(phrase)}
    taken = {key_of(phrase) for phrase in chosen}
    return [phrase for phrase in candidates if key_of(phrase) not in taken and not said.issuperset(words_of(phrase))]
