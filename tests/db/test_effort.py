"""An index of one kind is tried on its own library: for what it misses, searches look further or compare with all."""

from __future__ import annotations

import json

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db._index_sql import create_statement
from diffusion_toolkit.db.indexes import build as indexes
from diffusion_toolkit.db.indexes import effort
from diffusion_toolkit.db.indexes.effort import EFFORTS, find_efforts, try_grown
from diffusion_toolkit.db.indexes.refresh import refresh_search
from diffusion_toolkit.db.search import strategy
from diffusion_toolkit.db.search.kinds import SHAPES, Direction, Source, directions_of, sources_of, state_of
from diffusion_toolkit.db.search.one_kind import nearest_by_index
from pgvector import HalfVector
from psycopg import sql

DIMS, ROWS = 16, 3000


@pytest.fixture
def low_limits(monkeypatch):
    """Indexes are used and tried at a size that a test can fill."""
    monkeypatch.setattr(strategy, "EXACT_BELOW", 1000)
    monkeypatch.setattr(strategy, "_FOLLOWED", 0.1)


@pytest.fixture
def by_image(library, encoder, image, low_limits):
    """An image encoder with 3,000 vectors, whose index is yet to be made."""
    with library.connection() as conn:
        encoder_id = encoder(conn, "image", dims=DIMS)
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(n) for n in range(ROWS)])
    db.set_index(library, encoder_id, "none")
    with library.connection() as conn:
        db.write_image_vectors(conn, encoder_id, ids, np.random.default_rng(1).normal(size=(ROWS, DIMS)))
    return encoder_id


def part(cluster: int, weight: float = 1.0, **fields) -> db.Part:
    return db.Part("image", np.eye(DIMS, dtype=np.float32)[cluster], weight, **{"fingerprint": "aa", **fields})


def total(*terms: tuple[float, int], weight: float = 1.0, **fields) -> db.Part:
    """A part whose vector is a sum of those of clusters, (weight, cluster) each."""
    terms = [(share, part(cluster).vector) for share, cluster in terms]
    vector = sum(share * vector for share, vector in terms)
    return db.Part("image", vector / np.linalg.norm(vector), weight, fingerprint="aa", terms=tuple(terms), **fields)


OPPOSITE = db.Part("image", -np.eye(DIMS, dtype=np.float32)[0], fingerprint="aa")


def ids_and_how(library, parts, exact=False) -> tuple[list[int], str, str]:
    with library.connection() as conn:
        answer = db.search(conn, db.Question(parts=parts, k=50, exact=exact))
    return [hit.image_id for hit in answer.hits], answer.method, answer.note


def source_of(library, encoder_id):
    with library.connection() as conn:
        return next(source for source in state_of(conn).sources if source.encoder.id == encoder_id)


def told(library, encoder_id: int, rows: int, *efforts: int | None) -> None:
    """Say that the index of so many rows was tried, and took these efforts, in the order of SHAPES."""
    said = json.dumps({"rows": rows, "efforts": dict(zip(SHAPES, efforts, strict=True)), "reached": -1})
    with library.connection() as conn:
        conn.execute(f"COMMENT ON INDEX image_vectors_hnsw_{encoder_id} IS '{said}'")
        db.bump_generation(conn)


def test_a_new_index_is_tried_with_questions_of_all_shapes(library, by_image):
    efforts = db.set_index(library, by_image, "hnsw")
    assert list(efforts) == list(SHAPES) and set(efforts.values()) <= {*EFFORTS, None} and efforts["near"] is not None
    assert source_of(library, by_image).efforts == efforts


@pytest.mark.parametrize(
    ("recalls", "least"),
    [
        ({100: (1.0, 0.99)}, 100),
        ({100: (0.98, 0.99), 125: (0.99, 0.98), 150: (0.99, 0.985), 1000: (1.0, 1.0)}, 150),
        ({100: (0.5, 0.5), 250: (0.9, 0.9), 300: (0.958, 0.959), 1000: (0.96, 0.96)}, 300),  # as good as any
        ({100: (0.5, 0.5), 800: (0.93, 0.93), 1000: (0.95, 0.95)}, 1000),
        ({100: (0.97, 0.98), 400: (0.984, 0.99), 1000: (0.985, 0.999)}, 400),  # of the 50 best no more than is good
        ({100: (0.9, 0.9), 1000: (1.0, 0.94)}, None),
    ],
)
def test_the_least_effort_that_will_do(recalls, least):
    def found(effort: int) -> tuple[float, float]:
        return recalls[max(tried for tried in recalls if tried <= effort)]

    assert effort._least(found, (0.99, 0.985), 0.95) == least


