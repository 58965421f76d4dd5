"""Processes that decode plain PNGs for threads of this one; whatever goes wrong with them, the file is left to another decoder."""

from __future__ import annotations

import logging
import mmap
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import png_worker
from .pixel_buffers import PixelBuffers
from .plain_png import PlainPng

SCRIPT = Path(png_worker.__file__)
MEMORY = 64 * 2**20  # bytes shared with a worker; a page counts once it is used, so 1024 x 1024 pixels take 5 MB
MOST_KEPT = 256 * 2**20  # bytes of pixels that nobody holds, kept for the next ones
WORTH = 8  # PNGs for each worker, after which more of them are expected: a worker starts in the time that it saves on twenty
START_SECONDS, HANGING_SECONDS, CLOSING_SECONDS = 60.0, 60.0, 5.0
WAITING_SECONDS = 10.0  # for a worker that is free; then Pillow is as good
MOST_DEATHS = 3  # for each worker; then files kill them, or something else does, and they are not started again
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    # glibc: memory of one picture is kept for the next one, since fresh pages cost as much as to fill them
    **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2**28)),
}

log = logging.getLogger("diffusion_toolkit")


class Picture(NamedTuple):
    pixels: np.ndarray  # uint8 [height, width, 3]
    small: np.ndarray | None  # what its perceptual hash is made of, where the worker made it


class PngWorkers:
    """`count` workers, started in the background once so many PNGs have come that they pay. Threads share them; `close` ends them.

    Until then, and where they can't start, `begin` says that nothing was begun. What went wrong is logged once.
    """

    def __init__(self, count: int, worth: int = WORTH, script: Path = SCRIPT) -> None:
        self._count, self._wanted_after, self._script = count, worth * count, script
        self._buffers = PixelBuffers(MOST_KEPT)
        self._changed = threading.Condition()
        self._working = False  # whether there are workers, or will be soon again
        self._idle: queue.SimpleQueue[_Worker | None] = queue.SimpleQueue()  # None: there will be none any more
        self._all: set[_Worker] = set()  # that work
        self._starting: set[_Worker] = set()
        self._threads: list[threading.Thread] = []  # that start them and watch over them
        self._seen = self._deaths = 0
        self._closed = False

    def begin(self, path: str, png: bytes, plain: PlainPng, halvings: int = 0) -> Callable[[], Picture | None] | None:
        """Have a worker decode, and halve the sides as long as they are even; what is returned waits for its pixels, and must be called.

        None when nothing was begun.
        """
        if png_worker.pixels_at(len(png)) + plain.width * plain.height * 3 + 1024 > MEMORY or not (worker := self._take()):
            return None
        try:
            worker.ask(png, plain, halvings)
        except (OSError, ValueError):
            self._gone(worker, path)
            return None
        return partial(self._finish, worker, path)

    def stop(self) -> None:
        """Nothing is begun any more, and who waits for a worker waits no longer: they are killed."""
        with self._changed:
            self._closed = True
            self._give_up()
            self._changed.notify_all()
            for worker in self._all | self._starting:
                worker.kill()

    def close(self) -> None:
        """After `stop`, when no thread uses a worker any more."""
        self.stop()
        for thread in self._threads:
            thread.join(CLOSING_SECONDS)
        for worker in self._all:
            worker.close()
        self._all.clear()

    def _take(self) -> _Worker | None:
        if not self._working:
            with self._changed:
                self._seen += 1
                if self._seen == self._wanted_after and not self._closed:
                    self._start(self._count)
            return None
        try:
            worker = self._idle.get(timeout=WAITING_SECONDS)
        except queue.Empty:
            return None
        if worker is None:
            self._idle.put(None)  # for whoever else waits
        return worker

    def _finish(self, worker: _Worker, path: str) -> Picture | None:
        try:
            picture = worker.answer(self._buffers)
        except (OSError, ValueError, MemoryError):
            self._gone(worker, path)
            return None
        self._idle.put(worker)
        return picture

    def _give_up(self) -> None:
        self._working = False
        self._idle.put(None)

    def _start(self, count: int) -> None:
        thread = threading.Thread(target=self._bring, args=(count,), name="diffusion_toolkit_png_workers", daemon=True)
        self._threads = [known for known in self._threads if known.is_alive()] + [thread]
        thread.start()

    def _bring(self, count: int) -> None:
        """Start workers, all at once, and let them be used as each is ready; then watch over them."""
        begun: list[_Worker] = []
        failed: Exception | None = None
        try:
            for _ in range(count):
                with self._changed:
                    if self._closed:
                        break
                    begun.append(_Worker(self._script))
                    self._starting.add(begun[-1])
            for worker in begun:
                worker.wait_until_ready()
        except (OSError, ValueError, ImportError, subprocess.SubprocessError) as error:
            failed = error
        with self._changed:
            self._starting.difference_update(begun)
            if self._closed or failed is not None:
                for worker in begun:
                    worker.close()
                if not self._closed:
                    if not self._all:
                        self._give_up()
                    log.info("PNGs are decoded by Pillow, since the faster decoder's process can't be started: %s", failed)
                return
            first = not self._all
            self._all.update(begun)
            for worker in begun:
                self._idle.put(worker)
            self._working = True
        if first:
            self._watch()

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or not self._all, timeout=HANGING_SECONDS / 10)
                if self._closed or not self._all:
                    return
                hanging = [worker for worker in self._all if worker.busy_for() > HANGING_SECONDS]
            for worker in hanging:
                worker.kill()

    def _gone(self, worker: _Worker, path: str) -> None:
        code = worker.close()
        with self._changed:
            if self._closed:
                return
            self._all.discard(worker)
            self._deaths += 1
            again = self._deaths <= MOST_DEATHS * self._count
            if again:
                self._start(1)
            elif not self._all:
                self._give_up()
            self._changed.notify_all()
        then = "another one is started" if again else "no other one is started, too many ended so"
        log.warning("The process that was to decode %s ended (%s); the file is read by Pillow instead, and %s.", path, code, then)


