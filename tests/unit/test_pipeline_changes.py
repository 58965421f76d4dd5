"""Files that change under a run, that others have or that come slowly: what is read, embedded and told then."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.metadata.containers import source
from diffusion_toolkit.embedders.pictures.reading import Reader
from diffusion_toolkit.embedders.pipeline import Encoders, images, index_folder
from diffusion_toolkit.embedders.pipeline.batches import Pace
from host.memory_store import CountingEncoder, MemoryStore, forty_pictures
from PIL import Image

SECONDS = 20  # by which what is waited for has come, on however busy a machine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return forty_pictures(tmp_path)


def test_a_file_that_changes_while_it_is_read_is_named_and_left_for_the_next_run(folder, monkeypatch):
    read = Reader.read

    def meddling(self, entries):
        for one in read(self, entries):
            if one.entry.path == "07.png" and not meddled:
                meddled.append(one)
                Image.new("RGB", (9, 9), (0, 0, 255)).save(folder / "07.png")
            yield one

    meddled = []
    monkeypatch.setattr(Reader, "read", meddling)
    store, encoder = MemoryStore(), CountingEncoder()
    report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert report.skipped == [("07.png", "it changed while it was read; the next run reads it")]
    assert (report.added, len(encoder.seen), store.released) == (39, 39, {"07.png"})
    report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert (report.added, report.unchanged, report.skipped) == (1, 39, [])
    assert store.files["07.png"].size == (folder / "07.png").stat().st_size


def test_a_drive_that_gives_an_open_file_another_time_than_its_path_is_read_once_and_embedded_later(folder, monkeypatch):
    opened = source.open_regular

    def whole_seconds(path, flags=0):
        descriptor, status = opened(path, flags)
        return descriptor, SimpleNamespace(st_size=status.st_size, st_mtime_ns=status.st_mtime_ns // 10**9 * 10**9)

    monkeypatch.setattr(source, "open_regular", whole_seconds)
    store = MemoryStore()
    assert index_folder(folder, Scan(folder), store, Encoders()).added == 40
    report = index_folder(folder, Scan(folder), store, Encoders(image=CountingEncoder()))
    assert (report.unchanged, report.vectors, report.skipped) == (40, {"image": 40}, [])


def test_half_of_a_file_that_is_still_being_written_is_no_damaged_image(folder, monkeypatch):
    whole = (folder / "07.png").read_bytes()
    (folder / "07.png").write_bytes(whole[: len(whole) // 2])
    read = Reader.read

    def finishing(self, entries):
        for one in read(self, entries):
            if one.entry.path == "07.png":
                (folder / "07.png").write_bytes(whole)
            yield one

    monkeypatch.setattr(Reader, "read", finishing)
    report = index_folder(folder, Scan(folder), MemoryStore(), Encoders())
    assert report.skipped == [("07.png", "it changed while it was read; the next run reads it")]


def test_files_that_another_run_has_are_left_to_it_and_counted(folder):
    store, encoder = MemoryStore(others={"03.png", "04.png"}), CountingEncoder()
    report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert (report.elsewhere, report.added, len(encoder.seen)) == (2, 38, 38)


def test_a_refused_file_is_given_back_to_other_runs(folder):
    (folder / "broken.png").write_bytes(b"nothing")
    store = MemoryStore()
    index_folder(folder, Scan(folder), store, Encoders())
    assert store.released == {"broken.png"}


def test_the_store_is_told_how_many_vectors_will_come_and_of_none_where_all_is_known(folder, monkeypatch):
    monkeypatch.setattr(images, "JUDGED_AT", 8)
    store = MemoryStore()
    index_folder(folder, Scan(folder), store, Encoders())
    assert store.expected == [40]
    for number in range(40):
        (folder / f"{number:02}.png").rename(folder / f"moved {number:02}.png")
    assert index_folder(folder, Scan(folder), store, Encoders()).known_elsewhere == 40
    assert store.expected == [40]


@pytest.mark.parametrize("at", [30, 5000])
def test_the_store_is_told_how_many_vectors_of_known_images_will_come(folder, monkeypatch, at):
    """At once where they are many, else when all are known."""
    (folder / "39.png").unlink()  # the last batch is cut short by the end
    store = MemoryStore(page=40)
    index_folder(folder, Scan(folder), store, Encoders())
    monkeypatch.setattr(images, "EXPECTED_AT", at)
    index_folder(folder, Scan(folder), store, Encoders(image=CountingEncoder()))
    assert store.expected == [39]


def test_what_a_slow_search_has_found_is_written_while_it_goes_on(folder):
    written = threading.Event()

    class Store(MemoryStore):
        def add_images(self, images, vectors):
            super().add_images(images, vectors)
            written.set()

    class Slow(Scan):
        def files(self, *asked):
            for number, entry in enumerate(super().files(*asked)):
                time.sleep(0.25 if number < 2 else 0)
                assert number < 3 or written.wait(SECONDS)
                yield entry

    assert index_folder(folder, Slow(folder), Store(), Encoders(image=CountingEncoder())).added == 40


def test_known_files_tell_nothing_of_how_long_the_model_takes(folder, monkeypatch):
    store, told = MemoryStore(), []
    index_folder(folder, Scan(folder), store, Encoders())
    (folder / "00.png").rename(folder / "moved.png")
    Image.new("RGB", (9, 9)).save(folder / "new.png")
    monkeypatch.setattr(Pace, "took", lambda self, images, seconds: told.append(images))
    assert index_folder(folder, Scan(folder), store, Encoders()).known_elsewhere == 1
    assert told == [1]


def test_images_to_which_another_run_gave_a_vector_meanwhile_are_not_embedded(folder, monkeypatch):
    store, encoder = MemoryStore(page=40), CountingEncoder()
    index_folder(folder, Scan(folder), store, Encoders())
    page = store.images_without_vector

    def given(after=0):
        found = page(after)
        store.vectors.update(dict.fromkeys(range(1, 31), "another run's"))
        return found

    monkeypatch.setattr(store, "images_without_vector", given)
    report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert (report.vectors, len(encoder.seen), len(store.vectors)) == ({"image": 10}, 10, 40)


def test_labels_of_a_file_s_own_reach_the_library_for_what_is_unchanged(folder):
    class Labelled(Scan):
        def labels(self):
            yield "03.png", ("cat", "striped")

    store = MemoryStore()
    index_folder(folder, Scan(folder), store, Encoders())
    index_folder(folder, Labelled(folder), store, Encoders())
    assert store.labels["03.png"] == {"cat", "striped"} and store.labels["04.png"] == set()


def test_missing_vectors_are_not_made_from_a_file_that_changes_meanwhile(folder, monkeypatch):
    store = MemoryStore()
    index_folder(folder, Scan(folder), store, Encoders())
    page = store.images_without_vector

    def changed(after=0):
        Image.new("RGB", (9, 9), (0, 0, 255)).save(folder / "07.png")
        return page(after)

    monkeypatch.setattr(store, "images_without_vector", changed)
    report = index_folder(folder, Scan(folder), store, Encoders(image=CountingEncoder()))
    assert report.skipped == [("07.png", "it changed while it was read; the next run reads it")]
    assert report.vectors == {"image": 39} and store.files["07.png"].image_id not in store.vectors
