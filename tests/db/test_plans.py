"""PostgreSQL answers our searches from the HNSW indexes where we say so, and from none where we say exact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.search import strategy
from diffusion_toolkit.db.search.kinds import directions_of, sources_of, state_of
from diffusion_toolkit.db.search.one_kind import statement
from host.lacking_texts import lacking_texts
from pgvector import HalfVector
from psycopg import sql

IMAGES, DIMS = 3000, 64
KINDS = ("image", "prompt", "clip_l", "clip_g")
SEED = "i.seed < %(f_seed)s"


@pytest.fixture(scope="module")
def filled(new_database, template, tmp_path_factory, image):
    """A connection to 3000 images in clusters, with seeds 0 to 2999 and two image encoders, the second active."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(30, DIMS))

    def draw(n: int) -> np.ndarray:
        return centres[rng.integers(30, size=n)] + 0.5 * rng.normal(size=(n, DIMS))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSION_TOOLKIT_DSN", new_database(template))
        library = db.open_library("default", tmp_path_factory.mktemp("unused"))
        with library.connection() as conn:
            root = db.ensure_root(conn, "output", "/pictures")
            texts = [f"prompt {n}" for n in range(IMAGES)]
            ids = db.write_images(conn, root, [image(n, seed=n, prompt=db.TextPair(t, t)) for n, t in enumerate(texts)])
            for family in ("image old", "image", "text", "clip_l", "clip_g"):
                encoder = db.ensure_encoder(conn, db.Encoder(family.split()[0], family, family, DIMS))
                if family.startswith("image"):
                    db.write_image_vectors(conn, encoder, ids, draw(IMAGES))
                else:
                    text_ids = [text_id for text_id, _ in lacking_texts(conn, encoder, root, "")]
                    db.write_text_vectors(conn, encoder, text_ids, draw(len(text_ids)))
                db.activate_encoders(conn, [encoder])
            conn.execute("ANALYZE")
            conn.commit()
            yield conn, draw(1)[0].astype(np.float32)
        library.close()


@pytest.fixture
def indexed(monkeypatch):
    """Even so few rows are searched through the index."""
    monkeypatch.setattr(strategy, "EXACT_BELOW", 0)
    monkeypatch.setattr(strategy, "_SCANNED", 1e9)


def below(seed: int) -> db.Filter:
    return db.Filter(sql.SQL(SEED), {"f_seed": seed})


def plan(conn: db.Connection, kind: str, query: np.ndarray, indexed: bool, filter: db.Filter | None = None) -> tuple[str, str]:
    """What PostgreSQL would do, and the name of the index that it should use."""
    part = db.Part(kind, query)
    sources = sources_of(state_of(conn), [part])
    [direction] = directions_of([part], sources, [1.0], [0.0])
    parameters = {"query": HalfVector(direction.vector), "n": 50, "candidates": 50, **(filter.parameters if filter else {})}
    rows = conn.execute("EXPLAIN (COSTS OFF) " + statement(direction, filter, sources[0].index if indexed else None), parameters)
    return "\n".join(row[0][:120] for row in rows), sources[0].index_name


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_through_an_index_scans_that_index_in_its_order(filled, kind):
    conn, query = filled
    shown, index = plan(conn, kind, query, indexed=True)
    assert f"Index Scan using {index}" in shown, shown
    assert "Seq Scan" not in shown and "Bitmap" not in shown, shown


@pytest.mark.parametrize("kind", KINDS)
def test_a_loose_filter_is_applied_as_the_index_is_followed(filled, kind):
    conn, query = filled
    shown, index = plan(conn, kind, query, indexed=True, filter=below(2000))
    assert f"Index Scan using {index}" in shown, shown


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [None, 2000])
def test_an_exact_search_orders_by_no_index(filled, kind, seed):
    conn, query = filled
    shown, _ = plan(conn, kind, query, indexed=False, filter=below(seed) if seed else None)
    assert "hnsw" not in shown and "Sort" in shown, shown


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("seed", "method"),
    [(3000, "index, filtered as it goes"), (20, "exact over 20 filtered images"), (1, "exact over 1 filtered image"), (0, "exact over 0 filtered images")],
)
def test_how_many_pass_a_filter_decides_how_it_is_searched(filled, indexed, kind, seed, method, monkeypatch):
    conn, query = filled
    monkeypatch.setattr(strategy, "_PROBED", 1e3)  # so that 20 images count as few here, 3000 as many
    answer = db.search(conn, db.Question(parts=(db.Part(kind, query),), k=10, filter=below(seed)))
    assert answer.method == method
    assert len(answer.hits) == min(seed, 10)


def test_an_estimate_that_is_far_too_low_is_found_out(filled, indexed, monkeypatch):
    conn, query = filled
    monkeypatch.setattr(strategy, "_estimate", lambda *_: 1)
    monkeypatch.setattr(strategy, "_PROBED", 1e3)
    answer = db.search(conn, db.Question(parts=(db.Part("image", query),), k=10, filter=below(3000)))
    assert answer.method == "index, filtered as it goes"
    assert len(answer.hits) == 10


def test_how_many_pass_a_filter_is_asked_anew_after_a_write(filled, indexed, monkeypatch):
    conn, query = filled
    monkeypatch.setattr(strategy, "_PROBED", 1e3)
    question = db.Question(parts=(db.Part("image", query),), k=10, filter=db.parse_filter("label:keep"))
    methods, ids = [], [image_id for (image_id,) in conn.execute("SELECT id FROM images ORDER BY id")]
    for change in ({"ids": ids, "add": ["keep"]}, {"ids": ids[3:], "remove": ["keep"]}):
        db.label_images(conn, **change)
        conn.execute("ANALYZE images")
        methods.append(db.search(conn, question).method)
    conn.rollback()
    assert methods == ["index, filtered as it goes", "exact over 3 filtered images"]


