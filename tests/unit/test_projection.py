"""What a projection of several kinds keeps of rows and of questions."""

from __future__ import annotations

import numpy as np
from diffusion_toolkit.db.hybrid.projection import fit


def test_what_of_a_query_lies_outside_the_library_does_not_count():
    """Words asked of pictures lie mostly beside all pictures: they must not weigh more than what the library can answer."""
    rng = np.random.default_rng(3)
    samples = []
    for size in (16, 8):  # vectors that fill the first half of their dimensions
        inside = rng.normal(size=(200, size // 2))
        samples.append(np.hstack([inside / np.linalg.norm(inside, axis=1, keepdims=True), np.zeros_like(inside)]))
    projection = fit(samples, dims=14)
    assert projection.kept == (8, 4)
    beside = np.r_[0.6 * samples[0][5, :8], 0.8, np.zeros(7)]
    query = projection.query({0: (7 * beside, 1.0, 0.0), 1: (samples[1][9], 1.0, 0.0)}).astype(float)
    found = query @ projection.rows(samples).astype(float).T
    exact = samples[0] @ beside + samples[1] @ samples[1][9]
    assert np.corrcoef(found, exact)[0, 1] > 0.999
