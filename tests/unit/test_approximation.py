"""Estimates of token states: what is linear in the vectors or follows from the tokens is found again, and its error is told honestly."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit.embedders.conditioning import approximation, estimate, token_approximation
from diffusion_toolkit.embedders.conditioning.approximation import Inputs, VectorMap, error_of
from diffusion_toolkit.embedders.conditioning.estimate import Estimator, KnownTexts, fit
from diffusion_toolkit.embedders.conditioning.token_approximation import END, Section, TokenMap, common_start

START = 49406
WORDS = np.arange(300, 330)


def section(*words: int, weights: dict[int, float] = {}) -> Section:
    ids = np.full(77, END)
    ids[0] = START
    ids[1 : 1 + len(words)] = words
    given = np.ones(77, np.float32)
    for place, weight in weights.items():
        given[place] = weight
    return Section(ids, given)


def texts(n: int = 60, by_tokens: float = 0.0, seed: int = 1) -> KnownTexts:
    """Texts whose states are linear in six hidden numbers, which the vectors tell, and in their tokens, which they don't."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(n, 6))
    clip_l, clip_g = (hidden @ rng.normal(size=(6, width)) * length for width, length in ((768, 20.0), (1280, 1.0)))
    sections = [section(*rng.choice(WORDS, rng.integers(5, 15))) for _ in range(n)]
    states = np.einsum("nk,kpw->npw", hidden, rng.normal(size=(6, 77, 2048)).astype(np.float32)) + rng.normal(size=(77, 2048))
    looks = dict(zip(WORDS, rng.normal(size=(len(WORDS), 2048))))
    for row, of_text in enumerate(sections):
        for place in np.flatnonzero(of_text.kinds == 0)[1:]:
            states[row, place] += by_tokens * looks[of_text.ids[place]]
    empty = rng.normal(size=(77, 2048)).astype(np.float32)
    states[:, 0] = empty[0]
    return KnownTexts(clip_l.astype(np.float32), clip_g.astype(np.float32), states.astype(np.float16), (sections, sections), empty)


@pytest.fixture(scope="module")
def known() -> KnownTexts:
    return texts(by_tokens=6.0)


@pytest.fixture(scope="module")
def fitted(known: KnownTexts) -> tuple[Estimator, dict]:
    return fit(known)


def test_what_is_linear_in_the_vectors_is_found_again():
    known = texts()
    estimator, details = fit(KnownTexts(known.clip_l, known.clip_g, known.states, None, None))
    assert details["vectors"]["explained"] > 0.99 and details["vectors"]["relative"] < 0.05
    assert details["fitted_on"] == 53 and details["vectors"]["texts"] == 3 and "text" not in details
    estimated = estimator.of_vectors(known.clip_l[-1], known.clip_g[-1])
    assert error_of([estimated], known.states[-1:], np.zeros((77, 2048))).cosine > 0.995


def test_vectors_that_tell_nothing_give_the_means_and_say_so():
    known = texts()
    shuffled = np.random.default_rng(2).permutation(len(known.states))
    _, details = fit(KnownTexts(known.clip_l[shuffled], known.clip_g[shuffled], known.states, None, None))
    assert -0.2 < details["vectors"]["explained"] < 0.2


def test_tokens_tell_what_the_vectors_do_not(fitted):
    _, details = fitted
    assert details["text"]["explained"] > details["vectors"]["explained"] + 0.3
    assert details["text"]["explained"] > 0.85


def test_the_first_position_is_the_empty_texts(known, fitted):
    states = fitted[0].of_text(known.clip_l[0], known.clip_g[0], ([section(300)], [section(301)]))
    assert np.array_equal(states[0], known.empty[0].astype(np.float16).astype(np.float32))


def test_a_weight_moves_the_state_away_from_the_empty_texts(known, fitted):
    estimator, _ = fitted
    tower, short = estimator.towers[0], estimator.inputs.shortened(known.clip_l[:1], known.clip_g[:1])[0]
    plain = tower.predict(section(300, 301, 302), short)
    weighted = tower.predict(section(300, 301, 302, weights={2: 1.5}), short)
    empty = tower.empty.astype(np.float32)
    assert np.allclose(weighted[2], empty[2] + 1.5 * (plain[2] - empty[2]), atol=1e-4)
    assert np.array_equal(np.delete(weighted, 2, 0), np.delete(plain, 2, 0))