@pytest.mark.parametrize(("recall", "least", "most"), [(0.99, 150, 200), (0.96, 300, 1000)])
def test_no_effort_is_tried_twice_and_none_far_beyond_the_least(recall, least, most):
    tried = []

    def found(effort: int) -> tuple[float, float]:
        tried.append(effort)
        return (recall, recall) if effort >= least else (0.9, 0.9)

    assert effort._least(found, (0.99, 0.985), 0.95) == least
    assert sorted(tried) == sorted(set(tried)) and max(tried) == most


def test_an_effort_that_is_sure_to_miss_too_many_is_given_up_early(library, by_image, monkeypatch):
    db.set_index(library, by_image, "hnsw")
    with library.connection() as conn:
        encoder = db.get_encoder(conn, by_image)
        questions = np.random.default_rng(2).normal(size=(40, DIMS)).astype(np.float32)
        best = {"found": np.full((40, effort.WANTED), -1.0), "missed": np.full((40, effort.WANTED), 2.0)}  # cosines
        half = np.concatenate([best["found"][:20], best["missed"][:20]])
        asked = []
        monkeypatch.setattr(effort, "HalfVector", lambda vector: asked.append(vector) or HalfVector(vector))

        def recalls(right: np.ndarray, least: float) -> tuple[tuple[float, float], int]:
            asked.clear()
            return effort._recalls(conn, encoder, questions, right, lambda: None, least, 100), len(asked)

        assert recalls(best["found"], 0.95) == ((1.0, 1.0), 40)
        assert recalls(half, 0.5) == ((0.5, 0.5), 40)  # no more than may be missed
        given_up, tried = recalls(best["missed"], 0.95)
        assert max(given_up) < 0.95 and tried == 3


def test_what_the_index_would_miss_is_compared_with_all_and_said(library, by_image):
    db.set_index(library, by_image, "hnsw")
    told(library, by_image, ROWS, 100, 100, 100, None, None)
    for parts in ((part(0), part(1)), (part(2, -1.0),)):
        right, _, _ = ids_and_how(library, parts, exact=True)
        ids, method, note = ids_and_how(library, parts)
        assert ids == right and method == "exact" and "index misses too many" in note
    for parts in ((part(0),), (part(0), part(1, -1.0))):
        assert ids_and_how(library, parts)[1:] == ("index", "")


def test_so_is_a_mix_in_which_such_a_kind_decides(library, by_image, encoder):
    db.set_index(library, by_image, "hnsw")
    told(library, by_image, ROWS, 100, 100, 100, None, None)
    with library.connection() as conn:
        by_text = encoder(conn, "text", dims=DIMS)
        db.update_readings(conn, {1: db.Reading(prompt=db.TextPair("a shark", "a shark"))})
        db.write_text_vectors(conn, by_text, [db.find_text(conn, db.TextPair("a shark", "a shark"))], np.eye(1, DIMS))
    for weight, words in ((0.1, "(several at once), this library's index misses too many"), (1.0, "")):
        _, _, note = ids_and_how(library, (part(0), part(1), db.Part("prompt", np.eye(1, DIMS, dtype=np.float32)[0], weight)))
        assert words in note and bool(words) == bool(note)


def test_without_a_trial_sums_and_opposites_are_compared_with_all(library, by_image, monkeypatch):
    monkeypatch.setattr(indexes, "find_efforts", lambda *of: None)
    assert db.set_index(library, by_image, "hnsw") is None
    assert source_of(library, by_image).efforts is None
    for weights, method in (((1.0,), "index"), ((1.0, 1.0), "exact"), ((-1.0,), "exact")):
        assert ids_and_how(library, tuple(part(n, weight) for n, weight in enumerate(weights)))[1] == method
    assert "not tried with such a question yet. The next run of Index Folder tries it" in ids_and_how(library, (part(0, -1.0),))[2]


def test_where_even_the_nearest_are_missed_the_note_says_what_helps(library, by_image):
    db.set_index(library, by_image, "hnsw")
    told(library, by_image, ROWS, *[None] * len(SHAPES))
    assert "Library Status says what may help" in ids_and_how(library, (part(0),))[2]


