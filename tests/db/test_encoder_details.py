"""What is known of an encoder beside its fingerprint: a later version of this package may tell more of one that is recorded."""

from __future__ import annotations

import pytest
from diffusion_toolkit import db


def known(details: dict) -> db.Encoder:
    return db.Encoder("image", "aa", "an image encoder", 8, details)


@pytest.mark.parametrize("later", [{"picture_tower": "x"}, {"old": 1, "picture_tower": "x"}])
def test_details_that_are_new_are_added_to_a_recorded_encoder(conn, later):
    first = db.ensure_encoder(conn, known({"old": 1}))
    assert db.ensure_encoder(conn, known(later)) == first
    assert db.get_encoder(conn, first).details == {"old": 1, "picture_tower": "x"}


def test_an_encoder_is_found_by_its_picture_half(conn):
    encoder_id = db.ensure_encoder(conn, known({"picture_tower": "x"}))
    assert db.find_encoder_with(conn, "image", {"picture_tower": "x"}).id == encoder_id
    assert db.find_encoder_with(conn, "image", {"picture_tower": "y"}) is None


def test_the_same_details_again_write_nothing(conn):
    encoder_id = db.ensure_encoder(conn, known({"picture_tower": "x"}))
    version = "SELECT xmin, ctid FROM encoders WHERE id = %s"
    conn.commit()
    before = conn.execute(version, [encoder_id]).fetchone()
    db.ensure_encoder(conn, known({"picture_tower": "x"}))
    assert conn.execute(version, [encoder_id]).fetchone() == before
