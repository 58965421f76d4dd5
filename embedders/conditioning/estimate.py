"""Estimated token states: fit what a library needs for them, say how far they are from the truth, and make them.

Two estimates, `approximation`'s from the vectors alone and `token_approximation`'s from the text's tokens too. They err in different
places, so where the text is known they are blended, by weights for words, the end and padding that least squares finds on
texts that neither has seen. The error that is told is measured on further texts that nothing of it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from .approximation import WIDTH, Error, Inputs, VectorMap, error_of, fit_inputs, fit_vectors, packed, unpacked
from .mixing import CLIP_L, SECTION
from .token_approximation import SHORT_INPUTS, Section, TokenMap, fit_tokens

LEAST = 16  # texts, below which a fit is worth nothing
VERSION = 1  # of what `to_bytes` writes: a map of another is made anew
MOST = 1152  # texts of a fit, in memory with 0.36 GB, and with 0.25 GB more while a tower is fitted; more made it slower and hardly better
_HELD_OUT, _MOST_HELD_OUT = 8, 128  # one text of so many, and at most so many
_TOWERS = (("l", slice(0, CLIP_L)), ("g", slice(CLIP_L, WIDTH)))
Sections = tuple[Sequence[Section], Sequence[Section]]  # of a text, for CLIP-L and for CLIP-G


@dataclass(frozen=True)
class KnownTexts:
    """Texts whose states are known, in an order that means nothing: the last ones are held out."""

    clip_l: np.ndarray  # [n, 768]
    clip_g: np.ndarray  # [n, 1280]
    states: np.ndarray  # [n, 77, 2048] float16: their first sections
    tokens: tuple[list[Section], list[Section]] | None  # n first sections for each tower
    empty: np.ndarray | None  # [77, 2048]: the empty text's states

    def __getitem__(self, rows: slice) -> KnownTexts:
        tokens = None if self.tokens is None else (self.tokens[0][rows], self.tokens[1][rows])
        return KnownTexts(self.clip_l[rows], self.clip_g[rows], self.states[rows], tokens, self.empty)


@dataclass(frozen=True)
class Estimator:
    """Estimates of token states, from the vectors alone where `towers` is None."""

    vectors: VectorMap
    inputs: Inputs | None = None
    towers: tuple[TokenMap, TokenMap] | None = None
    blend: np.ndarray | None = None  # [2 towers, 3 kinds, 2]: weights of the vectors' estimate and of the tokens', float32

    def of_vectors(self, clip_l: np.ndarray, clip_g: np.ndarray) -> np.ndarray:
        """Token states [77, 2048] float32 of vectors [768] and [1280]."""
        return self.vectors.predict(clip_l[None], clip_g[None])[0]

    def of_text(self, clip_l: np.ndarray, clip_g: np.ndarray, sections: Sections) -> np.ndarray:
        """Token states [77 * sections, 2048] float32. The vectors are of the first section, so later ones have their tokens alone."""
        return self._of_tokens(self.of_vectors(clip_l, clip_g), self.inputs.shortened(clip_l[None], clip_g[None])[0], sections)

    def _of_tokens(self, first: np.ndarray, short: np.ndarray, sections: Sections) -> np.ndarray:
        states = np.empty((len(sections[0]), SECTION, WIDTH), np.float32)
        for number, (tower, (_, part)) in enumerate(zip(self.towers, _TOWERS)):
            for place, section in enumerate(sections[number]):
                estimate = tower.predict(section, short if place == 0 else np.zeros_like(short))
                if place == 0:
                    estimate = self._blended(number, section, first[:, part], estimate)
                states[place, :, part] = estimate
        return states.reshape(-1, WIDTH)

    def _blended(self, number: int, section: Section, by_vectors: np.ndarray, by_tokens: np.ndarray) -> np.ndarray:
        means = self.vectors.means[:, _TOWERS[number][1]].astype(np.float32)
        weights = self.blend[number][section.kinds]  # [77, 2]
        blended = means + weights[:, :1] * (by_vectors - means) + weights[:, 1:] * (by_tokens - means)
        return np.where((section.weights == 1)[:, None], blended, by_tokens)  # the vectors' estimate knows no weights

    def to_bytes(self) -> tuple[bytes, bytes | None]:
        """What estimates from vectors need, and what texts need besides."""
        if self.towers is None:
            return self.vectors.to_bytes(), None
        arrays = {"blend": self.blend}
        for prefix, part in (("inputs", self.inputs), ("l", self.towers[0]), ("g", self.towers[1])):
            arrays |= {f"{prefix}_{name}": array for name, array in vars(part).items()}
        return self.vectors.to_bytes(), packed(arrays)

    @classmethod
    def from_bytes(cls, by_vectors: bytes, by_text: bytes | None = None) -> Estimator:
        """What `to_bytes` gave. ValueError where it is damaged, or has other parts."""
        try:
            vectors = VectorMap.from_bytes(by_vectors)
            if by_text is None:
                return cls(vectors)
            arrays = unpacked(by_text)
            inputs, *towers = (
                kind(**{field.name: arrays[f"{prefix}_{field.name}"] for field in fields(kind)})
                for prefix, kind in (("inputs", Inputs), ("l", TokenMap), ("g", TokenMap))
            )
            return cls(vectors, inputs, (towers[0], towers[1]), arrays["blend"])
        except (TypeError, KeyError) as error:
            raise ValueError(f"a fitted map of other parts: {error}") from error


def fit(known: KnownTexts, tell: Callable[[int, int], None] = lambda done, total: None) -> tuple[Estimator, dict[str, Any]]:
    """An estimator, and the errors of its estimates: {"vectors": .., "text": .., "fitted_on": texts, "version": ..}, as `Error` has them.

    ValueError for fewer than `LEAST` texts.
    """
    n = len(known.states)
    if n < LEAST:
        raise ValueError(f"{n} texts are too few to fit token states on: it takes {LEAST}")
    held = min(_MOST_HELD_OUT, max(4, n // _HELD_OUT))
    learnt, tuned, tested = known[: n - held], known[n - held : n - held // 2], known[n - held // 2 :]
    inputs, values, vectors = fit_inputs(learnt.clip_l, learnt.clip_g, SHORT_INPUTS)
    steps = 10
    by_vectors = fit_vectors(
        inputs, learnt.clip_l, learnt.clip_g, values, vectors, learnt.states, tell=lambda done, total: tell(4 * done // total, steps)
    )
    estimator = Estimator(by_vectors)
    details: dict[str, Any] = {"version": VERSION, "fitted_on": len(learnt.states), "vectors": asdict(_error(estimator, tested))}
    if known.tokens is not None and known.empty is not None:
        towers = []
        for number, (_, part) in enumerate(_TOWERS):
            tell(4 + 3 * number, steps)
            own = np.ascontiguousarray(learnt.states[:, :, part])
            towers.append(fit_tokens(inputs, learnt.clip_l, learnt.clip_g, learnt.tokens[number], own, known.empty[:, part]))
        estimator = Estimator(by_vectors, inputs, (towers[0], towers[1]), _blend(by_vectors, inputs, towers, tuned))
        details["text"] = asdict(_error(estimator, tested))
    tell(steps, steps)
    return estimator, details


def _error(estimator: Estimator, texts: KnownTexts) -> Error:
    estimates = estimator.vectors.predict(texts.clip_l, texts.clip_g)
    if estimator.towers is not None:
        short = estimator.inputs.shortened(texts.clip_l, texts.clip_g)
        each = zip(estimates, short, *texts.tokens)
        estimates = np.stack([estimator._of_tokens(first, row, ([of_l], [of_g])) for first, row, of_l, of_g in each])
    return error_of(estimates, texts.states, estimator.vectors.means.astype(np.float64))


def _blend(by_vectors: VectorMap, inputs: Inputs, towers: Sequence[TokenMap], tuned: KnownTexts) -> np.ndarray:
    """[2, 3, 2] float32: least squares over the texts that both estimates have not seen, each weight from 0 to 1."""
    products = np.zeros((2, 3, 2, 2))
    targets = np.zeros((2, 3, 2))
    short = inputs.shortened(tuned.clip_l, tuned.clip_g)
    firsts = by_vectors.predict(tuned.clip_l, tuned.clip_g)  # [n, 77, 2048]
    for row, (states, first) in enumerate(zip(tuned.states, firsts)):
        for number, (_, part) in enumerate(_TOWERS):
            section, means = tuned.tokens[number][row], by_vectors.means[:, part].astype(np.float32)
            both = np.stack([first[:, part] - means, towers[number].predict(section, short[row]) - means])  # [2, 77, width]
            truth = states[:, part] - means
            usable = (section.weights == 1) & (np.arange(SECTION) > 0)
            for kind in range(3):
                at = usable & (section.kinds == kind)
                products[number, kind] += np.einsum("apw,bpw->ab", both[:, at], both[:, at])
                targets[number, kind] += np.einsum("apw,pw->a", both[:, at], truth[at])
    ridge = 1e-6 * np.trace(products, axis1=2, axis2=3)[..., None, None] * np.eye(2) + 1e-12 * np.eye(2)
    return np.clip(np.linalg.solve(products + ridge, targets[..., None])[..., 0], 0, 1).astype(np.float32)
