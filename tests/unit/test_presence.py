"""Which known files are gone, and which may only be on a drive that is not mounted."""

from __future__ import annotations

import errno
import os
import shutil
import unicodedata

import pytest
from diffusion_toolkit.embedders.folders import presence
from diffusion_toolkit.embedders.folders.presence import look_at, still_gone
from diffusion_toolkit.embedders.folders.scan import Scan
from host.caseless import make_caseless
from host.links import make_link


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "root"
    for name in ("a.png", "cats/b.png", "cats/deep/c.png", "dogs/d.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"picture")
    return root


@pytest.fixture
def rows(folder):
    return [(*entry[:4], entry.path == "a.png") for entry in Scan(folder).files()]


def test_files_that_are_there_changed_and_gone_are_told_apart(folder, rows):
    (folder / "cats/b.png").write_bytes(b"another picture")
    (folder / "cats/deep/c.png").unlink()
    (folder / "cats/deep/new.png").write_bytes(b"")
    judged = look_at(folder, [rows[:2], rows[2:]])
    assert (judged.known, judged.there, judged.changed, judged.gone) == (4, 3, ["cats/b.png"], ["cats/deep/c.png"])
    assert judged.unmarked == 1 and judged.returned == ["a.png"] and not judged.doubtful


def test_what_is_gone_and_marked_so_already_is_not_marked_again(folder, rows):
    for path in ("a.png", "dogs/d.png"):
        (folder / path).unlink()
    (folder / "dogs/e.png").write_bytes(b"picture")
    judged = look_at(folder, [rows])
    assert judged.gone == ["a.png", "dogs/d.png"] and judged.unmarked == 1 and judged.returned == []


def test_a_folder_that_is_gone_has_lost_its_files(folder, rows):
    shutil.rmtree(folder / "cats")
    assert look_at(folder, [rows]).gone == ["cats/b.png", "cats/deep/c.png"]


@pytest.fixture
def caseless(folder, monkeypatch):
    make_caseless(folder, monkeypatch)


@pytest.mark.parametrize(("renamed", "called"), [("cats/b.png", "cats/B.PNG"), ("cats", "CATS")])
def test_a_file_or_folder_that_is_spelled_in_another_case_now_is_gone_from_its_former_path(folder, rows, caseless, renamed, called):
    (folder / renamed).rename(folder / "other")
    (folder / "other").rename(folder / called)  # at once, Wine leaves it as it is called
    assert os.path.exists(folder / "cats/b.png")
    found = Scan(folder)
    assert found.is_gone("cats/b.png") and not found.is_gone("dogs/d.png")
    assert found.is_gone("cats/deep/c.png") == (renamed == "cats")
    marked = [(*row[:4], row[0] == "cats/b.png") for row in rows]
    judged = look_at(folder, [marked])
    assert judged.gone == ["cats/b.png"] and judged.returned == [] and judged.unmarked == 0
    assert still_gone(judged, ["cats/b.png", "dogs/d.png"]) == ["cats/b.png"]


def test_a_path_is_spelled_without_the_dots_and_blanks_that_windows_leaves_out(folder, caseless):
    (folder / "2025").mkdir()
    names = presence.Names(folder)
    for typed, spelled in (("CATS./deep /C.png", "cats/deep/c.png"), ("2025. .", "2025"), ("gone./c.png", "gone./c.png")):
        assert names.spelled(typed) == spelled


def test_where_a_dot_at_the_end_counts_it_stays(folder):
    if not (folder / "cats.").exists():
        (folder / "cats.").mkdir()
        assert presence.Names(folder).spelled("cats./b.png") == "cats./b.png" and presence.Names(folder).spelled("cats") == "cats"


@pytest.fixture
def listed_late(monkeypatch):
    """As while a backup is restored; and some network drives list late what they already find."""
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda place: [name for name in listdir(place) if name != "b.png"])


def test_a_file_that_came_back_after_its_folder_was_listed_is_there(folder, rows, caseless, listed_late):
    all_are_there(folder, rows)


def test_a_file_that_is_not_listed_yet_is_not_another_of_its_letters(folder, rows, listed_late):
    if not (folder / "cats/B.PNG").exists():  # where case counts
        shutil.copy(folder / "cats/b.png", folder / "cats/B.PNG")
    all_are_there(folder, rows)


def test_where_case_counts_no_folder_is_listed_for_it(folder, monkeypatch):
    if (folder / "cats/B.PNG").exists():
        pytest.skip("upper and lower case are one on this file system")
    (folder / "日本").mkdir()
    (folder / "日本/ä.png").write_bytes(b"picture")
    monkeypatch.setattr(os, "listdir", lambda place: pytest.fail(f"{place} was listed"))
    assert not Scan(folder).is_gone("cats/b.png") and presence.Names(folder).spelled("") == ""
    assert presence.Names(folder).spelled("日本/ä.png") == "日本/ä.png"


@pytest.mark.skipif(os.name == "nt", reason="there both ways to write it are names of their own")
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_letter_with_a_mark_is_spelled_as_its_folder_has_it(folder, monkeypatch, form):
    """On macOS both ways to write it lead to the one file."""
    there = folder / unicodedata.normalize(form, "Bäume")
    there.mkdir()
    stat = os.stat

    def any_form(path, **more):
        alike = unicodedata.normalize("NFC", str(path)) == unicodedata.normalize("NFC", str(there))
        return stat(there if alike else path, **more)

    monkeypatch.setattr(os, "stat", any_form)
    assert {presence.Names(folder).spelled(unicodedata.normalize(typed, "Bäume")) for typed in ("NFC", "NFD")} == {there.name}


