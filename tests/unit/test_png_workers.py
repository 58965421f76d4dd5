"""Processes that decode PNGs: the same pixels as Pillow's, and nothing lost when they die, hang or can't start."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from diffusion_toolkit.embedders.metadata.containers import Source
from diffusion_toolkit.embedders.pictures import png_workers
from diffusion_toolkit.embedders.pictures.phash import made_small
from diffusion_toolkit.embedders.pictures.plain_png import PlainPng, plain_png
from diffusion_toolkit.embedders.pictures.png_workers import SCRIPT, PngWorkers
from host.waiting import wait_until
from PIL import Image

NOISE = np.random.default_rng(1).integers(0, 256, (37, 53, 4), np.uint8)


def encoded(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def decoded(workers: PngWorkers, data: bytes, plain: PlainPng | None = None, halvings: int = 0) -> np.ndarray | None:
    pending = workers.begin("a.png", data, plain or plain_png(Source(data)), halvings)
    picture = pending() if pending is not None else None
    return picture.pixels if picture is not None else None


def started(script: Path = SCRIPT) -> PngWorkers:
    """One worker, ready."""
    workers = PngWorkers(1, worth=1, script=script)
    assert decoded(workers, encoded(NOISE)) is None  # the first one says that a worker pays
    wait_for_one(workers)
    return workers


def wait_for_one(workers: PngWorkers) -> None:
    wait_until(lambda: not workers._idle.empty())


@pytest.fixture
def workers():
    made = started()
    yield made
    made.close()


def fake(tmp_path: Path, work: str) -> Path:
    """A worker that says it is ready, and then does this with each question."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, sys, time\nout = open(1, 'wb', buffering=0)\nout.write(b'R')\n"
        f"while sys.stdin.buffer.read(18):\n    {work}\n",
        encoding="utf-8",
    )
    return script


@pytest.mark.parametrize("pixels", [NOISE, NOISE[:, :, :3]], ids=["RGBA", "RGB"])
def test_pixels_are_pillows_without_alpha(workers, pixels):
    for height in (37, 1):
        assert np.array_equal(decoded(workers, encoded(pixels[:height])), pixels[:height, :, :3])


@pytest.mark.parametrize(("size", "halved"), [((64, 96), 2), ((64, 98), 1), ((63, 96), 0)], ids=str)
def test_sides_are_halved_as_pillow_does_it_while_they_are_even(workers, size, halved):
    pixels = np.random.default_rng(2).integers(0, 256, (*size, 4), np.uint8)
    for data in (pixels, pixels[:, :, :3]):
        image = Image.fromarray(pixels[:, :, :3])
        for _ in range(halved):
            image = image.reduce(2)
        assert np.array_equal(decoded(workers, encoded(data), halvings=2), np.asarray(image))


def test_a_large_picture_comes_with_what_its_perceptual_hash_is_made_of(workers):
    small = np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8)
    large = np.asarray(Image.fromarray(small).resize((700, 500), Image.Resampling.BICUBIC))
    data = encoded(large)
    picture = workers.begin("a.png", data, plain_png(Source(data)))()
    assert np.array_equal(picture.small, made_small(large))
    data = encoded(NOISE)
    assert workers.begin("a.png", data, plain_png(Source(data)))().small is None


