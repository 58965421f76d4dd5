"""Searches by CLIP-L and CLIP-G look at prompts alone: negatives have such vectors for the Loader, and are in no index."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import indexes
from diffusion_toolkit.db._index_sql import count_rows, index_name
from diffusion_toolkit.db.encoders import get_encoder
from diffusion_toolkit.db.search import found
from diffusion_toolkit.db.search.kinds import Direction, sources_of, state_of
from diffusion_toolkit.db.search.one_kind import nearest_exactly, statement
from pgvector import HalfVector

SEARCHED = "SELECT joined FROM text_vectors v JOIN texts t ON t.id = v.text_id WHERE encoder_id = %s AND searched ORDER BY joined"


def pair(text: str) -> db.TextPair:
    return db.TextPair(text, text)


@pytest.fixture
def written(conn, root, image, encoder, unit):
    """A family's encoder, by which a prompt, a negative and a text that is both have vectors."""

    def write(family: str) -> int:
        records = [image(1, prompt=pair("fox"), negative=pair("blurry")), image(2, prompt=pair("fox"), negative=pair("both"))]
        db.write_images(conn, root, [*records, image(3, prompt=pair("both"))])
        encoder_id = encoder(conn, family)
        ids = [db.find_text(conn, pair(text)) for text in ("fox", "blurry", "both")]
        db.write_text_vectors(conn, encoder_id, ids, np.stack([unit(1), unit(0, 1), unit(1, 1)]))
        return encoder_id

    return write


def searched(conn, encoder_id: int) -> list[str]:
    return [text for (text,) in conn.execute(SEARCHED, [encoder_id])]


def nearest(conn, kind: str, query: np.ndarray) -> list[int]:
    """By the index, or what would be: ids of the images nearest to the query."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found, "EXACT_BELOW", 0)
        patch.setattr(found, "_SCANNED", 1e9)
        return [hit.image_id for hit in db.search(conn, db.Question(parts=(db.Part(kind, query),), k=5)).hits]


@pytest.mark.parametrize("family", ["clip_l", "clip_g"])
def test_a_negatives_style_is_in_no_index_and_is_read_all_the_same(conn, written, unit, family):
    encoder_id = written(family)
    assert searched(conn, encoder_id) == ["both", "fox"]
    assert np.array_equal(db.text_vector(conn, db.find_text(conn, pair("blurry")), encoder_id), unit(0, 1))
    assert count_rows(conn, get_encoder(conn, encoder_id)) == 2


def test_negatives_are_searched_by_what_they_mean(conn, written):
    assert searched(conn, written("text")) == ["blurry", "both", "fox"]


@pytest.mark.parametrize("family", ["clip_l", "clip_g"])
def test_an_index_holds_what_is_searched(library, conn, written, family):
    encoder_id = written(family)
    conn.commit()
    indexes.set_index(library, encoder_id, "hnsw")
    name = index_name(get_encoder(conn, encoder_id), "hnsw")
    assert conn.execute("SELECT reltuples FROM pg_class WHERE relname = %s", [name]).fetchone() == (2,)


@pytest.mark.parametrize("way", ["a new image", "a new reading"])
def test_a_negative_that_becomes_a_prompt_is_found_by_its_style(conn, root, written, image, unit, way):
    written("clip_l")
    if way == "a new image":
        [image_id] = db.write_images(conn, root, [image(9, prompt=pair("blurry"))])
    else:
        [image_id] = db.write_images(conn, root, [image(9)])
        db.update_readings(conn, {image_id: db.Reading(prompt=pair("blurry"), reader=2)})
    assert nearest(conn, "clip_l", unit(0, 1))[0] == image_id
    [source] = sources_of(state_of(conn), [db.Part("clip_l", unit(0, 1))])
    assert nearest_exactly(conn, Direction("clip_l", source, unit(0, 1), 1.0), 1) == [(image_id, pytest.approx(1))]


def test_an_index_made_before_serves_on(conn, written, unit):
    encoder_id = written("clip_l")
    old, query = get_encoder(conn, encoder_id), db.Part("clip_l", unit(1))
    conn.execute(f"DROP INDEX {index_name(old, 'hnsw')}")
    conn.execute(f"CREATE INDEX {index_name(old, 'hnsw')} ON text_vectors USING hnsw ((embedding::halfvec(8)) halfvec_cosine_ops) WHERE encoder_id = {old.id}")
    [source] = sources_of(state_of(conn), [query])
    asked = {"query": HalfVector(query.vector), "n": 5, "candidates": 5}
    conn.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    plan = conn.execute("EXPLAIN " + statement(Direction("clip_l", source, query.vector, 1.0), None, "hnsw"), asked).fetchall()
    assert any(f"Index Scan using {index_name(old, 'hnsw')}" in line for (line,) in plan), plan
