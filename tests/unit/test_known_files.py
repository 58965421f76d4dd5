"""What a library remembers of files, as arrays."""

from __future__ import annotations

import itertools

import pytest
from diffusion_toolkit.embedders.folders.known_files import KnownFiles
from diffusion_toolkit.embedders.folders.scan import FileEntry

FILES = [
    ("a.png", 1, 10, 0, False),
    ("b/ä 日本.png", 2, 20, 5, False),
    ("b/c.png", 3, 2**62, 0, True),
    ("d.png", 4, -40, 0, False),
]


@pytest.fixture(params=[1, 3, 100])
def known(request):
    rows = iter(FILES)
    return KnownFiles(iter(lambda: list(itertools.islice(rows, request.param)), []))


def test_a_file_is_unchanged_when_its_size_and_both_times_are_the_same(known):
    as_known = FileEntry("b/ä 日本.png", 2, 20, 5)
    others = [as_known._replace(size=3), as_known._replace(mtime_ns=21), as_known._replace(sidecar_mtime_ns=0)]
    others.append(FileEntry("new.png", 2, 20, 5))
    assert known.sort([as_known, *others]).tolist() == [True, False, False, False, False]
    assert known.unchanged("b/ä 日本.png") and not known.unchanged("new.png") and not known.unchanged("a.png")


def test_a_text_beside_a_file_that_came_went_or_changed_is_seen(known):
    assert not known.other_sidecar(FileEntry("b/ä 日本.png", 99, 99, 5))
    assert known.other_sidecar(FileEntry("b/ä 日本.png", 2, 20, 6))
    assert known.other_sidecar(FileEntry("b/ä 日本.png", 2, 20, 0))
    assert known.other_sidecar(FileEntry("new.png", 1, 1, 7)) and not known.other_sidecar(FileEntry("new.png", 1, 1, 0))


def test_what_was_not_met_is_told_in_the_librarys_order_but_for_what_is_marked_already(known):
    known.sort([FileEntry("a.png", 999, 10)])
    assert list(known.unseen_paths()) == ["b/ä 日本.png", "d.png"]
    assert list(known.unchanged_paths()) == [] and known.seen == 1


def test_a_file_that_was_marked_and_is_there_again_is_told(known):
    known.sort([FileEntry("b/c.png", 3, 2**62), FileEntry("a.png", 1, 10)])
    assert list(known.returned_paths()) == ["b/c.png"]
    assert list(known.unchanged_paths()) == ["a.png", "b/c.png"]


def test_what_is_marked_while_the_scan_goes_on_is_judged_no_more(known):
    known.sort([FileEntry("a.png", 1, 10)])
    known.gone(["a.png", "b/ä 日本.png", "of another folder.png"])
    assert list(known.unseen_paths()) == ["d.png"]
    assert not known.unchanged("a.png") and "a.png" not in known.returned_paths()


def test_an_empty_library_knows_nothing():
    known = KnownFiles()
    assert known.sort([FileEntry("a.png", 1, 2), FileEntry("b.png", 1, 2)]).tolist() == [False, False]
    assert not known.unchanged("a.png") and list(known.unseen_paths()) == [] and len(known) == 0


def test_a_million_files_take_a_fifth_of_what_they_may():
    rows = [(f"2025/01/portraits/ComfyUI_{number:08}_.png", number, number, 0, False) for number in range(20_000)]
    known = KnownFiles(rows[start : start + 5000] for start in range(0, len(rows), 5000))
    assert known.bytes * 1_000_000 / len(rows) < 100e6