def test_an_index_of_single_bits_is_followed_whatever_is_asked(library, by_image):
    """It is for libraries beyond memory, where to compare with all would take a minute."""
    db.set_index(library, by_image, "binary")
    for parts in ((part(0),), (part(0), part(1)), (part(0, -1.0),)):
        assert ids_and_how(library, parts)[1].startswith("index of single bits")


def test_searches_look_as_far_as_the_trial_says(library, by_image):
    db.set_index(library, by_image, "hnsw")
    with library.connection() as conn:
        conn.execute("""UPDATE encoders SET details = '{"picture_tower": "x"}'""")
    told(library, by_image, ROWS, 250, 600, 800, 900, 1000)
    near, apart = (part(0),), (part(0, details={"picture_tower": "x"}),)
    less, both, unlike = (part(0), part(1, -1.0)), (part(0), part(1)), (part(0, -1.0),)
    for parts, wanted in ((near, "250"), (apart, "600"), (less, "800"), (both, "900"), (unlike, "1000")):
        with library.connection() as conn:
            [direction] = directions_of(parts, sources_of(state_of(conn), parts), [of.weight for of in parts], [0.0] * len(parts))
            nearest_by_index(conn, direction, 25)
            assert conn.execute("SHOW hnsw.ef_search").fetchone() == (wanted,)


def test_for_more_than_the_trial_wanted_searches_look_as_many_times_farther(library, by_image):
    db.set_index(library, by_image, "hnsw")
    told(library, by_image, ROWS, 250, 600, 800, 900, 1000)
    for n, wanted in ((50, "250"), (100, "500"), (300, "1000")):  # as far as pgvector goes
        with library.connection() as conn:
            [direction] = directions_of([part(0)], sources_of(state_of(conn), [part(0)]), [1.0], [0.0])
            nearest_by_index(conn, direction, n)
            assert conn.execute("SHOW hnsw.ef_search").fetchone() == (wanted,)


@pytest.mark.parametrize(("kind", "wanted"), [("prompt", "150"), ("negative", "150"), ("clip_l", "100")])
def test_an_index_of_prompts_and_negatives_is_followed_half_as_far_again(library, encoder, kind, wanted):
    with library.connection() as conn:
        encoder(conn, db.FAMILIES[kind], dims=DIMS)
        parts = [db.Part(kind, np.eye(DIMS, dtype=np.float32)[0])]
        [direction] = directions_of(parts, sources_of(state_of(conn), parts), [1.0], [0.0])
        nearest_by_index(conn, direction, 25)
        assert conn.execute("SHOW hnsw.ef_search").fetchone() == (wanted,)


@pytest.mark.parametrize(
    ("parts", "shape"),
    [
        ((part(0),), "near"),
        ((part(0), part(1, 0.2), part(2, -0.2)), "near"),
        ((part(0, details={"picture_tower": "x"}),), "far"),
        ((part(0, fingerprint=None),), "near"),  # a vector by the library's model, as HTTP takes it
        ((part(0), part(1, -0.5)), "unlike"),
        ((part(0), part(1)), "between"),
        ((part(0), part(1), part(2, -1.0)), "between"),
        ((part(0, -1.0),), "opposite"),
        ((part(0, 1e-9), part(1, -1.0)), "unlike"),
        ((part(0), OPPOSITE, part(1, -1.0)), "between"),  # those that are wanted cancel each other out
        ((part(0, -1.0), part(1, -1.0)), "opposite"),
        ((total((1.0, 0), (1.0, 1)),), "between"),  # as Query Arithmetic gives it, and a query by several pictures
        ((total((1.0, 0), (-1.0, 1)),), "unlike"),
        ((total((-1.0, 0)),), "opposite"),
        ((total((1.0, 0), (-1.0, 1), weight=-1.0),), "unlike"),  # what is least like a - b: like b, unlike a
        ((total((1.0, 0), (0.2, 1)),), "near"),
        ((total((9.0, 0), (0.9, 1), details={"picture_tower": "x"}),), "far"),
        ((total((9.0, 0), (9.0, 1)), part(2, 0.1)), "between"),
        ((total((9.0, 0), (0.9, 1)), part(2, 0.1)), "near"),
        ((total((9.0, 0), (0.9, 1)), part(2)), "between"),  # a part counts by its weight, however long the sum was
    ],
)
def test_the_shape_of_a_question(parts, shape):
    source = Source(db.StoredEncoder(1, "image", "aa", "an encoder", DIMS, {}, True), 0, None)
    [direction] = directions_of(parts, [source] * len(parts), [of.weight for of in parts], [0.0] * len(parts))
    assert direction.shape == shape


