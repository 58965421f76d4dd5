"""Candidates of the hybrid index are compared by vectors in memory as PostgreSQL compares them, and by none that is no longer so."""

from __future__ import annotations

import os
import tempfile
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.filters import Filter
from diffusion_toolkit.db.health.upkeep import forget
from diffusion_toolkit.db.hybrid import held, whole
from diffusion_toolkit.db.hybrid.build import build_hybrid
from diffusion_toolkit.db.hybrid.candidates import ready_hybrid
from diffusion_toolkit.db.hybrid.refresh import refresh_hybrid
from diffusion_toolkit.db.search import strategy
from diffusion_toolkit.db.search.kinds import directions_of, sources_of, state_of
from host.hybrid_library import DIMS, parts_of, read_whole
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

ALL = {"prompt": 0.4, "image": 0.3, "clip_g": -0.3}


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Searches take what there is for a library for which an index pays; and no thread ends in an error."""
    monkeypatch.setattr(strategy, "EXACT_BELOW", 1)
    monkeypatch.setattr(strategy, "_FOLLOWED", 0)
    failed = []
    monkeypatch.setattr(threading, "excepthook", lambda told: failed.append(told.exc_value))
    yield
    assert not failed


@pytest.fixture
def begun(monkeypatch):
    """One entry for each time that they were begun to be read."""
    begun, read_beside = [], whole.Whole._read
    monkeypatch.setattr(whole.Whole, "_read", lambda self, *args: begun.append(0) or read_beside(self, *args))
    return begun


@pytest.fixture
def by_postgresql(monkeypatch):
    """How many images PostgreSQL was asked to compare, each time."""
    asked, nearest_among = [], strategy.nearest_among
    monkeypatch.setattr(strategy, "nearest_among", lambda *args: asked.append(args[4]) or nearest_among(*args))
    return asked


def search(library: db.Library, weights=ALL, **options) -> db.Answer:
    with library.reading() as conn:
        return db.search(conn, db.Question(parts=parts_of(weights), k=20, **options))


def found(answer: db.Answer) -> list[tuple]:
    return [(hit.image_id, pytest.approx(hit.score, abs=1e-6), pytest.approx(hit.cosines, abs=1e-6, nan_ok=True)) for hit in answer.hits]


@pytest.mark.parametrize(
    "weights",
    [ALL, {"prompt": 1.0, "image": -0.3}, {"image": -1.0, "clip_g": -1.0}, {"image": 0.0, "prompt": -1.0, "clip_g": 1.0}],
    ids=str,
)
@pytest.mark.parametrize("filtered", [False, True])
def test_they_are_compared_as_postgresql_compares_them(library, fill, by_postgresql, weights, filtered):
    fill(300)
    for seed, lacking in enumerate([("prompt",), ("image",), ("clip_g",), ("prompt", "image")], 2):
        fill(80, seed, lacking)
    with library.connection() as conn:  # of a text that is nobody's prompt, which no search looks at
        nobodys = db.ensure_text(conn, db.TextPair("nobody's", ""))
        db.write_text_vectors(conn, db.active_encoder(conn, "clip_g").id, [nobodys], np.ones((1, DIMS)))
    build_hybrid(library)
    chosen = Filter(sql.SQL("mod(i.id, 9) > 0")) if filtered else None
    before = search(library, weights, filter=chosen)
    read_whole(library)
    by_postgresql.clear()
    after = search(library, weights, filter=chosen)
    assert after.method == before.method and "hybrid index" in after.method and not by_postgresql
    for other in (before, search(library, weights, filter=chosen, exact=True)):
        assert [(hit.image_id, hit.score, hit.cosines) for hit in after.hits] == found(other)


def test_equal_vectors_have_equal_scores(library, fill, image):
    """Wherever they lie, so that equals come by id."""
    ids, vectors = fill(300)
    with library.connection() as conn:
        root, encoders = db.ensure_root(conn, "output", "/pictures"), db.active_encoders(conn)
        same = db.write_images(conn, root, [image(1000 + n, prompt=db.TextPair(f"the same {n}", "")) for n in range(15)])
        texts = [db.find_text(conn, db.TextPair(f"the same {n}", "")) for n in range(15)]
        alike = np.stack([part.vector for part in parts_of({"prompt": 1.0, "image": 1.0})])
        db.write_text_vectors(conn, encoders["text"].id, texts, np.repeat(alike[:1], 15, axis=0))
        db.write_image_vectors(conn, encoders["image"].id, same, np.repeat(alike[1:], 15, axis=0))
    build_hybrid(library)
    read_whole(library)
    hits = search(library, {"prompt": 1.0, "image": 1.0}).hits[:15]
    assert [hit.image_id for hit in hits] == same and len({hit.score for hit in hits}) == 1


def test_of_a_text_that_many_images_have_all_are_looked_at(library, fill, image):
    fill(100)
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        db.write_images(conn, root, [image(1000 + n, prompt=db.TextPair("text 1", "")) for n in range(200)])
    build_hybrid(library)
    read_whole(library)
    with library.connection() as conn:
        prompt, looks = directions_of(parts := parts_of({"prompt": 1.0, "image": 1.0}), sources_of(state_of(conn), parts), [1, 1], [0, 0])
        vectors = held.held(conn, ready_hybrid(conn)).whole.vectors
    assert (vectors.looked_at(prompt), vectors.looked_at(looks)) == (3 * whole._LOOKED, whole._LOOKED)


def test_a_kind_that_no_image_has_any_more_is_asked_for(library, fill):
    without, _ = fill(300, lacking=("prompt",))
    fill(300, 2)
    build_hybrid(library, components=2)
    with library.connection() as conn:
        conn.execute("DELETE FROM images WHERE prompt_id IS NOT NULL")
    read_whole(library)
    answer, exactly = (search(library, {"prompt": 1.0, "image": 1.0}, exact=exact) for exact in (False, True))
    assert "hybrid index" in answer.method and [hit.image_id for hit in answer.hits] == [hit.image_id for hit in exactly.hits]
    assert {hit.image_id for hit in answer.hits} <= set(without) and len(answer.hits) == 20


def test_no_cosine_is_beyond_1():
    numbers = np.random.default_rng(1).normal(size=(200, 100)).astype(np.float16)
    vectors = whole._Vectors(numbers, np.linalg.norm(numbers.astype(np.float32), axis=1), np.arange(200), numbers)
    own = [vectors.cosines(np.array([place]), numbers[place])[0] for place in range(200)]
    assert own == pytest.approx([1.0] * 200, abs=1e-6) and max(own) <= 1


def test_a_sketch_tells_of_what_short_vectors_leave_out():
    rng = np.random.default_rng(3)
    numbers = rng.normal(size=(2000, 256)).astype(np.float32)
    queries = (numbers[:40] + 0.5 * rng.normal(size=(40, 256))).astype(np.float16)
    numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
    matrix, places = np.eye(256, 16, dtype=np.float32), np.arange(2000)
    vectors = whole._Vectors(numbers.astype(np.float16), np.ones(2000, np.float32), places, whole._sketch(numbers))
    about = np.array([vectors.about(places, numbers @ matrix, matrix, query) for query in queries])
    true = np.array([vectors.cosines(places, query) for query in queries])
    assert np.std(about - true) < 1.1 / 8 and abs(np.mean(about - true)) < 0.01  # by 64 numbers
    assert (np.argmax(about, axis=1) == range(40)).all() and (np.argmax(queries[:, :16] @ numbers[:, :16].T, axis=1) == range(40)).mean() < 0.8
    assert vectors.about(places, numbers, np.eye(256, dtype=np.float32), queries[0]) == pytest.approx(true[0], abs=1e-3)  # nothing is left out


@given(st.integers(0, 2**32 - 1), st.integers(1, 3000), st.integers(1, 400), st.sampled_from([1, 20, 10**6]), st.sampled_from([7, whole._FEW]))
def test_the_largest_are_the_largest(seed, count, n, different, every):
    scores = np.random.default_rng(seed).integers(0, different, count).astype(np.float32)
    scores[::every] *= 2  # among those that are looked at first there may be more of them than among the others, or fewer
    scores[3::every] = -np.inf
    found = scores[whole.largest(scores, n)]
    assert found.tolist() == sorted(scores.tolist(), reverse=True)[:n]


def test_who_searches_once_or_twice_has_none_read(library, fill, monkeypatch):
    started = []
    monkeypatch.setattr(whole.Whole, "_read", lambda self, *args: started.append(args))
    fill(60)
    build_hybrid(library)
    for count in range(1, 6):
        search(library)
        assert len(started) == (count >= whole._ASKED)  # and it is begun once


def test_an_exact_search_reads_nothing_of_the_index(library, fill, monkeypatch):
    fill(60)
    build_hybrid(library)
    monkeypatch.setattr(held, "read_projection", None)
    assert len(search(library, exact=True).hits) == 20


@pytest.mark.skipif(os.name == "nt", reason="there is no /var/tmp")
def test_they_are_written_where_a_person_or_the_system_keeps_large_temporary_files(monkeypatch, tmp_path):
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    assert whole._folder() == "/var/tmp"
    monkeypatch.setenv("TEMP", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert whole._folder() == str(tmp_path)


def give(library: db.Library, image_id: int, vector: np.ndarray) -> None:
    with library.connection() as conn:
        conn.execute("DELETE FROM image_vectors WHERE image_id = %s", [image_id])
        db.write_image_vectors(conn, image_encoder(library), [image_id], vector[None])


def test_what_was_written_since_is_compared_by_what_is_stored_now(library, fill, by_postgresql):
    """Beside the index, and when it is folded into it, by PostgreSQL until the vectors are read again."""
    ids, _ = fill(300)
    build_hybrid(library)
    read_whole(library)
    wanted = parts_of({"image": 1.0, "clip_g": 0.01})
    give(library, ids[7], wanted[0].vector)
    for folded in (False, True):
        assert not folded or "1 image " in refresh_hybrid(library)
        by_postgresql.clear()
        best = search(library, {"image": 1.0, "clip_g": 0.01}).hits[0]
        assert best.image_id == ids[7] and best.cosines[0] == pytest.approx(1, abs=1e-3) and len(by_postgresql) == 1
    new, _ = fill(1, 2)
    give(library, new[0], 2 * wanted[0].vector)
    assert "1 image " in refresh_hybrid(library)
    assert [hit.image_id for hit in search(library, {"image": 1.0, "clip_g": 0.01}).hits[:2]] == [new[0], ids[7]]


def test_once_many_are_others_they_are_read_again(library, fill, by_postgresql, begun):
    fill(300)
    build_hybrid(library)
    read_whole(library)
    fill(40, 2)
    refresh_hybrid(library)
    search(library)
    assert by_postgresql
    for _ in range(3):
        read_whole(library)
        by_postgresql.clear()
    search(library)
    assert not by_postgresql and len(begun) == 2


def test_what_is_written_while_they_are_read_is_not_read_in_part(library, fill, monkeypatch):
    ids, _ = fill(60)
    build_hybrid(library)
    with library.connection() as conn:
        ready = ready_hybrid(conn)
    read_encoder = whole._read_encoder
    monkeypatch.setattr(whole, "_read_encoder", lambda *args: fill(5, 2) and read_encoder(*args))
    with library.connection() as conn:
        vectors = whole.read_vectors(conn, ready)
    assert vectors.ids.tolist() == ids and [len(of.keys) for of in vectors.vectors.values()] == [60] * 3


def test_new_images_pass_the_filter_too(library, fill):
    fill(300)
    build_hybrid(library)
    read_whole(library)
    new, vectors = fill(30, 2)
    parts = tuple(db.Part(kind, of[0].astype(np.float32)) for kind, of in vectors.items())
    for filter, best in ((None, new[0]), (Filter(sql.SQL("mod(i.id, {}) > 0").format(new[0])), None)):
        with library.reading() as conn:
            hits = db.search(conn, db.Question(parts=parts, k=20, filter=filter)).hits
        assert (hits[0].image_id == best) if best else new[0] not in [hit.image_id for hit in hits]


def test_what_was_added_while_they_were_read_is_not_missed(library, fill, monkeypatch, by_postgresql):
    ids, _ = fill(300)
    build_hybrid(library)
    wanted, read_vectors = parts_of({"image": 1.0, "clip_g": 0.01}), whole.read_vectors

    def slowly(conn, ready):
        vectors = read_vectors(conn, ready)
        monkeypatch.setattr(whole, "read_vectors", read_vectors)
        give(library, ids[7], wanted[0].vector)
        refresh_hybrid(library)
        search(library)
        return vectors

    monkeypatch.setattr(whole, "read_vectors", slowly)
    for _ in range(2):
        read_whole(library)
        assert search(library, {"image": 1.0, "clip_g": 0.01}).hits[0].image_id == ids[7]
    by_postgresql.clear()
    search(library)
    assert not by_postgresql


def test_removed_images_are_no_hits_and_leave_room_for_others(library, fill):
    fill(300)
    build_hybrid(library)
    read_whole(library)
    whole_answer = search(library)
    with library.connection() as conn:
        conn.execute("DELETE FROM images WHERE id = ANY(%s)", [[hit.image_id for hit in whole_answer.hits]])
    after = search(library)
    assert len(after.hits) == 20 and not {hit.image_id for hit in after.hits} & {hit.image_id for hit in whole_answer.hits}
    assert [(hit.image_id, hit.score, hit.cosines) for hit in after.hits] == found(search(library, exact=True))
    with library.connection() as conn:
        assert len(held.held(conn, ready_hybrid(conn))) == 280  # others are compared in their place


def test_of_a_library_that_was_emptied_nothing_is_known(library, fill):
    fill(60)
    build_hybrid(library)
    with library.connection() as conn:
        ready = ready_hybrid(conn)
        conn.execute("DELETE FROM images")
    with library.connection() as conn:
        vectors = whole.read_vectors(conn, ready)
    assert not len(vectors.compare([], np.array([1, 2]))[0]) and not len(vectors.vectors[image_encoder(library)].numbers)


def test_an_image_that_has_none_of_the_kinds_any_more_is_no_hit(library, fill):
    """Its row in the index is another one, that says so."""
    ids, _ = fill(300)
    build_hybrid(library)
    read_whole(library)
    best = search(library).hits[0].image_id
    with library.connection() as conn:
        conn.execute("UPDATE images SET prompt_id = NULL WHERE id = %s", [best])
    forget(library, image_encoder(library), [best])
    for folded in (False, True):
        assert not folded or "1 image " in refresh_hybrid(library)
        answer = search(library)
        assert best not in [hit.image_id for hit in answer.hits] and len(answer.hits) == 20


def image_encoder(library: db.Library) -> int:
    with library.connection() as conn:
        return db.active_encoder(conn, "image").id


def test_the_index_is_made_anew_while_they_are_read(library, fill, monkeypatch):
    """To read them keeps nobody from it, and so no searches that come after."""
    fill(60)
    build_hybrid(library)
    read_vectors = whole.read_vectors

    def slowly(conn, ready):
        vectors = read_vectors(conn, ready)
        build_hybrid(library)
        return vectors

    monkeypatch.setattr("diffusion_toolkit.db.hybrid.build._ATTEMPTS", 1)
    monkeypatch.setattr("diffusion_toolkit.db.hybrid.build._PATIENCE", 0.2)
    monkeypatch.setattr(whole, "read_vectors", slowly)
    read_whole(library)


def test_vectors_of_another_length_are_left_out(library, fill):
    """As nothing keeps a person from storing; PostgreSQL can't compare with them at all."""
    ids, _ = fill(60)
    build_hybrid(library)
    with library.connection() as conn:
        for (name,) in conn.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'image_vectors'::regclass AND NOT indisprimary").fetchall():
            conn.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(name)))
        conn.execute("UPDATE image_vectors SET embedding = '[1,2]' WHERE image_id = %s", [ids[3]])
        conn.execute("UPDATE image_vectors SET embedding = %s::halfvec WHERE image_id = %s", [str([1] * (2 * DIMS - 2)), ids[4]])
        ready = ready_hybrid(conn)
    with library.connection() as conn:
        vectors = whole.read_vectors(conn, ready)
    encoder = image_encoder(library)
    assert vectors.vectors[encoder].keys.tolist() == [image_id for image_id in ids if image_id not in ids[3:5]]
    assert np.flatnonzero(vectors.places["image", encoder] < 0).tolist() == [3, 4]


