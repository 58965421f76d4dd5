"""By which hash the library knows contents."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3
from diffusion_toolkit import db
from diffusion_toolkit.embedders.pipeline import Encoders, IndexReport, index_folder
from diffusion_toolkit.embedders.scan import Scan
from diffusion_toolkit.nodes.index_store import FolderStore
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


def known_by(library: db.Library) -> dict[int, str]:
    with library.connection() as conn:
        return dict(conn.execute("SELECT id, hashed_by FROM images ORDER BY id").fetchall())


def test_what_is_written_is_known_by_blake3(library, folder):
    run(library, folder)
    assert set(known_by(library).values()) == {"blake3"}
    with library.connection() as conn:
        first = sorted(int.from_bytes(blake3(file.read_bytes()).digest()[:8], "big", signed=True) for file in folder.iterdir())
        assert db.known_contents(conn).tolist() == first
        hashes = {bytes(hash) for (hash,) in conn.execute("SELECT hash FROM images")}
    assert hashes == {blake3(file.read_bytes()).digest() for file in folder.iterdir()}


def test_an_image_says_by_which_hash_it_is_known(library, folder):
    """sha256 of one that a version before blake3 has read."""
    run(library, folder)
    ids = list(known_by(library))
    with library.connection() as conn:
        conn.execute("UPDATE images SET hashed_by = 'sha256' WHERE id <> %s", [ids[0]])
        assert [image.hashed_by for image in db.get_images(conn, ids)] == ["blake3", "sha256", "sha256", "sha256"]
