"""Texts near a question: each once, however many images share it, and those of images that are left out not at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import phrases

Adds = Callable[..., list[int]]


@pytest.fixture
def add(conn: db.Connection, root: int, image, encoder) -> Adds:
    """Adds images of (prompt, angle): the vector of a prompt, and of its picture, points at that angle; returns the ids."""
    text_encoder, image_encoder = encoder(conn, "text"), encoder(conn, "image")
    numbers = iter(range(10_000))

    def vector(angle: float) -> np.ndarray:
        return np.array([np.cos(angle), np.sin(angle), *[0] * 6], np.float32)

    def make(*pairs: tuple[str | None, float], negative: str | None = None) -> list[int]:
        of = [db.TextPair(negative, negative) if negative else None] * len(pairs)
        prompts = [None if prompt is None else db.TextPair(prompt, prompt) for prompt, _ in pairs]
        ids = db.write_images(conn, root, [image(next(numbers), prompt=p, negative=n) for p, n in zip(prompts, of)])
        texts = {db.find_text(conn, prompt): angle for prompt, (_, angle) in zip(prompts, pairs) if prompt is not None}
        db.write_text_vectors(conn, text_encoder, list(texts), np.stack([vector(angle) for angle in texts.values()]))
        db.write_image_vectors(conn, image_encoder, ids, np.stack([vector(angle) for _, angle in pairs]))
        return ids

    return make


def question(kind: str = "prompt", **fields) -> db.Question:
    return db.Question(parts=(db.Part(kind, np.array([1, *[0] * 7], np.float32)),), **fields)


def near(conn: db.Connection, n: int = 10, **fields) -> list[str]:
    return [text.text for text in phrases.nearest_texts(conn, question(**fields), n)[0]]


def test_texts_come_nearest_first_with_their_score_and_an_image(conn, add: Adds):
    ids = add(("far", 1.2), ("near", 0.1), ("between", 0.6))
    found, _ = phrases.nearest_texts(conn, question(), 2)
    assert [(one.text, one.image_id) for one in found] == [("near", ids[1]), ("between", ids[2])]
    assert found[0].score == pytest.approx(np.cos(0.1), abs=1e-3)


def test_a_text_of_very_many_images_hides_no_other(conn, add: Adds):
    add(*[("the same", 0.0)] * 450, ("another", 0.5), ("a third", 0.6))
    assert near(conn, 3) == ["the same", "another", "a third"]


def test_by_pictures_a_text_has_the_score_of_its_nearest_one(conn, add: Adds):
    ids = add(("a fox", 0.9), ("a fox", 0.1), ("a ship", 0.5))
    found, _ = phrases.nearest_texts(conn, question("image"), 5)
    assert [(one.text, one.image_id) for one in found] == [("a fox", ids[1]), ("a ship", ids[2])]


def test_images_without_a_text_or_with_an_empty_one_give_none(conn, add: Adds):
    add(*[(None, 0.0)] * 150, *[("", 0.0)] * 250, ("a fox", 0.5))
    assert near(conn, kind="image") == ["a fox"]


def test_the_texts_of_images_that_are_left_out_are_left_out_whoever_has_them(conn, add: Adds):
    ids = add(("a fox", 0.0), ("a fox", 0.1), ("a ship", 0.5))
    left_out = question(leave_out=(ids[0],))
    assert [one.text for one in phrases.nearest_texts(conn, left_out, 5)[0]] == ["a ship"]
    assert {one.text for one in phrases.some_texts(conn, left_out)} == {"a ship"}


def test_a_filter_holds_for_what_is_near_and_for_what_stands_for_all(conn, add: Adds):
    ids = add(("a fox", 0.0), ("a ship", 0.5), ("a car", 0.7))
    db.label_images(conn, ids[1:], add=["kept"])
    limited = question(filter=db.parse_filter("label:kept"))
    assert [one.text for one in phrases.nearest_texts(conn, limited, 5)[0]] == ["a ship", "a car"]
    assert {one.text for one in phrases.some_texts(conn, limited)} == {"a ship", "a car"}


def test_a_question_of_negative_prompts_gives_these(conn, add: Adds, unit):
    add(("a fox", 0.0), negative="blurry")
    encoder = db.active_encoder(conn, "text")
    db.write_text_vectors(conn, encoder.id, [db.find_text(conn, db.TextPair("blurry", "blurry"))], np.stack([unit(1, 1)]))
    assert near(conn, kind="negative") == ["blurry"]


def test_prompts_and_negative_prompts_at_once_are_refused(conn, add: Adds):
    add(("a fox", 0.0))
    both = db.Question(parts=(*question("negative").parts, *question("image").parts))
    with pytest.raises(db.LibraryError, match="negative prompts and something else"):
        phrases.nearest_texts(conn, both, 5)


def test_vectors_of_texts_come_once_and_of_pictures_for_each(conn, add: Adds):
    add(("a fox", 0.0), ("a fox", 0.2), ("a ship", 0.5))
    _, images = phrases.nearest_texts(conn, question("image"), 5)
    texts, vectors = phrases.known_vectors(conn, "prompt", db.active_encoder(conn, "text"), images)
    assert (sorted(texts), vectors.shape) == (["a fox", "a ship"], (2, 8))
    texts, vectors = phrases.known_vectors(conn, "image", db.active_encoder(conn, "image"), images)
    assert (sorted(texts), vectors.shape) == (["a fox", "a fox", "a ship"], (3, 8))
