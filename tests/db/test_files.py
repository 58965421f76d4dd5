"""The files that a root is known to have."""

from __future__ import annotations

import psycopg
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import files
from diffusion_toolkit.db._generation import one_writer


@pytest.fixture
def root(conn):
    root = db.ensure_root(conn, "output", "/pictures")
    conn.execute(
        "INSERT INTO images (hash, width, height, prompt_joined, negative_joined, loras, reader) VALUES ('x', 1, 1, false, false, '[]', 1)"
    )
    for number, path in enumerate(["a.png", "cats/b.png", "cats/c.png", "cats.png", "cats2/d.png"]):
        conn.execute(
            "INSERT INTO paths (root_id, path, image_id, file_size, mtime_ns, sidecar_mtime_ns) SELECT %s, %s, id, %s, %s, %s FROM images",
            [root, path, number, 10 * number, 100 * number],
        )
    other = db.ensure_root(conn, "input", "/other")
    conn.execute("INSERT INTO paths (root_id, path, image_id, file_size, mtime_ns) SELECT %s, 'a.png', id, 1, 1 FROM images", [other])
    return root


def test_files_come_with_what_tells_that_they_have_changed(conn, root):
    (rows,) = db.files_of_root(conn, root)
    assert sorted(rows)[:2] == [("a.png", 0, 0, 0, False), ("cats.png", 3, 30, 300, False)] and len(rows) == 5


def test_files_below_a_folder_come_alone(conn, root):
    assert {row[0] for part in db.files_of_root(conn, root, "cats") for row in part} == {"cats/b.png", "cats/c.png"}
    assert list(db.files_of_root(conn, root, "ca")) == []


def test_many_files_come_in_parts(conn, root, monkeypatch):
    monkeypatch.setattr(files, "PART", 2)
    assert [len(part) for part in db.files_of_root(conn, root)] == [2, 2, 1]


def test_files_are_marked_and_unmarked(conn, root):
    assert db.mark_missing(conn, root, ["a.png", "cats/b.png", "unknown.png"]) == (2, 2)  # a.png of another root is a copy
    assert db.mark_missing(conn, root, ["a.png"]) == (0, 0)  # keeps the time of the first mark
    assert db.count_unmarked(conn, root, ["a.png", "cats/b.png", "cats/c.png", "unknown.png"]) == 1
    assert db.unmark_missing(conn, root, ["a.png", "cats/c.png"]) == 1
    (rows,) = db.files_of_root(conn, root)
    assert [row[0] for row in rows if row[4]] == ["cats/b.png"]


def test_a_file_that_is_written_again_is_there(conn, root):
    db.mark_missing(conn, root, ["a.png"])
    image_id = conn.execute("SELECT id FROM images").fetchone()[0]
    db.link_paths(conn, root, [("a.png", db.KnownFile(image_id, 5, 6))])
    assert conn.execute("SELECT count(*) FROM paths WHERE missing IS NOT NULL").fetchone() == (0,)


def test_files_that_go_together_are_not_counted_as_each_others_copies(conn, root):
    conn.execute("DELETE FROM paths WHERE path NOT IN ('a.png', 'cats/b.png') OR root_id <> %s", [root])
    assert db.mark_missing(conn, root, ["a.png", "cats/b.png"]) == (2, 0)


def test_marks_let_searches_run_again_and_nothing_to_mark_does_not(conn, root):
    """Filters has:file and copies go by them."""
    before = [db.generation(conn)]
    for mark in (
        lambda: db.mark_missing(conn, root, ["a.png"]),
        lambda: db.unmark_missing(conn, root, ["a.png"]),
        lambda: db.mark_others(conn, db.other_files(conn, root, ["a.png"], image_ids(conn))),
    ):
        mark()
        before.append(db.generation(conn))
        mark()
        assert db.generation(conn) == before[-1]
    assert len(set(before)) == 4


def test_marks_wait_for_who_writes_as_all_writers_do(library, conn, root, dsn):
    conn.commit()
    with library.connection() as writer, psycopg.connect(dsn) as other:
        one_writer(writer)
        for mark in (db.mark_missing, db.unmark_missing, lambda conn, *_: db.mark_others(conn, [])):
            other.execute("SET lock_timeout = 20")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                mark(other, root, ["a.png"])
            other.rollback()


def image_ids(conn) -> list[int]:
    return [id_ for (id_,) in conn.execute("SELECT id FROM images")]


def test_of_an_images_other_files_the_longest_unseen_come_and_not_all_of_many(conn, root, monkeypatch):
    monkeypatch.setattr(files, "COPIES", 1)
    for days, path in enumerate(["cats.png", "cats/c.png"], 2):
        conn.execute("UPDATE paths SET seen = now() - make_interval(days => %s) WHERE path = %s", [days, path])
    db.mark_missing(conn, root, ["cats/b.png"])
    found = db.other_files(conn, root, ["a.png"], image_ids(conn))
    assert [(file.root, file.path) for file in found] == [("/pictures", "cats/c.png"), ("/pictures", "cats.png")]
    monkeypatch.undo()
    found = db.other_files(conn, root, ["a.png"], image_ids(conn))
    assert {(file.root, file.path) for file in found[2:]} == {("/other", "a.png"), ("/pictures", "cats2/d.png")}


def test_what_a_run_has_written_since_it_was_looked_at_is_not_marked(conn, root):
    (image_id,) = image_ids(conn)
    asked = db.other_files(conn, root, ["a.png", "cats.png", "cats/b.png"], [image_id])
    conn.commit()
    db.link_paths(conn, root, [("cats/c.png", db.KnownFile(image_id, 5, 6))])
    assert {file.path for file in asked} == {"a.png", "cats/c.png", "cats2/d.png"} and db.mark_others(conn, asked) == 2
    marked = conn.execute("SELECT path FROM paths WHERE missing IS NOT NULL ORDER BY path").fetchall()
    assert marked == [("a.png",), ("cats2/d.png",)]
