"""A run over a folder with hostile files in it ends: what is sound is indexed, and what is not is named with the reason."""

from __future__ import annotations

import os
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.embedders.folders.scan import LONGEST_PATH, TOO_LONG, Scan
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from diffusion_toolkit.embedders.pipeline.image_list import ImageList
from diffusion_toolkit.nodes.indexing.index_store import FolderStore
from host.hostile_folder import write_hostile_folder
from PIL import Image


def test_sound_files_among_hostile_ones_are_indexed_and_each_hostile_one_is_named(library, tmp_path):
    good, hostile = write_hostile_folder(tmp_path / "pictures", good=20, hostile=40, among=250)
    encoder = SimpleNamespace(fingerprint="f", weights="w", name="stand-in", dims=4)
    encoder.encode = lambda images: np.ones((len(images), 4), np.float32)
    encoders = Encoders(image=encoder)
    with FolderStore(library, "output", tmp_path / "pictures", "", encoders) as store:
        report = index_folder(tmp_path / "pictures", Scan(tmp_path / "pictures"), store, encoders)
    named = dict(report.skipped)
    assert named.keys() == hostile and all(named.values())
    with library.connection() as conn:
        assert {path for (path,) in conn.execute("SELECT path FROM paths")} == good
        assert db.counts(conn).vectors["image"] == 20
        assert conn.execute("SELECT count(*) FROM claims").fetchone() == (0,)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no paths as long")
def test_a_path_too_long_for_the_librarys_indexes_is_named_and_the_longest_is_indexed(library, tmp_path):
    """Of random letters: PostgreSQL packs others."""
    longest = "/".join("".join(random.Random(n).choices("0123456789abcdef", k=199)) for n in range(LONGEST_PATH // 200 - 1)) + "/"
    longest += "p" * (LONGEST_PATH - len(longest) - 4) + ".png"
    too_long = f"{longest.removesuffix('.png')}p.png"
    os.makedirs(tmp_path / os.path.dirname(longest))
    for number, path in enumerate((longest, too_long)):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / path)
    (tmp_path / "list.txt").write_text(f"{longest}\n{too_long}\n", encoding="utf-8")
    listed = ImageList(tmp_path / "list.txt", {"output": tmp_path}).of_root("output")
    for source, place in ((Scan(tmp_path), too_long), (listed, f"line 2: {too_long}")):
        with FolderStore(library, "output", tmp_path, "", Encoders()) as store:
            report = index_folder(tmp_path, source, store, Encoders())
        assert report.skipped == [(place, TOO_LONG)] and report.found == 1
    with library.connection() as conn:
        assert conn.execute("SELECT path FROM paths").fetchall() == [(longest,)]
