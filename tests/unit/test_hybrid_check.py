"""How many candidates the check of a hybrid index asks for, and what recall it promises."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit.db.hybrid import check as checking
from diffusion_toolkit.db.hybrid.check import COMPARED, GOOD_MEAN, GOOD_WORST, Check
from diffusion_toolkit.db.hybrid.projection import fit

NAMES = ("prompt", "image", "clip_g")


def checked(samples, components: int) -> dict:
    projection = fit(samples, components)
    check = Check(NAMES, [sample[:1000] for sample in samples], projection, np.random.default_rng(2))
    for start in range(0, len(samples[0]), 500):
        some = [sample[start : start + 500] for sample in samples]
        check.see(some, projection.rows(some))
    return check.result()


def drawn(n: int, size: int = 8) -> list[np.ndarray]:
    vectors = np.random.default_rng(1).normal(size=(3, n, size)).astype(np.float32)
    return list(vectors / np.linalg.norm(vectors, axis=2, keepdims=True))


def test_the_check_takes_more_candidates_until_enough_are_found():
    samples = drawn(3000, 12)
    sure, poor = checked(samples, 12), checked(samples, 10)
    assert set(sure["candidates"].values()) == {COMPARED[0]} and min(sure["recalls"].values()) == 1
    assert all(n > COMPARED[0] for n in poor["candidates"].values())
    assert all(recall >= GOOD_WORST for sort, recall in poor["recalls"].items() if poor["candidates"][sort] < COMPARED[-1])


def test_of_what_no_number_finds_the_recall_is_told_as_it_is():
    result = checked(drawn(COMPARED[-1] + 4000, 12), 2)
    assert set(result["candidates"].values()) == {COMPARED[-1]}
    assert all(0.2 < recall < GOOD_WORST for recall in result["recalls"].values())


def test_a_kind_that_can_not_be_made_short_is_not_hidden_by_the_others():
    samples = drawn(3000, 12)
    for place in (0, 1):
        samples[place][:, 4:] = 0  # all of which four components hold
        samples[place] /= np.linalg.norm(samples[place], axis=1, keepdims=True)
    result = checked(samples, 4)
    assert result["candidates"]["one prompt"] == result["candidates"]["one image"] == COMPARED[0]
    assert result["candidates"]["one clip_g"] > 500 < result["candidates"]["uneven clip_g"]


def test_a_mix_that_is_found_too_seldom_is_not_hidden_by_the_others(monkeypatch):
    """Of two mixes of several kinds one is found in part: the mean of both would be good."""
    monkeypatch.setattr(Check, "_recall", lambda check, question, found: 0.987 if question < 2 and len(found) < 150 else 0.997)
    monkeypatch.setattr(checking, "_EACH", 2)
    monkeypatch.setattr(checking, "_MIXES", ((1, 1, -1), *[(0.4, 0.3, 0.3)] * 20))
    assert (0.987 + 20 * 0.997) / 21 > GOOD_MEAN
    assert checked(drawn(300), 8)["candidates"]["several"] == 150


def test_enough_are_found_of_the_mean_of_all_questions_too(monkeypatch):
    monkeypatch.setattr(Check, "_recall", lambda check, question, found: GOOD_WORST + 0.001 if len(found) < 150 else 1.0)
    assert set(checked(drawn(300), 8)["candidates"].values()) == {150}


def test_images_that_a_question_was_made_of_do_not_count():
    """Short vectors tell a part of such a nearness; a person leaves these images out."""
    samples = drawn(300)
    check = Check(NAMES, samples, fit(samples), np.random.default_rng(2))
    scores = check._compare(samples)
    made_of = {(question, int(np.argmax(samples[kind] @ vector))) for kind, of in enumerate(check._made_of) for question, vector in of}
    assert len(made_of) > 100 and all(scores[pair] == -np.inf for pair in made_of)


def test_a_text_of_more_images_than_are_compared_hides_no_others():
    """As one negative prompt for most: whoever asks for it is shown these, and a question that leaves them out is about the others."""
    samples = drawn(COMPARED[-1] + 1500, 12)
    samples[1][500 : COMPARED[-1] + 600] = samples[1][0]
    result = checked(samples, 12)
    assert min(result["recalls"].values()) == 1 and set(result["candidates"].values()) == {COMPARED[0]}


def test_where_no_number_finds_enough_no_more_are_compared_than_find_anything(monkeypatch):
    monkeypatch.setattr(Check, "_recall", lambda check, question, found: min(0.97, len(found) / 1000))
    result = checked(drawn(COMPARED[-1]), 8)
    assert set(result["candidates"].values()) == {1000} and set(result["recalls"].values()) == {0.97}


def test_the_ten_best_count_by_themselves():
    check = Check(NAMES, drawn(300), fit(drawn(300)), np.random.default_rng(2))
    check._best[0] = np.arange(100, 50, -1)
    assert check._recall(0, np.arange(99, 50, -1)) == pytest.approx(0.9)  # 49 of the 50 best, 9 of the 10
