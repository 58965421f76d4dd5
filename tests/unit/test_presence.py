"""Which known files are gone, and which may only be on a drive that is not mounted."""

from __future__ import annotations

import shutil

import pytest
from diffusion_toolkit.embedders.presence import look_at, still_gone
from diffusion_toolkit.embedders.scan import Scan


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
    presence = look_at(folder, [rows[:2], rows[2:]])
    assert (presence.known, presence.there, presence.changed, presence.gone) == (4, 3, 1, ["cats/deep/c.png"])
    assert presence.unmarked == 1 and presence.returned == ["a.png"] and not presence.doubtful


def test_a_folder_that_is_gone_has_lost_its_files(folder, rows):
    shutil.rmtree(folder / "cats")
    assert look_at(folder, [rows]).gone == ["cats/b.png", "cats/deep/c.png"]


def test_files_of_a_folder_that_is_there_and_empty_are_doubtful(folder, rows):
    shutil.rmtree(folder / "cats")
    (folder / "cats").mkdir()
    (folder / "dogs/d.png").rename(folder / "dogs/e.png")
    presence = look_at(folder, [rows])
    assert presence.doubtful == ["cats/b.png", "cats/deep/c.png"] and presence.gone == ["dogs/d.png"]
    assert presence.empty_folders == {str(folder / "cats"): 2}


def test_where_no_known_file_is_left_none_is_gone(folder, rows):
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "lost+found").mkdir()
    presence = look_at(folder, [rows])
    assert presence.gone == [] and len(presence.doubtful) == 4 and presence.unmarked == 0 and presence.returned == []


def test_a_root_that_is_not_there_is_not_judged(folder, rows):
    shutil.rmtree(folder)
    presence = look_at(folder, [rows])
    assert not presence.mounted and presence.known == 4 and presence.gone == presence.doubtful == presence.returned == []


def test_a_file_that_came_back_is_not_gone_any_more(folder, rows):
    (folder / "dogs/d.png").unlink()
    (folder / "dogs/e.png").write_bytes(b"")
    presence = look_at(folder, [rows])
    assert still_gone(presence, ["dogs/d.png", "a.png"]) == ["dogs/d.png"]


def test_a_drive_that_goes_away_meanwhile_makes_nothing_gone(folder, rows):
    (folder / "dogs/d.png").unlink()
    presence = look_at(folder, [rows])
    shutil.rmtree(folder)
    with pytest.raises(OSError):
        still_gone(presence, ["dogs/d.png"])
