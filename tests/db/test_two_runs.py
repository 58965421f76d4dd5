"""Two processes that index one folder at the same time read and embed each file once."""

from __future__ import annotations

import numpy as np
from diffusion_toolkit import db
from PIL import Image

FILES = 150
INDEXER = """
import time
from types import SimpleNamespace
import numpy as np
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.nodes.indexing.index_store import FolderStore
encoded = 0
def encode(images):
    global encoded
    encoded += len(images)
    time.sleep(0.02 * len(images))  # slow enough for the other to find something left
    return np.stack([image.mean(axis=(0, 1)) + 1 for image in images])
encoders = Encoders(image=SimpleNamespace(fingerprint="f", weights="w", name="stand-in", dims=3, encode=encode))
library = db.open_library("default", folder)
print("ready", flush=True)
sys.stdin.readline()
with FolderStore(library, "output", folder / "pictures", "", encoders) as store:
    report = index_folder(folder / "pictures", Scan(folder / "pictures"), store, encoders)
    print(encoded, report.added, report.elsewhere + report.unchanged, len(report.skipped), flush=True)
"""


def test_each_file_is_embedded_by_one_of_them(library, python, tmp_path):
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for number in range(FILES):
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "pictures" / f"{number:03}.png")
    runs = [python(INDEXER) for _ in range(2)]
    assert [run.stdout.readline() for run in runs] == ["ready\n"] * 2
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    said = [run.communicate(timeout=600)[0] for run in runs]
    encoded, added, left, skipped = zip(*(map(int, words.split()) for words in said))
    assert sum(encoded) == sum(added) == FILES, said
    assert [a + b for a, b in zip(added, left)] == [FILES] * 2, said
    assert skipped == (0, 0)
    with library.connection() as conn:
        counted = db.counts(conn)
        assert (counted.images, counted.paths, counted.vectors["image"]) == (FILES, FILES, FILES)
        assert conn.execute("SELECT (SELECT count(*) FROM claims), (SELECT count(*) FROM runs)").fetchone() == (0, 0)
