"""How many of the best images a search by short vectors misses, by how far these were off where whole vectors were compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MISSED = 0.01  # of the best may be missed by expectation
_EQUAL = 1e-6  # scores that are nearer by share are one
_DEVIATIONS = np.linspace(-6, 6, 1201)
_ABOVE = np.array([math.erfc(deviations / math.sqrt(2)) / 2 for deviations in _DEVIATIONS])  # chance that a normal number is larger


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What short vectors tell of the candidates, image ids int64 [c] and float64 scores [c], and of some that follow, `rest` [m], best first.

    `following` are the ids of these, int64 [m], where it is known which they are.
    """

    ids: np.ndarray
    scores: np.ndarray
    rest: np.ndarray
    following: np.ndarray

    def more_needed(self, found: Sequence[tuple[int, float]], n: int) -> int:
        """How many of the rest are to be compared too, so that of the `n` best no more than 1 % are expected to be missed; all, or more.

        `found` are true scores by image, the candidates' among them. What short vectors leave out of the rest is taken for as much as of these, spread
        normally: of 50 best .063, .035, .017 and .008 were expected to be missed where it were .051, .034, .014 and .009 (60,000 images, questions
        ever nearer to stored vectors).
        """
        if not len(self.rest):
            return 0
        true = dict(found)
        if len(true) < n:
            return len(self.rest)
        nth = np.partition(list(true.values()), -n)[-n]
        off = np.array([true[image_id] - told for image_id, told in zip(self.ids.tolist(), self.scores.tolist()) if image_id in true])
        equal = max(_EQUAL * abs(nth), 1e-300)
        chances = np.interp((nth + equal - off.mean() - self.rest) / max(off.std(), equal / _DEVIATIONS[-1]), _DEVIATIONS, _ABOVE)
        return int((chances[::-1].cumsum() > MISSED * n).sum())
