"""The indexing pipeline with a store in memory and encoders that count what they are given: files and their images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from diffusion_toolkit.embedders.errors import EmbedderError
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pictures.reading import Reader
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
from host.memory_store import CountingEncoder, MemoryStore
from host.sampled_graphs import basic, node, png
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        Image.new("RGB", (8, 8), (i * 50, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_new_images_are_read_embedded_and_stored(folder):
    store, encoder = MemoryStore(), CountingEncoder()
    report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert (report.found, report.added, report.vectors) == (3, 3, {"image": 3})
    assert store.vectors.keys() == {1, 2, 3}


def test_an_unchanged_folder_is_not_opened(folder, monkeypatch):
    store, encoder = MemoryStore(), CountingEncoder()
    index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    encoder.seen.clear()
    monkeypatch.setattr(Reader, "read", lambda self, entries: iter([pytest.fail(f"{entry.path} was opened") for entry in entries]))
    report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert (report.unchanged, report.added, encoder.seen) == (3, 0, [])


def test_known_content_at_a_new_path_is_linked_not_embedded(folder):
    store, encoder = MemoryStore(), CountingEncoder()
    index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    encoder.seen.clear()
    (folder / "0.png").rename(folder / "renamed.png")
    report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert (report.added, report.known_elsewhere, encoder.seen) == (0, 1, [])
    assert store.files["renamed.png"].image_id == 1


def test_a_file_that_is_no_image_is_skipped_with_its_reason(folder):
    (folder / "broken.png").write_bytes(b"nothing")
    report = index_folder(folder, Scan(folder), MemoryStore(), Encoders())
    assert report.added == 3
    [(path, reason)] = report.skipped
    assert path == "broken.png" and "PNG" in reason


def test_an_image_that_the_encoder_fails_at_is_skipped_with_its_reason_and_ends_no_run(folder):
    store, encoder = MemoryStore(), FailingEncoder(lambda pixels: pixels[0, 0, 0] == 50)
    report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert (report.added, report.vectors) == (3, {"image": 2})
    assert store.vectors.keys() == {store.files[name].image_id for name in ("0.png", "2.png")}
    assert report.skipped == [("1.png", "no vector can be made of it: there is not enough memory")]


def test_an_encoder_that_fails_at_any_picture_ends_the_run(folder):
    with pytest.raises(EmbedderError, match="not enough memory"):
        index_folder(folder, Scan(folder), MemoryStore(), Encoders(image=FailingEncoder(lambda pixels: True)))


class FailingEncoder(CountingEncoder):
    def __init__(self, fails: Callable[[np.ndarray], bool]) -> None:
        super().__init__()
        self._fails = fails

    def encode(self, images):
        if any(map(self._fails, images)):
            raise EmbedderError("there is not enough memory")
        return super().encode(images)


def test_a_model_connected_later_embeds_what_is_missing(folder):
    store = MemoryStore()
    index_folder(folder, Scan(folder), store, Encoders())
    report = index_folder(folder, Scan(folder), store, Encoders(image=CountingEncoder()))
    assert (report.unchanged, report.vectors) == (3, {"image": 3})


def test_a_vector_that_is_not_finite_is_reported_and_ends_nothing(folder):
    class Overflowing(CountingEncoder):
        def encode(self, items):
            vectors = super().encode(items)
            vectors[1] = np.nan
            return vectors

    store = MemoryStore()
    report = index_folder(folder, Scan(folder), store, Encoders(image=Overflowing()))
    assert (report.added, report.vectors) == (3, {"image": 2})
    assert report.skipped == [("1.png", "its vector is zero or not finite")]


def test_a_vector_that_is_missing_is_not_made_from_a_file_that_changed(folder):
    store, encoder = MemoryStore(), CountingEncoder()
    index_folder(folder, Scan(folder), store, Encoders())
    Image.new("RGB", (9, 9), (0, 0, 255)).save(folder / "0.png")
    index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert store.vectors.keys() == {2, 3, 4}  # 1 was the picture that 0.png no longer holds


def test_missing_vectors_are_made_only_for_files_that_were_asked_for(folder):
    store = MemoryStore()
    index_folder(folder, Scan(folder), store, Encoders())
    report = index_folder(folder, Scan(folder, pattern="1.*"), store, Encoders(image=CountingEncoder()))
    assert (report.found, report.vectors) == (1, {"image": 1})


def test_two_copies_in_one_batch_are_one_image(folder):
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    report = index_folder(folder, Scan(folder), MemoryStore(), Encoders(image=CountingEncoder()))
    assert (report.found, report.added, report.known_elsewhere, report.vectors) == (4, 3, 1, {"image": 3})


def test_a_cancelled_run_keeps_its_batches_and_the_next_goes_on(folder):
    for i in range(3, 40):
        Image.new("RGB", (8, 8), (i, i, 0)).save(folder / f"{i}.png")
    store, encoder = MemoryStore(), CountingEncoder()

    def cancel(stage: str, done: int, total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_folder(folder, Scan(folder), store, Encoders(image=encoder), progress=cancel)
    embedded = len(encoder.seen)
    assert len(store.vectors) == embedded > 0
    report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert (report.unchanged, report.added, len(encoder.seen)) == (embedded, 40 - embedded, 40)


def test_a_copy_without_the_text_beside_it_leaves_the_text_that_is_known(folder):
    (folder / "0.txt").write_text("a red square", encoding="utf-8")
    store = MemoryStore()
    index_folder(folder, Scan(folder), store, Encoders())
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    assert index_folder(folder, Scan(folder), store, Encoders()).known_elsewhere == 1
    assert store.readings[1].raw["sidecar.txt"] == b"a red square"


def test_of_copies_in_one_batch_the_one_with_a_text_beside_it_is_read(folder):
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "copy.txt").write_text("a red square", encoding="utf-8")
    store = MemoryStore()
    report = index_folder(folder, Scan(folder), store, Encoders())
    assert (report.added, report.known_elsewhere) == (3, 1)
    assert store.readings[store.files["0.png"].image_id].raw["sidecar.txt"] == b"a red square"


def test_prompts_are_counted_by_how_sure_they_are_and_unknown_ones_are_named(folder):
    (folder / "exact.png").write_bytes(png({"prompt": json.dumps(basic())}))
    made = basic(pos=node("CLIPTextEncode", text=["llm", 0], clip=["ckpt", 1]), llm=node("SomeLLM", seed=1, instruction="write of a fox"))
    (folder / "made.png").write_bytes(png({"prompt": json.dumps(made)}))
    report = index_folder(folder, Scan(folder), MemoryStore(), Encoders())
    assert report.prompts == {"none": 3, "exact": 1, "unknown": 1}
    [(path, why)] = report.unknown
    assert path == "made.png" and why


def test_copies_of_one_picture_are_counted_once(folder):
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    assert index_folder(folder, Scan(folder), MemoryStore(), Encoders()).prompts == {"none": 3}
