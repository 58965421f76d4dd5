"""How well an index finds what comparing with every vector finds: questions whose true answers are collected while it is filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .projection import Projection

EFFORTS = (100, 125, 150, 175, 200, 250, 300, 350, 400, 500, 600, 800, 1000)
GOOD_MEAN, GOOD_WORST = 0.996, 0.99  # of all questions of a sort of mix, and what is promised of each mix, which 32 questions tell roughly
WANTED = 50
MIXES = ("even", "uneven")
EQUAL = 1e-5  # scores this near are one
_ITSELF = 0.9999  # cosine
_QUESTIONS = 128  # a quarter of each shape
_MIXES = ((1, 1, 1, 1, 1), (1, -0.3), (1, 1, -1), (0.4, 0.3, 0.3))  # weights, of as many kinds as there are


def mix_of(weights: Sequence[float]) -> str:
    """'even' where two kinds or more decide, 'uneven' where hardly more than one does: what was lost of that one counts alone then.

    By the number of equal weights that would be spread as much, (sum |w|)^2 / sum w^2: 1.5 for (1, -0.3), 2.9 for (.4, .3, .3).
    """
    total, squares = sum(abs(weight) for weight in weights), sum(weight * weight for weight in weights)
    return "even" if total * total >= 1.9 * squares else "uneven"


class Check:
    """Questions made of stored vectors, half of them of one image and half of several, in mixes of even, uneven and negative weights."""

    def __init__(self, samples: Sequence[np.ndarray], rng: np.random.Generator) -> None:
        """`samples` [n, size] by kind, of the same images, NaN where one lacks the kind."""
        kinds, images = len(samples), len(samples[0])
        self.weights = np.zeros((_QUESTIONS, kinds), np.float32)
        self.vectors = [np.zeros((_QUESTIONS, sample.shape[1]), np.float32) for sample in samples]
        for question in range(_QUESTIONS):
            mix = _MIXES[question % len(_MIXES)]
            order = rng.permutation(kinds)[: len(mix)]
            image = rng.integers(images)
            for kind, weight in zip(order, mix):
                present = np.flatnonzero(~np.isnan(samples[kind][:, 0]))
                # Unlike the image that it is to be like: there the first hit is the image itself, which a person does not look for.
                same = weight > 0 and question % 8 < 4 and not np.isnan(samples[kind][image, 0])
                if len(present):
                    self.weights[question, kind] = weight
                    self.vectors[kind][question] = samples[kind][image if same else rng.choice(present)]
        self._best = np.full((_QUESTIONS, WANTED), -np.inf, np.float32)

    def of(self, mix: str) -> list[int]:
        """The questions of such a mix, by number."""
        return [question for question in range(_QUESTIONS) if mix_of(_MIXES[question % len(_MIXES)]) == mix]

    def see(self, vectors: Sequence[np.ndarray]) -> None:
        """Compare with these images too: unit vectors [n, size] by kind, NaN where one lacks the kind."""
        scores = np.concatenate([self._best, self.compare(vectors)], axis=1)
        self._best = np.partition(scores, scores.shape[1] - WANTED, axis=1)[:, -WANTED:]

    def queries(self, projection: Projection) -> list[np.ndarray]:
        """The questions [dims] as the index is asked them."""
        return [
            projection.query(
                {kind: (self.vectors[kind][q], float(self.weights[q, kind]), 0.0) for kind in np.flatnonzero(self.weights[q])}
            )
            for q in range(_QUESTIONS)
        ]

    def recall(self, found: Mapping[int, np.ndarray], mix: str, compared: int) -> tuple[float, float]:
        """Of the 50 best, and of the 10 best if that is less, how many are among the first `compared` that were found: the mean over
        the questions of such mixes, and that of the worst such mix.

        `found` are the scores [n] of what was found, by question. By score, not by id: of a thousand images of one prompt,
        which are equal to a question for prompts, any 50 are right.
        """
        shares = {question: [self._share(question, found[question][:compared], k) for k in (10, WANTED)] for question in self.of(mix)}
        by_weights = [[shares[question] for question in shares if question % len(_MIXES) == start] for start in range(len(_MIXES))]
        worst = min(np.mean(of_weights, axis=0).min() for of_weights in by_weights if of_weights)
        return round(float(np.mean([*shares.values()], axis=0).min()), 4), round(float(worst), 4)

    def compare(self, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """Scores [questions, n]; none for an image that has the very vector that is asked for.

        Where the kinds have nothing to do with each other, such a one stands alone, near in one kind and anywhere in the others, and
        the graph leads to about half of them, whatever the effort. A stored image's own query leaves the image out; a stored prompt
        that is written again does not, nor do other images of one prompt: the help of Search says so.
        """
        scores = np.zeros((_QUESTIONS, len(vectors[0])), np.float32)
        for kind, of_kind in enumerate(vectors):
            cosines = self.vectors[kind] @ np.nan_to_num(of_kind).T
            scores += self.weights[:, kind, None] * cosines
            scores[(self.weights[:, kind, None] != 0) & (cosines > _ITSELF)] = -np.inf
        return scores

    def _share(self, question: int, found: np.ndarray, k: int) -> float:
        best = np.sort(self._best[question])[::-1][:k]
        best = best[np.isfinite(best)]
        return min(1.0, float((found >= best[-1] - EQUAL).sum()) / len(best)) if len(best) else 1.0