def all_are_there(folder, rows):
    judged = look_at(folder, [[(*row[:4], True) for row in rows]])
    assert judged.gone == [] and len(judged.returned) == 4
    assert still_gone(judged, [row[0] for row in rows]) == [] and not Scan(folder).is_gone("cats/b.png")


def test_files_of_a_folder_that_is_there_and_empty_are_doubtful(folder, rows):
    shutil.rmtree(folder / "cats")
    (folder / "cats").mkdir()
    (folder / "dogs/d.png").rename(folder / "dogs/e.png")
    judged = look_at(folder, [rows])
    assert judged.doubtful == ["cats/b.png", "cats/deep/c.png"] and judged.gone == ["dogs/d.png"]
    assert judged.mount_points == {str(folder / "cats"): 2}


def test_a_drive_whose_folder_goes_with_it_is_doubtful(folder, rows, monkeypatch):
    """As udisks and macOS do it: cats and dogs are drives here, and cats is pulled."""
    stat = os.stat
    shutil.rmtree(folder / "cats")

    def on_drives(path, **more):
        found = stat(path, **more)
        return os.stat_result((*found[:2], 7, *found[3:])) if os.fspath(path).endswith("dogs") else found

    assert look_at(folder, [rows]).gone == ["cats/b.png", "cats/deep/c.png"]
    monkeypatch.setattr(presence.os, "stat", on_drives)
    (folder / "a.png").unlink()
    judged = look_at(folder, [rows])
    assert judged.doubtful == ["cats/b.png", "cats/deep/c.png"] and judged.gone == ["a.png"]
    assert Scan(folder).is_gone("cats/b.png") is None and Scan(folder).is_gone("a.png")


def test_where_systems_mount_the_drives_of_people_a_folder_that_is_gone_is_doubtful(folder, rows, monkeypatch):
    shutil.rmtree(folder / "cats")
    monkeypatch.setattr(presence, "DRIVES_OF_USERS_IN", (os.path.realpath(folder.parent),))
    assert look_at(folder, [rows]).doubtful == ["cats/b.png", "cats/deep/c.png"]


def test_a_mount_point_with_a_hidden_file_is_empty(folder, rows):
    shutil.rmtree(folder / "cats")
    (folder / "cats").mkdir()
    (folder / "cats/.keep").write_bytes(b"")
    assert look_at(folder, [rows]).doubtful == ["cats/b.png", "cats/deep/c.png"]


def test_a_mount_point_with_what_the_system_hides_is_empty(folder, rows, monkeypatch):
    """As Windows hides desktop.ini by an attribute."""
    shutil.rmtree(folder / "cats")
    (folder / "cats").mkdir()
    (folder / "cats/desktop.ini").write_bytes(b"")
    assert look_at(folder, [rows]).gone == ["cats/b.png", "cats/deep/c.png"]
    monkeypatch.setattr(presence, "is_hidden", lambda entry: entry.name == "desktop.ini")
    assert look_at(folder, [rows]).doubtful == ["cats/b.png", "cats/deep/c.png"]


def test_files_behind_a_link_that_leads_nowhere_are_doubtful(folder, rows):
    shutil.rmtree(folder / "cats")
    make_link(folder / "cats", folder / "mnt/cats")
    (folder / "dogs/d.png").unlink()
    make_link(folder / "dogs/d.png", folder / "mnt/d.png")
    assert look_at(folder, [rows]).doubtful == ["cats/b.png", "cats/deep/c.png", "dogs/d.png"]


def test_files_of_a_folder_that_can_not_be_listed_are_doubtful(folder, rows, monkeypatch):
    """As on a drive of the network that is in trouble."""
    scandir = os.scandir

    def in_trouble(place):
        if os.path.basename(place) == "cats":
            raise OSError(errno.EIO, "Input/output error")
        return scandir(place)

    (folder / "cats/b.png").unlink()
    (folder / "dogs/d.png").rename(folder / "dogs/e.png")
    monkeypatch.setattr(os, "scandir", in_trouble)
    judged = look_at(folder, [rows])
    assert judged.doubtful == ["cats/b.png"] and judged.gone == ["dogs/d.png"]


def test_where_no_known_file_is_left_none_is_gone(folder, rows):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "lost+found").mkdir()
    judged = look_at(folder, [rows])
    assert judged.gone == [] and len(judged.doubtful) == 4 and judged.unmarked == 0 and judged.returned == []


def test_a_root_that_is_not_there_is_not_judged(folder, rows):
    shutil.rmtree(folder)
    judged = look_at(folder, [rows])
    assert not judged.mounted and judged.known == 4 and judged.gone == judged.doubtful == judged.returned == []


def test_a_file_that_came_back_is_not_gone_any_more(folder, rows):
    (folder / "dogs/d.png").unlink()
    (folder / "dogs/e.png").write_bytes(b"")
    judged = look_at(folder, [rows])
    assert still_gone(judged, ["dogs/d.png", "a.png"]) == ["dogs/d.png"]


def test_a_drive_that_goes_away_meanwhile_makes_nothing_gone(folder, rows):
    (folder / "dogs/d.png").unlink()
    judged = look_at(folder, [rows])
    shutil.rmtree(folder)
    with pytest.raises(OSError):
        still_gone(judged, ["dogs/d.png"])
