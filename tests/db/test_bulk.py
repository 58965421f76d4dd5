"""A large run puts indexes off and makes them at its end, whoever ends it; a small one keeps them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db._builder_lock import alone
from diffusion_toolkit.db._lock_numbers import RUN_LOCK
from diffusion_toolkit.db.claims import FileState, Run
from diffusion_toolkit.db.health.status import library_status
from diffusion_toolkit.db.indexes import bulk
from diffusion_toolkit.db.indexes._graph_cost import graph_bytes, making_pays, settings_for
from diffusion_toolkit.db.search.kinds import sources_of, state_of
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, images, index_folder
from diffusion_toolkit.nodes.indexing.index_store import FolderStore
from PIL import Image
from PIL.PngImagePlugin import PngInfo

DIMS = 8
LARGE = 5000


@pytest.fixture
def by_image(library, encoder, image) -> int:
    """An image encoder with 20 vectors, and an index of its own making."""
    with library.connection() as conn:
        encoder_id = encoder(conn, "image", dims=DIMS)
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(n) for n in range(20)])
        db.write_image_vectors(conn, encoder_id, ids, np.random.default_rng(1).normal(size=(20, DIMS)))
    db.set_index(library, encoder_id, "hnsw", m=12, ef_construction=40)
    return encoder_id


def indexes(library: db.Library) -> list[str]:
    with library.connection() as conn:
        rows = conn.execute("SELECT indexname || ' ' || indexdef FROM pg_indexes WHERE indexdef ~ 'hnsw|ivfflat' ORDER BY 1")
        return [row[0] for row in rows]


def noted(library: db.Library) -> list[tuple]:
    with library.connection() as conn:
        return conn.execute("SELECT encoder_id, method, m, ef_construction FROM postponed_indexes ORDER BY 1").fetchall()


def test_an_index_is_put_off_and_made_again_as_it_was(library, by_image):
    before = indexes(library)
    assert db.postpone_indexes(library, {by_image: LARGE}) == ["image aa"]
    assert (indexes(library), noted(library)) == ([], [(by_image, "hnsw", 12, 40)])
    assert db.refresh_search(library) == "1 vector index made"
    assert (indexes(library), noted(library)) == (before, [])


def test_the_planner_is_told_of_the_images_and_files_of_a_large_run(library, by_image):
    db.postpone_indexes(library, {by_image: LARGE})
    db.refresh_search(library)
    with library.connection() as conn:
        known = conn.execute("SELECT relname, reltuples FROM pg_class WHERE relname IN ('images', 'paths') ORDER BY 1").fetchall()
    assert known == [("images", 20), ("paths", 20)]


def test_searches_are_exact_meanwhile(library, by_image):
    db.postpone_indexes(library, {by_image: LARGE})
    with library.connection() as conn:
        parts = (db.Part("image", db.image_vector(conn, 7, by_image)),)
        assert [source.index for source in sources_of(state_of(conn), parts)] == [None]
        assert db.search(conn, db.Question(parts=parts)).hits[0].image_id == 7


def test_searches_learn_that_there_is_no_index_now(library, by_image):
    with library.connection() as conn:
        before = db.generation(conn)
    db.postpone_indexes(library, {by_image: LARGE})
    with library.connection() as conn:
        assert db.generation(conn) != before


def test_a_small_run_keeps_its_indexes(library, by_image):
    assert db.postpone_indexes(library, {by_image: 999}) == []
    assert len(indexes(library)) == 1 and noted(library) == []


def test_so_does_one_that_adds_little_to_a_large_library(library, by_image, monkeypatch):
    monkeypatch.setattr(bulk, "LEAST", 2)
    assert db.postpone_indexes(library, {by_image: 2}) == []
    assert db.postpone_indexes(library, {by_image: 3}) == ["image aa"]  # 23 rows made anew take less than 3 to add


def test_it_may_be_asked_again_as_more_is_expected(library, by_image):
    assert [db.postpone_indexes(library, {by_image: rows}) for rows in (10, LARGE, 2 * LARGE)] == [[], ["image aa"], []]
    assert noted(library) == [(by_image, "hnsw", 12, 40)]


@pytest.mark.parametrize(("method", "put_off"), [("binary", True), ("ivfflat", False), ("none", False)])
def test_what_a_person_chose_stays_chosen(library, by_image, method, put_off):
    db.set_index(library, by_image, method)
    before = indexes(library)
    assert bool(db.postpone_indexes(library, {by_image: LARGE})) == put_off
    db.refresh_search(library)
    assert indexes(library) == before


def test_build_index_makes_it_or_ends_the_waiting(library, by_image):
    db.postpone_indexes(library, {by_image: LARGE})
    db.set_index(library, by_image, "none")
    assert noted(library) == [] and db.refresh_search(library) == ""


def test_a_cancelled_making_is_taken_up_by_the_next_run(library, by_image):
    def cancel(stage, done, total):
        raise KeyboardInterrupt

    db.postpone_indexes(library, {by_image: LARGE})
    with pytest.raises(KeyboardInterrupt):
        db.refresh_search(library, cancel)
    assert len(noted(library)) == 1
    assert db.refresh_search(library) == "1 vector index made"


def test_while_another_run_goes_on_it_waits_for_that_ones_end(library, by_image):
    db.postpone_indexes(library, {by_image: LARGE})
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
    other = Run(library, "another computer")
    other.claim(root, [FileState("new.png", 1, 1, 0)])
    assert db.refresh_search(library) == "" and len(noted(library)) == 1
    other.end()  # its session may last a moment longer
    assert db.refresh_search(library) == "1 vector index made"


def test_a_run_that_has_ended_is_not_waited_for_while_its_session_lasts(library, dsn):
    with psycopg.connect(dsn, autocommit=True) as run:
        run.execute("SELECT pg_advisory_lock(%s, 7)", [RUN_LOCK])
        with library.connection() as conn:
            assert not bulk.another_run(conn)
            conn.execute("INSERT INTO runs (id, who) OVERRIDING SYSTEM VALUE VALUES (7, 'another')")
            assert bulk.another_run(conn)


def test_where_somebody_makes_an_index_all_stay(library, by_image):
    with alone(library):
        assert db.postpone_indexes(library, {by_image: LARGE}) == []
        assert len(indexes(library)) == 1
    db.postpone_indexes(library, {by_image: LARGE})
    with alone(library):
        assert "not made: Another process is building an index" in db.refresh_search(library)


def test_a_long_reader_holds_up_neither_the_run_nor_other_searches(library, by_image, monkeypatch):
    monkeypatch.setattr(bulk, "_PATIENCE", "100ms")
    with library.connection() as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT count(*) FROM image_vectors")
        assert db.postpone_indexes(library, {by_image: LARGE}) == ["image aa"]
        assert [name.split()[0] for name in indexes(library)] == [f"image_vectors_former_hnsw_{by_image}"]
        with library.connection() as other:
            assert other.execute("SELECT count(*) FROM image_vectors").fetchone() == (20,)
    db.postpone_indexes(library, {by_image: LARGE})  # asked again as the run goes on
    assert indexes(library) == [] and len(noted(library)) == 1


def test_what_a_making_that_was_killed_has_left_slows_no_later_run_down(library, by_image):
    db.postpone_indexes(library, {by_image: LARGE})
    with library.connection() as conn:
        conn.execute(f"CREATE INDEX image_vectors_new_hnsw_{by_image} ON image_vectors USING hnsw ((embedding::halfvec(8)) halfvec_cosine_ops)")
    db.postpone_indexes(library, {by_image: LARGE})
    assert indexes(library) == []


def test_so_does_a_former_index_which_a_making_that_was_killed_at_its_end_has_left(library, by_image):
    with library.connection() as conn:
        over = "image_vectors USING hnsw ((embedding::halfvec(8)) halfvec_cosine_ops)"
        conn.execute(f"CREATE INDEX image_vectors_former_hnsw_{by_image} ON {over}")
    assert db.postpone_indexes(library, {by_image: LARGE}) == ["image aa"]
    assert (indexes(library), noted(library)) == ([], [(by_image, "hnsw", 12, 40)])


def test_an_index_that_is_kept_up_after_all_is_told_of(library, by_image, monkeypatch, caplog):
    def failing(*_: object) -> None:
        raise db.LibraryError("No disk.")

    monkeypatch.setattr(bulk, "_put_off", failing)
    assert db.postpone_indexes(library, {by_image: LARGE}) == []
    assert "The index over the vectors by image aa is kept up, row by row: No disk." in caplog.text


def test_what_another_run_has_made_meanwhile_is_not_made_again(library, by_image, monkeypatch):
    db.postpone_indexes(library, {by_image: LARGE})
    monkeypatch.setattr(bulk, "postponed", lambda conn: set())  # as it is by then
    assert db.refresh_search(library) == "" and indexes(library) == []


def test_library_status_tells_what_is_put_off_and_who_makes_it(library, by_image, dsn):
    db.postpone_indexes(library, {by_image: LARGE})
    status = library_status(library)
    [told] = [problem for problem in status.problems if "put off" in problem.what]
    assert "image (20 vectors)" in told.what and told.remedy == "Queue Index Folder: any run makes them at its end."
    assert [encoder.family for encoder in status.postponed] == ["image"]
    with psycopg.connect(dsn, autocommit=True) as run:
        (number,) = run.execute("INSERT INTO runs (who) VALUES ('another') RETURNING id").fetchone()
        run.execute("SELECT pg_advisory_lock(%s, %s)", [RUN_LOCK, number])
        [told] = [problem for problem in library_status(library).problems if "put off" in problem.what]
        assert told.remedy == "Nothing: the run that goes on makes them at its end."
    with alone(library):
        assert not [problem for problem in library_status(library).problems if "put off" in problem.what]


def test_a_run_puts_off_the_indexes_of_what_it_reads_and_of_the_texts_that_it_finds(library, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "LEAST", 5)
    monkeypatch.setattr(images, "JUDGED_AT", 1)  # by the first batch, of which there are several
    for number in range(80):
        about = PngInfo()
        about.add_text("parameters", f"picture number {number}\nSteps: 20, Sampler: Euler, Seed: 1, Size: 8x8")
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png", pnginfo=about)
    stand_in = {"fingerprint": "f", "name": "stand-in", "dims": 4}
    looks = SimpleNamespace(**stand_in, weights="w", encode=lambda images: np.ones((len(images), 4), np.float32))
    words = SimpleNamespace(**stand_in, encode_texts=lambda texts: np.ones((len(texts), 4), np.float32))
    with FolderStore(library, "output", tmp_path, "", Encoders(image=looks, text=words)) as store:
        before = indexes(library)
        index_folder(tmp_path, Scan(tmp_path), store, Encoders(image=looks, text=words))
        assert (len(before), indexes(library), len(noted(library))) == (2, [], 2)
    assert db.refresh_search(library) == "2 vector indexes made" and indexes(library) == before


def test_vectors_of_negatives_that_no_search_looks_at_put_no_index_off(library, image, tmp_path, monkeypatch):
    """Prompts by CLIP-L are in its index, negatives are not: they are as many again, and cost it nothing."""
    asked = []
    monkeypatch.setattr(db, "postpone_indexes", lambda library, expected: asked.append(expected))
    words = SimpleNamespace(fingerprint="f", name="stand-in", dims=4)
    clip = SimpleNamespace(fingerprint="c", clip_l_fingerprint="l", clip_g_fingerprint="g", name="stand-in", halves={})
    with library.connection() as conn:
        texts = [db.TextPair(f"text {number}", "") for number in range(12)]
        pictures = [image(number, prompt=texts[number % 4], negative=texts[4 + number]) for number in range(8)]
        db.write_images(conn, db.ensure_root(conn, "output", str(tmp_path)), pictures)
    with FolderStore(library, "output", tmp_path, "", Encoders(text=words, clip=clip)) as store:
        assert [len(store.texts_without(family)[0]) for family in ("clip_l", "text")] == [13, 13]  # the empty one, too
    assert [list(expected.values()) for expected in asked] == [[4], [13]]


def test_an_index_pays_to_make_anew_from_an_eighth_on_while_it_fits_into_memory():
    row, memory = graph_bytes(1024, 16), 2 << 30
    assert row == 2760
    assert making_pays(13_000, 90_000, row, memory) and not making_pays(12_000, 90_000, row, memory)
    assert making_pays(100_000, 0, row, memory)
    assert not making_pays(300_000, 1_000_000, row, memory)  # 778,000 fit
    assert making_pays(1_000_000, 500_000, row, memory)


def test_a_graph_is_given_the_memory_that_it_needs_where_the_server_is_ours(library, monkeypatch):
    from diffusion_toolkit.db.indexes import _graph_cost

    with library.connection() as conn:
        conn.execute("UPDATE pg_extension SET extversion = '0.8.4' WHERE extname = 'vector'")  # Windows' is older
        assert settings_for(library, conn, 1 << 30) == {}
        monkeypatch.setattr(library, "embedded", True)
        monkeypatch.setattr(_graph_cost, "_free_memory", lambda: 100 << 30)
        monkeypatch.setattr(_graph_cost, "_shared_memory", lambda conn: 8 << 30)
        given = settings_for(library, conn, 4 << 30)
        assert given["maintenance_work_mem"] == f"{(4 << 10) * 9 // 8 + 16}MB"
        assert settings_for(library, conn, 20 << 30)["maintenance_work_mem"] == "8192MB"  # no more than /dev/shm has


@pytest.mark.parametrize(("version", "parallel"), [("0.8.1", False), ("0.8.2", True)])
def test_a_graph_is_made_by_one_process_where_a_parallel_build_is_faulty(library, monkeypatch, version, parallel):
    with library.connection() as conn:
        conn.execute("UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'", [version])
        assert (settings_for(library, conn, 1 << 30) == {"max_parallel_maintenance_workers": "0"}) is not parallel
        monkeypatch.setattr(library, "embedded", True)
        assert (settings_for(library, conn, 1 << 30)["max_parallel_maintenance_workers"] == "0") is not parallel


def test_a_build_is_given_its_settings_and_gives_them_back(library, by_image, monkeypatch):
    from diffusion_toolkit.db.indexes import build as module

    def asked() -> tuple[str, str]:
        with library.connection() as conn:
            return conn.execute("SELECT current_setting('maintenance_work_mem'), current_setting('lock_timeout')").fetchone()

    before = asked()
    monkeypatch.setattr(module, "settings_for", lambda library, conn, need: {"maintenance_work_mem": "77MB"})
    with library.connection() as conn:
        conn.execute("CREATE TABLE seen (setting text)")
    from psycopg import sql

    statement = sql.SQL("INSERT INTO seen SELECT current_setting('maintenance_work_mem')")
    module.build_index(library, statement, "Trying", lambda *told: None, need=1)
    with library.connection() as conn:
        seen = conn.execute("SELECT setting FROM seen").fetchall()
    assert seen == [("77MB",)]
    assert {asked() for _ in range(3)} == {before}  # of each connection that it may have used
