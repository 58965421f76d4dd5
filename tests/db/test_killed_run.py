"""A run that is killed between putting indexes off and making them: nothing is lost, and whoever comes next makes them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from diffusion_toolkit.nodes.indexing.index_store import FolderStore
from host.waiting import wait_until
from PIL import Image

FILES = 80
STAND_IN = {"fingerprint": "f", "weights": "w", "name": "stand-in", "dims": 4}
INDEXER = """
import threading
import time
from types import SimpleNamespace
import numpy as np
from diffusion_toolkit.db.indexes import bulk
from diffusion_toolkit.embedders.pipeline import Encoders, images, index_folder
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.nodes.indexing.index_store import FolderStore
bulk.LEAST, images.JUDGED_AT = 5, 1  # by the first batch, of which there are several
library, batches = db.open_library("default", folder), []
def hang(*told):
    print("hangs", flush=True)
    threading.Event().wait()
def put_off():
    with library.connection() as conn:
        return bulk.postponed(conn)
def encode(pictures):
    batches.append(pictures)
    time.sleep(0.2)  # the scan comes to its end meanwhile: only then is known how many there are, and the next batch tells
    if %r == "reading" and len(batches) == 2:
        while not put_off():  # by the writer's thread
            time.sleep(0.05)
        hang()
    return np.ones((len(pictures), 4), np.float32)
encoders = Encoders(image=SimpleNamespace(fingerprint="f", weights="w", name="stand-in", dims=4, encode=encode))
with FolderStore(library, "output", folder / "pictures", "", encoders) as store:
    index_folder(folder / "pictures", Scan(folder / "pictures"), store, encoders)
db.refresh_search(library, hang)
"""


def graphs(library) -> list[str]:
    with library.connection() as conn:
        return [row[0] for row in conn.execute("SELECT indexname FROM pg_indexes WHERE indexdef ~ 'hnsw' ORDER BY 1")]


def encoder_of(library) -> int:
    with library.connection() as conn:
        return db.active_encoder(conn, "image").id


def connected(library) -> int:
    with library.connection() as conn:
        return conn.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").fetchone()[0]


def held(library) -> tuple[int, int, int, int]:
    """How many files, distinct ones of these, vectors, and indexes that are put off."""
    statement = (
        "SELECT (SELECT count(*) FROM paths), (SELECT count(DISTINCT path) FROM paths), (SELECT count(*) FROM image_vectors),"
        " (SELECT count(*) FROM postponed_indexes)"
    )
    with library.connection() as conn:
        return conn.execute(statement).fetchone()


def run_to_its_end(library, pictures) -> int:
    """How many files it added."""
    encode = lambda images: np.ones((len(images), 4), np.float32)  # noqa: E731
    encoders = Encoders(image=SimpleNamespace(**STAND_IN, encode=encode))
    with FolderStore(library, "output", pictures, "", encoders) as store:
        return index_folder(pictures, Scan(pictures), store, encoders).added


@pytest.fixture(params=["reading", "making"])
def killed(request, library, python, tmp_path):
    """(where its pictures are, at what it was) of a run that was killed when it had put its index off."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(FILES):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(pictures / f"{number}.png")
    with library.connection() as conn:
        db.ensure_encoder(conn, db.Encoder("image", "f", "stand-in", 4))
    sessions = connected(library)
    process = python(INDEXER % request.param)
    try:
        while "hangs" not in (line := process.stdout.readline()):
            assert line, process.wait(60)
    finally:
        process.kill()
        process.communicate()
    wait_until(lambda: connected(library) <= sessions)  # the server has learnt of it
    return pictures, request.param


def test_nothing_is_lost_and_the_next_run_goes_on_from_there(library, killed):
    pictures, at = killed
    files, distinct, vectors, put_off = held(library)
    assert files == distinct == vectors and put_off == 1
    assert 0 < files < FILES if at == "reading" else files == FILES
    assert run_to_its_end(library, pictures) == FILES - files
    assert held(library) == (FILES, FILES, FILES, 1)
    assert db.refresh_search(library) == "1 vector index made" and held(library) == (FILES, FILES, FILES, 0)
    assert graphs(library) == [f"image_vectors_hnsw_{encoder_of(library)}"]


def test_its_index_is_made_without_another_run(library, killed):
    assert db.refresh_search(library) == "1 vector index made" and held(library)[3] == 0
    assert graphs(library) == [f"image_vectors_hnsw_{encoder_of(library)}"]
