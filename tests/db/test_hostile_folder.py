"""A run over a folder with hostile files in it ends: what is sound is indexed, and what is not is named with the reason."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from diffusion_toolkit import db
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from diffusion_toolkit.nodes.index_store import FolderStore
from host.hostile_folder import write_hostile_folder


def test_sound_files_among_hostile_ones_are_indexed_and_each_hostile_one_is_named(library, tmp_path):
    good, hostile = write_hostile_folder(tmp_path / "pictures", good=20, hostile=40, among=250)
    encoder = SimpleNamespace(fingerprint="f", weights="w", name="stand-in", dims=4)
    encoder.encode = lambda images: np.ones((len(images), 4), np.float32)
    encoders = Encoders(image=encoder)
    with FolderStore(library, "output", tmp_path / "pictures", "", encoders) as store:
        report = index_folder(tmp_path / "pictures", "", store, encoders)
    named = dict(report.skipped)
    assert named.keys() == hostile and all(named.values())
    with library.connection() as conn:
        assert {path for (path,) in conn.execute("SELECT path FROM paths")} == good
        assert db.counts(conn).vectors["image"] == 20
        assert conn.execute("SELECT count(*) FROM claims").fetchone() == (0,)
