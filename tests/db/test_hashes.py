"""Contents that an older version knew by sha256: they are found again, known by blake3 from then on, and never a second image."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
from blake3 import blake3
from diffusion_toolkit import db
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, IndexReport, index_folder
from diffusion_toolkit.nodes.indexing.index_store import FolderStore
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for number in range(4):
        Image.new("RGB", (8 + number, 8), (number * 50, 0, 0)).save(made / f"{number}.png")
    return made


def run(library: db.Library, folder: Path) -> IndexReport:
    with FolderStore(library, "output", folder, "", Encoders()) as store:
        return index_folder(folder, Scan(folder), store, Encoders())


@pytest.fixture
def older(library: db.Library, folder: Path) -> db.Library:
    """A library as a version that knew images by sha256 has left it."""
    run(library, folder)
    with library.connection() as conn:
        for file in folder.iterdir():
            data = file.read_bytes()
            changed = conn.execute(
                "UPDATE images SET hash = %s, hashed_by = 'sha256' WHERE hash = %s", [hashlib.sha256(data).digest(), blake3(data).digest()]
            )
            assert changed.rowcount == 1
    return library


def known_by(library: db.Library) -> dict[int, str]:
    with library.connection() as conn:
        return dict(conn.execute("SELECT id, hashed_by FROM images ORDER BY id").fetchall())


def test_what_is_written_is_known_by_blake3(library, folder):
    run(library, folder)
    assert set(known_by(library).values()) == {"blake3"}
    with library.connection() as conn:
        assert db.older_sizes(conn) == []
        first = sorted(int.from_bytes(blake3(file.read_bytes()).digest()[:8], "big", signed=True) for file in folder.iterdir())
        assert db.known_contents(conn).tolist() == first
        hashes = {bytes(hash) for (hash,) in conn.execute("SELECT hash FROM images")}
    assert hashes == {blake3(file.read_bytes()).digest() for file in folder.iterdir()}


def test_an_older_library_is_not_doubled_by_files_that_were_left_moved_copied_or_touched(older, folder):
    before = known_by(older)
    shutil.copyfile(folder / "1.png", folder / "copy.png")
    (folder / "2.png").rename(folder / "moved.png")
    os.utime(folder / "3.png", ns=(1, 1))
    report = run(older, folder)
    assert (report.added, report.known_elsewhere, report.unchanged) == (0, 3, 2)
    after = known_by(older)
    assert after.keys() == before.keys()
    assert list(after.values()) == ["sha256", "blake3", "blake3", "blake3"]  # the first one's file was not read


def test_an_older_image_whose_file_has_changed_is_found_again_by_any_file_of_its_content(older, folder):
    kept = (folder / "0.png").read_bytes()
    Image.new("RGB", (30, 30)).save(folder / "0.png")
    assert run(older, folder).added == 1
    with older.connection() as conn:
        assert db.older_sizes(conn) is None
    (folder / "back.png").write_bytes(kept)
    assert run(older, folder).added == 0


def test_sizes_are_those_of_files_of_older_images_alone(older, folder):
    Image.new("RGB", (30, 30), "blue").save(folder / "new.png")
    run(older, folder)
    with older.connection() as conn:
        assert sorted(db.older_sizes(conn)) == sorted({(folder / f"{number}.png").stat().st_size for number in range(4)})


def test_a_hash_that_another_image_already_has_is_left_alone(conn, root, image):
    db.write_images(conn, root, [image(1), image(2)])
    one, two = image(1).hash, image(2).hash
    conn.execute("UPDATE images SET hashed_by = 'sha256' WHERE hash = %s", [one])
    db.renew_hashes(conn, {one: two, b"unknown": b"new"})
    assert set(db.find_images(conn, [one, two, b"new"])) == {one, two}


def test_an_image_says_by_which_hash_it_is_known(older):
    ids = list(known_by(older))
    with older.connection() as conn:
        conn.execute("UPDATE images SET hashed_by = 'blake3' WHERE id = %s", [ids[0]])
        assert [image.hashed_by for image in db.get_images(conn, ids)] == ["blake3", "sha256", "sha256", "sha256"]
