"""Searches by CLIP-L and CLIP-G look at prompts alone: negatives have such vectors for the Loader, and are in no index."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db._index_sql import count_rows, index_name
from diffusion_toolkit.db.encoders import get_encoder
from diffusion_toolkit.db.health import problems
from diffusion_toolkit.db.indexes import build as indexes
from diffusion_toolkit.db.migrate import migrate
from diffusion_toolkit.db.search import strategy
from diffusion_toolkit.db.search.kinds import Direction, sources_of, state_of
from diffusion_toolkit.db.search.one_kind import nearest_exactly, statement
from host.asking import ask, ids_of
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
        patch.setattr(strategy, "EXACT_BELOW", 0)
        patch.setattr(strategy, "_SCANNED", 1e9)
        return ids_of(ask(conn, kind, query, k=5))


@pytest.mark.parametrize("family", ["clip_l", "clip_g"])
def test_a_negatives_style_is_in_no_index_and_is_read_all_the_same(conn, written, unit, family):
    encoder_id = written(family)
    assert searched(conn, encoder_id) == ["both", "fox"]
    assert np.array_equal(db.text_vector(conn, db.find_text(conn, pair("blurry")), encoder_id), unit(0, 1))
    assert [count_rows(conn, get_encoder(conn, encoder_id), most) for most in (None, 1, 2, 5)] == [2, 1, 2, 2]


def test_negatives_are_searched_by_what_they_mean(conn, written):
    assert searched(conn, written("text")) == ["blurry", "both", "fox"]


@pytest.mark.parametrize("family", ["clip_l", "clip_g"])
def test_an_index_holds_what_is_searched(library, conn, written, family):
    encoder_id = written(family)
    conn.commit()
    indexes.set_index(library, encoder_id, "hnsw")
    name = index_name(get_encoder(conn, encoder_id), "hnsw")
    assert conn.execute("SELECT reltuples FROM pg_class WHERE relname = %s", [name]).fetchone() == (2,)


@pytest.mark.parametrize("way", ["a new image", "a new reading", "SQL by hand"])
def test_a_negative_that_becomes_a_prompt_is_found_by_its_style(conn, root, written, image, unit, way):
    written("clip_l")
    if way == "a new image":
        [image_id] = db.write_images(conn, root, [image(9, prompt=pair("blurry"))])
    elif way == "SQL by hand":
        [image_id] = db.write_images(conn, root, [image(9)])
        conn.execute("UPDATE images SET prompt_id = %s WHERE id = %s", [db.find_text(conn, pair("blurry")), image_id])
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


def test_an_index_that_was_tried_is_no_problem_for_as_many_negatives(library, conn, root, image, encoder, monkeypatch):
    monkeypatch.setattr(strategy, "EXACT_BELOW", 60)
    monkeypatch.setattr(problems, "SMALL", 100)
    db.write_images(conn, root, [image(n, prompt=pair(f"prompt {n}"), negative=pair(f"negative {n}")) for n in range(60)])
    encoder_id = encoder(conn, "clip_l")
    ids = [text_id for (text_id,) in conn.execute("SELECT id FROM texts")]
    db.write_text_vectors(conn, encoder_id, ids, np.random.default_rng(1).normal(size=(len(ids), 8)))
    conn.commit()
    indexes.set_index(library, encoder_id, "hnsw")
    assert "tried" not in " ".join(problem.what for problem in db.library_status(library).problems)
    indexes.set_index(library, encoder_id, "none")
    assert "have no index" not in " ".join(problem.what for problem in db.library_status(library).problems)
    monkeypatch.setattr(problems, "SMALL", 50)
    assert "60 CLIP-L vectors have no index" in " ".join(problem.what for problem in db.library_status(library).problems)


def test_vectors_from_before_are_all_searched(dsn, library, root, conn, image, encoder, unit):
    """As a library of the schema before it had negatives told apart is brought up to date."""
    conn.execute("DROP TRIGGER images_search_prompt ON images; DROP FUNCTION search_prompt; DROP VIEW image; ALTER TABLE text_vectors DROP searched")
    conn.execute("DELETE FROM migrations WHERE name = '0007_searched.sql'")
    db.write_images(conn, root, [image(1, prompt=pair("fox"), negative=pair("blurry"))])
    encoder_id = db.ensure_encoder(conn, db.Encoder("text", "aa", "aa", 8))
    conn.execute("UPDATE encoders SET family = 'clip_l', active = true WHERE id = %s", [encoder_id])
    for text, vector in (("fox", unit(1)), ("blurry", unit(0, 1))):
        conn.execute("INSERT INTO text_vectors VALUES (%s, %s, %s)", [db.find_text(conn, pair(text)), encoder_id, HalfVector(vector)])
    migrate(conn)
    assert searched(conn, encoder_id) == ["blurry", "fox"]
    assert nearest(conn, "clip_l", unit(1)) == [1]
    assert conn.execute("SELECT clip_l_embedding::text FROM image").fetchone() == ("[1,0,0,0,0,0,0,0]",)
