"""What the refiner, Stable Diffusion 3 and Flux are given of SDXL's token states and pooled vectors."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit.embedders.conditioning.other_models import FLUX, REFINER, SD3, Piece, average_pieces, put_together

RANDOM = np.random.default_rng(5)
T5 = RANDOM.standard_normal((80, 4096)).astype(np.float32)


def piece(sections: int = 1) -> Piece:
    states = RANDOM.standard_normal((77 * sections, 2048)).astype(np.float16)
    return Piece(states, RANDOM.standard_normal(768).astype(np.float32), RANDOM.standard_normal(1280).astype(np.float16))


def test_the_refiner_is_given_clip_gs_side_and_its_pooled_vector():
    one = piece(2)
    made = put_together(REFINER, one, None)
    assert np.array_equal(made.states, one.states[:, 768:].astype(np.float32))
    assert np.array_equal(made.pooled, one.clip_g.astype(np.float32))


def test_sd3_is_given_sdxls_states_filled_up_with_zeros_then_t5s_and_both_pooled_vectors():
    one = piece()
    made = put_together(SD3, one, T5)
    assert made.states.shape == (157, 4096) and made.states.dtype == made.pooled.dtype == np.float32
    assert np.array_equal(made.states[:77, :2048], one.states.astype(np.float32)) and not made.states[:77, 2048:].any()
    assert np.array_equal(made.states[77:], T5)
    assert np.array_equal(made.pooled, np.concatenate([one.clip_l, one.clip_g.astype(np.float32)]))


def test_flux_is_given_t5s_states_and_clip_ls_pooled_vector_and_zeros_where_there_is_no_t5():
    one = Piece(None, piece().clip_l, None)
    made = put_together(FLUX, one, T5)
    assert np.array_equal(made.states, T5) and np.array_equal(made.pooled, one.clip_l)
    without = put_together(FLUX, one, None)
    assert without.states.shape == (256, 4096) and not without.states.any()


def test_an_average_weighs_states_and_both_pooled_vectors_alike():
    a, b = piece(), piece()
    made = average_pieces([a, b], [3, 1])
    for name in ("states", "clip_l", "clip_g"):
        expected = 0.75 * getattr(a, name).astype(np.float32) + 0.25 * getattr(b, name).astype(np.float32)
        assert np.allclose(getattr(made, name), expected, atol=1e-6)


@pytest.mark.parametrize("lacks", [("states", "clip_g"), ("clip_l",)])
def test_what_a_target_does_not_need_is_not_averaged(lacks):
    several = [piece()._replace(**dict.fromkeys(lacks)) for _ in range(2)]
    made = average_pieces(several, [1, 1])
    assert [name for name, value in made._asdict().items() if value is None] == list(lacks)
