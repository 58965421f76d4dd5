"""What becomes of token states and pooled vectors that are averaged, interpolated or pushed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from diffusion_toolkit.embedders.conditioning.mixing import (
    SIDES,
    Conditioning,
    Disliked,
    average,
    between,
    common_length,
    leg_of,
    path,
    pushed,
    repeated,
    spread,
    two_sides,
)


def made(seed: int, sections: int = 1, size: float = 1.0) -> Conditioning:
    random = np.random.default_rng(seed)
    states = random.standard_normal((77 * sections, 2048)).astype(np.float32) * np.float32(size)
    states[::77] = 5.0  # as the first token of every section: the same in each text
    return Conditioning(states, random.standard_normal(1280).astype(np.float32) * np.float32(size))


def attended(states: np.ndarray) -> np.ndarray:
    """What cross-attention takes of token states: [5, 64]."""
    random = np.random.default_rng(1)
    queries, to_keys, to_values = random.standard_normal((5, 64)), random.standard_normal((2048, 64)), random.standard_normal((2048, 64))
    scores = queries @ (states @ to_keys).T / 64
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return (weights / weights.sum(1, keepdims=True)) @ (states @ to_values)


def norms(states: np.ndarray) -> list[np.ndarray]:
    return [np.linalg.norm(states[..., side], axis=-1) for side in SIDES]


def angle(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return math.acos(min(1.0, a @ b / np.linalg.norm(a) / np.linalg.norm(b)))


def test_repeating_leaves_what_cross_attention_takes_and_zeros_would_not():
    states = made(1).states
    assert np.allclose(attended(repeated(states, 231)), attended(states), atol=1e-5)
    assert not np.allclose(attended(np.pad(states, ((0, 77), (0, 0)))), attended(states), atol=1e-2)


@pytest.mark.parametrize(
    ("lengths", "common"), [([77], 77), ([77, 154], 154), ([154, 231], 462), ([231, 308], 924), ([385, 539], 539), ([77, 77 * 20], 77 * 20)]
)
def test_lengths_meet_where_all_are_repeated_whole_unless_that_is_too_long(lengths, common):
    assert common_length(lengths) == common


def test_an_average_counts_weights_by_their_shares():
    a, b = made(1), made(2)
    mixed = average([a, b], [1, 0.5])
    assert np.allclose(mixed.states, 2 / 3 * a.states + 1 / 3 * b.states, atol=1e-6)
    assert np.allclose(mixed.pooled, 2 / 3 * a.pooled + 1 / 3 * b.pooled, atol=1e-6)


def test_an_average_of_different_lengths_is_of_repeats():
    a, b = made(1), made(2, sections=2)
    mixed = average([a, b], [0.25, 0.75])
    assert np.allclose(mixed.states, 0.25 * np.concatenate([a.states, a.states]) + 0.75 * b.states, atol=1e-6)


def test_what_has_no_weight_has_no_part_in_the_length_either():
    a, b = made(1), made(2, sections=3)
    mixed = average([a, b], [2, 0])
    assert np.array_equal(mixed.states, a.states) and np.array_equal(mixed.pooled, a.pooled)


def test_an_average_can_keep_the_norms():
    several = [made(seed, size=size) for seed, size in ((1, 1.0), (2, 1.0), (3, 4.0))]
    plain, kept = average(several, [1, 1, 1]), average(several, [1, 1, 1], keep_norm=True)
    for place, (short, norm) in enumerate(zip(norms(plain.states), norms(kept.states))):
        wanted = sum(norms(one.states)[place] for one in several) / 3
        assert np.allclose(norm, wanted, rtol=1e-4)
        assert np.all(short[1:] < 0.8 * wanted[1:])
    assert np.isclose(np.linalg.norm(kept.pooled), sum(np.linalg.norm(one.pooled) for one in several) / 3)
    assert angle(kept.pooled, plain.pooled) < 1e-3


@pytest.mark.parametrize("spherical", [False, True])
def test_the_ends_of_an_interpolation_are_the_two_themselves(spherical):
    a, b = made(1), made(2, sections=2)
    assert between(a, b, 0, spherical) is a
    assert between(a, b, 1, spherical) is b


def test_straight_interpolation_is_the_average():
    a, b = made(1), made(2)
    assert np.allclose(between(a, b, 0.25).states, 0.75 * a.states + 0.25 * b.states, atol=1e-6)


def test_spherical_interpolation_turns_evenly_and_changes_norms_evenly():
    a, b = made(1), made(2, size=3.0)
    middle = between(a, b, 0.25, spherical=True)
    assert np.isclose(angle(middle.pooled, a.pooled), 0.25 * angle(a.pooled, b.pooled), rtol=1e-4)
    for norm, of_a, of_b in zip(norms(middle.states), norms(a.states), norms(b.states)):
        assert np.allclose(norm, 0.75 * of_a + 0.25 * of_b, rtol=1e-4)
    side = SIDES[0]  # each side turns by its own angle
    assert np.isclose(angle(middle.states[9, side], a.states[9, side]), 0.25 * angle(a.states[9, side], b.states[9, side]), rtol=1e-4)


def test_spherical_interpolation_of_the_same_or_opposite_or_nothing_is_straight():
    a = made(1)
    same = between(a, Conditioning(2 * a.states, 2 * a.pooled), 0.5, spherical=True)
    assert np.allclose(same.states, 1.5 * a.states, rtol=1e-3)
    opposite = between(a, Conditioning(-a.states, -a.pooled), 0.25, spherical=True)
    assert np.allclose(opposite.states, 0.5 * a.states, atol=1e-5)
    nothing = between(a, Conditioning(0 * a.states, 0 * a.pooled), 0.25, spherical=True)
    assert np.allclose(nothing.states, 0.75 * a.states, atol=1e-5)


def test_a_way_through_several_meets_each_of_them():
    stops = [made(1), made(2), made(3), made(4)]
    for place, stop in enumerate(stops):
        assert path(stops, place / 3) is stop
    assert np.allclose(path(stops, 0.5).states, (stops[1].states + stops[2].states) / 2, atol=1e-6)
    assert leg_of(2, 1.0) == (0, 1.0)


def test_a_stop_is_met_exactly_however_many_steps_there_are():
    for stops in range(2, 12):
        for between_stops in range(1, 20):
            last = (stops - 1) * between_stops
            legs = [leg_of(stops, stop * between_stops / last) for stop in range(stops)]
            assert legs == [*((stop, 0) for stop in range(stops - 1)), (stops - 2, 1)]


def test_two_sides_are_of_one_and_of_the_other():
    style, content, empty = made(1), made(2, sections=2), made(3)
    both = two_sides(style, content, empty)
    assert np.array_equal(both.pooled, content.pooled)
    assert np.array_equal(both.states[:, 768:], content.states[:, 768:])
    assert np.array_equal(both.states[:, :768], np.concatenate([style.states, empty.states])[:, :768])
    other = two_sides(content, style, empty)
    assert np.array_equal(other.states[:, 768:], np.concatenate([style.states, empty.states])[:, 768:])
    assert np.array_equal(two_sides(style, content, None).states[77:, :768], style.states[:, :768])


@pytest.mark.parametrize("token_by_token", [False, True])
def test_a_push_keeps_norms_and_first_tokens_and_does_nothing_at_strength_zero(token_by_token):
    one, away = made(1), [made(2), made(3, sections=2 if token_by_token else 3)]
    still = pushed(one, away, 0.0, token_by_token)
    assert np.allclose(still.states, repeated(one.states, len(still.states)), atol=1e-5)
    assert np.allclose(still.pooled, one.pooled, atol=1e-5)
    moved = pushed(one, away, 1.5, token_by_token)
    before = repeated(one.states, len(moved.states))
    assert len(moved.states) == (154 if token_by_token else 77)
    assert np.array_equal(moved.states[::77], before[::77])
    for norm, was in zip(norms(moved.states), norms(before)):
        assert np.allclose(norm, was, rtol=1e-4)
    assert np.isclose(np.linalg.norm(moved.pooled), np.linalg.norm(one.pooled), rtol=1e-5)
    assert angle(moved.pooled, one.pooled) > 0.1


def test_a_push_leads_away_from_what_is_disliked():
    one, away = made(1), made(2)
    for token_by_token in (False, True):
        nearer = [angle(pushed(one, [away], strength, token_by_token).pooled, away.pooled) for strength in (0.0, 0.5, 1.0, 2.0)]
        assert nearer == sorted(nearer) and nearer[-1] > nearer[0] + 0.3

    def share(moved: Conditioning) -> float:  # of the direction in the tokens
        step = (one.states - away.states)[1:].mean(0)
        return float((moved.states[1:] @ step).mean())

    shares = [share(pushed(one, [away], strength)) for strength in (0.0, 0.5, 1.0)]
    assert shares == sorted(shares) and shares[2] > shares[0]


def test_all_tokens_move_alike_unless_each_moves_by_itself():
    one, away = made(1), [made(2)]
    side = SIDES[1]

    def turned(moved: Conditioning) -> np.ndarray:  # each token's step before its norm was restored, up to a factor
        norm = np.linalg.norm(one.states[1:, side], axis=-1, keepdims=True)
        step = moved.states[1:, side] - (moved.states[1:, side] * one.states[1:, side]).sum(-1, keepdims=True) / norm**2 * one.states[1:, side]
        return step / np.linalg.norm(step, axis=-1, keepdims=True)

    together, apart = turned(pushed(one, away, 1.0)), turned(pushed(one, away, 1.0, token_by_token=True))
    assert (together[0] @ together[1:].T).min() > 0.9
    assert abs(apart[0] @ apart[1:].T).max() < 0.3


def test_several_disliked_count_as_their_mean():
    one, away = made(1), [made(2), made(3)]
    mean = Conditioning((away[0].states + away[1].states) / 2, (away[0].pooled + away[1].pooled) / 2)
    for token_by_token in (False, True):
        assert np.allclose(pushed(one, away, 1.0, token_by_token).states, pushed(one, [mean], 1.0, token_by_token).states, atol=1e-4)


@pytest.mark.parametrize("token_by_token", [False, True])
def test_one_of_the_disliked_is_pushed_from_the_others(token_by_token):
    away = [made(1), made(2, sections=2), made(3)]
    for one in away:
        others = [other for other in away if other is not one]
        moved, wanted = pushed(one, Disliked(away), 0.7, token_by_token, among=True), pushed(one, others, 0.7, token_by_token)
        assert len(moved.states) == (154 if token_by_token else len(one.states))
        assert np.allclose(moved.states, repeated(wanted.states, len(moved.states)), atol=1e-5)
        assert np.allclose(moved.pooled, wanted.pooled, atol=1e-5)


def test_two_vectors_spread_over_a_section_stand_at_each_of_its_positions() -> None:
    one = made(3)
    clip_l, clip_g = one.states[1, :768].astype(np.float16), one.pooled.astype(np.float16)
    states = spread(clip_l, clip_g)
    assert states.shape == (77, 2048) and states.dtype == np.float32
    assert (states[:, :768] == clip_l).all() and (states[:, 768:] == clip_g).all()
