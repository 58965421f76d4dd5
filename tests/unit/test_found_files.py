"""A folder's files as a stream of those to read, and what is done about the others."""

from __future__ import annotations

import shutil
import threading
import time

import pytest
from diffusion_toolkit.embedders.folders import scan
from diffusion_toolkit.embedders.folders.known_files import KnownFiles
from diffusion_toolkit.embedders.folders.scan import FileEntry, Scan
from diffusion_toolkit.embedders.pipeline import IndexReport, files
from diffusion_toolkit.embedders.pipeline.files import FoundFiles


class Store:
    def __init__(self):
        self.labels_files, self.labelled, self.marks = False, {}, {}

    def label_files(self, paths, labels=()):
        for path in paths:
            self.labelled.setdefault(path, set()).update(labels)

    def mark_missing(self, paths):
        self.marks.update(dict.fromkeys(paths, True))
        return len(paths), 0

    def count_unmarked(self, paths):
        return sum(path not in self.marks for path in paths)

    def unmark_missing(self, paths):
        self.marks.update(dict.fromkeys(paths, False))


class Numbered:
    """Endless, and what can't be waited for in a test if the stream were a list."""

    def __init__(self):
        self.given = 0

    def files(self, on_error, stopped):
        while True:
            self.given += 1
            yield FileEntry(f"{self.given}.png", 1, 1)


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "cats/b.png", "cats/deep/c.png", "cats/d.webp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"picture")
    return tmp_path


def known_of(root, missing=()):
    return KnownFiles([[(*entry[:4], entry.path in missing) for entry in Scan(root).files()]])


def look(source, known, marked=()):
    """(what is to be read, what was marked) of a whole run, beside another that `marked` some meanwhile."""
    store, report = Store(), IndexReport()
    store.mark_missing(marked)
    with FoundFiles(source, known, report) as found:
        changed = [entry.path for entry in found]
        found.settle(store, lambda *_: None)
    return changed, store.marks, report


def test_new_and_changed_files_come_and_unchanged_ones_are_counted(folder):
    known = known_of(folder)
    (folder / "a.png").write_bytes(b"another")
    (folder / "new.png").write_bytes(b"new")
    changed, marks, report = look(Scan(folder), known)
    assert changed == ["a.png", "new.png"] and marks == {}
    assert (report.found, report.unchanged, report.missing) == (5, 3, 0)


def test_it_is_told_how_far_the_labelling_of_known_images_is(folder, monkeypatch):
    monkeypatch.setattr(files, "MARKED_AT_ONCE", 3)
    store, told = Store(), []
    store.labels_files = True
    with FoundFiles(Scan(folder), known_of(folder), IndexReport()) as found:
        assert list(found) == []
        found.settle(store, lambda *progress: told.append(progress))
    assert told == [("Labels of known images", 0, 4), ("Labels of known images", 3, 4)] and len(store.labelled) == 4


def test_a_file_that_is_gone_is_marked_and_one_that_is_back_is_unmarked(folder):
    known = known_of(folder, missing={"cats/b.png"})
    (folder / "a.png").unlink()
    _, marks, report = look(Scan(folder), known)
    assert marks == {"cats/b.png": False, "a.png": True} and report.missing == 1


def test_a_folder_that_is_gone_has_all_its_files_marked(folder):
    known = known_of(folder)
    shutil.rmtree(folder / "cats")
    assert look(Scan(folder), known)[1] == dict.fromkeys(["cats/b.png", "cats/d.webp", "cats/deep/c.png"], True)


def test_files_of_a_folder_that_is_there_and_empty_are_not_marked(folder):
    """As a drive that is mounted below the root leaves it; Library Upkeep judges by the same rule."""
    known = known_of(folder)
    shutil.rmtree(folder / "cats")
    (folder / "cats").mkdir()
    _, marks, report = look(Scan(folder), known)
    assert marks == {} and (report.missing, report.all_gone) == (0, 3)


@pytest.mark.parametrize(
    "asked, judged",
    [
        (("cats", True, ""), {"cats/b.png", "cats/deep/c.png"}),
        (("cats", False, ""), {"cats/b.png"}),
        (("", False, ""), {"a.png"}),
        (("", True, "*B.png"), {"cats/b.png"}),
        (("", True, "cats/*.png"), {"cats/b.png", "cats/deep/c.png"}),
    ],
)
def test_only_what_was_asked_for_is_judged(folder, asked, judged):
    (folder / "stays.png").write_bytes(b"")
    (folder / "cats/b stays.webp").write_bytes(b"")
    known = known_of(folder)
    for name in ("a.png", "cats/b.png", "cats/deep/c.png"):
        (folder / name).unlink()
    (folder / "another B.png").write_bytes(b"")
    (folder / "cats/x.png").write_bytes(b"")
    (folder / "cats/deep/x.txt").write_bytes(b"")
    known.sort([FileEntry("stays.png", 0, (folder / "stays.png").stat().st_mtime_ns)])
    assert set(look(Scan(folder, *asked), known)[1]) == judged


def test_nothing_is_marked_where_nothing_is_left_of_what_was_known(folder):
    known = known_of(folder)
    shutil.rmtree(folder / "cats")
    (folder / "a.png").unlink()
    (folder / "new.png").write_bytes(b"")
    changed, marks, report = look(Scan(folder), known)
    assert changed == ["new.png"] and marks == {} and report.all_gone == 4


