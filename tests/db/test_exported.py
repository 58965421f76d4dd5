"""All vectors of images at once, with the texts that they are of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import psycopg
import pytest
from diffusion_toolkit import db

DIMS = {"text": 8, "image": 8, "clip_l": 6, "clip_g": 10}


@pytest.fixture
def encoders(conn: db.Connection, encoder: Callable[..., int]) -> dict[str, db.StoredEncoder]:
    for family, dims in DIMS.items():
        encoder(conn, family, dims=dims)
    return db.active_encoders(conn)


@pytest.fixture
def ids(conn: db.Connection, root: int, image: Callable[..., db.ImageRecord], encoders: dict) -> list[int]:
    """Three images: with both prompts, without a negative one, without any; every text and picture has each vector."""
    fox, blurry = db.TextPair("a fox", "fox, painting"), db.TextPair("blurry", "blurry")
    ids = db.write_images(conn, root, [image(1, prompt=fox, negative=blurry), image(2, prompt=fox), image(3)])
    texts = [db.ensure_text(conn, text) for text in (fox, blurry, db.TextPair("", ""))]
    for family in ("text", "clip_l", "clip_g"):
        db.write_text_vectors(conn, encoders[family].id, texts, vectors(family, texts))
    db.write_image_vectors(conn, encoders["image"].id, ids, vectors("image", ids))
    return ids


def vectors(family: str, ids: list[int]) -> np.ndarray:
    """Of these texts or images, as no other has them."""
    return np.stack([np.random.default_rng([*family.encode(), id_]).normal(size=DIMS[family]) for id_ in ids]).astype(np.float16)


def assert_is(found: np.ndarray, family: str, id_: int) -> None:
    assert found.dtype == np.float32 and np.array_equal(found, vectors(family, [id_])[0])


def test_an_image_has_the_vectors_of_its_texts_and_its_own(conn: db.Connection, ids: list[int], encoders: dict) -> None:
    [stored] = db.stored_vectors(conn, ids[:1], encoders)
    fox, blurry = (db.find_text(conn, text) for text in (stored.prompt, stored.negative))
    assert (stored.prompt, stored.negative) == (db.TextPair("a fox", "fox, painting"), db.TextPair("blurry", "blurry"))
    assert (stored.prompt_id, stored.negative_side) == (fox, blurry)
    of = {"prompt": ("text", fox), "negative": ("text", blurry), "image": ("image", ids[0]), "clip_l": ("clip_l", fox), "clip_g": ("clip_g", fox)}
    of |= {"negative_clip_l": ("clip_l", blurry), "negative_clip_g": ("clip_g", blurry)}
    assert stored.vectors.keys() == of.keys()
    for name, (family, id_) in of.items():
        assert_is(stored.vectors[name], family, id_)


def test_without_a_negative_prompt_its_style_is_the_empty_texts(conn: db.Connection, ids: list[int], encoders: dict) -> None:
    [stored] = db.stored_vectors(conn, ids[1:2], encoders)
    empty = db.find_text(conn, db.TextPair("", ""))
    assert stored.negative is None and stored.negative_side == empty and "negative" not in stored.vectors
    assert_is(stored.vectors["negative_clip_g"], "clip_g", empty)


def test_what_an_image_lacks_is_left_out_and_so_is_one_that_there_is_not(conn: db.Connection, ids: list[int], encoders: dict) -> None:
    stored = db.stored_vectors(conn, [ids[2], 999_999, ids[0]], encoders)
    assert [one.image_id for one in stored] == [ids[2], ids[0]]
    assert sorted(stored[0].vectors) == ["image", "negative_clip_g", "negative_clip_l"] and stored[0].prompt is None


def test_only_the_given_encoders_vectors_are_read(conn: db.Connection, ids: list[int], encoders: dict, encoder: Callable[..., int]) -> None:
    encoder(conn, "image", fingerprint="bb", dims=8)
    [stored] = db.stored_vectors(conn, ids[:1], db.active_encoders(conn))
    assert "image" not in stored.vectors and "prompt" in stored.vectors
    assert db.stored_vectors(conn, ids[:1], {})[0].vectors == {}


def test_the_usual_length_of_vectors_is_their_mean(conn: db.Connection, ids: list[int], encoders: dict, encoder: Callable[..., int]) -> None:
    texts = [row[0] for row in conn.execute("SELECT text_id FROM text_vectors WHERE encoder_id = %s", [encoders["clip_g"].id])]
    expected = np.linalg.norm(vectors("clip_g", texts).astype(np.float64), axis=1).mean()
    assert db.typical_length(conn, encoders["clip_g"].id) == pytest.approx(expected, rel=1e-4)
    assert db.typical_length(conn, encoder(conn, "clip_g", fingerprint="bb", dims=10)) is None


def test_a_still_library_does_not_see_what_is_written_meanwhile(library: db.Library, image: Callable[..., db.ImageRecord]) -> None:
    with library.connection() as writer:
        root = db.ensure_root(writer, "output", "/pictures")
        db.write_images(writer, root, [image(1)])
    with library.connection() as reader:
        db.keep_still(reader)
        assert db.count_images(reader) == 1
        with library.connection() as writer:
            db.write_images(writer, root, [image(2)])
        assert db.count_images(reader) == 1
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            db.write_images(reader, root, [image(3)])
        reader.rollback()
    with library.connection() as reader:
        assert db.count_images(reader) == 2
