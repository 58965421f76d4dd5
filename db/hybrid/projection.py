"""Make the vectors of several kinds short: a principal-component projection of each kind, side by side.

A row is [P1 x1, .., PK xK, missing1, .., missingK] of unit vectors x; a kind that an image lacks is zeros, and 1 in its place of
`missing`. A question is [w1 P1 q1, .., wK PK qK] of unit vectors q, and its inner product with a row is about the weighted sum of the
cosines. Weights stand on the question's side alone, so the same rows serve any weights, negative ones too. Neither side is brought to
length 1 again: what of a query lies outside what the library holds (words asked of pictures, a query's instruction) must not count, and
what of an image lies outside its kind's leading components tells nothing either (of the best 50 where one kind decides, .993 are among
300 by lengths as they come, .985 among 300 at length 1; 100,000 images, 64 components of a kind).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEAST, MOST = 16, 128  # components that are kept of a kind
_SHARE = 1 / 800  # of the squared length: a component that holds less than that of the vectors tells too little for its time


@dataclass(frozen=True, slots=True)
class Projection:
    """For each kind, in the index's order, a matrix [dims, kept] float32 with orthonormal columns; None keeps the vector whole."""

    sizes: tuple[int, ...]  # dimensions of the kinds' vectors
    matrices: tuple[np.ndarray | None, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """Dimensions that are left of each kind."""
        return tuple(size if matrix is None else matrix.shape[1] for size, matrix in zip(self.sizes, self.matrices))

    @property
    def dims(self) -> int:
        return sum(self.kept) + len(self.sizes)

    def rows(self, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """Rows [n, dims] float16 of unit vectors [n, size] by kind; NaN in a vector: the image lacks the kind."""
        missing = [np.isnan(of_kind[:, 0]) for of_kind in vectors]
        parts = [self.short(place, np.where(lacks[:, None], 0, of_kind)) for place, (lacks, of_kind) in enumerate(zip(missing, vectors))]
        return np.concatenate([*parts, np.stack(missing, axis=1)], axis=1).astype(np.float16)

    def split(self, rows: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Put rows [n, dims] into `parts` [n, kept] by kind; returns whether a kind is missing, bool [n, kinds]."""
        ends = np.cumsum(self.kept)
        for part, of_kind in zip(parts, np.split(rows[:, : ends[-1]], ends[:-1], axis=1)):
            part[:] = of_kind
        return rows[:, ends[-1] :] > 0

    def query(self, asked: Mapping[int, tuple[np.ndarray, float]]) -> dict[int, np.ndarray]:
        """The question's part [kept] float32 of the kinds at these places: (vector [size] of any length, weight)."""
        found = {}
        for place, (vector, weight) in asked.items():
            whole = np.asarray(vector, np.float32)
            found[place] = self.short(place, whole) * np.float32(weight / max(np.linalg.norm(whole), 1e-12))
        return found

    def short(self, place: int, vectors: np.ndarray) -> np.ndarray:
        """What is kept [.., kept] of vectors [.., size] of the kind at this place."""
        matrix = self.matrices[place]
        return vectors if matrix is None else vectors @ matrix

    def to_bytes(self) -> bytes:
        """The matrices as little-endian float16, one after the other."""
        return b"".join(matrix.astype("<f2").tobytes() for matrix in self.matrices if matrix is not None)

    @classmethod
    def from_bytes(cls, data: bytes, sizes: Sequence[int], kept: Sequence[int]) -> Projection:
        """What `to_bytes` wrote; a kind that keeps all its dimensions has no matrix."""
        numbers, matrices, start = np.frombuffer(data, "<f2"), [], 0
        for size, of_kind in zip(sizes, kept):
            if of_kind == size:
                matrices.append(None)
                continue
            matrices.append(numbers[start : start + size * of_kind].reshape(size, of_kind).astype(np.float32))
            start += size * of_kind
        return cls(tuple(sizes), tuple(matrices))


def fit(samples: Sequence[np.ndarray], most: int = MOST) -> Projection:
    """The projection for kinds of which these unit vectors [n, size] are a sample, to at most `most` components each.

    Principal components of the second moments, not of the deviations: it is inner products that must come through.
    """
    matrices: list[np.ndarray | None] = []
    for sample in samples:
        shares, vectors = np.linalg.eigh(sample.T @ sample / max(1, len(sample)))  # ascending
        kept = min(most, max(LEAST, int((shares >= _SHARE).sum())))
        leading = np.ascontiguousarray(vectors[:, ::-1][:, :kept]).astype("<f2").astype(np.float32)  # as it will be read back
        matrices.append(leading if kept < len(vectors) else None)
    return Projection(tuple(sample.shape[1] for sample in samples), tuple(matrices))
