"""Which files a scan finds, in which order, and what it says of those it leaves out."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from diffusion_toolkit.embedders.folders.hidden import is_hidden
from diffusion_toolkit.embedders.folders.scan import FileEntry, Scan, ScanError, device_in, why_unread
from host.devices import realpath_of_windows


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def paths(root: Path, subfolder: str = "", recursive: bool = True, pattern: str = "") -> list[str]:
    return [entry.path for entry in Scan(root, subfolder, recursive, pattern).files()]


def problems(root: Path) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    list(Scan(root, "", True, "").files(lambda path, reason: told.append((path, reason))))
    return told


def test_finds_every_image_format_and_nothing_else(tmp_path: Path) -> None:
    pictures = "a.png", "b.JPG", "c.jpeg", "d.webp", "e.avif", "f.bmp", "g.gif", "h.tiff", "i.exr"
    touch(tmp_path, *pictures, "j.mp4", "k.webm", "l.mkv", "m.mov", "n.M4V", "o.txt", "p", "q.mp3")
    assert [Path(p).stem for p in paths(tmp_path)] == list("abcdefghijklmn")


@pytest.mark.parametrize("text", ["a.txt", "a.caption", "a.json", "a.png.txt", "a.png.json"])
def test_entry_tells_when_the_text_beside_it_was_written(tmp_path: Path, text: str) -> None:
    touch(tmp_path, "a.png", "b.png", text, "c.txt")
    os.utime(tmp_path / text, ns=(0, 1_700_000_000_000_000_000))
    assert [entry.sidecar_mtime_ns for entry in Scan(tmp_path, "", True, "").files()] == [1_700_000_000_000_000_000, 0]


def test_of_several_texts_beside_an_image_the_newest_counts(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.txt", "a.json")
    for name, second in (("a.txt", 5), ("a.json", 9)):
        os.utime(tmp_path / name, ns=(0, second * 10**9))
    assert next(Scan(tmp_path, "", True, "").files()).sidecar_mtime_ns == 9 * 10**9


def test_order_is_by_name_with_files_before_subfolders(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.png", "b/1.png", "a/z.png", "c.png", "a/sub/y.png")
    assert paths(tmp_path) == ["c.png", "a/z.png", "a/sub/y.png", "b/1.png", "b/2.png"]


def test_entry_has_size_and_modification_time(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"12345")
    os.utime(tmp_path / "a.png", ns=(0, 1_700_000_000_000_000_000))
    assert list(Scan(tmp_path, "", True, "").files()) == [FileEntry("a.png", 5, 1_700_000_000_000_000_000)]


def test_not_recursive_stays_in_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "sub/b.png")
    assert paths(tmp_path, recursive=False) == ["a.png"]


def test_paths_below_a_subfolder_are_relative_to_the_root(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "one/two/b.png")
    assert paths(tmp_path, os.path.join("one", "two")) == ["one/two/b.png"]


def test_pattern_is_a_list_of_globs_in_any_case(tmp_path: Path) -> None:
    touch(tmp_path, "Cat.jpg", "dog.jpg", "bird.PNG", "cat.txt")
    assert paths(tmp_path, pattern="*.png; *cat*") == ["Cat.jpg", "bird.PNG"]


def test_pattern_with_a_slash_is_over_the_path(tmp_path: Path) -> None:
    touch(tmp_path, "cats/a.png", "dogs/a.png")
    assert paths(tmp_path, pattern="cats/*") == ["cats/a.png"]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, ".thumbs/a.png", "._b.png", "c.png")
    assert paths(tmp_path) == ["c.png"]


def entry_of_windows(name: str, attributes: int) -> SimpleNamespace:
    return SimpleNamespace(name=name, stat=lambda follow_symlinks: SimpleNamespace(st_file_attributes=attributes))


def test_what_windows_hides_is_hidden() -> None:
    hidden, other = stat.FILE_ATTRIBUTE_HIDDEN | stat.FILE_ATTRIBUTE_SYSTEM, stat.FILE_ATTRIBUTE_ARCHIVE
    assert is_hidden(entry_of_windows("$RECYCLE.BIN", hidden), windows=True) and is_hidden(entry_of_windows(".a.png", other), windows=True)
    assert not is_hidden(entry_of_windows("a.png", other), windows=True)


def test_what_is_not_there_is_not_hidden(tmp_path: Path) -> None:
    assert not is_hidden(tmp_path / "a.png", windows=True) and is_hidden(tmp_path / ".a.png", windows=True)


@pytest.mark.skipif(os.name != "nt", reason="elsewhere a name alone hides")
def test_the_bin_of_a_drive_is_left_out(tmp_path: Path) -> None:
    import ctypes

    touch(tmp_path, "$RECYCLE.BIN/a.png", "b.png")
    assert paths(tmp_path) == ["b.png", "$RECYCLE.BIN/a.png"]
    assert ctypes.windll.kernel32.SetFileAttributesW(str(tmp_path / "$RECYCLE.BIN"), stat.FILE_ATTRIBUTE_HIDDEN | stat.FILE_ATTRIBUTE_SYSTEM)
    assert paths(tmp_path) == ["b.png"]


def test_where_case_is_one_a_text_is_beside_an_image_in_any_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "A.PNG", "a.TXT")
    asked, there, lstat = os.fspath(tmp_path / "A.txt"), os.fspath(tmp_path / "a.TXT"), os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **more: lstat(there if path == asked else path, **more))  # as on Windows and macOS
    assert next(Scan(tmp_path).files()).sidecar_mtime_ns == lstat(there).st_mtime_ns


def test_where_case_counts_another_case_is_another_file(tmp_path: Path) -> None:
    touch(tmp_path, "A.PNG", "a.TXT")
    if not (tmp_path / "a.txt").exists():
        assert next(Scan(tmp_path).files()).sidecar_mtime_ns == 0


def test_that_another_program_may_have_a_file_open_is_told_on_windows() -> None:
    error = PermissionError(13, "Permission denied")
    assert why_unread(error, "a.png", windows=True) == "Permission denied; another program may have it open"
    assert why_unread(error, "a.png", windows=False) == "Permission denied"
    error.winerror = 5  # as of a folder whose rights forbid it
    assert why_unread(error, "a", windows=True) == "Permission denied"


def test_a_path_too_long_for_windows_is_told_with_what_to_do() -> None:
    error, place = FileNotFoundError(2, "The system cannot find the path specified"), "C:/" + "a" * 257
    assert why_unread(error, place, windows=True) == (
        "The system cannot find the path specified; its whole path has 260 letters, and Windows takes 259: "
        "move it up, or allow long paths by LongPathsEnabled"
    )
    assert why_unread(error, place[:-1], windows=True) == why_unread(error, place, windows=False) == "The system cannot find the path specified"


def test_a_name_that_windows_keeps_for_a_device_is_told_on_windows() -> None:
    for path in ("CON", "a/nul", "C:\\r\\Aux\\b", "com1.d", "lpt9 ", "con.tar.gz", "a/COM\xb2"):
        assert device_in(path, windows=True) and not device_in(path, windows=False)
    assert device_in("a/nul/b", windows=True) == "nul"
    for path in ("", "console", "a.con", "com0", "com10", "nulls/aux_2", "C:/r"):
        assert not device_in(path, windows=True)
    error = OSError(9, "Invalid handle")
    assert why_unread(error, "C:/r/CON", windows=True) == "Invalid handle; Windows keeps the name CON for a device: rename it"


def test_a_folder_that_cannot_be_followed_ends_no_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "kept/a.png", "b.png", "z/c.png")
    monkeypatch.setattr(os.path, "realpath", realpath_of_windows)
    told: list[tuple[str, str]] = []
    assert [entry.path for entry in Scan(tmp_path).files(lambda *problem: told.append(problem))] == ["b.png", "z/c.png"]
    assert [path for path, _ in told] == ["kept"] and "the folder can't be read (Invalid handle" in told[0][1]


@pytest.mark.parametrize("subfolder", ["..", "a/../..", "/etc", "a/../b"])
def test_subfolder_outside_the_root_is_refused(tmp_path: Path, subfolder: str) -> None:
    with pytest.raises(ScanError, match="not below the root"):
        Scan(tmp_path, subfolder, True, "")


def test_missing_subfolder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="no folder 'holiday'"):
        Scan(tmp_path, "holiday", True, "")


def test_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="gone does not exist"):
        Scan(tmp_path / "gone", "", True, "")


def test_folder_that_goes_away_during_the_scan_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "sub/b.png", "z/c.png")
    told: list[tuple[str, str]] = []
    entries = Scan(tmp_path, "", True, "").files(lambda *problem: told.append(problem))
    first = next(entries)
    shutil.rmtree(tmp_path / "sub")
    assert [first.path] + [entry.path for entry in entries] == ["a.png", "z/c.png"]
    assert [path for path, _ in told] == ["sub"]


if sys.platform != "win32":  # links need a privilege there, and names are always Unicode

    def test_folder_link_out_of_the_root_is_reported_and_not_followed(tmp_path: Path) -> None:
        touch(tmp_path, "root/a.png", "elsewhere/b.png")
        (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
        assert paths(tmp_path / "root") == ["a.png"]
        assert [path for path, _ in problems(tmp_path / "root")] == ["link"]

    def test_file_link_out_of_the_root_is_reported_and_not_followed(tmp_path: Path) -> None:
        touch(tmp_path, "root/a.png", "elsewhere/b.png")
        (tmp_path / "root/link.png").symlink_to(tmp_path / "elsewhere/b.png")
        assert paths(tmp_path / "root") == ["a.png"]
        assert [path for path, _ in problems(tmp_path / "root")] == ["link.png"]

    def test_subfolder_that_links_out_of_the_root_is_refused(tmp_path: Path) -> None:
        touch(tmp_path, "root/a.png", "elsewhere/b.png")
        (tmp_path / "root/link").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ScanError, match="leads out"):
            Scan(tmp_path / "root", "link", True, "")

    def test_link_to_a_parent_folder_ends(tmp_path: Path) -> None:
        touch(tmp_path, "a/b.png")
        (tmp_path / "a/loop").symlink_to(tmp_path)
        assert paths(tmp_path) == ["a/b.png"]

    def test_broken_link_is_reported(tmp_path: Path) -> None:
        (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
        assert [path for path, _ in problems(tmp_path)] == ["a.png"]

    def test_root_that_is_a_link_is_scanned(tmp_path: Path) -> None:
        touch(tmp_path, "real/a.png")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert paths(tmp_path / "link") == ["a.png"]

    def test_a_link_beside_an_image_is_no_text_of_it(tmp_path: Path) -> None:
        touch(tmp_path, "root/a.png", "secret.txt")
        (tmp_path / "root/a.txt").symlink_to(tmp_path / "secret.txt")
        assert next(Scan(tmp_path / "root", "", True, "").files()).sidecar_mtime_ns == 0

    def test_fifo_is_reported_and_not_opened(tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.png")
        assert problems(tmp_path) == [("a.png", "is not a regular file")]


if sys.platform == "linux":  # the other systems refuse such names

    def test_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
        with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb"):
            pass
        assert paths(tmp_path) == []
        assert [path for path, _ in problems(tmp_path)] == ["caf\\xe9.png"]
