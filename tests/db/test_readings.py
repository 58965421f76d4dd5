"""What was read of an image is replaced by a better reading of the same bytes, and the bytes themselves stay."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import numpy as np
import psycopg
import pytest
from diffusion_toolkit import db
from host.lacking_texts import lacking_texts


def pair(text: str) -> db.TextPair:
    return db.TextPair(text, text)


def test_a_new_reading_takes_the_place_of_the_old_one(conn, root, image):
    old = image(1, prompt=pair("pipe"), negative=pair("blurry"), seed=1, generator="ComfyUI", metadata={"prompt": b"{}"})
    [image_id] = db.write_images(conn, root, [old])
    db.update_readings(conn, {image_id: db.Reading(prompt=pair("a fox"), seed=2, prompt_confidence="exact", reader=2)})
    [stored] = db.get_images(conn, [image_id])
    assert (stored.prompt, stored.negative, stored.seed, stored.generator) == ("a fox", None, 2, None)
    assert (stored.prompt_confidence, stored.reader) == ("exact", 2)
    assert (stored.hash, stored.files[0].path) == (old.hash, "folder/1.png")
    assert db.stored_pieces(conn, [image_id])[image_id].metadata == {"prompt": b"{}"}


def test_a_text_that_no_image_uses_any_more_keeps_its_vector(conn, root, image, encoder, unit):
    [image_id] = db.write_images(conn, root, [image(1, prompt=pair("old"))])
    encoder_id = encoder(conn, "text")
    old = db.find_text(conn, pair("old"))
    db.write_text_vectors(conn, encoder_id, [old], unit(1)[None])
    db.update_readings(conn, {image_id: db.Reading(prompt=pair("new"), reader=2)})
    assert np.array_equal(db.text_vector(conn, old, encoder_id), unit(1))
    assert [text for _, text in lacking_texts(conn, encoder_id, root, "")] == [pair("new")]


def test_new_pieces_replace_all_old_ones_of_that_image_only(conn, root, image):
    one, two = db.write_images(conn, root, [image(n, metadata={"side-car": b"old", "prompt": b"{}"}) for n in (1, 2)])
    pieces = db.StoredPieces({"prompt": b"[1]"}, {"prompt": "PNG text"}, None)
    db.update_readings(conn, {one: db.Reading(reader=2), two: db.Reading(reader=2)}, {one: pieces})
    stored = db.stored_pieces(conn, [one, two])
    assert (stored[one].metadata, stored[one].places) == (pieces.metadata, pieces.places)
    assert stored[two].metadata == {"side-car": b"old", "prompt": b"{}"}


def test_pieces_come_back_byte_for_byte_with_their_places_the_date_and_the_size(conn, root, image):
    raw, moment = b'{"seed": NaN}\0\xff', datetime(2024, 5, 6, tzinfo=timezone.utc)
    record = image(1, metadata={"prompt": raw, "x": b""}, places={"prompt": "PNG text"}, created=moment)
    [image_id, bare] = db.write_images(conn, root, [record, image(2)])
    assert db.stored_pieces(conn, [image_id, bare]) == {
        image_id: db.StoredPieces({"prompt": raw, "x": b""}, {"prompt": "PNG text"}, moment, (64, 32)),
        bare: db.StoredPieces({}, {}, None, (64, 32)),
    }


def test_images_of_an_older_reader_are_told_once_each_below_the_folder(conn, root, image):
    ids = db.write_images(
        conn,
        root,
        [
            image(1, path="a/old.png", reader=1),
            image(1, path="a/copy.png", reader=1),
            image(2, path="a/new.png", reader=2),
            image(3, path="b/old.png", reader=1),
        ],
    )
    assert db.images_read_before(conn, 2, root, "a") == [(ids[0], ["a/copy.png", "a/old.png"])]
    older = sorted({ids[0], ids[2], ids[3]})
    assert [id_ for id_, _ in db.images_read_before(conn, 3, root, "")] == older
    assert [id_ for id_, _ in db.images_read_before(conn, 3, root, "", after=older[0], limit=1)] == [older[1]]
    assert db.read_before(conn, 2, ids) == {ids[0], ids[3]}


def test_a_confidence_that_is_no_word_of_ours_is_refused(conn, root, image):
    with pytest.raises(psycopg.errors.CheckViolation), conn.transaction():
        db.write_images(conn, root, [image(1, prompt_confidence="sure")])


def test_an_update_lets_every_search_run_again(library, image):
    with library.connection() as conn:
        [image_id] = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(1)])
        before = db.generation(conn)
    with library.connection() as conn:
        db.update_readings(conn, {image_id: db.Reading(reader=2)})
        assert db.generation(conn) != before


@pytest.mark.parametrize("order", [1, -1])
def test_of_copies_in_a_batch_the_one_with_a_text_beside_it_is_kept(conn, root, image, order):
    copies = [image(1, path="a.png", prompt=pair("a fox"), sidecar_mtime_ns=5), image(1, path="b.png")]
    [image_id, _] = db.write_images(conn, root, copies[::order])
    [stored] = db.get_images(conn, [image_id])
    assert stored.prompt == "a fox"


@pytest.mark.parametrize("year", [1, 9999])
def test_a_date_that_no_clock_was_set_to_is_left_out(conn, root, image, year):
    moments = [datetime(year, 1, 1), datetime(year, 12, 31, 23, tzinfo=timezone(timedelta(hours=-14 if year > 1 else 14)))]
    ids = db.write_images(conn, root, [image(n, created=moment) for n, moment in enumerate(moments, 1)])
    assert [stored.created for stored in db.get_images(conn, ids)] == [None, None]
