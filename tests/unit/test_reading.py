"""Many files read at once: in their order, ahead only as far as memory allows, each as if it were read alone."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from diffusion_toolkit.embedders.folders.scan import FileEntry, Scan
from diffusion_toolkit.embedders.pictures import decode, reading
from diffusion_toolkit.embedders.pictures.decode import read_image
from diffusion_toolkit.embedders.pictures.reading import Reader
from host.waiting import wait_until
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    for number in range(12):
        Image.fromarray(random.integers(0, 256, (20 + number, 16, 3), np.uint8)).save(tmp_path / f"{number:02}.png")
    return tmp_path


def entries(folder: Path) -> list[FileEntry]:
    return list(Scan(folder, "", True, "").files())


def start_workers(reader: Reader, entries: list[FileEntry]) -> None:
    reader._pngs._wanted_after = 1
    list(reader.read(entries[:1]))
    wait_until(lambda: not reader._pngs._idle.empty())


def test_files_come_in_their_order_as_if_read_alone(folder):
    wanted = entries(folder)
    with Reader(folder, workers=3) as reader:
        found = list(reader.read(wanted))
    assert [read.entry for read in found] == wanted
    for read in found:
        alone = read_image(folder / read.entry.path)
        assert np.array_equal(read.image.pixels, alone.pixels)
        assert {**vars(read.image), "pixels": 0, "metadata": 0} == {**vars(alone), "pixels": 0, "metadata": 0}


def test_workers_change_nothing_but_the_time(folder, monkeypatch):
    by_workers = 0
    with Reader(folder, workers=1) as reader:
        start_workers(reader, entries(folder))
        finish = reader._pngs._finish

        def counted(*asked):
            nonlocal by_workers
            by_workers += 1
            return finish(*asked)

        monkeypatch.setattr(reader._pngs, "_finish", counted)
        for read in reader.read(entries(folder)):
            alone = read_image(folder / read.entry.path)
            assert np.array_equal(read.image.pixels, alone.pixels) and (read.image.hash, read.image.phash) == (alone.hash, alone.phash)
    assert by_workers == 12


def test_what_can_not_be_read_comes_with_its_reason(folder):
    (folder / "03.png").write_bytes(b"nothing")
    wanted = entries(folder)
    (folder / "05.png").unlink()
    (folder / "07.png").write_bytes((folder / "06.png").read_bytes()[:-100])
    with Reader(folder) as reader:
        problems = {read.entry.path: read.problem for read in reader.read(wanted) if read.image is None}
    assert problems.keys() == {"03.png", "05.png", "07.png"}
    assert "it is no PNG" in problems["03.png"] and "No such file" in problems["05.png"] and "damaged" in problems["07.png"]


@pytest.mark.skipif(os.name != "nt", reason="elsewhere nobody keeps a file from others")
def test_a_file_that_another_program_keeps_to_itself_comes_with_that_reason(folder):
    import ctypes

    opened = ctypes.windll.kernel32.CreateFileW
    opened.restype = ctypes.c_void_p
    alone = opened(str(folder / "03.png"), 0xC0000000, 0, None, 3, 0, None)  # to read and write, shared with nobody
    try:
        with Reader(folder, workers=2) as reader:
            told = {read.entry.path: read.problem for read in reader.read(entries(folder)) if read.image is None}
    finally:
        ctypes.windll.kernel32.CloseHandle(ctypes.c_void_p(alone))
    assert told == {"03.png": "Permission denied; another program may have it open"}


def test_sha256_is_made_for_the_sizes_that_an_older_library_knows_alone(folder):
    wanted = entries(folder)
    known = {wanted[2].size, wanted[5].size}
    assert len(known | {entry.size for entry in wanted}) > 2
    with Reader(folder, older_sizes=known) as reader:
        made = {read.entry.path: read.image.older_hash for read in reader.read(wanted)}
    expected = {
        entry.path: hashlib.sha256((folder / entry.path).read_bytes()).digest() if entry.size in known else None for entry in wanted
    }
    assert made == expected
    with Reader(folder, older_sizes=None) as reader:
        assert None not in [read.image.older_hash for read in reader.read(wanted)]


def test_only_so_many_files_are_asked_for_ahead(folder):
    asked = []

    def asking():
        for entry in entries(folder):
            asked.append(entry.path)
            yield entry

    with Reader(folder, workers=1) as reader:
        read = reader.read(asking())
        next(read)
        assert len(asked) == reading.AHEAD
        next(read)
        assert len(asked) == reading.AHEAD + 1


def test_pixels_in_flight_are_bounded_and_the_next_file_always_fits(folder, monkeypatch):
    held, most = set(), []
    lock = threading.Lock()
    original = reading.read_image

    def slow(path, **options):
        image = original(path, **options)
        with lock:
            held.add(path.name)
            most.append(len(held))
        return image

    monkeypatch.setattr(reading, "read_image", slow)
    with Reader(folder, workers=4, most_bytes=1) as reader:  # nothing fits, so one file after the other
        for read in reader.read(entries(folder)):
            time.sleep(0.005)
            with lock:
                held.discard(read.entry.path)
    assert max(most) <= 2  # the one that was delivered, and the next one


def test_a_reader_that_is_left_early_leaves_no_thread_or_process_behind(folder):
    before = threading.active_count()
    with Reader(folder, workers=2) as reader:
        reader._pngs._wanted_after = 1
        next(reader.read(entries(folder)))
    assert [thread for thread in threading.enumerate() if "reader" in thread.name] == []
    assert threading.active_count() == before  # also none that was about to start workers


def test_no_thread_that_hangs_in_a_dead_drive_keeps_python_from_ending(folder):
    with Reader(folder, workers=2):
        threads = [thread for thread in threading.enumerate() if "reader" in thread.name]
        assert len(threads) == 5 and all(thread.daemon for thread in threads)


def test_files_are_given_back_when_nothing_else_comes_for_now(folder):
    first, second, *_ = entries(folder)
    with Reader(folder, workers=2) as reader:
        assert [read and read.entry for read in reader.read([first, None, None, second])] == [first, None, None, second]


def test_a_jpeg_is_handed_over_smaller_and_known_by_its_own_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned: what the file calls width is the picture's height
    Image.new("RGB", (1000, 2000), (200, 100, 50)).save(tmp_path / "a.jpg", exif=exif)
    with Reader(tmp_path) as reader:
        [read] = reader.read(entries(tmp_path))
    assert read.image.pixels.shape == (500, 1000, 3) and (read.image.width, read.image.height) == (2000, 1000)
    assert np.abs(read.image.pixels.astype(int) - (200, 100, 50)).max() <= 4
    assert read_image(tmp_path / "a.jpg").pixels.shape == (1000, 2000, 3)


def test_a_large_picture_is_handed_over_smaller(tmp_path):
    Image.new("RGB", (3000, 2000), (200, 100, 50)).save(tmp_path / "a.png", compress_level=1)
    Image.new("RGB", (2000, 1791)).save(tmp_path / "b.png", compress_level=1)  # half of it would be too little
    with Reader(tmp_path) as reader:
        read, other = reader.read(entries(tmp_path))
    assert read.image.pixels.shape == (1000, 1500, 3) and (read.image.width, read.image.height) == (3000, 2000)
    assert read.image.pixels[0, 0].tolist() == [200, 100, 50]
    assert other.image.pixels.shape == (1791, 2000, 3)


def test_a_large_picture_is_the_same_to_the_last_bit_whoever_made_it_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "HALVED_SIDE", 28)
    random = np.random.default_rng(1)
    for number, (width, height) in enumerate([(60, 56), (61, 57), (122, 114)]):
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(tmp_path / f"{number}.png")
    wanted = entries(tmp_path)
    with Reader(tmp_path, workers=1) as reader:
        alone = [read.image for read in reader.read(wanted)]
    with Reader(tmp_path, workers=1) as reader:
        start_workers(reader, wanted)
        by_worker = [read.image for read in reader.read(wanted)]
    assert [image.pixels.shape for image in by_worker] == [(28, 30, 3), (29, 31, 3), (29, 31, 3)]
    for one, other in zip(alone, by_worker):
        assert np.array_equal(one.pixels, other.pixels) and (one.phash, one.width, one.height) == (other.phash, other.width, other.height)
