"""What the pipeline reads anew of images it knows: by a newer reader, and where the text beside a file changed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pictures.decode import read_image
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from host.memory_store import CountingEncoder, MemoryStore
from host.sampled_graphs import basic, png
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        Image.new("RGB", (8, 8), (i * 50, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


def prompts(store: MemoryStore) -> dict:
    return {id_: found.prompt and found.prompt[0] for id_, found in store.readings.items()}


@pytest.fixture
def read_by_an_older_one(tmp_path: Path) -> MemoryStore:
    """The library of a folder with one picture, whose prompt the reader of then did not find."""
    (tmp_path / "fox.png").write_bytes(png({"prompt": json.dumps(basic())}))
    store = MemoryStore()
    index_folder(tmp_path, Scan(tmp_path), store, Encoders())
    store.older, store.readings = {1}, {}
    return store


def test_what_an_older_reader_read_is_read_anew_from_the_library(tmp_path, read_by_an_older_one, monkeypatch):
    monkeypatch.setattr(Path, "open", lambda path, *_: pytest.fail(f"{path} was opened"))
    store = read_by_an_older_one
    report = index_folder(tmp_path, Scan(tmp_path), store, Encoders())
    assert prompts(store) == {1: "a red fox"}
    assert (report.read_anew, report.opened_again, report.unchanged, report.prompts) == (1, 0, 1, {"exact": 1})


def test_a_file_gone_since_is_read_anew_all_the_same(tmp_path, read_by_an_older_one):
    (tmp_path / "fox.png").unlink()
    assert index_folder(tmp_path, Scan(tmp_path), read_by_an_older_one, Encoders()).read_anew == 1
    assert prompts(read_by_an_older_one) == {1: "a red fox"}


def test_a_file_is_opened_again_where_the_library_keeps_nothing_of_a_prompt(tmp_path, read_by_an_older_one):
    read_by_an_older_one.pieces = {1: {}}  # the reader of then did not look where this one does
    report = index_folder(tmp_path, Scan(tmp_path), read_by_an_older_one, Encoders())
    assert prompts(read_by_an_older_one) == {1: "a red fox"}
    assert (report.read_anew, report.opened_again) == (1, 1)
    assert "prompt" in read_by_an_older_one.pieces[1]


def test_a_text_beside_a_known_image_is_read_by_the_next_run_when_this_one_failed(folder):
    class FailsOnce(MemoryStore):
        def update_readings(self, readings, from_files):
            if readings and self.fails:
                self.fails = False
                raise OSError("the server is gone")
            super().update_readings(readings, from_files)

    store = FailsOnce()
    store.fails = False
    index_folder(folder, Scan(folder), store, Encoders())
    (folder / "0.txt").write_text("a red square", encoding="utf-8")
    store.fails = True
    with pytest.raises(OSError, match="the server is gone"):
        index_folder(folder, Scan(folder), store, Encoders())
    assert index_folder(folder, Scan(folder), store, Encoders()).sidecars_read == 1
    assert store.readings[1].raw["sidecar.txt"] == b"a red square"


def test_nothing_is_read_anew_a_second_time(tmp_path, read_by_an_older_one):
    index_folder(tmp_path, Scan(tmp_path), read_by_an_older_one, Encoders())
    assert index_folder(tmp_path, Scan(tmp_path), read_by_an_older_one, Encoders()).read_anew == 0


def test_texts_beside_a_known_image_are_read_when_they_appear_change_and_go(folder):
    store, encoder = MemoryStore(), CountingEncoder()
    index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    encoder.seen.clear()
    counts = []
    for step, content in enumerate(["a red square", "a dark red square", None, None]):
        if content is None:
            (folder / "0.txt").unlink(missing_ok=True)
        else:
            (folder / "0.txt").write_text(content, encoding="utf-8")
            os.utime(folder / "0.txt", ns=(step * 10**9, (10**9 + step) * 10**9))
        report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
        counts.append((report.sidecars_read, report.unchanged, report.known_elsewhere, store.readings[1].raw.get("sidecar.txt")))
    assert counts == [(1, 2, 0, b"a red square"), (1, 2, 0, b"a dark red square"), (1, 2, 0, None), (0, 3, 0, None)]
    assert encoder.seen == []


def older_library(folder) -> MemoryStore:
    """Image 1 has a text beside it now; an older reader, which did not look there, found no prompt."""
    store = MemoryStore()
    index_folder(folder, Scan(folder), store, Encoders())
    store.older.add(1)
    (folder / "0.png").write_bytes(png({"parameters": "a red fox\nSteps: 20, Sampler: Euler"}))
    image = read_image(folder / "0.png")
    store.images = {image.hash if id_ == 1 else hash_: id_ for hash_, id_ in store.images.items()}
    store.pieces[1] = {}
    return store


def test_an_older_image_without_a_prompt_waits_for_a_run_that_finds_its_file(folder):
    store = older_library(folder)
    report = index_folder(folder, Scan(folder, pattern="1.png"), store, Encoders())
    assert (store.older, report.read_anew) == ({1}, 0)


def test_an_older_image_whose_file_was_touched_is_read_anew_from_it(folder):
    store = older_library(folder)
    os.utime(folder / "0.png", ns=(1, 1))
    report = index_folder(folder, Scan(folder), store, Encoders())
    assert (store.older, report.read_anew, store.readings[1].prompt) == (set(), 1, ("a red fox", "a red fox"))


def test_each_file_found_is_counted_once_whatever_became_of_it(folder):
    store = older_library(folder)  # of three images
    os.utime(folder / "0.png", ns=(1, 1))
    (folder / "1.txt").write_text("a red square", encoding="utf-8")
    shutil.copy(folder / "2.png", folder / "copy.png")
    Image.new("RGB", (8, 8), (9, 9, 9)).save(folder / "new.png")
    (folder / "damaged.png").write_bytes(b"none")
    report = index_folder(folder, Scan(folder), store, Encoders())
    assert (report.added, report.unchanged, report.known_elsewhere, report.reread, report.skipped.total) == (1, 1, 1, 2, 1)
    assert report.found == 6
    assert (report.read_anew, report.sidecars_read) == (1, 1)
