"""How many of the nearest by the short vectors hold the best by the whole ones: questions whose answers are collected while rows are made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .projection import Projection

COMPARED = (75, 100, 125, 150, 175, 200, 250, 300, 400, 500, 700, 1000, 1500, 2000, 3000, 4000)
GOOD_MEAN, GOOD_WORST = 0.996, 0.99  # of all questions of a sort of mix, and what is promised of each mix, which 32 questions tell roughly
WANTED = 50
MIXES = ("several", "two", "uneven", "one")
EQUAL = 1e-5  # scores this near are one
_ITSELF = 0.9999  # cosine
_WEIGHTS = ((1, 1, 1, 1, 1), (1, 1, -1), (0.4, 0.3, 0.3), (1, -1), (1, -0.3, 0.5), (1, -0.3), (1,))  # of as many kinds as there are
_QUESTIONS = 32 * len(_WEIGHTS)


def mix_of(weights: Sequence[float]) -> str:
    """How many kinds decide, of MIXES: the fewer, the more what a short vector lacks of one counts, and the more are to be compared.

    By the number of equal weights that would be spread as much, (sum |w|)^2 / sum w^2: 1.5 for (1, -0.3), 2.4 for (1, -0.3, 0.5), 2.9 for
    (.4, .3, .3). 'uneven': of two kinds or more hardly more than one does; 'one': there is but one.
    """
    if len(weights) == 1:
        return "one"
    total, squares = sum(abs(weight) for weight in weights), sum(weight * weight for weight in weights)
    return "several" if total * total >= 2.6 * squares else "two" if total * total >= 1.9 * squares else "uneven"


class Check:
    """Questions made of stored vectors, half of them of one image and half of several, in mixes of all sorts.

    Those of one kind are a vector with another added, or taken away, as a person's sums and differences are.
    """

    def __init__(self, samples: Sequence[np.ndarray], projection: Projection, rng: np.random.Generator) -> None:
        """`samples` [n, size] by kind, of the same images, NaN where one lacks the kind."""
        kinds, images = len(samples), len(samples[0])
        self._weights = np.zeros((_QUESTIONS, kinds), np.float32)
        self._vectors = [np.zeros((_QUESTIONS, sample.shape[1]), np.float32) for sample in samples]
        for question in range(_QUESTIONS):
            mix, turn = _WEIGHTS[question % len(_WEIGHTS)], question // len(_WEIGHTS)
            image = rng.integers(images)
            for kind, weight in zip(rng.permutation(kinds), mix):
                present = np.flatnonzero(~np.isnan(samples[kind][:, 0]))
                # Unlike the image that it is to be like: there the first hit is the image itself, which a person does not look for.
                same = weight > 0 and turn % 2 and not np.isnan(samples[kind][image, 0])
                if len(present):
                    vector = samples[kind][image if same else rng.choice(present)]
                    if len(mix) == 1 and turn % 4:
                        vector = vector + samples[kind][rng.choice(present)] * (1 if turn % 4 == 1 else -1)
                    self._weights[question, kind] = weight
                    self._vectors[kind][question] = vector / max(np.linalg.norm(vector), 1e-6)
        parts = [projection.short(kind, vectors) * self._weights[:, kind, None] for kind, vectors in enumerate(self._vectors)]
        self._queries = np.concatenate([*parts, np.zeros((_QUESTIONS, kinds), np.float32)], axis=1)  # [questions, dims]
        self._best = np.full((_QUESTIONS, WANTED), -np.inf, np.float32)
        self._nearest = np.full((2, _QUESTIONS, COMPARED[-1]), -np.inf, np.float32)  # by the short vectors: scores by these, and true ones

    def see(self, vectors: Sequence[np.ndarray], rows: np.ndarray) -> None:
        """Compare with these images too: unit vectors [n, size] by kind, NaN where one lacks the kind, and their rows [n, dims]."""
        true = self._compare(vectors)
        self._best = -np.partition(-np.concatenate([self._best, true], axis=1), WANTED - 1, axis=1)[:, :WANTED]
        both = np.concatenate([self._nearest, np.stack([self._queries @ rows.T.astype(np.float32), true])], axis=2)
        nearest = np.argpartition(-both[0], COMPARED[-1] - 1, axis=1)[:, : COMPARED[-1]]
        self._nearest = np.take_along_axis(both, nearest[None], axis=2)

    def result(self) -> dict[str, dict[str, float]]:
        """For each sort of mix how many are to be `compared`, and the `recalls` of its worst mix then.

        Recall is of the 50 best, and of the 10 best if that is less; by score, not by image: of a thousand images of one prompt,
        which are equal to a question for prompts, any 50 are right.
        """
        order = np.argsort(-self._nearest[0], axis=1, kind="stable")
        found = np.take_along_axis(self._nearest[1], order, axis=1)
        compared, recalls = {}, {}
        for mix in MIXES:
            by_weights = [range(place, _QUESTIONS, len(_WEIGHTS)) for place, weights in enumerate(_WEIGHTS) if mix_of(weights) == mix]
            for n in COMPARED:
                of_each = np.array([[self._recall(question, found[question, :n]) for question in same] for same in by_weights])
                compared[mix], recalls[mix] = n, round(float(of_each.mean(axis=1).min()), 4)
                if of_each.mean() >= GOOD_MEAN and recalls[mix] >= GOOD_WORST:
                    break
        return {"compared": compared, "recalls": recalls}

    def _compare(self, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """True scores [questions, n]; none for an image that has the very vector that is asked for.

        Where the kinds have nothing to do with each other, such a one stands alone, near in one kind and anywhere in the others; and of
        that nearness short vectors tell a part. A stored image's own query leaves the image out; a stored prompt that is written again
        does not, nor do other images of one prompt: the help of Search says so.
        """
        scores = np.zeros((_QUESTIONS, len(vectors[0])), np.float32)
        for kind, of_kind in enumerate(vectors):
            cosines = self._vectors[kind] @ np.nan_to_num(of_kind).T
            scores += self._weights[:, kind, None] * cosines
            scores[(self._weights[:, kind, None] != 0) & (cosines > _ITSELF)] = -np.inf
        return scores

    def _recall(self, question: int, found: np.ndarray) -> float:
        best = np.sort(self._best[question])[::-1]
        best = best[np.isfinite(best)]
        if not len(best):
            return 1.0
        return min(min(1.0, float((found >= of[-1] - EQUAL).sum()) / len(of)) for of in (best[:10], best))
