"""Migrations are applied once, by one of several processes, and never to a database that this code does not know."""

from __future__ import annotations

import hashlib
import shutil
import zlib

import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db.migrate import MIGRATIONS, migrate


def test_a_new_database_has_each_shipped_migration_once(conn):
    applied = conn.execute("SELECT name, length(sha256) FROM migrations ORDER BY name").fetchall()
    assert applied == [(file.name, 64) for file in sorted(MIGRATIONS.glob("*.sql"))]


def test_a_further_migration_is_applied_to_an_old_database_and_the_view_lives_on(conn, tmp_path):
    folder = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    (folder / "0999_more.sql").write_text(
        "ALTER TABLE images ALTER COLUMN generator TYPE varchar(100)", encoding="utf-8"
    )
    migrate(conn, folder)
    migrate(conn, folder)
    assert conn.execute("SELECT count(*) FROM migrations WHERE name = '0999_more.sql'").fetchone() == (1,)
    assert conn.execute("SELECT count(*) FROM image").fetchone() == (0,)


def test_a_migration_that_fails_leaves_nothing(library, tmp_path):
    folder = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    (folder / "0998_good.sql").write_text("CREATE TABLE good ()", encoding="utf-8")
    (folder / "0999_bad.sql").write_text("CREATE TABLE bad (", encoding="utf-8")
    with pytest.raises(db.LibraryError, match="syntax error"), library.connection() as conn:
        migrate(conn, folder)
    with library.connection() as conn:
        assert conn.execute("SELECT to_regclass('good')").fetchone() == (None,)


def test_a_newer_database_is_refused(conn):
    conn.execute("INSERT INTO migrations (name, sha256) VALUES ('9999_future.sql', '')")
    with pytest.raises(db.LibraryError, match="newer Diffusion Toolkit .*9999_future.sql.*Update this package"):
        migrate(conn)


def test_an_edited_migration_is_refused(conn, tmp_path):
    folder = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    [first, *_] = sorted(folder.glob("*.sql"))
    first.write_text(first.read_text(encoding="utf-8") + "-- a word more", encoding="utf-8")
    with pytest.raises(db.LibraryError, match=f"{first.name} is not the one this library was made with"):
        migrate(conn, folder)


def test_windows_newlines_are_no_edit(conn, tmp_path):
    folder = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    for file in folder.glob("*.sql"):
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    migrate(conn, folder)


def test_a_table_of_another_program_is_left_alone_by_an_update_too(conn, tmp_path):
    folder = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    (folder / "0999_more.sql").write_text("-- what for\nCREATE TABLE theirs (ours integer);", encoding="utf-8")
    conn.execute("CREATE TABLE theirs ()")
    with pytest.raises(db.LibraryError, match="already holds theirs of another program.*CREATE DATABASE"):
        migrate(conn, folder)


def test_two_processes_may_open_a_new_database_at_once(new_database, monkeypatch, python):
    monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", new_database())
    code = "with db.open_library('default', folder).connection() as conn: print(db.counts(conn).images)"
    children = [python(code) for _ in range(2)]
    assert [child.communicate(timeout=600)[0].split() for child in children] == [["0"], ["0"]]


@pytest.mark.parametrize("name", ["migrations", "images", "image", "runs"])
def test_a_database_of_another_program_is_left_alone(conn, name: str) -> None:
    conn.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    conn.execute(f"CREATE {'VIEW' if name == 'image' else 'TABLE'} {name} {'AS SELECT 1 AS theirs' if name == 'image' else '(theirs integer)'}")
    with pytest.raises(db.LibraryError, match=f"already holds {name} of another program.*CREATE DATABASE.*name that one in DIFFUSION_TOOLKIT_DSN and restart"):
        migrate(conn)
    conn.execute(f"SELECT theirs FROM {name}")


def test_a_named_librarys_database_of_another_program_is_told_with_the_place_where_it_is_set(new_database, tmp_path):
    named = new_database()
    with psycopg.connect(named, autocommit=True) as conn:
        conn.execute("CREATE TABLE images (theirs integer)")
    with pytest.raises(db.LibraryError, match="name that one in the library 'photos' of config.json."):
        db.open_library("photos", tmp_path, {"photos": named})


