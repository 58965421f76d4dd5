"""Vectors and token states come back as they went in, within float16."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from host.lacking_texts import lacking_texts


def texts(conn, count: int) -> list[int]:
    return [db.ensure_text(conn, db.TextPair(f"text {n}", f"text {n}")) for n in range(count)]


@pytest.mark.parametrize("dims", [768, 1024, 1280])
def test_vectors_come_back_within_float16(conn, encoder, dims):
    ids, encoder_id = texts(conn, 3), encoder(conn, "text", dims=dims)
    vectors = np.random.default_rng(1).normal(size=(3, dims)).astype(np.float32)
    db.write_text_vectors(conn, encoder_id, ids, vectors)
    for text_id, vector in zip(ids, vectors):
        stored = db.text_vector(conn, text_id, encoder_id)
        assert stored.dtype == np.float32
        np.testing.assert_array_equal(stored, vector.astype(np.float16).astype(np.float32))


def test_the_database_reads_the_same_numbers(conn, encoder):
    [text_id], encoder_id = texts(conn, 1), encoder(conn, "text", dims=3)
    db.write_text_vectors(conn, encoder_id, [text_id], np.array([[1, -2.5, 0.25]]))
    assert conn.execute("SELECT text_id, encoder_id, embedding::text FROM text_vectors").fetchall() == [
        (text_id, encoder_id, "[1,-2.5,0.25]")
    ]


def test_vectors_lie_inside_their_rows(conn):
    storage = conn.execute(
        "SELECT attstorage FROM pg_attribute WHERE attname = 'embedding' AND attrelid::regclass::text LIKE '%vectors'"
    )
    assert storage.fetchall() == [("p",)] * 3


def test_an_image_keeps_the_vector_it_has(conn, root, image, encoder, unit):
    [image_id], encoder_id = db.write_images(conn, root, [image(1)]), encoder(conn, "image")
    for value in (1, 2):
        db.write_image_vectors(conn, encoder_id, [image_id], unit(value)[None])
    assert db.image_vector(conn, image_id, encoder_id)[0] == 1


def test_two_encoders_of_two_sizes_share_the_table(conn, encoder, unit):
    [text_id] = texts(conn, 1)
    small, large = encoder(conn, "text", "aa", dims=4), encoder(conn, "text", "bb", dims=6)
    db.write_text_vectors(conn, small, [text_id], unit(1, dims=4)[None])
    assert db.text_vector(conn, text_id, large) is None
    db.write_text_vectors(conn, large, [text_id], unit(2, dims=6)[None])
    assert [len(db.text_vector(conn, text_id, e)) for e in (small, large)] == [4, 6]


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, 1e6])
def test_a_vector_without_a_cosine_is_refused(conn, encoder, unit, value):
    ids, encoder_id = texts(conn, 2), encoder(conn, "text")
    with pytest.raises(ValueError, match=r"vectors \[1\] are zero, not finite or beyond"):
        db.write_text_vectors(conn, encoder_id, ids, np.stack([unit(1), unit(value)]))
    assert conn.execute("SELECT count(*) FROM text_vectors").fetchone() == (0,)


def test_vectors_of_another_size_are_refused(conn, encoder, unit):
    with pytest.raises(ValueError, match=r"expected vectors of shape \[n, 8\], got \[1, 9\]"):
        db.write_text_vectors(conn, encoder(conn, "text"), texts(conn, 1), unit(1, dims=9)[None])


def test_an_encoder_is_known_by_family_and_fingerprint(conn, encoder):
    first = encoder(conn, "clip_l", "aa")
    assert encoder(conn, "clip_l", "aa") == first != encoder(conn, "clip_g", "aa")
    assert db.find_encoder(conn, "clip_l", "aa").id == first
    assert db.find_encoder(conn, "clip_l", "zz") is None


def test_an_encoder_cannot_change_its_dimensions(conn, encoder):
    encoder(conn, "text", "aa", dims=8)
    with pytest.raises(ValueError, match="makes 9 dimensions, but is recorded with 8"):
        encoder(conn, "text", "aa", dims=9)


def test_one_encoder_of_a_family_is_active(conn, encoder):
    first, other, second = encoder(conn, "text", "aa"), encoder(conn, "image", "aa"), encoder(conn, "text", "bb")
    assert {family: e.id for family, e in db.active_encoders(conn).items()} == {"text": second, "image": other}
    with pytest.raises(ValueError, match="two encoders of one family"):
        db.activate_encoders(conn, [first, second])


def test_what_lacks_a_vector_is_listed_until_it_has_one(conn, root, image, encoder, unit):
    records = [
        image(n, path=f"{folder}/{n}.png", prompt=db.TextPair(folder, folder))
        for n, folder in enumerate(["a", "a", "ab"])
    ]
    ids = db.write_images(conn, root, records)
    by_image, by_text, states = encoder(conn, "image"), encoder(conn, "text"), encoder(conn, "token_states")
    lacking = db.images_without_vector(conn, by_image, root, "a")
    assert [(id_, file.path, file.size) for id_, file in lacking] == [(id_, r.path, r.file_size) for id_, r in zip(ids, records[:2])]
    assert len(db.images_without_vector(conn, by_image, root, "")) == 3
    assert [id_ for id_, _ in db.images_without_vector(conn, by_image, root, "", after=ids[0], limit=1)] == [ids[1]]
    [(text_id, text)] = lacking_texts(conn, by_text, root, "a")
    assert text == db.TextPair("a", "a")

    db.write_image_vectors(conn, by_image, ids[:1], unit(1)[None])
    db.write_text_vectors(conn, by_text, [text_id], unit(1)[None])
    assert [id_ for id_, _ in db.images_without_vector(conn, by_image, root, "a")] == [ids[1]]
    assert db.still_without_vector(conn, by_image, ids[:2]) == {ids[1]}
    assert lacking_texts(conn, by_text, root, "a") == []
    assert len(lacking_texts(conn, states, root, "a")) == 1
    db.write_token_states(conn, states, {text_id: db.TokenStates(np.ones((1, 8), np.float16), np.ones(2, np.float16))})
    assert lacking_texts(conn, states, root, "a") == []


def test_a_recorded_empty_text_counts_as_used(conn, root, encoder):
    empty, by_text = db.ensure_text(conn, db.TextPair("", "")), encoder(conn, "text")
    assert lacking_texts(conn, by_text, root, "") == [(empty, db.TextPair("", ""))]


def test_counts_tell_the_five_kinds_apart(conn, root, image, encoder, unit):
    prompt, negative = db.TextPair("p", "p"), db.TextPair("n", "n")
    ids = db.write_images(conn, root, [image(n, prompt=prompt, negative=negative) for n in range(3)])
    by_text, by_image = encoder(conn, "text"), encoder(conn, "image")
    text_ids = [db.find_text(conn, prompt), db.find_text(conn, negative)]
    db.write_text_vectors(conn, by_text, text_ids, np.stack([unit(1), unit(0, 1)]))
    db.write_image_vectors(conn, by_image, ids[:2], np.stack([unit(1), unit(1)]))
    assert db.counts(conn) == db.Counts(
        3, 3, 2, {"prompt": 1, "negative": 1, "clip_l": 0, "clip_g": 0, "image": 2}, token_states=0,
        images_with={"prompt": 3, "negative": 3, "clip_l": 0, "clip_g": 0, "image": 2},
    )
