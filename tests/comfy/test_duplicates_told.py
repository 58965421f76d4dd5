"""Which pictures Find Duplicates shows, what its report tells, and which files it takes for copies; without a server."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from host.comfy_models import import_comfy
from host.links import make_link


def groups(*sizes: int, side: int = 64) -> list:
    from diffusion_toolkit import db

    found = []
    for size in sizes:
        members = [db.Member(n, side, side, None, [], "exact", None, f"/a/{n}.png", 1000) for n in range(size)]
        found.append(db.Group(tuple(members), "rated 5", (1.0, *(0.99 - n / 1000 for n in range(size - 1))), (0,) * size))
    return found


@pytest.mark.parametrize(
    "sizes, show_groups, shown",
    [
        ((3, 2), 8, [3, 2]),
        ((3, 2), 1, [3]),
        ((3, 2), 0, []),
        ((384, 2), 8, [12, 2]),
        ((20,) * 30, 200, [12] * 8 + [4]),
        ((12,) * 3 + (9,) * 7 + (5, 5), 200, [12] * 3 + [9] * 7),  # a kept one alone would tell nothing
    ],
)
def test_so_many_pictures_are_loaded_and_no_more(sizes, show_groups, shown):
    import_comfy()
    from diffusion_toolkit.nodes.survey.find_duplicates import not_shown, shown_members

    found = groups(*sizes)
    places = shown_members(found, show_groups)
    assert [[place for number, place in places if number == group] for group in range(len(shown))] == [list(range(n)) for n in shown]
    said = not_shown(found, show_groups, places)
    if sum(shown) == sum(sizes[:show_groups]):
        assert said == ""
    else:
        start = f"Shown are {sum(shown)} images of the first {len(shown)} groups, at most 12 of a group and 100 in all."
        assert said.startswith(start) and "save_report_as" in said


def test_fewer_large_pictures_are_loaded(monkeypatch):
    import_comfy()
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.survey.find_duplicates import not_shown, shown_members

    monkeypatch.setattr(db, "machine_memory", lambda: 16 * 10**9)
    found = groups(4, 20, 3, side=8192)  # 0.8 GB each
    places = shown_members(found, 8)
    assert [number for number, _ in places] == [0] * 4 + [1] * 5
    assert "All their pictures take 8.0 GB of memory at most." in not_shown(found, 8, places)


def test_the_report_tells_the_least_similarity_of_a_group_and_some_of_its_images():
    import_comfy()
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.survey.find_duplicates import report_text

    [group] = groups(2)
    of_pixels = db.Group(group.members, group.reason, (None, None), (0, 3))  # as of images that no model has seen
    assert report_text([of_pixels], ["perceptual hash"]).splitlines()[-1].endswith("/a/1.png  (3 bits differ)")
    lines = report_text(groups(30, 2), ["exact"]).splitlines()
    assert lines[2] == "Group 1: 30 images, similarity to the one to keep 0.962 or more. Keep the first: rated 5."
    assert len(lines) == 3 + 12 + 1 + 1 + 2 and lines[15] == "    ... and 18 images more"


def test_one_is_told_as_one_and_small_files_in_small_units():
    import_comfy()
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.survey.find_duplicates import report_text

    [group] = groups(2)
    told = report_text([group], []).splitlines()[0]
    assert told == "1 group of near-duplicates: 1 image beside the one to keep, 1 kB. No image lies in more than one file. Nothing was deleted."
    others = (db.Place("/b/7.png", 1000), db.Place("/c/7.png", 9, "the file is gone"))
    one = db.Member(7, 64, 64, None, [], None, None, "/a/7.png", 1000, others)
    lines = report_text(groups(3, 2), [], [], [one]).splitlines()
    assert lines[0] == (
        "2 groups of near-duplicates: 3 images beside the ones to keep, 3 kB. 1 image lies in more than one file: 1 copy, 1 kB. Nothing was deleted."
    )
    assert lines[-3:] == ["    #7  64 x 64, 1 kB, 2 files  /a/7.png", "        /b/7.png  [a copy]", "        /c/7.png  [the file is gone]"]


def test_so_many_copies_are_told_and_no_more():
    import_comfy()
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.survey.find_duplicates import report_text

    some = tuple(db.Place(f"/b/{n}.png", 1) for n in range(15))
    lines = report_text([], [], [], [db.Member(n, 64, 64, None, [], None, None, f"/a/{n}.png", 1, some) for n in range(102)]).splitlines()
    assert "102 images lie in more than one file: 1,530 copies, 1.5 kB" in lines[0] and len(lines) == 2 + 100 * (1 + 12 + 1) + 1
    assert lines[15] == "        ... and 3 files more" and lines[-1].startswith("... and 2 images more")


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """The one root that is configured; it holds a.png, of 5 bytes."""
    import_comfy()
    from diffusion_toolkit.nodes import host

    root = tmp_path.resolve() / "photos"
    root.mkdir()
    (root / "a.png").write_bytes(b"a fox")
    monkeypatch.setattr(host, "roots", lambda: {"photos": root})
    return root


def looked_at(*files: Path) -> tuple[list[tuple[str, str]], str]:
    """(path, note) of these files of one image, each as a root of its own knew it, and what is said where none is there."""
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.survey.find_duplicates import FilesThere

    there = FilesThere("", 1, lambda stage, done, total: None)
    known = [db.StoredFile(str(file.parent), file.name, 5, file.stat().st_mtime_ns if file.exists() else 1) for file in files]
    return [(place.path, place.note) for place in there(known)], there.left_out()


def test_two_names_of_one_file_are_no_copies(photos):
    """Whoever deleted the copy would have deleted the only one."""
    (photos / "sub").mkdir()
    os.link(photos / "a.png", photos / "sub" / "hard link.png")
    assert looked_at(*(photos / name for name in ("a.png", "a.png", "sub/hard link.png"))) == ([(str(photos / "a.png"), "")], "")
    shutil.copy(photos / "a.png", photos / "copy.png")
    assert looked_at(photos / "a.png", photos / "copy.png")[0] == [(str(photos / "a.png"), ""), (str(photos / "copy.png"), "")]


def test_a_link_to_a_file_is_no_copy_of_it(photos):
    (photos / "sub").mkdir()
    make_link(photos / "link.png", photos / "a.png")
    make_link(photos / "sub" / "again", photos)
    assert looked_at(*(photos / name for name in ("a.png", "link.png", "sub/again/a.png"))) == ([(str(photos / "a.png"), "")], "")


def test_a_file_under_no_configured_root_is_not_there(photos):
    outside = photos.with_name("outside.png")
    outside.write_bytes(b"a fox")
    make_link(photos / "leads out.png", outside)
    no_longer = "the file is no longer under a configured root"
    told, said = looked_at(outside, photos / "leads out.png")
    assert told == [(str(outside), no_longer), (str(photos / "leads out.png"), no_longer)]
    assert said.startswith(f"1 image near to others was left out, without a file that can be read: {no_longer} (1). ")
    assert looked_at(outside, photos / "a.png") == ([(str(outside), no_longer), (str(photos / "a.png"), "")], "")