def test_a_damaged_png_is_refused_and_the_next_one_decoded(workers):
    data = encoded(NOISE)
    assert decoded(workers, data[: len(data) // 2], PlainPng(53, 37, 4)) is None
    assert decoded(workers, data, PlainPng(50, 37, 4)) is None
    assert decoded(workers, data) is not None


def test_one_that_does_not_fit_the_shared_memory_is_not_begun(workers):
    assert workers.begin("a.png", encoded(NOISE), PlainPng(6000, 6000, 3)) is None


def test_a_worker_that_is_killed_is_named_with_its_file_and_replaced(workers, caplog):
    os.kill(next(iter(workers._all)).process.pid, 9)
    with caplog.at_level(logging.WARNING, "diffusion_toolkit"):
        assert decoded(workers, encoded(NOISE)) is None
    assert "decode a.png ended" in caplog.text
    wait_for_one(workers)
    assert decoded(workers, encoded(NOISE)) is not None


def test_no_memory_for_what_a_worker_has_made_loses_a_file_to_pillow_and_no_worker(workers, monkeypatch):
    def none(shape: tuple[int, ...]) -> np.ndarray:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(workers._buffers, "take", none)
        assert decoded(workers, encoded(NOISE)) is None
    wait_for_one(workers)
    assert np.array_equal(decoded(workers, encoded(NOISE)), NOISE[:, :, :3])


def test_who_waits_long_for_a_worker_takes_another_decoder(workers, monkeypatch):
    monkeypatch.setattr(png_workers, "WAITING_SECONDS", 0.01)
    taken = workers._idle.get()
    assert decoded(workers, encoded(NOISE)) is None
    workers._idle.put(taken)
    assert decoded(workers, encoded(NOISE)) is not None


@pytest.mark.skipif(os.name == "nt", reason="descriptors are handed over")
def test_a_worker_finds_modules_where_its_parent_does(tmp_path):
    with open(tmp_path / "memory", "w+b") as memory:
        memory.truncate(4096)
        asked = [sys.executable, "-I", "-S", str(SCRIPT), str(memory.fileno()), "4096"]  # -S: it has Python's own modules alone
        for paths, told in (([], b"ModuleNotFoundError"), (sys.path, b"R")):
            done = subprocess.run([*asked, *filter(None, paths)], input=b"", stdout=subprocess.PIPE, pass_fds=[memory.fileno()], timeout=60)
            assert done.stdout.startswith(told)


def test_workers_that_die_of_every_file_are_given_up(tmp_path, caplog):
    workers = started(fake(tmp_path, "os._exit(3)"))
    with caplog.at_level(logging.WARNING, "diffusion_toolkit"):
        for _ in range(png_workers.MOST_DEATHS + 1):
            wait_for_one(workers)
            assert decoded(workers, encoded(NOISE)) is None
        assert decoded(workers, encoded(NOISE)) is None
    assert "no other one is started" in caplog.messages[-1] and len(caplog.messages) == png_workers.MOST_DEATHS + 1
    workers.close()


def test_a_worker_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(png_workers, "HANGING_SECONDS", 0.5)
    workers = started(fake(tmp_path, "time.sleep(60)"))
    begun = time.monotonic()
    assert decoded(workers, encoded(NOISE)) is None
    assert time.monotonic() - begun < 30
    workers.close()


def test_stopping_wakes_whoever_waits_for_a_worker(tmp_path):
    workers = started(fake(tmp_path, "time.sleep(60)"))
    data = encoded(NOISE)
    pending = workers.begin("a.png", data, plain_png(Source(data)))
    workers.stop()
    assert pending() is None
    workers.close()


def test_workers_that_cant_start_say_why_and_begin_nothing(tmp_path, caplog):
    script = tmp_path / "worker.py"
    script.write_text("print('ModuleNotFoundError: no kornia_rs', end='')", encoding="utf-8")
    workers = PngWorkers(1, worth=1, script=script)
    with caplog.at_level(logging.INFO, "diffusion_toolkit"):
        assert decoded(workers, encoded(NOISE)) is None
        wait_until(lambda: caplog.messages)
        assert decoded(workers, encoded(NOISE)) is None
    assert "can't be started: ModuleNotFoundError: no kornia_rs" in caplog.text
    workers.close()


def test_none_is_started_for_a_few_files(monkeypatch):
    started = []
    monkeypatch.setattr(PngWorkers, "_start", lambda self, count: started.append(count))
    workers = PngWorkers(2, worth=10)
    data = encoded(NOISE)
    for _ in range(19):
        assert decoded(workers, data) is None
    assert started == []
    assert decoded(workers, data) is None and started == [2]
    workers.close()
