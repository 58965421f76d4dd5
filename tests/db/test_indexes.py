"""An encoder's index is of the method that was chosen, and searches read it."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.search.kinds import directions_of, sources_of
from diffusion_toolkit.db.search.one_kind import nearest_by_index, nearest_exactly

DIMS = 8


@pytest.fixture
def by_image(library, encoder, image):
    """An image encoder with 400 vectors."""
    with library.connection() as conn:
        encoder_id = encoder(conn, "image", dims=DIMS)
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(n) for n in range(400)])
        db.write_image_vectors(conn, encoder_id, ids, np.random.default_rng(1).normal(size=(400, DIMS)))
    return encoder_id


def definitions(conn) -> list[str]:
    rows = conn.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'image_vectors' AND indexdef ~ 'hnsw|ivfflat'")
    return [row[0] for row in rows]


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("hnsw", ["USING hnsw", "halfvec_cosine_ops", "m='12'", "ef_construction='40'"]),
        ("ivfflat", ["USING ivfflat", "halfvec_cosine_ops", "lists='20'"]),
        ("binary", ["USING hnsw", "bit_hamming_ops", "m='12'"]),
    ],
)
def test_an_index_takes_the_place_of_the_former_and_is_found_by_searches(library, by_image, method, words):
    db.set_index(library, by_image, method, m=12, ef_construction=40)
    with library.connection() as conn:
        [definition] = definitions(conn)
        assert all(word in definition for word in words) and f"encoder_id = {by_image}" in definition
        assert db.indexes_of(conn, db.get_encoder(conn, by_image)) == [method]
        parts = [db.Part("image", np.ones(DIMS, np.float32))]
        sources = sources_of(conn, parts)
        assert sources[0].index == method
        [direction] = directions_of(parts, sources, [1.0], [0.0])
        found = {image_id for image_id, _ in nearest_by_index(conn, direction, 10)}
        assert len(found & {image_id for image_id, _ in nearest_exactly(conn, direction, 10)}) >= 8


def test_an_index_can_be_removed_and_made_again(library, by_image):
    db.set_index(library, by_image, "none")
    with library.connection() as conn:
        assert definitions(conn) == [] == db.indexes_of(conn, db.get_encoder(conn, by_image))
    db.set_index(library, by_image, "hnsw")
    with library.connection() as conn:
        assert len(definitions(conn)) == 1


def test_a_cancelled_build_leaves_the_former_index(library, by_image):
    def cancel(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.set_index(library, by_image, "ivfflat", progress=cancel)
    with library.connection() as conn:
        assert db.indexes_of(conn, db.get_encoder(conn, by_image)) == ["hnsw"]


def test_progress_is_told_while_postgresql_works(library, by_image):
    told = []
    db.set_index(library, by_image, "hnsw", progress=lambda stage, done, total: told.append((stage, done, total)))
    assert told and all(stage == "Indexing image aa" and total >= 1 for stage, _, total in told)


def test_the_generation_grows_since_searches_keep_what_index_there_is(library, by_image):
    with library.connection() as conn:
        before = db.generation(conn)
    db.set_index(library, by_image, "none")
    with library.connection() as conn:
        assert db.generation(conn) != before


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("btree", {}, "no index method 'btree'. Choose one of: hnsw, ivfflat, binary, none"),
        ("hnsw", {"m": 1}, "m 1 with ef_construction 128"),
        ("hnsw", {"m": 40, "ef_construction": 64}, "twice m"),
    ],
)
def test_what_no_index_can_be_is_refused(library, by_image, method, settings, message):
    with pytest.raises(db.LibraryError, match=message):
        db.set_index(library, by_image, method, **settings)


def test_lists_need_vectors(library, encoder):
    with library.connection() as conn:
        empty = encoder(conn, "image", dims=DIMS)
    with pytest.raises(db.LibraryError, match="no vectors by image aa yet"):
        db.set_index(library, empty, "ivfflat")
