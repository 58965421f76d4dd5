"""The runs after the first, over a real folder and a real library: what is moved, copied, changed, listed, or met by another model."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit import db
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pictures import decode
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from diffusion_toolkit.embedders.pipeline.image_list import ImageList
from diffusion_toolkit.embedders.pipeline.prepared import FORGOTTEN
from diffusion_toolkit.nodes.indexing.index_store import FolderStore
from PIL import Image
from PIL.PngImagePlugin import PngInfo


class Vision:
    """Gives each picture one and the same vector, and counts them; it can be cancelled after some."""

    def __init__(self, name: str, value: float) -> None:
        self.name = self.fingerprint = self.weights = name
        self.dims, self.value, self.embedded, self.cancelled_after = 8, value, 0, 10**9

    def encode(self, pixels):
        if self.embedded >= self.cancelled_after:
            raise KeyboardInterrupt
        self.embedded += len(pixels)
        vectors = np.zeros((len(pixels), self.dims), np.float32)
        vectors[:, 0], vectors[:, 1] = 1, self.value
        return vectors


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def index(library, folder):
    def run(vision: Vision | None = None, source=None, labels: str = "") -> SimpleNamespace:
        encoders = Encoders(image=vision)
        with FolderStore(library, "pictures", folder, "", encoders, [labels]) as store:
            report = index_folder(folder, source or Scan(folder), store, encoders)
            report.replaced = store.activate()
        return report

    return run


def paths(library) -> dict[str, tuple[int, bool]]:
    """(image id, whether it is marked as missing) by path."""
    with library.connection() as conn:
        return {path: (id_, gone) for path, id_, gone in conn.execute("SELECT path, image_id, missing IS NOT NULL FROM paths")}


def vectors(library) -> dict[str, int]:
    with library.connection() as conn:
        rows = conn.execute("SELECT e.name, count(*) FROM image_vectors v JOIN encoders e ON e.id = v.encoder_id GROUP BY e.name")
        return dict(rows.fetchall())


def active(library) -> str:
    with library.connection() as conn:
        return db.active_encoder(conn, "image").name


def test_a_file_that_was_moved_keeps_its_vector_and_its_former_place_is_marked(library, folder, index):
    vision = Vision("a", 1)
    index(vision)
    before = paths(library)
    (folder / "sub").mkdir()
    (folder / "0.png").rename(folder / "sub/renamed.png")
    report = index(vision)
    assert (vision.embedded, report.added, report.known_elsewhere, report.missing, report.moved) == (4, 0, 1, 1, 1)
    assert paths(library)["sub/renamed.png"] == (before["0.png"][0], False) and paths(library)["0.png"][1]


def test_a_file_of_which_only_the_case_was_changed_leaves_its_former_path_where_case_does_not_count(library, folder, index, monkeypatch):
    vision, stat = Vision("a", 1), os.stat
    index(vision)
    (folder / "0.png").rename(folder / "0.PNG")

    def any_case(path, **more):  # as Windows and macOS look for files
        return stat(str(path).replace("0.png", "0.PNG"), **more)

    monkeypatch.setattr(os, "stat", any_case)
    assert os.path.exists(folder / "0.png")  # not pathlib, which has its own `stat` before Python 3.11
    report = index(vision)
    assert (vision.embedded, report.known_elsewhere, report.missing, report.moved, report.skipped) == (4, 1, 1, 1, [])
    assert {path for path, (_, gone) in paths(library).items() if gone} == {"0.png"}
    report = index(vision)
    assert (report.unchanged, report.missing) == (4, 0) and paths(library)["0.png"][1]


def test_a_file_that_was_changed_is_read_again_and_one_that_was_touched_keeps_its_vector(library, folder, index):
    vision = Vision("a", 1)
    index(vision)
    before = paths(library)
    Image.new("RGB", (8, 8), "white").save(folder / "1.png")
    (folder / "2.png").touch()
    report = index(vision)
    assert (vision.embedded, report.added, report.known_elsewhere, report.unchanged) == (5, 1, 1, 2)
    assert paths(library)["1.png"][0] != before["1.png"][0] and paths(library)["2.png"][0] == before["2.png"][0]


def images(library) -> dict[int, tuple]:
    """What is known of each, by id."""
    with library.connection() as conn:
        rows = conn.execute(
            "SELECT i.id, width, height, phash, reader, t.joined FROM images i LEFT JOIN texts t ON t.id = i.prompt_id ORDER BY i.id"
        )
        return {id_: tuple(others) for id_, *others in rows}


def test_content_that_is_known_is_not_decoded_again_whatever_its_file_is_called(library, folder, index, monkeypatch):
    info = PngInfo()
    info.add_text("parameters", "a shark\nSteps: 20, Sampler: Euler, Seed: 1")
    Image.new("RGB", (8, 8), "green").save(folder / "prompt.png", pnginfo=info)
    vision = Vision("a", 1)
    index(vision)
    before, places = images(library), paths(library)
    assert [text for *_, text in before.values()].count("a shark") == 1
    decoded = []
    one_way = decode._decode
    monkeypatch.setattr(decode, "_decode", lambda content, ways: decoded.append(content) or one_way(content, ways))
    (folder / "0.png").rename(folder / "renamed.png")
    (folder / "copy.png").write_bytes((folder / "1.png").read_bytes())
    (folder / "2.png").touch()
    (folder / "prompt.png").rename(folder / "moved.png")
    Image.new("RGB", (9, 9), "white").save(folder / "new.png")
    report = index(vision)
    assert (report.added, report.known_elsewhere, report.skipped) == (1, 4, [])
    assert decoded == [(folder / "new.png").read_bytes()] and vision.embedded == 6
    after, now = images(library), paths(library)
    assert {id_: after[id_] for id_ in before} == before
    for path, former in {"renamed.png": "0.png", "copy.png": "1.png", "2.png": "2.png", "moved.png": "prompt.png"}.items():
        assert now[path] == (places[former][0], False)


def test_known_content_without_its_pixels_still_brings_the_text_beside_it_and_what_a_newer_reader_sees(library, folder, index):
    index()
    with library.connection() as conn:
        conn.execute("UPDATE images SET reader = 0 WHERE id = %s", [paths(library)["0.png"][0]])
    before = images(library)
    (folder / "0.png").rename(folder / "older.png")
    (folder / "1.png").rename(folder / "captioned.png")
    (folder / "captioned.txt").write_text("a cat on a table", encoding="utf-8")
    report = index()
    assert (report.read_anew, report.sidecars_read, report.known_elsewhere) == (1, 1, 0)
    after, now = images(library), paths(library)
    assert after[now["older.png"][0]][3] > 0 and after[now["captioned.png"][0]][4] == "a cat on a table"
    assert {id_: facts[:3] for id_, facts in after.items()} == {id_: facts[:3] for id_, facts in before.items()}


def test_content_that_is_forgotten_while_a_run_counts_on_it_is_named_and_read_by_the_next(library, folder, index, monkeypatch):
    index()
    (folder / "0.png").rename(folder / "moved.png")
    known = FolderStore.known_contents

    def and_forgets(store):
        found = known(store)
        with library.connection() as conn:
            conn.execute("DELETE FROM images WHERE id = %s", [paths(library)["0.png"][0]])
        return found

    monkeypatch.setattr(FolderStore, "known_contents", and_forgets)
    report = index()
    assert report.skipped == [("moved.png", FORGOTTEN)] and report.added == report.known_elsewhere == 0
    monkeypatch.undo()
    assert index().added == 1 and "moved.png" in paths(library)


def test_another_model_embeds_all_anew_in_its_next_run_and_never_mixes(library, folder, index):
    index(Vision("a", 1))
    other = Vision("b", -1)
    Image.new("RGB", (8, 8), "white").save(folder / "new.png")
    index(other)
    assert other.embedded == 5 and vectors(library) == {"a": 4, "b": 5} and active(library) == "b"
    with library.connection() as conn:
        by_name = "SELECT e.name, array_agg(DISTINCT embedding::text) FROM image_vectors JOIN encoders e ON e.id = encoder_id GROUP BY 1"
        assert dict(conn.execute(by_name).fetchall()) == {"a": ["[1,1,0,0,0,0,0,0]"], "b": ["[1,-1,0,0,0,0,0,0]"]}


def test_a_model_whose_run_was_cancelled_serves_no_search_until_a_run_is_done(library, folder, index):
    index(Vision("a", 1))
    other = Vision("b", -1)
    other.cancelled_after = 0
    with pytest.raises(KeyboardInterrupt):
        index(other)
    assert active(library) == "a"
    other.cancelled_after = 100
    index(other)
    assert active(library) == "b" and vectors(library) == {"a": 4, "b": 4}


def test_a_run_tells_whose_place_its_model_took_and_a_run_with_the_former_takes_it_back(library, folder, index):
    told = [index(Vision(name, value)).replaced for name, value in (("a", 1), ("a", 1), ("b", -1), ("a", 1))]
    assert [[(family, name[:3]) for family, name in run] for run in told] == [[], [], [("image", "a [")], [("image", "b [")]]
    assert active(library) == "a" and index().replaced == set()


def listed(folder: Path, text: str):
    (folder / "list.txt").write_text(text, encoding="utf-8")
    return ImageList(folder / "list.txt", {"pictures": folder}, db.normal_labels).of_root("pictures")


def test_a_list_indexes_what_it_names_and_gives_each_line_its_labels(library, folder, index):
    report = index(source=listed(folder, "0.png,Cat,big\n1.png\ngone.png\n"), labels="run")
    assert (report.found, report.added, report.missing) == (2, 2, 0)
    assert report.skipped == [("line 3: gone.png", f"there is no such file in {folder}")]
    with library.connection() as conn:
        by_path = "SELECT p.path, i.labels FROM paths p JOIN images i ON i.id = p.image_id ORDER BY p.path"
        assert conn.execute(by_path).fetchall() == [("0.png", ["big", "cat", "run"]), ("1.png", ["run"])]
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    report = index(source=listed(folder, "copy.png,copied\n1.png,known\n3.png,new\n"))
    assert (report.added, report.known_elsewhere, report.unchanged) == (1, 1, 1)
    with library.connection() as conn:
        labels = dict(conn.execute(by_path).fetchall())
    assert labels == {"0.png": (both := ["big", "cat", "copied", "run"]), "copy.png": both, "1.png": ["known", "run"], "3.png": ["new"]}