def test_a_library_of_the_first_schema_keeps_its_data_and_gains_the_reading(new_database):
    with psycopg.connect(new_database(), autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
        with conn.transaction():
            text = (MIGRATIONS / "0001_library.sql").read_text(encoding="utf-8")
            conn.execute(text)
            conn.execute("CREATE TABLE migrations (name text PRIMARY KEY, sha256 text NOT NULL, applied timestamptz DEFAULT now())")
            conn.execute("INSERT INTO migrations VALUES ('0001_library.sql', %s)", [hashlib.sha256(text.encode()).hexdigest()])
        raw = zlib.compress(b'{"3": {}}')
        conn.execute("INSERT INTO roots (name, path) VALUES ('output', '/pictures')")
        conn.execute("INSERT INTO texts (hash, text_g, text_l) VALUES ('\\x01', 'a fox', 'a fox')")
        conn.execute(
            "INSERT INTO images (hash, width, height, prompt_id, prompt_joined, negative_joined, seed, loras, generator)"
            " VALUES ('\\x02', 8, 8, 1, false, false, 18446744073709551615, '[{\"name\": \"x\"}]', 'ComfyUI')"
        )
        conn.execute("INSERT INTO paths (root_id, path, image_id, file_size, mtime_ns) VALUES (1, 'a.png', 1, 5, 6)")
        conn.execute("INSERT INTO metadata (image_id, key, raw, data) VALUES (1, 'prompt', %s, '{\"3\": {}}')", [raw])
        with conn.transaction():
            migrate(conn)
        [image] = db.get_images(conn, [1])
        assert (image.prompt, image.seed, image.loras, image.generator) == ("a fox", 2**64 - 1, [{"name": "x"}], "ComfyUI")
        assert (image.reader, image.prompt_confidence, image.reading, image.controlnets) == (1, None, {}, [])
        found = conn.execute("SELECT path, image_id, file_size, mtime_ns, sidecar_mtime_ns FROM paths").fetchall()
        assert found == [("a.png", 1, 5, 6, 0)]
        assert db.stored_pieces(conn, [1])[1] == db.StoredPieces({"prompt": b'{"3": {}}'}, {}, None, (8, 8))
        assert db.images_read_before(conn, 2, 1, "") == [(1, ["a.png"])]
        assert conn.execute("SELECT path, prompt, reader FROM image").fetchall() == [("/pictures/a.png", "a fox", 1)]


def test_images_without_a_date_gain_the_earliest_time_of_their_files(new_database, tmp_path):
    before = tmp_path / "before"
    shutil.copytree(MIGRATIONS, before, ignore=shutil.ignore_patterns("0004*"))
    with psycopg.connect(new_database(), autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
        with conn.transaction(), pytest.MonkeyPatch.context() as patch:
            patch.setattr("diffusion_toolkit.db.migrate.create_view", lambda *_: None)  # today's has the column to come
            migrate(conn, before)
        conn.execute("INSERT INTO roots (name, path) VALUES ('output', '/pictures')")
        for number, created in enumerate([None, "2020-01-02T00:00:00Z", None], 1):
            conn.execute(
                "INSERT INTO images (hash, width, height, prompt_joined, negative_joined, loras, reader, created)"
                " VALUES (%s, 8, 8, false, false, '[]', 1, %s)",
                [bytes([number]), created],
            )
        files = [("a", 1, 1_700_000_001), ("b", 1, 1_700_000_000), ("c", 1, 0), ("d", 2, 1_700_000_000), ("e", 3, 0)]
        for path, image_id, seconds in files:
            conn.execute(
                "INSERT INTO paths (root_id, path, image_id, file_size, mtime_ns) VALUES (1, %s, %s, 5, %s)", [path, image_id, seconds * 10**9]
            )
        with conn.transaction():
            migrate(conn)
        found = conn.execute("SELECT extract(epoch FROM created)::bigint, created_own FROM image ORDER BY id").fetchall()
        assert found == [(1_700_000_000, False), (1_577_923_200, True), (None, False)]


def test_a_hybrid_index_of_a_former_version_is_emptied_and_its_choices_are_kept(new_database, tmp_path):
    before = tmp_path / "before"
    shutil.copytree(MIGRATIONS, before, ignore=shutil.ignore_patterns("0008*"))
    with psycopg.connect(new_database(), autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector")
        with conn.transaction():
            migrate(conn, before)
        conn.execute("INSERT INTO images (hash, width, height, prompt_joined, negative_joined, loras, reader) VALUES ('a', 8, 8, false, false, '[]', 1)")
        conn.execute(
            "INSERT INTO hybrids (kinds, encoder_ids, dims, projection, details, fitted_on, ready)"
            " VALUES ('{image,prompt}', '{1,2}', 3, '', '{\"chosen\": true}', 1, true)"
        )
        conn.execute("INSERT INTO hybrid_vectors SELECT i.id, h.id, '[1,0,0]' FROM images i, hybrids h")
        conn.execute("CREATE INDEX hybrid_vectors_hnsw ON hybrid_vectors USING hnsw ((embedding::halfvec(3)) halfvec_ip_ops)")
        with conn.transaction():
            migrate(conn)
        assert conn.execute("SELECT kinds, ready, details FROM hybrids").fetchall() == [(["image", "prompt"], False, {"chosen": True})]
        assert conn.execute("SELECT count(*), to_regclass('hybrid_vectors_hnsw') FROM hybrid_vectors").fetchone() == (0, None)
        for _ in range(2):
            conn.execute("DELETE FROM hybrid_vectors")
            conn.execute("INSERT INTO hybrid_vectors (image_id, hybrid_id, embedding) SELECT i.id, h.id, '[1]' FROM images i, hybrids h")
        assert conn.execute("SELECT place FROM hybrid_vectors").fetchall() == [(2,)]  # by which memory learns of a row written anew


def test_words_that_older_libraries_held_with_their_punctuation_are_found_after_the_update(new_database, image, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFUSION_TOOLKIT_DSN", new_database())
    library = db.open_library("default", tmp_path)
    texts = ["\u00a1hola mundo!", "\u3010anime\u3011girl", "\u201eim Hafen\u201c", "zero\u200bwidth"]
    with library.connection() as conn:
        older = (MIGRATIONS / "0003_search.sql").read_text(encoding="utf-8").split("CREATE FUNCTION words_of", 1)[1].split("$$;", 1)[0]
        conn.execute(f"CREATE OR REPLACE FUNCTION words_of{older}$$")
        conn.execute("DELETE FROM migrations WHERE name >= '0010'")
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(n, prompt=db.TextPair(text, "")) for n, text in enumerate(texts)])
        conn.execute("SET enable_seqscan = off")

        def found(text):
            return db.list_images(conn, db.parse_filter(text), "newest", 10, 0)

        asked = {"hola": ids[:1], "anime girl": ids[1:2], '"im hafen"': ids[2:3], "zero": ids[3:]}
        assert [found(text) for text in asked] == [[]] * 4
        migrate(conn)
        assert [found(text) for text in asked] == list(asked.values())
    library.close()
