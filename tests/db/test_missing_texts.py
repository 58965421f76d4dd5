"""Which texts an encoder has not seen: by number and length, and the texts themselves where they still lack something."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import missing_texts


@pytest.fixture
def written(conn, root, image):
    """Text ids by text: three prompts of different lengths, one pair among them."""
    pairs = [db.TextPair("a long prompt", "a long prompt"), db.TextPair("short", "short"), db.TextPair("a", "of two halves")]
    db.write_images(conn, root, [image(n, path=f"a/{n}.png", prompt=pair) for n, pair in enumerate(pairs)])
    return {pair.text_g: db.find_text(conn, pair) for pair in pairs}


def test_texts_are_listed_by_the_length_of_their_longer_half(conn, root, encoder, written):
    ids, lengths = db.texts_lacking(conn, encoder(conn, "text"), root, "a")
    assert ids.tolist() == [written["short"], *sorted([written["a long prompt"], written["a"]])]
    assert lengths.tolist() == [5, 13, 13] and (ids.dtype, lengths.dtype) == (np.int64, np.int32)


def test_no_texts_are_two_empty_arrays(conn, root, encoder):
    ids, lengths = db.texts_lacking(conn, encoder(conn, "text"), root, "nowhere")
    assert (ids.tolist(), lengths.tolist()) == ([], [])


@pytest.mark.parametrize("few", [0, 2, 1000])
def test_few_and_many_that_lack_are_looked_up_in_two_ways_to_the_same_end(conn, root, encoder, unit, image, written, few, monkeypatch):
    monkeypatch.setattr(missing_texts, "FEW", few)
    elsewhere, empty = db.TextPair("elsewhere", ""), db.ensure_text(conn, db.TextPair("", ""))
    db.write_images(conn, root, [image(9, path="b/9.png", prompt=elsewhere, negative=db.TextPair("short", "short"))])
    db.ensure_text(conn, db.TextPair("of no image", ""))
    text = encoder(conn, "text")
    assert set(db.texts_lacking(conn, text, root, "a")[0]) == {empty, *written.values()}
    assert set(db.texts_lacking(conn, text, root, "b")[0]) == {empty, written["short"], db.find_text(conn, elsewhere)}
    db.write_text_vectors(conn, text, [written["short"], empty], unit(1)[None].repeat(2, 0))
    assert set(db.texts_lacking(conn, text, root, "b")[0]) == {db.find_text(conn, elsewhere)}


def test_texts_are_counted_over_the_whole_library(conn, root, encoder, unit, written):
    text = encoder(conn, "text")
    db.ensure_text(conn, db.TextPair("of no image", ""))
    assert db.count_lacking(conn, text, 13) == 4 and db.count_lacking(conn, text, 12) == 2
    db.write_text_vectors(conn, text, [written["short"]], unit(1)[None])
    db.write_text_vectors(conn, encoder(conn, "text", "other"), list(written.values()), unit(1)[None].repeat(3, 0))
    assert db.count_lacking(conn, text, 13) == 3


def test_a_text_is_fetched_while_one_of_the_encoders_has_not_seen_it(conn, root, encoder, unit, written):
    clip_l, clip_g, ids = encoder(conn, "clip_l"), encoder(conn, "clip_g"), sorted(written.values())
    short = written["short"]
    db.write_text_vectors(conn, clip_l, [short], unit(1)[None])
    both = db.texts_still_lacking(conn, [clip_l, clip_g], ids)
    assert [text_id for text_id, _ in both] == ids
    assert [text_id for text_id, _ in db.texts_still_lacking(conn, [clip_l], ids)] == [id_ for id_ in ids if id_ != short]
    assert dict(both)[written["a"]] == db.TextPair("a", "of two halves")
