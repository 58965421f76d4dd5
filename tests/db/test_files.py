"""The files that a root is known to have."""

from __future__ import annotations

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.db import files


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
    assert db.mark_missing(conn, root, ["a.png", "cats/b.png", "unknown.png"]) == 2
    assert db.mark_missing(conn, root, ["a.png"]) == 0  # keeps the time of the first mark
    assert db.unmark_missing(conn, root, ["a.png", "cats/c.png"]) == 1
    (rows,) = db.files_of_root(conn, root)
    assert [row[0] for row in rows if row[4]] == ["cats/b.png"]


def test_a_file_that_is_written_again_is_there(conn, root):
    db.mark_missing(conn, root, ["a.png"])
    image_id = conn.execute("SELECT id FROM images").fetchone()[0]
    db.link_paths(conn, root, [("a.png", db.KnownFile(image_id, 5, 6))])
    assert conn.execute("SELECT count(*) FROM paths WHERE missing IS NOT NULL").fetchone() == (0,)
