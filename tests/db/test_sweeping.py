"""What Library Upkeep sweeps up in the server: leftovers of index makings, the room of what was deleted, and files that are gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db._builder_lock import alone
from diffusion_toolkit.db._generation import one_writer
from diffusion_toolkit.db.claims import running
from diffusion_toolkit.db.indexes import build
from host.waiting import wait_until


def test_what_makings_of_indexes_have_left_is_dropped_even_where_their_encoder_is_gone(library):
    names = ["image_vectors_hnsw_98", "text_vectors_hnsw_99", "image_vectors_hnsw_97"]
    with library.connection() as conn:
        for name, column in zip(names, ("image_id", "text_id", "image_id")):
            conn.execute(f"CREATE INDEX {name} ON {name.partition('_hnsw')[0]} ({column})")
        conn.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = ANY(%s::regclass[])", [names[:2]])
    assert db.mend_indexes(library, lambda *_: None) == names[:2]
    with library.connection() as conn:
        left = [conn.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()[0] for name in names]
    assert left == [False, False, True]
    assert db.mend_indexes(library, lambda *_: None) == []


@pytest.mark.parametrize(("name", "sound"), [("image_vectors_hnsw_98", False), ("image_vectors_new_hnsw_98", True), ("image_vectors_former_hnsw_98", True)])
def test_an_index_that_another_is_making_is_not_taken_for_a_leftover(library, name, sound):
    with library.connection() as conn:
        conn.execute(f"CREATE INDEX {name} ON image_vectors (image_id)")
        conn.execute("UPDATE pg_index SET indisvalid = %s WHERE indexrelid = %s::regclass", [sound, name])
    with alone(library), pytest.raises(db.LibraryError, match="Another process is building an index"):
        db.mend_indexes(library, lambda *_: None)
    assert indexes_named(library, "_98") == [name]
    assert db.mend_indexes(library, lambda *_: None) == [name] and indexes_named(library, "_98") == []


def indexes_named(library: db.Library, ending: str) -> list[str]:
    with library.connection() as conn:
        rows = conn.execute("SELECT indexname FROM pg_indexes WHERE indexname ~ %s ORDER BY 1", [f"(^|_)vectors_.*{ending}$"])
        return [name for (name,) in rows]


@pytest.mark.parametrize(("cut_short", "left"), [("step_aside", "new_hnsw"), ("drop_indexes", "former_ivfflat")])
def test_a_sound_index_that_a_killed_making_left_is_told_and_removed_and_not_while_another_makes_one(library, fill, monkeypatch, cut_short, left):
    fill(3)
    with library.connection() as conn:
        known = db.active_encoder(conn, "image").id
    db.set_index(library, known, "ivfflat")
    calls = getattr(build, cut_short)

    def killed(*arguments, **options):
        if cut_short == "drop_indexes" and arguments[1] != [f"image_vectors_former_ivfflat_{known}"]:
            return calls(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(build, cut_short, killed)
        db.set_index(library, known, "hnsw")
    left = f"image_vectors_{left}_{known}"
    used, both = {"step_aside": "ivfflat", "drop_indexes": "hnsw"}[cut_short], indexes_named(library, f"_{known}")
    assert both == sorted([left, f"image_vectors_{used}_{known}"])
    with library.connection() as conn:
        conn.execute("CREATE INDEX image_vectors_new_pictures_9 ON image_vectors (image_id)")  # a person's

    def told() -> list[str]:
        return [f"{problem.what} {problem.remedy}" for problem in db.library_status(library).problems if "_vectors_" in problem.what]

    with alone(library):
        assert told() == []
    [said] = told()
    assert said.startswith(f"The index {left} is left over") and said.endswith(f"DROP INDEX {left}; or let Library Upkeep (repair) remove it.")
    assert db.mend_indexes(library, lambda *_: None) == [left] and told() == []
    assert indexes_named(library, f"_{known}") == [f"image_vectors_{used}_{known}"] and indexes_named(library, "pictures_9")


def test_tables_are_vacuumed_of_which_a_tenth_and_more_than_a_thousand_rows_were_deleted(library):
    told = []

    def swept() -> list[str]:
        told.clear()
        return db.vacuum(library, lambda *stage: told.append(stage))

    with library.connection() as conn:
        conn.execute("ALTER TABLE images SET (autovacuum_enabled = false)")
        conn.execute(
            "INSERT INTO images (hash, width, height, prompt_joined, negative_joined, loras, reader)"
            " SELECT int8send(n), 8, 8, false, false, '[]', 1 FROM generate_series(1, 14000) n"
        )
    deleted = []
    for last in (999, 1200, 1500):  # too few; no tenth of what is left; enough
        with library.connection() as conn:
            conn.execute("DELETE FROM images WHERE id <= %s", [last])
            conn.execute("SELECT pg_stat_force_next_flush()")
        deleted.append((swept(), [*told]))
    assert deleted == [([], []), ([], []), (["images"], [("Taking up what was deleted in images", 0, 1)])]
    assert swept() == []


@pytest.fixture
def admin(library, dsn) -> Iterator[psycopg.Connection]:
    """Who owns the library, after much was deleted in two of its tables."""
    with psycopg.connect(dsn, autocommit=True) as admin:
        for table, columns in (("roots", "(name, path) SELECT n, n"), ("texts", "(hash, text_g, text_l) SELECT int8send(n), '', ''")):
            admin.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
            admin.execute(f"INSERT INTO {table} {columns} FROM generate_series(1, 1500) n")
            admin.execute(f"DELETE FROM {table}")
        admin.execute("SELECT pg_stat_force_next_flush()")
        yield admin


def test_tables_that_the_user_may_not_vacuum_are_not_told_as_vacuumed(admin, as_user):
    guest = as_user()

    def swept() -> list[str]:
        return db.vacuum(guest, lambda *_: None)

    assert swept() == []
    admin.execute("GRANT MAINTAIN ON texts TO guest" if admin.info.server_version >= 170000 else "ALTER TABLE texts OWNER TO guest")
    assert swept() == ["texts"] and swept() == []
    admin.execute("CREATE ROLE keepers; ALTER TABLE roots OWNER TO keepers; GRANT keepers TO guest")
    assert swept() == ["roots"]
    admin.execute("ALTER TABLE texts OWNER TO CURRENT_USER; ALTER TABLE roots OWNER TO CURRENT_USER; DROP OWNED BY keepers; DROP ROLE keepers")


def test_who_owns_the_database_may_vacuum_all_of_it(admin, as_user):
    guest, of_database = as_user(), f"ALTER DATABASE {admin.info.dbname} OWNER TO"
    admin.execute(f"{of_database} guest")
    assert db.vacuum(guest, lambda *_: None) == ["roots", "texts"] and db.vacuum(guest, lambda *_: None) == []
    admin.execute(f"{of_database} CURRENT_USER")


@pytest.fixture
def gone(library, image) -> tuple[int, int]:
    """The root and the image of gone.png, which is marked as missing."""
    with library.connection() as conn:
        root = db.ensure_root(conn, "output", "/pictures")
        [gone] = db.write_images(conn, root, [image(1, path="gone.png")])
        db.mark_missing(conn, root, ["gone.png"])
    return root, gone


def test_files_that_are_gone_are_not_removed_beside_a_run_that_began_meanwhile(library, gone):
    root, image_id = gone
    run = db.Run(library, "computer 7, process 12")
    run.begin()
    with pytest.raises(db.LibraryError, match="computer 7, process 12 is indexing"):
        db.remove_missing(library, root, list, lambda done: None)
    run.end()
    assert db.remove_missing(library, root, list, lambda done: None) == ({"gone.png": image_id}, {image_id: False})


def test_nothing_is_removed_when_a_run_begins_while_the_disk_is_looked_at(library, gone):
    root, image_id = gone
    run = db.Run(library, "computer 7, process 12")

    def still_gone(paths: list[str]) -> list[str]:
        run.begin()  # which waits for no disk
        return paths

    with pytest.raises(db.LibraryError, match="computer 7, process 12 is indexing"):
        db.remove_missing(library, root, still_gone, lambda done: None)
    with library.connection() as conn:
        assert db.find_images(conn, [conn.execute("SELECT hash FROM images").fetchone()[0]]) and db.get_images(conn, [image_id])
    run.end()


def test_what_is_written_anew_while_the_disk_is_looked_at_stays(library, gone, image):
    root, image_id = gone

    def still_gone(paths: list[str]) -> list[str]:
        with library.connection() as conn:
            db.write_images(conn, root, [image(1, path="gone.png")])
        return paths

    assert db.remove_missing(library, root, still_gone, lambda done: None) == ({}, {})


def test_a_run_begins_once_what_is_being_removed_is_gone(library, gone):
    """Whoever removes has seen no run, which so may not look for images before."""
    run, begun = db.Run(library, "computer 7, process 12"), threading.Event()

    def begin() -> None:
        run.begin()
        begun.set()

    with library.connection() as conn:
        one_writer(conn)
        db.refuse_beside_a_run(conn)
        beginning = threading.Thread(target=begin)
        beginning.start()
        wait_until(lambda: running(conn) or begun.is_set())
        assert not begun.wait(0.2)
        conn.execute("DELETE FROM images")
    assert begun.wait(30)
    beginning.join()
    run.end()
