"""What is known of an encoder beside its fingerprint: a later version of this package may tell more of one that is recorded."""

from __future__ import annotations

import pytest
from diffusion_toolkit import db
from host.asking import ask


def known(details: dict) -> db.Encoder:
    return db.Encoder("image", "aa", "an image encoder", 8, details)


@pytest.mark.parametrize("later", [{"picture_tower": "x"}, {"old": 1, "picture_tower": "x"}])
def test_details_that_are_new_are_added_to_a_recorded_encoder(conn, later):
    first = db.ensure_encoder(conn, known({"old": 1}))
    assert db.ensure_encoder(conn, known(later)) == first
    assert db.get_encoder(conn, first).details == {"old": 1, "picture_tower": "x"}


def test_a_query_finds_the_encoder_by_its_picture_half(conn, root, image, unit):
    """A description's vector knows of its encoder what the other half of the same file has."""
    ids = []
    for half, color in (("x", 1), ("y", 2)):
        encoder_id = db.ensure_encoder(conn, db.Encoder("image", half * 2, f"encoder {half}", 8, {"picture_tower": half}))
        db.activate_encoders(conn, [encoder_id])
        ids += db.write_images(conn, root, [image(color)])
        db.write_image_vectors(conn, encoder_id, ids[-1:], unit(color)[None])

    def found(half: str) -> list[int]:
        part = db.Part("image", unit(1), details={"picture_tower": half}, model="CLIP text half")
        return [hit.image_id for hit in db.search(conn, db.Question(parts=(part,))).hits]

    assert [found("x"), found("y")] == [[ids[0]], [ids[1]]]
    with pytest.raises(db.LibraryError, match="CLIP text half can't be compared .* made by encoder y .*its other half made none"):
        found("z")


def test_the_same_details_again_write_nothing(conn):
    encoder_id = db.ensure_encoder(conn, known({"picture_tower": "x"}))
    version = "SELECT xmin, ctid FROM encoders WHERE id = %s"
    conn.commit()
    before = conn.execute(version, [encoder_id]).fetchone()
    db.ensure_encoder(conn, known({"picture_tower": "x"}))
    assert conn.execute(version, [encoder_id]).fetchone() == before


def test_the_message_that_nothing_is_there_yet_fits_a_node_that_does_not_search(conn):
    with pytest.raises(db.LibraryError) as caught:
        db.require_encoder(conn, "image", "aa", "an encoder")
    assert str(caught.value) == "The library has no image vectors yet. First index a folder with a CLIP_VISION connected to Index Folder."


def test_messages_call_a_kind_as_a_person_reads_it(conn, encoder, unit):
    with pytest.raises(db.LibraryError, match="no CLIP-L vectors yet.*with a CLIP connected"):
        ask(conn, "clip_l", unit(1), 5)
    encoder(conn, "text")
    with pytest.raises(db.LibraryError, match="^negative prompt needs 8 numbers, you gave 4. "):
        ask(conn, "negative", unit(1, dims=4), 5)
