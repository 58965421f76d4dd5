"""What a projection of several kinds keeps of rows and of questions."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit.db.hybrid.projection import LEAST, MOST, Projection, fit


def unit_vectors(n: int, spread: np.ndarray, seed: int = 3) -> np.ndarray:
    """[n, len(spread)] float32 at length 1, their components as wide as `spread` says."""
    drawn = np.random.default_rng(seed).normal(size=(n, len(spread))) * spread
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def split(projection: Projection, rows: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    parts = [np.empty((len(rows), kept), np.float32) for kept in projection.kept]
    return parts, projection.split(rows, parts)


def test_what_of_a_query_lies_outside_the_library_does_not_count():
    """Words asked of pictures lie mostly beside all pictures: they must not weigh more than what the library can answer."""
    samples = [unit_vectors(2000, np.repeat([1.0, 0.0], size // 2)) for size in (64, 48)]  # which fill the first half of their dimensions
    projection = fit(samples)
    assert projection.kept == (32, 24)
    beside = np.r_[0.6 * samples[0][5, :32], 0.8, np.zeros(31)]
    query = projection.query({0: (7 * beside, 1.0), 1: (samples[1][9], 1.0)})
    parts, missing = split(projection, projection.rows(samples))
    found = sum(parts[place] @ query[place] for place in (0, 1))
    assert np.abs(found - (samples[0] @ beside + samples[1] @ samples[1][9])).max() < 0.005 and not missing.any()


@pytest.mark.parametrize(
    ("spread", "kept"),
    [
        (np.r_[np.ones(40), np.full(200, 0.03)], 40),  # the others hold less than a four-thousandth each
        (np.r_[np.ones(3), np.full(200, 0.01)], LEAST),
        (np.r_[np.ones(200), np.full(200, 0.01)], MOST),
        (np.ones(LEAST), LEAST),
    ],
    ids=["as many as tell", "the least", "the most", "all"],
)
def test_as_many_components_are_kept_as_hold_much(spread, kept):
    sample = unit_vectors(4000, spread)
    projection = fit([sample])
    assert projection.kept == (kept,)
    assert (projection.matrices[0] is None) == (kept == len(spread))
    squares = np.linalg.eigvalsh(sample.T @ sample)[::-1] / len(sample)
    assert (projection.short(0, sample) ** 2).sum(axis=1).mean() == pytest.approx(squares[:kept].sum(), abs=1e-3)


def test_a_projection_is_read_back_as_it_was_written():
    made = fit([unit_vectors(500, np.ones(size), size) for size in (300, 8, 40)])
    again = Projection.from_bytes(made.to_bytes(), made.sizes, made.kept)
    assert (again.sizes, again.kept, again.dims) == ((300, 8, 40), (MOST, 8, 40), MOST + 8 + 40 + 3)
    vectors = [unit_vectors(3, np.ones(size), size) for size in (300, 8, 40)]
    vectors[1][2] = np.nan  # the image lacks that kind
    assert np.array_equal(again.rows(vectors), made.rows(vectors))
    parts, missing = split(again, made.rows(vectors))
    assert np.array_equal(np.concatenate([*parts, missing], axis=1), made.rows(vectors))
    assert missing.tolist() == [[False] * 3, [False] * 3, [False, True, False]] and not parts[1][2].any()
