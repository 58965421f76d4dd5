"""The view `image` is what the issue promises, and PostgreSQL answers it from the HNSW indexes."""

from __future__ import annotations

import re

import numpy as np
import psycopg
import pytest
from diffusion_toolkit import db
from host.lacking_texts import lacking_texts
from pgvector import HalfVector, Vector

IMAGES, DIMS = 2000, 64
ISSUE = (
    "SELECT path, 1 - ({column} <=> {query}) FROM image"
    " WHERE {column} IS NOT NULL ORDER BY {column} <=> {query} LIMIT 50"
)


@pytest.fixture(scope="module")
def filled(new_database, template, tmp_path_factory, image):
    """A library of 2000 images with two image encoders, the second active; three of four prompts have one image."""
    rng = np.random.default_rng(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSION_TOOLKIT_DSN", new_database(template))
        library = db.open_library("default", tmp_path_factory.mktemp("unused"))
        with library.connection() as conn:
            root = db.ensure_root(conn, "output", "/pictures")
            texts = [f"prompt {n if n % 4 else 0}" for n in range(IMAGES)]
            ids = db.write_images(
                conn,
                root,
                [
                    image(n, prompt=db.TextPair(t, t), negative=db.TextPair("blurry", "blurry"))
                    for n, t in enumerate(texts)
                ],
            )
            encoders = {
                name: db.ensure_encoder(conn, db.Encoder(*name.split(), name, DIMS))
                for name in ("image aa", "image bb", "text cc", "clip_l dd", "clip_g ee")
            }
            for name, encoder_id in encoders.items():
                if name.startswith("image"):
                    db.write_image_vectors(conn, encoder_id, ids, rng.normal(size=(IMAGES, DIMS)))
                else:
                    text_ids = [text_id for text_id, _ in lacking_texts(conn, encoder_id, root, "")]
                    db.write_text_vectors(conn, encoder_id, text_ids, rng.normal(size=(len(text_ids), DIMS)))
            db.activate_encoders(conn, [e for name, e in encoders.items() if name != "image aa"])
            conn.execute("ANALYZE")
        yield library, encoders, rng.normal(size=DIMS).astype(np.float32)
        library.close()


def plan(conn: psycopg.Connection, statement: str, parameters: dict) -> str:
    return "\n".join(row[0] for row in conn.execute(f"EXPLAIN {statement}", parameters))


@pytest.mark.parametrize(
    ("column", "index"),
    [
        ("image_embedding", "image_vectors_hnsw_{image bb}"),
        ("prompt_embedding", "text_vectors_hnsw_{text cc}"),
        ("clip_l_embedding", "text_vectors_hnsw_{clip_l dd}"),
        ("clip_g_embedding", "text_vectors_hnsw_{clip_g ee}"),
    ],
)
def test_the_issues_query_uses_the_active_encoders_index_and_returns_50_rows(filled, column, index):
    library, encoders, query = filled
    statement = ISSUE.format(column=column, query="%(query)s")
    with library.connection() as conn:
        shown = plan(conn, statement, {"query": query})
        assert f"Index Scan using {index.format(**encoders)}" in shown and "Sort" not in shown, shown
        rows = conn.execute(statement, {"query": query}).fetchall()
    assert len(rows) == 50
    scores = np.array([score for _, score in rows])
    assert (np.diff(scores) < 1e-3).all()  # the index compares normalised float16, so neighbours may change places


@pytest.mark.parametrize(
    "form", [lambda v: v, Vector, HalfVector, lambda v: str(v.tolist())], ids=["array", "vector", "halfvec", "text"]
)
def test_a_query_may_come_in_any_form(filled, form):
    library, encoders, query = filled
    statement = ISSUE.format(column="image_embedding", query="%(query)s")
    with library.connection() as conn:
        assert "Index Scan using image_vectors_hnsw" in plan(conn, statement, {"query": form(query)})
        assert len(conn.execute(statement, {"query": form(query)}).fetchall()) == 50


def test_the_query_works_prepared_from_another_program(filled):
    library, encoders, query = filled
    with library.connection() as conn:
        conn.execute("PREPARE q AS " + ISSUE.format(column="image_embedding", query="$1"))
        for _ in range(7):  # a generic plan would come with the sixth
            assert len(conn.execute("EXECUTE q('" + str(query.tolist()) + "')").fetchall()) == 50


def test_a_plain_session_of_another_program_gets_50_rows_too(filled, postgresql):
    library, encoders, query = filled
    with library.connection() as conn:
        database = conn.info.dbname
    with psycopg.connect(postgresql.dsn(database)) as plain:  # none of our session's settings, only the database's
        statement = ISSUE.format(column="prompt_embedding", query="%(query)s")
        assert "Index Scan using text_vectors_hnsw" in plan(plain, statement, {"query": str(query.tolist())})
        assert len(plain.execute(statement, {"query": str(query.tolist())}).fetchall()) == 50


def test_the_first_columns_are_the_promised_ones(conn):
    columns = [column.name for column in conn.execute("SELECT * FROM image").description]
    assert columns[:8] == [
        "path",
        "prompt",
        "negative_prompt",
        "prompt_embedding",
        "negative_prompt_embedding",
        "image_embedding",
        "clip_l_embedding",
        "clip_g_embedding",
    ]


def test_an_image_under_two_paths_is_one_row(conn, root, image):
    db.write_images(conn, root, [image(1, path="b.png"), image(1, path="a.png")])
    assert conn.execute("SELECT path FROM image").fetchall() == [("/pictures/a.png",)]


def test_another_active_encoder_changes_the_view_even_in_its_dimensions(conn, root, image, encoder, unit):
    [image_id] = db.write_images(conn, root, [image(1)])
    for fingerprint, dims in [("aa", 8), ("bb", 8), ("cc", 4)]:
        encoder_id = encoder(conn, "image", fingerprint, dims)
        db.write_image_vectors(conn, encoder_id, [image_id], unit(encoder_id, dims=dims)[None])
        [(embedding,)] = conn.execute("SELECT image_embedding FROM image").fetchall()
        assert embedding.to_list() == [encoder_id, *[0] * (dims - 1)]


def test_a_view_of_ones_own_over_it_survives_an_encoder_of_the_same_size(conn, encoder):
    encoder(conn, "image", "aa")
    conn.execute("CREATE VIEW mine AS SELECT path, image_embedding FROM image")
    second = encoder(conn, "image", "bb")
    definition = conn.execute("SELECT pg_get_viewdef('image'::regclass)").fetchone()[0]
    assert re.search(rf"i_v\.encoder_id = {second}\b", definition)
    assert conn.execute("SELECT count(*) FROM mine").fetchone() == (0,)
