"""The pipeline's stages side by side: how far each goes ahead, and what becomes of errors, cancels, twins and changing files."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, IndexReport, StandBack, index_folder
from diffusion_toolkit.embedders.pipeline.ahead import Ahead, close_all
from diffusion_toolkit.embedders.pipeline.batches import Pace
from diffusion_toolkit.embedders.pipeline.records import Run
from diffusion_toolkit.embedders.pipeline.telling import Telling
from diffusion_toolkit.embedders.pipeline.writer import Writer
from host.memory_store import CountingEncoder, MemoryStore, forty_pictures
from host.waiting import wait_until

SECONDS = 20  # by which what is waited for has come, on however busy a machine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return forty_pictures(tmp_path)


def stays_at(expected: int, of: list) -> bool:
    """Whether the list gets as long as this, and no longer in a while."""
    wait_until(lambda: len(of) >= expected)
    time.sleep(0.3)
    return len(of) == expected


def test_a_stage_goes_ahead_by_so_many_items_and_no_more():
    drawn = []
    stage = Ahead((drawn.append(i) or i for i in range(100)), "test", 3)
    assert stays_at(4, drawn)  # three wait, one more is made
    assert list(stage) == list(range(100))


def test_a_stage_goes_ahead_by_so_many_bytes_and_one_item_always_fits():
    drawn = []
    stage = Ahead((drawn.append(i) or i for i in range(9)), "test", 9, size=lambda item: 60, most=100)
    assert stays_at(2, drawn)
    assert list(stage) == list(range(9))
    large = Ahead(iter([1000]), "test", 9, size=lambda item: item, most=100)
    assert list(large) == [1000]


def test_what_a_stage_raises_is_raised_where_its_items_are_taken():
    def failing():
        yield 1
        raise OSError("the drive is gone")

    stage = Ahead(failing(), "test", 3)
    assert stage.take(SECONDS) == 1
    with pytest.raises(OSError, match="the drive is gone"):
        stage.take(SECONDS)


def test_who_waits_for_an_item_hears_at_once_that_there_is_no_more():
    def ending():
        time.sleep(0.3)
        yield from ()

    began = time.monotonic()
    assert Ahead(ending(), "test", 1).take(SECONDS) is None
    assert time.monotonic() - began < SECONDS


def test_stages_in_a_row_end_when_nobody_wants_more():
    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    first = Ahead(endless(), "first", 2)
    second = Ahead((item for item in first), "second", 2)
    assert second.take(SECONDS) == 0
    close_all(first, second)
    assert closed == ["diffusion_toolkit_first"]
    assert not [t for t in threading.enumerate() if t.name in ("diffusion_toolkit_first", "diffusion_toolkit_second")]


def test_the_writer_s_error_is_raised_where_jobs_are_put_and_later_jobs_are_dropped():
    done = []

    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), Writer(lambda: None) as writer:
        for _ in range(5):
            writer.put(fail)
            writer.put(lambda: done.append(1))
    assert done == []


def test_what_the_writer_met_ends_a_run_that_waits_for_something_else():
    class NeverReady:
        def take(self, timeout):
            raise TimeoutError

    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), Writer(lambda: None) as writer:
        writer.put(fail)
        run = Run(Path(), MemoryStore(), Encoders(), {}, IndexReport(), writer, Telling(lambda *_: None))
        run.next_of(NeverReady(), "files")


def test_a_report_tells_how_long_the_models_waited_for_what():
    heard = threading.Semaphore(0)  # released twice a second, while anything is waited for

    def slow() -> str | None:
        return "made" if heard.acquire(timeout=SECONDS) else None

    report = IndexReport()
    with Writer(heard.release) as writer:
        run = Run(Path(), MemoryStore(), Encoders(), {}, report, writer, Telling(lambda *_: None))
        for _ in range(2):
            assert run.next_of(Ahead(map(lambda _: slow(), range(1)), "test", 1), "files", heard.release) == "made"
        for _ in range(4):
            run.put(slow)  # the fourth waits until the first is done
        heard.release(9)
    assert report.waited["files"] > 0.9 and report.waited["the library"] > 0.4  # seconds


@pytest.mark.parametrize("ends_by", [KeyboardInterrupt, StandBack])
def test_what_the_writer_meets_after_the_run_has_ended_is_told(ends_by, caplog):
    """Logged; and raised in place of StandBack, after which a report says that all is written."""
    ended = threading.Event()

    def fail() -> None:
        ended.wait(SECONDS)
        raise OSError("the disk is full")

    with pytest.raises(OSError if ends_by is StandBack else ends_by), Writer(lambda: None) as writer:
        writer.put(fail)
        threading.Timer(0.2, ended.set).start()
        raise ends_by
    assert ("not written: the disk is full" in caplog.text) == (ends_by is KeyboardInterrupt)


def test_nothing_is_claimed_by_a_run_that_ends_before_it_reads(folder):
    class Away(MemoryStore):
        def older_sizes(self):
            raise OSError("no server answers")

        def claim(self, entries):
            claimed.extend(entries)
            return entries

    claimed = []
    with pytest.raises(OSError, match="no server answers"):
        index_folder(folder, Scan(folder), Away(), Encoders())
    assert stays_at(0, claimed)


def test_jobs_wait_in_a_short_queue_and_a_cancel_while_waiting_keeps_them_all():
    done, go = [], threading.Event()

    def cancel() -> None:
        go.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Writer(cancel) as writer:
        for i in range(10):
            writer.put(lambda i=i: (go.wait(SECONDS), done.append(i)))
    assert done == [0, 1, 2, 3]  # one is being written, two wait, and the fourth is what the cancel met


def test_batches_grow_while_they_are_quick_and_shrink_when_a_cancel_would_wait_long():
    pace = Pace()
    for _ in range(9):
        pace.took(pace.size, 0.01)
    assert pace.size == Pace.MOST
    for _ in range(9):
        pace.took(pace.size, 30.0)
    assert pace.size == Pace.FEWEST
    pace.took(1, 0.01)  # says nothing of how long a full batch takes
    assert pace.size == Pace.FEWEST


def test_reading_writing_and_embedding_go_on_at_once(folder):
    """The model waits until a batch is being written and later files are read; one after the other it would wait for ever."""
    writing, read = threading.Event(), []

    class Store(MemoryStore):
        def add_images(self, images, vectors):
            writing.set()
            super().add_images(images, vectors)

        def find_images(self, hashes):
            read.append(len(hashes))
            return super().find_images(hashes)

    class Waiting(CountingEncoder):
        def encode(self, items):
            if self.seen:
                assert writing.wait(SECONDS)
                until = time.monotonic() + SECONDS
                while sum(read) <= len(self.seen) + len(items) and sum(read) < 40:
                    assert time.monotonic() < until
                    time.sleep(0.01)
            return super().encode(items)

    assert index_folder(folder, Scan(folder), Store(), Encoders(image=Waiting())).added == 40


def test_a_copy_of_an_image_that_is_not_yet_written_is_linked_and_not_embedded_again(folder):
    (folder / "99.png").write_bytes((folder / "00.png").read_bytes())
    looked_up = threading.Event()

    class Store(MemoryStore):
        def add_images(self, images, vectors):
            assert looked_up.wait(SECONDS)  # nothing is written before the copy has been held against the library
            super().add_images(images, vectors)

        def find_images(self, hashes):
            self.asked = getattr(self, "asked", 0) + len(hashes)
            if self.asked == 40 and not looked_up.is_set():
                threading.Timer(0.05, looked_up.set).start()
            return super().find_images(hashes)

    store, encoder = Store(), CountingEncoder()
    report = index_folder(folder, Scan(folder), store, Encoders(image=encoder))
    assert (report.added, report.known_elsewhere, len(encoder.seen)) == (40, 1, 40)
    assert store.files["99.png"].image_id == store.files["00.png"].image_id


def test_a_cancel_while_the_library_is_slow_is_heard_and_what_is_embedded_is_written(folder):
    cancelled = threading.Event()

    class Slow(MemoryStore):
        def add_images(self, images, vectors):
            assert cancelled.wait(SECONDS)
            super().add_images(images, vectors)

    def cancel(stage: str, done: int, total: int) -> None:
        if store.files or (encoder.seen and time.monotonic() > began + 1):
            cancelled.set()
            raise KeyboardInterrupt

    store, encoder, began = Slow(), CountingEncoder(), time.monotonic()
    Pace.MOST, most = 4, Pace.MOST
    try:
        with pytest.raises(KeyboardInterrupt):
            index_folder(folder, Scan(folder), store, Encoders(image=encoder), progress=cancel)
    finally:
        Pace.MOST = most
    assert 0 < len(encoder.seen) == len(store.vectors) <= 40


def test_a_run_that_stands_back_ends_in_order_with_a_report(folder):
    def stand_back(stage: str, done: int, total: int) -> None:
        if done >= 8:
            raise StandBack

    store = MemoryStore()
    report = index_folder(folder, Scan(folder), store, Encoders(image=CountingEncoder()), progress=stand_back)
    assert report.unfinished and 0 < report.added == len(store.vectors) < 40
    assert not index_folder(folder, Scan(folder), store, Encoders(image=CountingEncoder())).unfinished
    assert len(store.vectors) == 40


def test_a_cancelled_run_leaves_no_thread_behind(folder):
    def ours() -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread.name.startswith("diffusion")}

    def cancel(stage: str, done: int, total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    before = ours()
    with pytest.raises(KeyboardInterrupt):
        index_folder(folder, Scan(folder), MemoryStore(), Encoders(image=CountingEncoder()), progress=cancel)
    assert ours() == before


def test_a_report_counts_every_skipped_file_and_names_the_first(monkeypatch):
    from diffusion_toolkit.embedders.pipeline import records

    monkeypatch.setattr(records, "NAMED", 3)
    named = records.Named()
    named += [(f"{i}.png", "damaged") for i in range(5)]
    named.append(("5.png", "damaged"))
    assert (named.total, [path for path, _ in named]) == (6, ["0.png", "1.png", "2.png"])


def test_pixels_are_let_go_once_they_are_embedded(folder):
    held = []

    class Store(MemoryStore):
        def add_images(self, images, vectors):
            held.extend(image.pixels.nbytes for _, image in images)
            super().add_images(images, vectors)

    index_folder(folder, Scan(folder), Store(), Encoders(image=CountingEncoder()))
    assert set(held) == {0}
