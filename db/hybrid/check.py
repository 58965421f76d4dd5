"""How many of the nearest by the short vectors hold the best by the whole ones: questions whose answers are collected while rows are made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .projection import Projection

COMPARED = (75, 100, 125, 150, 175, 200, 250, 300, 400, 500, 700, 1000, 1500, 2000, 3000, 4000)
GOOD_MEAN, GOOD_WORST = 0.996, 0.99  # of all questions of a sort of mix, and what is promised of each mix, which 32 questions tell roughly
WANTED = 50
EQUAL = 1e-5  # scores this near are one
_NEARLY = 0.001
_ITSELF = 0.9999  # cosine
_MIXES = ((1, 1, 1, 1, 1), (1, 1, -1), (0.4, 0.3, 0.3), (1, -1), (1, -0.3, 0.5))  # weights
_DECIDED = ((1, -0.3), (1,))  # those that are asked with each kind as the first
_EACH = 32  # questions


def sort_of(weights: Sequence[float], kinds: Sequence[str]) -> str:
    """Which questions tell how many are to be compared for this one: the fewer kinds decide, the more what a short vector lacks of one counts.

    By the number of equal weights that would be spread as much, (sum |w|)^2 / sum w^2: 1.2 for (1, 0.1), 1.5 for (1, -0.3), 2.4 for
    (1, -0.3, 0.5), 2.9 for (.4, .3, .3). 'uneven KIND': of two or more hardly more than this one decides; 'one KIND': no other does.
    """
    main = max(zip(weights, kinds), key=lambda one: abs(one[0]))[1]
    equal = sum(abs(weight) for weight in weights) ** 2 / sum(weight * weight for weight in weights)
    return "several" if equal >= 2.6 else "two" if equal >= 1.9 else f"uneven {main}" if equal >= 1.45 else f"one {main}"


class Check:
    """Questions made of stored vectors, half of them of one image and half of several, in mixes of all sorts.

    Most of those of one kind are a vector with another added, or taken away, as a person's sums and differences are.
    """

    def __init__(self, kinds: Sequence[str], samples: Sequence[np.ndarray], projection: Projection, rng: np.random.Generator) -> None:
        """`samples` [n, size] by kind, of the same images, NaN where one lacks the kind; each kind is there somewhere."""
        asked = [(mix, None) for mix in _MIXES if len(mix) <= len(kinds)] + [(mix, first) for mix in _DECIDED for first in range(len(kinds))]
        self._alike = [range(start, start + _EACH) for start in range(0, len(asked) * _EACH, _EACH)]  # questions of one mix
        self._sorts = [sort_of(mix, kinds if first is None else [kinds[first], *kinds]) for mix, first in asked]
        count = len(asked) * _EACH
        self._weights = np.zeros((count, len(kinds)), np.float32)
        self._vectors = [np.zeros((count, sample.shape[1]), np.float32) for sample in samples]
        self._made_of: list[list[tuple[int, np.ndarray]]] = [[] for _ in kinds]  # of each kind (question, stored vector)
        present = [np.flatnonzero(~np.isnan(sample[:, 0])) for sample in samples]
        for question in range(count):
            (mix, first), turn = asked[question // _EACH], question % _EACH
            order = rng.permutation(len(kinds)).tolist()
            order.insert(0, order.pop(order.index(turn % len(kinds) if first is None else first)))
            image = rng.integers(len(samples[0]))
            for kind, weight in zip(order, mix):
                # Unlike the image that it is to be like: there the first hit is the image itself, which a person does not look for.
                same = weight > 0 and turn % 2 and not np.isnan(samples[kind][image, 0])
                vector = samples[kind][image if same else rng.choice(present[kind])]
                if len(mix) == 1 and turn % 4:
                    other = samples[kind][rng.choice(present[kind])]
                    self._made_of[kind] += [(question, vector), (question, other)]
                    vector = vector + other * (1 if turn % 4 == 1 else -0.5)  # of two that are nearly alike the whole difference is noise
                self._weights[question, kind] = weight
                self._vectors[kind][question] = vector / max(np.linalg.norm(vector), 1e-6)
        self._asks = [np.flatnonzero(self._weights[:, kind]) for kind in range(len(kinds))]  # the questions that ask for a kind
        parts = [projection.short(kind, vectors) * self._weights[:, kind, None] for kind, vectors in enumerate(self._vectors)]
        self._queries = np.concatenate([*parts, np.zeros_like(self._weights)], axis=1)  # [questions, dims]
        self._best = np.full((count, WANTED), -np.inf, np.float32)
        self._nearest = np.full((2, count, COMPARED[-1]), -np.inf, np.float32)  # by the short vectors: scores by these, and true ones

    def see(self, vectors: Sequence[np.ndarray], rows: np.ndarray) -> None:
        """Compare with these images too: unit vectors [n, size] by kind, NaN where one lacks the kind, and their rows [n, dims]."""
        lacking = (self._weights != 0).astype(np.float32) @ np.stack([~np.isnan(of_kind[:, 0]) for of_kind in vectors]) == 0
        true = np.where(lacking, -np.inf, self._compare(vectors))  # [questions, n]
        told = np.where(true == -np.inf, -np.inf, self._queries @ rows.T.astype(np.float32))  # images left out take no candidate's place
        self._best = -np.partition(-np.concatenate([self._best, true], axis=1), WANTED - 1, axis=1)[:, :WANTED]
        both = np.concatenate([self._nearest, np.stack([told, true])], axis=2)
        nearest = np.argpartition(-both[0], COMPARED[-1] - 1, axis=1)[:, : COMPARED[-1]]
        self._nearest = np.take_along_axis(both, nearest[None], axis=2)

    def result(self) -> dict[str, dict[str, float]]:
        """By sort how many `candidates` are to be compared, and the `recalls` of its worst mix then.

        Recall is of the 50 best, and of the 10 best if that is less; by score, not by image: of a thousand images of one prompt,
        which are equal to a question for prompts, any 50 are right.
        """
        order = np.argsort(-self._nearest[0], axis=1, kind="stable")
        found = np.take_along_axis(self._nearest[1], order, axis=1)
        candidates, recalls = {}, {}
        for sort in dict.fromkeys(self._sorts):
            mixes = [alike for alike, of in zip(self._alike, self._sorts) if of == sort]
            of_each = np.array([[[self._recall(question, found[question, :n]) for n in COMPARED] for question in alike] for alike in mixes])
            means, worst = of_each.mean(axis=(0, 1)), of_each.mean(axis=1).min(axis=0)  # [len(COMPARED)]
            good = (means >= GOOD_MEAN) & (worst >= GOOD_WORST)
            as_good = (means >= means[-1] - _NEARLY) & (worst >= worst[-1] - _NEARLY)
            least = int(np.argmax(good if good.any() else as_good))  # where none is good, the least that finds as much as the most
            candidates[sort], recalls[sort] = COMPARED[least], round(float(worst[least]), 4)
        return {"candidates": candidates, "recalls": recalls}

    def _compare(self, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """True scores [questions, n]; none for an image that has the very vector that is asked for, or that a question was made of.

        Where the kinds have nothing to do with each other, such a one stands alone, near in one kind and anywhere in the others; and of
        that nearness short vectors tell a part. Searches ask the kinds' own indexes for it, and `Held.nearest` counts what they tell.
        """
        scores = np.zeros((len(self._weights), len(vectors[0])), np.float32)
        for kind, of_kind in enumerate(vectors):
            asks = self._asks[kind]
            cosines = self._vectors[kind][asks] @ np.nan_to_num(of_kind).T
            scores[asks] += np.where(cosines > _ITSELF, -np.inf, self._weights[asks, kind, None] * cosines)
            if self._made_of[kind]:
                questions, parts = zip(*self._made_of[kind])
                own, images = np.nonzero(np.stack(parts) @ np.nan_to_num(of_kind).T > _ITSELF)
                scores[np.array(questions)[own], images] = -np.inf
        return scores

    def _recall(self, question: int, found: np.ndarray) -> float:
        best = np.sort(self._best[question])[::-1]
        best = best[np.isfinite(best)]
        if not len(best):
            return 1.0
        return min(min(1.0, float((found >= of[-1] - EQUAL).sum()) / len(of)) for of in (best[:10], best))