def test_an_index_that_gives_too_few_is_not_the_last_word(filled, indexed, monkeypatch):
    conn, query = filled
    monkeypatch.setattr(strategy, "_estimate", lambda *_: 1e9)
    conn.execute("SELECT set_config('hnsw.iterative_scan', 'off', true)")
    answer = db.search(conn, db.Question(parts=(db.Part("image", query),), k=10, filter=below(30)))
    assert answer.method == "exact over 30 filtered images"
    assert len(answer.hits) == 10


def test_an_index_that_gave_few_does_not_say_that_they_are_all(filled, indexed, monkeypatch):
    conn, query = filled
    monkeypatch.setattr(strategy, "_estimate", lambda *_: 1e9)
    conn.execute("SELECT set_config('hnsw.iterative_scan', 'off', true)")
    parts = [db.Part("image", query, encoder_id=db.active_encoder(conn, "image").id)]
    directions = directions_of(parts, sources_of(state_of(conn), parts), [1.0], [0.0])
    some, few = (strategy.best(conn, directions, 201, below(seed), exact=False) for seed in (1200, 100))
    conn.rollback()
    assert some.method.startswith("index") and 201 <= len(some.scored) < 400 and not some.whole
    assert few.method == "exact over 100 filtered images" and len(few.scored) == 100 and few.whole


def test_a_filter_that_lets_everything_pass_is_none(filled, indexed):
    conn, query = filled
    answer = db.search(conn, db.Question(parts=(db.Part("image", query),), k=10, filter=db.Filter(sql.SQL("true"))))
    assert answer.method == "index"


def test_a_page_so_deep_that_an_index_would_be_slower_is_found_exactly(filled, monkeypatch):
    conn, query = filled
    monkeypatch.setattr(strategy, "EXACT_BELOW", 0)
    assert db.search(conn, db.Question(parts=(db.Part("image", query),), k=10)).method == "index"
    answer = db.search(conn, db.Question(parts=(db.Part("image", query),), k=10, offset=1000))
    assert answer.method == "exact"


def test_an_encoder_without_an_index_is_searched_exactly(filled, indexed):
    conn, query = filled
    [source] = sources_of(state_of(conn), [db.Part("image", query)])
    conn.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(source.index_name)))
    db.bump_generation(conn)
    answer = db.search(conn, db.Question(parts=(db.Part("image", query),), k=10))
    conn.rollback()
    assert answer.method == "exact"
    assert db.search(conn, db.Question(parts=(db.Part("image", query),), k=10)).method == "index"


def test_searches_through_the_index_find_what_an_exact_scan_finds(filled, indexed):
    conn, query = filled
    for kind in KINDS:
        answers = [db.search(conn, db.Question(parts=(db.Part(kind, query),), k=50, exact=exact)) for exact in (False, True)]
        through, exactly = ({hit.image_id for hit in answer.hits} for answer in answers)
        assert [answer.method for answer in answers] == ["index", "exact"]
        assert len(through) == 50 and len(through & exactly) >= 48


@pytest.mark.parametrize(
    ("way", "options", "method"),
    [
        ("ivfflat", "USING ivfflat ((embedding::halfvec(64)) halfvec_cosine_ops) WITH (lists = 50)", "IVFFlat index, 10 of 50 lists probed"),
        (
            "binary",
            "USING hnsw ((binary_quantize(embedding::halfvec(64))::bit(64)) bit_hamming_ops)",
            "index of single bits, 500 candidates compared exactly",
        ),
    ],
)
def test_other_indexes_are_used_too_and_named(filled, indexed, way, options, method):
    conn, query = filled
    asked = db.Question(parts=(db.Part("image", query),), k=10)
    exactly = db.search(conn, dataclasses.replace(asked, exact=True)).hits
    [source] = sources_of(state_of(conn), asked.parts)
    conn.execute(f"DROP INDEX {source.index_name}")
    conn.execute(f"CREATE INDEX image_vectors_{way}_{source.encoder.id} ON image_vectors {options} WHERE encoder_id = {source.encoder.id}")
    db.bump_generation(conn)
    answer = db.search(conn, asked)
    shown, index = plan(conn, "image", query, indexed=True)
    conn.rollback()
    assert answer.method == method
    assert f"Index Scan using {index}" in shown and way in index
    assert len({hit.image_id for hit in answer.hits} & {hit.image_id for hit in exactly}) >= 9


def test_a_kind_of_few_texts_is_compared_with_each_of_them(filled, indexed):
    conn, query = filled
    text_id = db.ensure_text(conn, db.TextPair("blurry", ""))
    conn.execute("UPDATE images SET negative_id = %s", [text_id])
    db.write_text_vectors(conn, db.active_encoder(conn, "text").id, [text_id], query[None])
    conn.execute("ANALYZE images")
    answer = db.search(conn, db.Question(parts=(db.Part("negative", query),), k=10))
    by_prompt = db.search(conn, db.Question(parts=(db.Part("prompt", query),), k=10))
    conn.rollback()
    assert (answer.method, by_prompt.method) == ("exact", "index")
    assert len(answer.hits) == 10