def test_a_vector_without_direction_is_left_to_postgresql(library, fill, by_postgresql):
    ids, _ = fill(60)
    build_hybrid(library, components=2)
    with library.connection() as conn:
        conn.execute("UPDATE image_vectors SET embedding = %s::halfvec WHERE image_id = %s", [str([0.0] * DIMS), ids[3]])
    before = search(library)
    read_whole(library)
    by_postgresql.clear()
    assert [hit.image_id for hit in search(library).hits] == [hit.image_id for hit in before.hits]
    assert len(by_postgresql) == 1


@pytest.mark.parametrize("lacks", ["memory", "room on disk", "a place to write", "a thread"])
def test_where_there_is_no_room_postgresql_goes_on_comparing(library, fill, by_postgresql, begun, monkeypatch, lacks):
    fill(60)
    build_hybrid(library)
    if lacks == "memory":
        monkeypatch.setattr(whole, "machine_memory", lambda: 8 * 3 * 60 * 2 * DIMS - 1)
    elif lacks == "room on disk":
        monkeypatch.setattr(whole.shutil, "disk_usage", lambda folder: SimpleNamespace(free=8 * 3 * 60 * 2 * DIMS - 1))
    elif lacks == "a thread":
        monkeypatch.setattr(threading.Thread, "start", refused)
    else:
        monkeypatch.setattr(tempfile, "TemporaryFile", full)
    for _ in range(3):
        read_whole(library)
    assert len(search(library).hits) == 20 and len(by_postgresql) == 3 * whole._ASKED + 1 and len(begun) == (lacks != "a thread")


def full(**_):
    raise OSError(28, "No space left on device")


def refused(_):
    raise RuntimeError("can't start new thread")


def test_a_library_that_went_away_while_they_were_read_is_told_by_the_searches_alone(library, fill, by_postgresql, monkeypatch):
    fill(60)
    build_hybrid(library)

    def broken_off(conn, ready):
        conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(whole, "read_vectors", broken_off)
    read_whole(library)
    assert len(search(library).hits) == 20 and len(by_postgresql) == whole._ASKED + 1
