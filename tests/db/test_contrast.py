"""Contrast: alike in one way and not in the other, for one image and over a whole library."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.survey.contrast import LOOK, PROMPT
from psycopg import sql


def at(degrees: float, dims: int = 8) -> np.ndarray:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), *[0] * (dims - 2)])


@pytest.fixture
def ids(conn, root, image, encoder) -> list[int]:
    """Images as (look, prompt), both as degrees on a circle; one has no prompt."""
    looks_and_prompts = [(0, 0), (5, 80), (10, 10), (8, 40), (90, 0), (60, 2), (85, 85), (3, None), (45, 0)]
    prompts = sorted({prompt for _, prompt in looks_and_prompts if prompt is not None})
    texts = {prompt: db.TextPair(f"prompt {prompt}", f"prompt {prompt}") for prompt in prompts}
    records = [image(n, prompt=texts.get(prompt)) for n, (_, prompt) in enumerate(looks_and_prompts)]
    ids = db.write_images(conn, root, records)
    db.write_image_vectors(conn, encoder(conn, "image"), ids, np.stack([at(look) for look, _ in looks_and_prompts]))
    text_ids = [db.find_text(conn, texts[prompt]) for prompt in prompts]
    db.write_text_vectors(conn, encoder(conn, "text"), text_ids, np.stack([at(prompt) for prompt in prompts]))
    return ids


def pairs(ids: list[int], found: list[db.Contrast]) -> list[tuple[int, int]]:
    return [(ids.index(one.first), ids.index(one.second)) for one in found]


def test_an_image_has_lookalikes_of_other_prompts_the_most_different_first(conn, ids):
    found = db.contrasts_of_image(conn, ids[0], LOOK, 0.95, 10)
    assert pairs(ids, found) == [(0, 1), (0, 3), (0, 2)]
    assert (found[0].look, found[0].prompt) == pytest.approx((np.cos(np.radians(5)), np.cos(np.radians(80))), abs=1e-3)


def test_of_one_prompt_no_image_has_another_however_many_look_more_alike(conn, ids, image, root, monkeypatch):
    monkeypatch.setattr("diffusion_toolkit.db.survey.contrast._POOL", 3)
    same = db.write_images(conn, root, [image(20 + n, prompt=db.TextPair("prompt 0", "prompt 0")) for n in range(30)])
    db.write_image_vectors(conn, db.active_encoder(conn, "image").id, same, np.stack([at(1)] * 30))
    assert pairs(ids, db.contrasts_of_image(conn, ids[0], LOOK, 0.95, 10)) == [(0, 1), (0, 3), (0, 2)]


def test_an_image_has_others_of_its_prompt_with_other_looks(conn, ids):
    found = db.contrasts_of_image(conn, ids[0], PROMPT, 0.999, 10)
    assert pairs(ids, found) == [(0, 4), (0, 5), (0, 8)]
    assert (found[0].look, found[0].prompt) == pytest.approx((0, 1), abs=1e-3)


def test_only_so_many_are_given(conn, ids):
    assert pairs(ids, db.contrasts_of_image(conn, ids[0], LOOK, 0.95, 1)) == [(0, 1)]


def test_a_filter_chooses_among_an_images_contrasts(conn, ids):
    chosen = db.Filter(sql.SQL("i.id = ANY({})").format(sql.Placeholder("some")), {"some": ids[2:]})
    assert pairs(ids, db.contrasts_of_image(conn, ids[0], LOOK, 0.95, 10, chosen)) == [(0, 3), (0, 2)]


def test_the_library_has_lookalikes_of_other_prompts_each_image_in_one_pair(conn, ids):
    found = db.contrasts_of_library(conn, LOOK, 0.95, 10)
    assert pairs(ids, found) == [(4, 6), (0, 1), (2, 3), (5, 8)]


@pytest.mark.parametrize("exact_below", [1000, 0])
def test_pairs_of_one_prompt_take_no_place_however_many_look_more_alike(conn, ids, image, root, monkeypatch, exact_below):
    monkeypatch.setattr("diffusion_toolkit.db.survey.pairs.EXACT_BELOW", exact_below)
    monkeypatch.setattr("diffusion_toolkit.db.survey.contrast._PAIRS_COMPARED", 60)
    others = [image(20 + n, prompt=db.TextPair(*[f"prompt {[40, 85][n // 30]}"] * 2)) for n in range(60)]
    added = db.write_images(conn, root, others)
    looks = np.concatenate([np.linspace(170, 170.1, 30), np.linspace(178, 178.1, 30)])
    db.write_image_vectors(conn, db.active_encoder(conn, "image").id, added, np.stack([at(look) for look in looks]))
    found = db.contrasts_of_library(conn, LOOK, 0.985, 200, db.Filter.of_ids(added))
    assert len(found) >= 5 and all(one.first in added[:30] and one.second in added[30:] for one in found)
    assert {round(one.prompt, 3) for one in found} == {round(float(np.cos(np.radians(45))), 3)}


@pytest.mark.parametrize("most, expected", [(1, (2, 3)), (2, (1, 3))])
def test_of_too_many_pairs_those_that_look_most_alike_are_compared(conn, ids, monkeypatch, most, expected):
    for name, value in (("pairs._BLOCK", 4), ("pairs.MOST_PAIRS", 5), ("contrast._PAIRS_COMPARED", most)):
        monkeypatch.setattr(f"diffusion_toolkit.db.survey.{name}", value)
    assert pairs(ids, db.contrasts_of_library(conn, LOOK, -1, 10)) == [expected]


def test_each_image_of_the_library_is_in_one_pair_also_where_one_image_is_the_first_of_all(conn, ids):
    between = db.Filter(sql.SQL("i.id = ANY({})").format(sql.Placeholder("some")), {"some": [ids[5], ids[6], ids[8]]})
    assert pairs(ids, db.contrasts_of_library(conn, LOOK, 0.85, 10, between)) == [(5, 6)]


def test_the_library_has_images_of_one_prompt_with_other_looks(conn, ids):
    [found] = db.contrasts_of_library(conn, PROMPT, 0.0, 10)
    assert (ids.index(found.first), ids.index(found.second), found.prompt) == (0, 4, 1.0)
    assert found.look == pytest.approx(0, abs=1e-3)


def test_many_prompts_are_compared_batch_by_batch(conn, root, image, encoder, monkeypatch):
    monkeypatch.setattr("diffusion_toolkit.db.survey.contrast.BATCH", 5)
    records = [image(n, prompt=db.TextPair(f"p {n // 3}", f"p {n // 3}")) for n in range(60)]
    ids = db.write_images(conn, root, records)
    looks = np.stack([at([0, 1, 10 + n // 3][n % 3]) for n in range(60)])
    db.write_image_vectors(conn, encoder(conn, "image"), ids, looks)
    encoder(conn, "text")
    found = db.contrasts_of_library(conn, PROMPT, 0.0, 100)
    assert pairs(ids, found) == [(3 * n, 3 * n + 2) for n in reversed(range(20))]


def test_an_image_without_a_prompt_says_what_to_do(conn, ids):
    with pytest.raises(db.LibraryError, match="no vector of its prompt.*Choose an image with a prompt"):
        db.contrasts_of_image(conn, ids[7], LOOK, 0.9, 5)


def test_an_unknown_image_is_told(conn, ids):
    with pytest.raises(db.LibraryError, match="no image 99999"):
        db.contrasts_of_image(conn, 99999, LOOK, 0.9, 5)


@pytest.mark.parametrize("family, connect", [("image", "a text embedder"), ("text", "a CLIP_VISION")])
def test_a_library_of_one_kind_says_what_to_connect(conn, encoder, family, connect):
    encoder(conn, family)
    with pytest.raises(db.LibraryError, match=connect):
        db.contrasts_of_library(conn, LOOK, 0.9, 5)


def test_an_empty_prompt_is_none(conn, ids, image, root):
    """Two images with an empty text before their samplers, as near to others as can be, in looks and in prompts."""
    empty = db.TextPair("", "")
    without = db.write_images(conn, root, [image(20, prompt=empty), image(21, prompt=empty)])
    db.write_image_vectors(conn, db.active_encoder(conn, "image").id, without, np.stack([at(0), at(180)]))
    db.write_text_vectors(conn, db.active_encoder(conn, "text").id, [db.find_text(conn, empty)], at(1)[None])
    assert pairs(ids, db.contrasts_of_image(conn, ids[0], LOOK, 0.95, 10)) == [(0, 1), (0, 3), (0, 2)]
    assert pairs(ids, db.contrasts_of_image(conn, ids[0], PROMPT, 0.999, 10)) == [(0, 4), (0, 5), (0, 8)]
    assert pairs(ids, db.contrasts_of_library(conn, LOOK, 0.95, 10)) == [(4, 6), (0, 1), (2, 3), (5, 8)]
    assert pairs(ids, db.contrasts_of_library(conn, PROMPT, 0.0, 10)) == [(0, 4)]
    for how in (LOOK, PROMPT):
        with pytest.raises(db.LibraryError, match="no vector of its prompt.*Choose an image with a prompt"):
            db.contrasts_of_image(conn, without[0], how, 0.9, 5)