@pytest.mark.parametrize(("texts", "missed"), [(2, False), (2000, True)])
def test_an_index_that_is_not_used_for_so_few_texts_is_not_blamed(texts, missed):
    source = Source(db.StoredEncoder(1, "text", "aa", "an encoder", DIMS, {}, True), ROWS, "hnsw", texts={"negative_id": texts})
    assert Direction("negative", source, np.ones(DIMS, np.float16), 1.0, shape="opposite").is_missed is missed


def test_an_index_is_tried_once_and_again_when_it_has_doubled(library, by_image):
    assert try_grown(library) == 0  # there is none
    with library.connection() as conn:
        conn.execute(create_statement(db.get_encoder(conn, by_image), "hnsw", f"image_vectors_hnsw_{by_image}"))
        db.bump_generation(conn)
    assert refresh_search(library) == "1 vector index tried"
    assert refresh_search(library) == "" and source_of(library, by_image).tried == ROWS
    told(library, by_image, ROWS // 2, 100, 100, 100, 100, 100)  # as if the first half had been there then
    assert try_grown(library) == 1 and source_of(library, by_image).tried == ROWS


def test_an_index_is_tried_again_when_half_of_its_vectors_are_gone_and_when_it_is_filled_anew(library, by_image):
    db.set_index(library, by_image, "hnsw")
    told(library, by_image, ROWS, *[None] * len(SHAPES))  # as of vectors that went while it was tried
    with library.connection() as conn:
        conn.execute("CREATE TABLE kept AS SELECT * FROM image_vectors")
        conn.execute("DELETE FROM image_vectors WHERE image_id % 3 > 0")
    assert try_grown(library) == 1 and source_of(library, by_image).tried == ROWS // 3
    with library.connection() as conn:
        conn.execute("DELETE FROM image_vectors")
    assert try_grown(library) == 0 and (source_of(library, by_image).efforts, source_of(library, by_image).tried) == (None, 0)
    with library.connection() as conn:
        conn.execute("INSERT INTO image_vectors SELECT * FROM kept")
    assert try_grown(library) == 1 and source_of(library, by_image).efforts["near"] is not None


@pytest.mark.parametrize(("rows", "tried", "counted"), [(500, 0, 1), (2000, 0, 1000), (3000, 3000, 1501), (4100, 3000, 6000)])
def test_no_more_vectors_are_counted_than_tell_whether_an_index_is_due(low_limits, rows, tried, counted):
    source = Source(db.StoredEncoder(1, "image", "aa", "an encoder", DIMS, {}, True), rows, "hnsw", tried=tried)
    assert effort._telling(source) == counted
    assert all(effort.is_due(min(there, counted), tried) == effort.is_due(there, tried) for there in range(3 * rows // 2))


def test_an_index_is_not_blamed_where_few_vectors_are_left_of_many(library, by_image):
    db.set_index(library, by_image, "hnsw")
    told(library, by_image, ROWS, *[None] * len(SHAPES))
    with library.connection() as conn:
        conn.execute("DELETE FROM image_vectors WHERE image_id > 900")
    assert ids_and_how(library, (part(0),))[1:] == ("exact", "")


def test_vectors_that_go_while_an_index_is_tried_leave_it_to_be_tried_again(library, by_image):
    def remove(stage: str, done: int, total: int) -> None:
        if stage == "Trying the index" and not done:
            with library.connection() as conn:
                conn.execute("DELETE FROM image_vectors WHERE image_id % 3 > 0")

    db.set_index(library, by_image, "hnsw", progress=remove)
    assert source_of(library, by_image).tried == ROWS // 3


def test_each_encoder_of_a_table_grows_by_itself(library, by_image, encoder):
    with library.connection() as conn:
        other = encoder(conn, "image", fingerprint="bb", dims=DIMS)
        conn.execute("INSERT INTO image_vectors SELECT image_id, %s, embedding FROM image_vectors WHERE image_id %% 2 = 0", [other])
    assert try_grown(library) == 1
    with library.connection() as conn:
        conn.execute(
            "INSERT INTO image_vectors SELECT image_id, %s, embedding FROM image_vectors WHERE image_id %% 2 = 1 AND encoder_id = %s",
            [other, by_image],
        )
    assert source_of(library, other).tried == ROWS // 2 and try_grown(library) == 1


def test_an_encoder_of_few_vectors_in_a_large_table_is_not_tried(library, by_image, encoder, image):
    with library.connection() as conn:
        other = encoder(conn, "image", fingerprint="bb", dims=DIMS)
        db.write_image_vectors(conn, other, [1, 2], np.eye(2, DIMS))
    assert source_of(library, other).index == "hnsw" and source_of(library, other).rows > 1000
    assert try_grown(library) == 0
    assert ids_and_how(library, (part(0, -1.0, fingerprint="bb"),)) == ([2, 1], "exact", "")  # nor is it told to be


def like(rows: object = 5, **efforts: object) -> str:
    """A comment that is nearly one of ours."""
    return json.dumps({"rows": rows, "efforts": {**dict.fromkeys(SHAPES, 100), **efforts}, "reached": 0.5})


def test_a_later_versions_efforts_are_taken_as_far_as_they_go(library, by_image):
    db.set_index(library, by_image, "hnsw")
    told(library, by_image, ROWS, 100.5, 9999, "200", None, 0)
    assert list(source_of(library, by_image).efforts.values()) == [100, 1000, 200, None, 1]


def test_others_words_on_an_index_are_no_trial(library, by_image):
    db.set_index(library, by_image, "hnsw")
    alike = (like(rows=None), like(near="many"), like(far=1e999))
    for comment in ("made by hand, keep", "{}", "[1]", '{"rows": 5, "efforts": {"near": 100}}', *alike):
        with library.connection() as conn:
            conn.execute(f"COMMENT ON INDEX image_vectors_hnsw_{by_image} IS '{comment}'")
            db.bump_generation(conn)
        assert (source_of(library, by_image).efforts, source_of(library, by_image).tried) == (None, 0)


def test_images_that_are_all_alike_can_be_tried(library, by_image):
    with library.connection() as conn:
        conn.execute("UPDATE image_vectors SET embedding = (SELECT embedding FROM image_vectors LIMIT 1)")
    assert db.set_index(library, by_image, "hnsw")["near"] == 100


@pytest.mark.parametrize("damaged", ["image_id % 7 = 0", "true"])
def test_damaged_vectors_are_nobodys_answer(library, by_image, damaged):
    with library.connection() as conn:
        conn.execute(f"UPDATE image_vectors SET embedding = array_fill(0, ARRAY[{DIMS}])::halfvec({DIMS}) WHERE {damaged}")
    efforts = db.set_index(library, by_image, "hnsw")
    assert (efforts["near"] is None) == (damaged == "true")


def test_only_the_owner_of_an_index_tries_it(library, by_image, as_user, monkeypatch):
    monkeypatch.setattr(indexes, "find_efforts", lambda *of: None)
    db.set_index(library, by_image, "hnsw")
    other = as_user("ALL")
    assert try_grown(other) == 0
    assert "as the PostgreSQL user postgres, whose index it is, or as a member of it, tries" in ids_and_how(other, (part(0, -1.0),))[2]
    assert try_grown(library) == 1


def test_what_would_be_missed_is_compared_behind_a_filter_too(library, by_image):
    db.set_index(library, by_image, "hnsw")
    told(library, by_image, ROWS, 100, 100, 100, None, None)
    for condition, method, noted in (("i.id > 0", "exact", True), ("i.id < 60", "exact over 59 filtered images", False)):
        with library.connection() as conn:
            conn.execute("ANALYZE images")
            answer = db.search(conn, db.Question(parts=(part(0), part(1)), k=50, filter=db.Filter(sql.SQL(condition))))
        assert (answer.method, bool(answer.note)) == (method, noted)


@pytest.mark.parametrize("stage", ["Comparing with all", "Trying the index"])
def test_a_cancelled_trial_leaves_the_index(library, by_image, stage):
    told: list[str] = []

    def cancel(now: str, done: int, total: int) -> None:
        told.append(now)
        if now.startswith(stage) and told.count(now) == 2 - (stage == "Comparing with all"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        db.set_index(library, by_image, "hnsw", progress=cancel)
    assert (source_of(library, by_image).index, source_of(library, by_image).efforts) == ("hnsw", None)
    with library.connection() as conn:
        find_efforts(library, db.get_encoder(conn, by_image), lambda stage, done, total: None)
    assert source_of(library, by_image).efforts["near"] is not None


def test_a_cancel_is_heard_while_questions_of_one_shape_are_asked(library, by_image):
    told: list[tuple[str, int]] = []
    db.set_index(library, by_image, "hnsw", progress=lambda stage, done, total: told.append((stage, done)))
    assert told.count(("Trying the index", 0)) >= 512 // effort._HEARD
