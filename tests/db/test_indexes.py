"""An encoder's index is of the method that was chosen, and searches read it."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db._builder_lock import alone
from diffusion_toolkit.db.indexes.build import build_index
from diffusion_toolkit.db.search import strategy
from diffusion_toolkit.db.search.kinds import directions_of, sources_of, state_of
from diffusion_toolkit.db.search.one_kind import nearest_by_index, nearest_exactly
from host.waiting import wait_until
from psycopg import sql

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
        sources = sources_of(state_of(conn), parts)
        assert sources[0].index == method
        [direction] = directions_of(parts, sources, [1.0], [0.0])
        near = {image_id for image_id, _ in nearest_by_index(conn, direction, 10)}
        assert len(near & {image_id for image_id, _ in nearest_exactly(conn, direction, 10)}) >= 8


def test_after_a_filtered_search_by_an_index_the_next_statement_may_sort(library, by_image):
    with library.reading() as conn:
        parts = [db.Part("image", np.ones(DIMS, np.float32))]
        [direction] = directions_of(parts, sources_of(state_of(conn), parts), [1.0], [0.0])
        assert len(nearest_by_index(conn, direction, 10, db.parse_filter("width:1.."))) == 10
        assert conn.execute("SHOW enable_sort").fetchone() == ("on",)


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
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == ["Indexing image aa (image)", "Removing the former index"]
    assert all(total >= 1 for _, _, total in told)


def test_so_few_vectors_are_compared_without_an_index(library, by_image, monkeypatch):
    with library.connection() as conn:
        assert (db.unused_below(conn, ["image"]), db.unused_below(conn, ["text", "image"], 2)) == (10_000, 20_000)
        monkeypatch.setattr(strategy, "EXACT_BELOW", 250)
        assert (db.unused_below(conn, ["image"]), db.unused_below(conn, ["text", "image"], 2)) == (0, 500)


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


class InThread(threading.Thread):
    """Runs a function in a thread; `finish` gives what it returned or raises what it raised."""

    def __init__(self, work) -> None:
        super().__init__(daemon=True)
        self.work, self.returned, self.raised = work, None, None
        self.start()

    def run(self) -> None:
        try:
            self.returned = self.work()
        except BaseException as error:
            self.raised = error

    def finish(self):
        self.join(30)
        assert not self.is_alive(), "still running"
        if self.raised:
            raise self.raised
        return self.returned


@pytest.mark.parametrize("method", ["ivfflat", "none"])
def test_nobody_waits_for_an_index_that_waits_for_a_long_reader(library, by_image, image, method):
    with library.connection() as reader, library.connection() as other:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM image_vectors")
        made = InThread(lambda: db.set_index(library, by_image, method))
        waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')"
        other.autocommit = True
        wait_until(lambda: other.execute(waiting).fetchone()[0])
        other.autocommit = False
        other.execute("SET LOCAL lock_timeout = '1s'")
        parts = [db.Part("image", np.ones(DIMS, np.float32))]
        assert len(db.search(other, db.Question(parts=tuple(parts))).hits) == 8
        ids = db.write_images(other, db.ensure_root(other, "output", "/pictures"), [image(400)])
        db.write_image_vectors(other, by_image, ids, np.ones((1, DIMS)))
        other.commit()
        reader.rollback()
        made.finish()
        assert db.indexes_of(other, db.get_encoder(other, by_image)) == ([] if method == "none" else [method])
        assert len(definitions(other)) == (method != "none")


def test_only_one_makes_indexes_at_a_time(library, by_image):
    with alone(library), pytest.raises(db.LibraryError, match="Another process is building"):
        db.set_index(library, by_image, "hnsw")


def test_what_a_broken_off_run_left_is_removed_by_the_next_of_any_method(library, by_image):
    with library.connection() as conn:
        conn.execute(f"CREATE INDEX image_vectors_new_binary_{by_image} ON image_vectors USING hnsw ((embedding::halfvec(8)) halfvec_cosine_ops)")
    db.set_index(library, by_image, "hnsw")
    with library.connection() as conn:
        assert len(definitions(conn)) == 1


def test_a_cancelled_build_leaves_nothing_else(library, by_image):
    def cancel(stage, done, total):
        with library.connection() as conn:
            if not conn.execute(f"SELECT to_regclass('image_vectors_new_ivfflat_{by_image}')").fetchone()[0]:
                return
        reader.rollback()
        raise KeyboardInterrupt

    with library.connection() as reader:  # for whom it waits when it is half made
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM image_vectors")
        with pytest.raises(KeyboardInterrupt):
            db.set_index(library, by_image, "ivfflat", progress=cancel)
    with library.connection() as conn:
        assert len(definitions(conn)) == 1
        assert conn.execute("SHOW lock_timeout").fetchone() == ("2min",)


def test_a_cancel_is_heard_before_the_statement_was_sent(library):
    class Slow(sql.SQL):
        def as_bytes(self, context=None) -> bytes:
            time.sleep(0.5)
            return super().as_bytes(context)

    def cancel(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(library, Slow("DO $$ BEGIN PERFORM pg_sleep(3); CREATE TABLE was_not_heard (); END $$"), "Slow", cancel)
    with library.connection() as conn:
        assert conn.execute("SELECT to_regclass('was_not_heard')").fetchone() == (None,)


def test_a_new_encoder_waits_for_whoever_makes_an_index(library, by_image):
    def add() -> int:
        with library.connection() as conn:
            conn.execute("SET LOCAL lock_timeout = '100ms'")
            return db.ensure_encoder(conn, db.Encoder("image", "bb", "another", DIMS))

    with alone(library):
        added = InThread(add)
        added.join(0.5)
        assert added.is_alive()
        with library.connection() as conn:  # and holds up no writer meanwhile
            conn.execute("SET LOCAL lock_timeout = '100ms'")
            db.ensure_text(conn, db.TextPair("a shark", "a shark"))
    assert added.finish() > by_image


def test_searches_learn_of_a_new_encoder_and_of_what_is_told_of_it_later(library, by_image):
    with library.connection() as conn:
        before = db.generation(conn)
        db.ensure_encoder(conn, db.Encoder("image", "bb", "another", DIMS))
        added = db.generation(conn)
        db.ensure_encoder(conn, db.Encoder("image", "bb", "another", DIMS, {"more": 1}))
        assert len({before, added, db.generation(conn)}) == 3