def test_weighted_positions_teach_nothing(known):
    """A text whose weighted words' states are far off gives the same map."""
    few = known[:20]
    sections = [section(*of_text.ids[1:5], weights={2: 1.3}) for of_text in few.tokens[0]]
    changed = few.states.copy()
    changed[:, 2] = 1000
    inputs = approximation.fit_inputs(few.clip_l, few.clip_g, 8)[0]
    one, other = (
        token_approximation.fit_tokens(inputs, few.clip_l, few.clip_g, sections, states[..., :768], few.empty[:, :768]) for states in (few.states, changed)
    )
    assert np.array_equal(one.weights, other.weights) and np.array_equal(one.table, other.table)


def test_later_sections_have_an_estimate_of_their_own(known, fitted):
    two = [section(300, 301), section(302)]
    states = fitted[0].of_text(known.clip_l[0], known.clip_g[0], (two, two))
    assert states.shape == (154, 2048) and np.isfinite(states).all()
    assert not np.allclose(states[1:77], states[78:])


def test_bytes_give_the_same_estimates_back(known, fitted):
    estimator = fitted[0]
    again = Estimator.from_bytes(*estimator.to_bytes())
    sections = ([known.tokens[0][0]], [known.tokens[1][0]])
    assert np.array_equal(again.of_text(known.clip_l[0], known.clip_g[0], sections), estimator.of_text(known.clip_l[0], known.clip_g[0], sections))
    alone = Estimator.from_bytes(estimator.to_bytes()[0])
    assert np.array_equal(alone.of_vectors(known.clip_l[0], known.clip_g[0]), estimator.of_vectors(known.clip_l[0], known.clip_g[0]))


@pytest.mark.parametrize("harm", [lambda data: data[:1000], lambda data: b"", lambda data: data[:5000] + b"\0\1\2\3" + data[5004:]])
def test_damaged_bytes_are_noticed(fitted, harm):
    with pytest.raises(ValueError, match="damaged"):
        Estimator.from_bytes(harm(fitted[0].to_bytes()[0]))


def test_bytes_of_other_parts_are_a_value_error_too(fitted):
    by_vectors, by_text = fitted[0].to_bytes()
    for parts in ((by_text, None), (by_vectors, by_vectors)):
        with pytest.raises(ValueError, match="other parts"):
            Estimator.from_bytes(*parts)


def test_the_largest_map_takes_less_than_64_mb():
    half, rank, features = np.float16, approximation.RANK, 3 * token_approximation.SHORT_TOKENS + token_approximation.SHORT_INPUTS + 1
    vectors = VectorMap(np.zeros((77, 2048), half), np.zeros(2048, np.float32), np.zeros((2048, rank), np.float32), np.zeros((rank, 76 * 2048), half))
    inputs = Inputs(np.zeros(2048, np.float32), np.zeros(2048, np.float32), np.zeros((2048, token_approximation.SHORT_INPUTS), half))
    towers = tuple(
        TokenMap(
            np.zeros((3, 77, width), half), np.zeros((77, width), half), np.zeros(token_approximation.TOKENS, np.int64),
            np.zeros((token_approximation.TOKENS, width), half), np.zeros((width, token_approximation.SHORT_TOKENS), half), np.zeros((3, features, width), half),
        )
        for width in (768, 1280)
    )  # fmt: skip
    parts = Estimator(vectors, inputs, towers, np.zeros((2, 3, 2), np.float32)).to_bytes()
    assert 60e6 < sum(map(len, parts)) < 64e6


def test_rank_and_table_keep_to_their_limits(monkeypatch, known):
    monkeypatch.setattr(token_approximation, "TOKENS", 7)
    estimator, _ = fit(known)
    assert len(estimator.towers[0].ids) == 7
    assert estimator.vectors.into.shape[1] <= approximation.RANK


def test_common_beginnings_are_counted_section_by_section():
    ours = [section(1, 2, 3), section(4, 5)]
    assert common_start(ours, [section(1, 2, 9), section(4, 5)]) == [3, 77]
    assert common_start(ours, [section(1, 2, 3)]) == [77, 0]
    assert common_start(ours, [section(1, 2, 3, weights={2: 1.1}), section(7)]) == [2, 1]
    inversion = [section(1, -1, 3)]
    assert common_start(inversion, inversion) == [2]


def test_too_few_texts_are_refused(known):
    with pytest.raises(ValueError, match="16"):
        fit(known[: estimate.LEAST - 1])


def test_progress_is_told_and_may_cancel(known):
    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(known, cancel)