@pytest.mark.parametrize("left", ["a.png", None])
def test_what_another_run_marks_meanwhile_is_not_told_as_away(folder, left):
    known = known_of(folder)
    shutil.rmtree(folder / "cats")
    (folder / "cats").mkdir()
    if not left:
        (folder / "a.png").unlink()
    _, marks, report = look(Scan(folder), known, marked=["cats/b.png", "cats/d.webp"])
    assert len(marks) == 2 and (report.missing, report.all_gone) == (0, 1 if left else 2)


def test_a_file_that_is_there_but_left_out_is_not_marked(folder):
    """As one whose folder can't be listed, or that was met under another name through a link."""
    known = KnownFiles([[("cats/.hidden/x.png", 1, 1, 0, False), ("a.png", 7, (folder / "a.png").stat().st_mtime_ns, 0, False)]])
    (folder / "cats/.hidden").mkdir()
    (folder / "cats/.hidden/x.png").write_bytes(b"")
    assert look(Scan(folder), known)[1] == {}


def test_what_was_known_is_labelled_when_the_run_gives_labels(folder):
    known, store = known_of(folder), Store()
    (folder / "a.png").write_bytes(b"another")
    store.labels_files = True
    with FoundFiles(Scan(folder), known, IndexReport()) as found:
        list(found)
        found.settle(store, lambda *_: None)
    assert set(store.labelled) == {"cats/b.png", "cats/d.webp", "cats/deep/c.png"}


def test_files_come_while_the_search_goes_on():
    source = Numbered()
    with FoundFiles(source, KnownFiles(), IndexReport()) as found:
        assert next(iter(found)).path == "1.png" and not found.complete
        assert 0 < found.changed <= source.given
    found._thread.join(30)
    assert not found._thread.is_alive()


def test_the_search_goes_on_to_its_end_while_nobody_reads_and_what_waits_takes_few_bytes():
    many = 20_000
    every = [FileEntry(f"2025/ä {n // 1000}/ComfyUI_{n:08}_.png", n, 2**60 + n, n % 2, ("cat", "ö")[: n % 3]) for n in range(1000)]

    class Many(Numbered):
        def files(self, on_error, stopped):
            return (every[number % 1000] for number in range(many))

    with FoundFiles(Many(), KnownFiles(), IndexReport()) as found:
        found._thread.join(20)
        assert found.complete and found.changed == many
        waiting = [found._lots.get() for _ in range(found._lots.qsize())]
        assert sum(len(lot) for lot in waiting[:-1]) < 40 * many
        for lot in waiting:
            found._lots.put(lot)
        assert list(found) == every * (many // 1000)


def test_what_goes_wrong_in_the_search_reaches_the_one_who_waits_for_files():
    class Broken:
        def files(self, on_error, stopped):
            yield FileEntry("a.png", 1, 1)
            raise MemoryError("of the search")

    with FoundFiles(Broken(), KnownFiles(), IndexReport()) as found, pytest.raises(MemoryError, match="of the search"):
        list(found)


def test_who_waits_for_files_hears_that_none_comes():
    class Slow:
        def files(self, *asked):
            yield FileEntry("a.png", 1, 1)
            time.sleep(files.SORTED_AFTER + 0.1)
            yield FileEntry("b.png", 1, 1)
            assert told.wait(20)

    told = threading.Event()
    with FoundFiles(Slow(), KnownFiles(), IndexReport()) as found:
        came = found.arriving()
        assert [next(entry for entry in came if entry).path for _ in range(2)] == ["a.png", "b.png"]
        assert next(came) is None
        told.set()
        assert not any(came)


def test_a_search_that_finds_nothing_hears_that_nobody_wants_more(folder, monkeypatch):
    monkeypatch.setattr(scan, "LOOK_EVERY", 2)
    for number in range(20):
        (folder / f"{number}.txt").write_bytes(b"")
    asked = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 5

    assert [entry.path for entry in Scan(folder, pattern="*.webp").files(stopped=stopped)] == [] and len(asked) == 6


def test_a_search_through_many_small_folders_hears_that_nobody_wants_more(folder):
    for number in range(20):
        (folder / f"{number:02}").mkdir()
    entered = []

    def stopped() -> bool:
        entered.append(1)
        return len(entered) > 5

    assert [entry.path for entry in Scan(folder, pattern="*.webp").files(stopped=stopped)] == [] and len(entered) == 6


def test_a_search_that_hangs_is_left_behind(monkeypatch):
    class Dead:
        def files(self, on_error, stopped):
            released.wait(60)
            yield from ()

    released = threading.Event()
    monkeypatch.setattr(files, "CLOSING_SECONDS", 0.05)
    with FoundFiles(Dead(), KnownFiles(), IndexReport()) as found:
        pass
    assert found._thread.is_alive()
    released.set()
    found._thread.join(30)


def test_who_is_told_to_stop_takes_nothing_that_waits():
    with FoundFiles(Numbered(), KnownFiles(), IndexReport()) as found:
        coming = iter(found)
        next(coming)
        found.stop()
        assert len(list(coming)) < files.SORTED_AT_ONCE
