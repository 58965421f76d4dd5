"""Make one vector of several kinds, short enough for an HNSW index: a principal-component projection of each kind, side by side.

A row is [P1 x1, .., PK xK, missing1, .., missingK]. Each projected part is brought to length 1 again; a kind that an image
lacks is zeros, and 1 in its place of `missing`. So all rows are of the same length, whatever an image lacks. An HNSW graph by
inner product needs that: then the greatest inner product is the smallest distance too. A question is [w1 P1 q1, ..], with
zeros at the kinds that it does not ask for, and keeps its projected length: what of a query lies outside what the library holds (words
asked of pictures, a query's instruction) must not count. Weights stand on its side alone, so any weights, negative ones too, search the same index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Four rows fit into a page of 8 kB, of the table as of the index with its neighbours (m 16). Measured with 100,000 rows of five kinds,
# isotropic noise in the clusters: of an even mix's best 50, .99 or more are among 150 candidates at 600 dimensions as at 1,800, which take
# three times the bytes and twice the time for a candidate; where one kind decides (1, -.3), among 300 at 600 and among 200 at 1,800.
DIMS = 870


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
        parts = [
            np.where(lacks[:, None], 0, self._project(place, np.where(lacks[:, None], 0, of_kind)))
            for place, (lacks, of_kind) in enumerate(zip(missing, vectors))
        ]
        return np.concatenate([*parts, np.stack(missing, axis=1)], axis=1).astype(np.float16)

    def query(self, asked: Mapping[int, tuple[np.ndarray, float, float]]) -> np.ndarray:
        """The question [dims] float16 for the kinds at these places: (vector [size] of any length, weight, what having the kind adds)."""
        parts = [np.zeros(kept, np.float32) for kept in self.kept]
        missing = np.zeros(len(self.sizes), np.float32)
        for place, (vector, weight, constant) in asked.items():
            whole = np.asarray(vector, np.float32)
            parts[place] = self._short(place, whole[None])[0] * (weight / max(np.linalg.norm(whole), 1e-12))
            missing[place] = -constant
        query = np.concatenate([*parts, missing])
        return (query * (16 / max(np.linalg.norm(query), 1e-12))).astype(np.float16)  # small components sink into float16's subnormals

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

    def _project(self, place: int, vectors: np.ndarray) -> np.ndarray:
        """Unit vectors [n, kept]; a vector of which nothing is left stays zeros."""
        projected = self._short(place, vectors)
        return projected / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-12)

    def _short(self, place: int, vectors: np.ndarray) -> np.ndarray:
        matrix = self.matrices[place]
        return vectors if matrix is None else vectors @ matrix


def fit(samples: Sequence[np.ndarray], dims: int = DIMS) -> Projection:
    """The projection for kinds of which these unit vectors [n, size] are a sample, to at most `dims` in all.

    The kinds keep shares in proportion to their sizes. Principal components of the second moments, not of the deviations:
    it is inner products that must come through.
    """
    sizes = tuple(sample.shape[1] for sample in samples)
    room = dims - len(sizes)
    if sum(sizes) <= room:
        return Projection(sizes, (None,) * len(sizes))
    matrices = []
    for size, sample in zip(sizes, samples):
        moments = sample.T @ sample / max(1, len(sample))  # [size, size]
        _, vectors = np.linalg.eigh(moments.astype(np.float64))  # ascending
        leading = vectors[:, ::-1][:, : max(1, size * room // sum(sizes))]
        matrices.append(np.ascontiguousarray(leading).astype("<f2").astype(np.float32))  # as it will be read back
    return Projection(sizes, tuple(matrices))