class _Worker:
    """One process and the memory shared with it. OSError when it is gone."""

    def __init__(self, script: Path) -> None:
        self._since = float("inf")
        self.memory, place, kept = _shared_memory()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", str(script), place, str(MEMORY), *filter(None, sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={**os.environ, **_ENVIRONMENT},
                pass_fds=() if kept is None else (kept,),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        finally:
            if kept is not None:
                os.close(kept)

    def wait_until_ready(self) -> None:
        """ValueError with its reason when it can't begin."""
        watch = threading.Timer(START_SECONDS, self.process.kill)
        watch.start()
        try:
            told = self.process.stdout.read(1)
            self._halves = told == png_worker.READY
            if told not in (png_worker.READY, png_worker.READY_BUT_FOR_HALVING):
                told += self.process.stdout.read(2000) or b""
                raise ValueError(told.decode("utf-8", "replace") or f"it ended at once ({self.process.wait()})")
        finally:
            watch.cancel()
            watch.join()

    def ask(self, png: bytes, plain: PlainPng, halvings: int) -> None:
        times = 0
        while self._halves and times < halvings and not (plain.width | plain.height) & (1 << times):
            times += 1
        self.memory[: len(png)] = png
        self._shape, self._at = (plain.height >> times, plain.width >> times, 3), png_worker.pixels_at(len(png))
        self._since = time.monotonic()
        self.process.stdin.write(png_worker.REQUEST.pack(len(png), *plain, times))

    def answer(self, buffers: PixelBuffers) -> Picture | None:
        """None of a PNG that it refuses."""
        told = self.process.stdout.read(1)
        self._since = float("inf")
        if told == png_worker.REFUSED:
            return None
        if told not in (png_worker.GIVEN, png_worker.GIVEN_WITH_SMALL):
            raise BrokenPipeError
        pixels = buffers.take(self._shape)
        pixels[:] = np.frombuffer(self.memory, np.uint8, pixels.size, self._at).reshape(pixels.shape)
        if told == png_worker.GIVEN:
            return Picture(pixels, None)
        shape = png_worker.SMALL_SHAPE
        small = np.frombuffer(self.memory, np.uint8, shape[0] * shape[1], self._at + pixels.size).reshape(shape)
        return Picture(pixels, small.copy())

    def busy_for(self) -> float:
        return time.monotonic() - self._since

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> int:
        """How the process ended."""
        self.process.kill()
        code = self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.memory.close()
        return code


def _shared_memory() -> tuple[mmap.mmap, str, int | None]:
    """Memory, how a worker is told of it, and a descriptor that it is to be given. Nobody else can see it, and it ends with both.

    Never a file: on a full disk the write of a page would kill this process.
    """
    if sys.platform == "win32":
        name = f"diffusion_toolkit_{uuid.uuid4().hex}"
        return mmap.mmap(-1, MEMORY, tagname=name), name, None
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("diffusion_toolkit")
    else:  # macOS: named for as long as it takes to forget the name
        import _posixshmem

        name = f"/dtk_{uuid.uuid4().hex[:16]}"
        descriptor = _posixshmem.shm_open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600)
        _posixshmem.shm_unlink(name)
    try:
        os.ftruncate(descriptor, MEMORY)
        return mmap.mmap(descriptor, MEMORY), str(descriptor), descriptor
    except BaseException:
        os.close(descriptor)
        raise
