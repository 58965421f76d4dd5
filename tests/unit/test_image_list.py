"""An image list: which files it names, with which labels, and what is wrong with the others."""

from __future__ import annotations

import codecs
import os
import re
from pathlib import PureWindowsPath

import pytest
from diffusion_toolkit.embedders.folders.known_files import KnownFiles
from diffusion_toolkit.embedders.folders.scan import Scan, on_another_host
from diffusion_toolkit.embedders.pipeline import IndexReport, image_list
from diffusion_toolkit.embedders.pipeline.files import FoundFiles
from diffusion_toolkit.embedders.pipeline.image_list import ImageList, ListError
from host.caseless import make_caseless
from host.devices import realpath_of_windows
from host.links import make_link


@pytest.fixture
def place(tmp_path):
    """Two roots with pictures, one within the other's neighbour, and a folder for lists."""
    for name in ("output/a.png", "output/cats/b.png", "output/cats/one, two.png", "photos/sea.jpg", "photos/日本/c.webp", "secret/s.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"picture")
    return tmp_path


def read(place, text, file="output/list.txt", **more):
    (place / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    return ImageList(place / file, {"output": place / "output", "photos": place / "photos"}, **more)


def entries(images, root):
    problems = []
    return list(images.of_root(root).files(lambda *problem: problems.append(problem))), problems


def test_paths_are_relative_to_the_list_or_whole_and_have_labels(place):
    images = read(place, f"# mine\n\na.png\ncats/b.png, cat, Striped ,\n{place}/photos/sea.jpg,sea\n../photos/日本/c.webp\n")
    assert images.counts == {"output": 2, "photos": 2} and images.problems == []
    (a, b), none = entries(images, "output")
    assert (a.path, a.labels, b.path, b.labels, none) == ("a.png", (), "cats/b.png", ("Striped ", "cat"), [])
    assert [(entry.path, entry.labels) for entry in entries(images, "photos")[0]] == [("sea.jpg", ("sea",)), ("日本/c.webp", ())]


def test_a_file_is_named_as_a_scan_names_it(place):
    (place / "output/cats/b.txt").write_text("a caption")
    listed, _ = entries(read(place, "a.png\ncats/b.png\ncats/../a.png\n"), "output")
    assert listed == [entry for entry in Scan(place / "output").files() if entry.path != "cats/one, two.png"]


def test_a_folder_that_cannot_be_followed_is_told_with_its_line(place, monkeypatch):
    monkeypatch.setattr(os.path, "realpath", realpath_of_windows)
    images = read(place, "a.png\nCON/b.png\n")
    assert images.counts == {"output": 1} and len(images.problems) == 1
    assert images.problems[0][0] == "line 2: CON/b.png" and "can't be read (Invalid handle" in images.problems[0][1]


@pytest.mark.skipif(os.name == "nt", reason="there the two dots are taken away before a link is followed")
def test_two_dots_after_a_link_lead_to_where_the_link_does(place):
    (place / "output/cats/deep").mkdir()
    (place / "output/link").symlink_to(place / "output/cats/deep")
    (place / "output/b.png").write_bytes(b"another picture")
    assert [entry.path for entry in entries(read(place, "link/../b.png\n"), "output")[0]] == ["cats/b.png"]


def test_a_hidden_folder_keeps_its_dot(place):
    (place / "output/.kept").mkdir()
    (place / "output/a.png").rename(place / "output/.kept/a.png")
    assert [entry.path for entry in entries(read(place, ".kept/a.png\n"), "output")[0]] == [".kept/a.png"]


@pytest.mark.skipif(os.name == "nt", reason="there it is a path of another computer")
def test_two_slashes_before_a_whole_path_are_one(place):
    images = read(place, f"/{place}/photos/sea.jpg\n//server/photos/sea.jpg\n")
    assert [entry.path for entry in entries(images, "photos")[0]] == ["sea.jpg"]
    assert [why for _, why in images.problems] == ["lies on another computer, where none of the configured roots is"]


def test_where_case_is_one_a_path_is_spelled_as_a_scan_spells_it(place, monkeypatch):
    make_caseless(place, monkeypatch)
    images = read(place, "A.PNG,one\na.png\nCATS/B.png,two\n../photos/SEA.jpg\n../photos/gone.JPG\n")
    listed, none = entries(images, "output")
    labels = {"a.png": ("one",), "cats/b.png": ("two",)}
    assert listed == [entry._replace(labels=labels[entry.path]) for entry in Scan(place / "output", pattern="?.png").files()] and none == []
    assert dict(images.of_root("output").labels()) == labels
    assert [entry.path for entry in entries(images, "photos")[0]] == ["sea.jpg"]


def test_where_case_counts_no_folder_is_listed_for_a_path(place, monkeypatch):
    if (place / "output/CATS").exists():
        pytest.skip("upper and lower case are one on this file system")
    monkeypatch.setattr(os, "listdir", lambda folder: pytest.fail(f"{folder} was listed"))
    assert [entry.path for entry in entries(read(place, "a.png\ncats/b.png\n"), "output")[0]] == ["a.png", "cats/b.png"]


def test_a_path_with_a_comma_stands_in_quotes(place):
    assert entries(read(place, '"cats/one, two.png",cat\n'), "output")[0][0].path == "cats/one, two.png"
    unquoted = read(place, "cats/one, two.png\ncats/b.png, two.png\n")
    assert unquoted.problems == [("line 1", "is no image or video by its name; a path that holds a comma stands in quotes")]
    for line, asks in (("cats/gone.png,cat\n", False), ("cats/one.png, and two.PNG,cat\n", True)):
        [(_, why)] = entries(read(place, line), "output")[1]
        assert ("in quotes" in why) == asks


@pytest.mark.parametrize("mark, encoding", [(codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (b"", "utf-8")])
def test_a_list_may_be_written_as_windows_does(place, mark, encoding):
    images = read(place, mark + "../photos/日本/c.webp,räume\r\n../photos/sea.jpg\r\n".encode(encoding))
    assert [entry.path for entry in entries(images, "photos")[0]] == ["日本/c.webp", "sea.jpg"]


def test_what_can_not_be_had_is_told_with_its_line_and_ends_nothing(place):
    (place / "output/folder.png").mkdir()
    lines = ["a.png", "gone.png,x", "notes.txt", "../secret/s.png", "folder.png", "", "cats/b.png", "\udcff.png"]
    images = read(place, "\n".join(lines).encode("utf-8", "surrogateescape"))
    found, problems = entries(images, "output")
    assert [entry.path for entry in found] == ["a.png", "cats/b.png"]
    told = {where.split(":")[0]: why for where, why in [*images.problems, *problems]}
    assert {where: why.split(";")[0].replace(str(place), "").replace(os.sep, "/") for where, why in told.items()} == {
        "line 2": "there is no such file in /output",
        "line 3": "is no image or video by its name",
        "line 4": "/secret lies below none of the configured roots: output, photos",
        "line 5": "is not a regular file",
        "line 8": "is not UTF-8",
    }


def test_links_that_lead_out_of_the_root_are_told_with_their_line(place):
    make_link(place / "output/out.png", place / "secret/s.png")
    make_link(place / "output/linked", place / "secret")
    found, problems = entries(read(place, "out.png\nlinked/s.png\na.png\n"), "output")
    assert [entry.path for entry in found] == ["a.png"]
    assert [(where, why.split(";")[0]) for where, why in problems] == [
        ("line 1: out.png", "is a link that leads out of the root"), ("line 2: linked/s.png", "is a link that leads out of the root"),
    ]  # fmt: skip


def test_a_file_named_twice_comes_once(place):
    images = read(place, "a.png,one\n./a.png\na.png,two\n")
    assert [entry.labels for entry in entries(images, "output")[0]] == [("one",)]
    assert images.problems == [("line 3: a.png", "was named on an earlier line; only the labels given there count")]


def test_a_label_that_can_not_be_kept_is_told_with_its_line(place):
    def refuse(labels):
        if "bad" in labels:
            raise ValueError("too long")
        return labels

    images = read(place, "a.png,bad\ncats/b.png,good\n", normal_labels=refuse)
    assert images.problems == [("line 1: a.png", "too long")] and images.counts == {"output": 1}


def test_of_nested_roots_the_inner_one_is_meant(place):
    (place / "output/list.txt").write_text("cats/b.png\na.png\n")
    images = ImageList(place / "output/list.txt", {"output": place / "output", "cats": place / "output/cats"})
    assert images.counts == {"output": 1, "cats": 1}
    assert [entry.path for entry in entries(images, "cats")[0]] == ["b.png"]


def why_there_is_none() -> str:
    try:
        os.stat("no such file")
    except FileNotFoundError as error:  # in the system's words, which Windows has in its language
        return error.strerror
    raise AssertionError


@pytest.mark.parametrize("content, why", [(None, re.escape(why_there_is_none())), (b"\x89PNG\0\0", "is no text"), ("pipe", "is not a file")])
def test_a_list_that_can_not_be_used_says_why(place, content, why):
    file = place / "list.txt"
    if content == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no pipes of names")
        os.mkfifo(file)
    elif content:
        file.write_bytes(content)
    with pytest.raises(ListError, match=why):
        ImageList(file, {"output": place / "output"})


def test_any_other_text_is_given_up_soon_and_not_quoted(place, monkeypatch):
    monkeypatch.setattr(image_list, "NO_LIST_AFTER", 3)
    with pytest.raises(ListError, match="The first 3 lines of .* name no image") as refused:
        read(place, "a secret\nx\nx\na.png\n")
    assert "secret" not in str(refused.value)
    late = read(place, "a secret\na.png\nx\nx\n,secret\n")
    assert late.counts == {"output": 1} and late.problems.total == 4 and "secret" not in str(late.problems)


def test_reading_a_list_can_be_ended_and_has_an_end(place, monkeypatch):
    monkeypatch.setattr(image_list, "LOOK_EVERY", 2)
    told = []
    images = read(place, "a.png\n\ncats/b.png\n\n../photos/sea.jpg\n", tell=told.append)
    assert told == [2, 4, 6]
    asked = iter([False, True])
    assert [path for _, path, _ in images.files("photos", lambda: next(asked))] == []  # between lines that are of another root too
    monkeypatch.setattr(image_list, "MAX_LINES", 2)
    with pytest.raises(ListError, match="more than 2 lines"):
        read(place, "a.png\na.png\na.png\n")


@pytest.mark.parametrize(
    "path, elsewhere",
    [
        (r"\\evil\share\a", True),
        ("//evil/share/a", True),
        (r"\\?\UNC\evil\share\a", True),
        (r"\\?\UNC\nas\photos\a", False),
        (r"\\?\C:\output\a", True),
        ("//nas", True),
        (r"\\NAS\photos\a", False),
        (r"Z:\a", False),
        (r"cats\a", False),
    ],
)
def test_no_other_computer_is_asked_for_what_a_list_names(path, elsewhere):
    roots = [PureWindowsPath(r"\\nas\photos\of mine"), PureWindowsPath(r"C:\output")]
    assert on_another_host(path, roots) == elsewhere


def test_known_files_of_a_list_gain_its_labels_and_what_it_does_not_name_is_not_held_to_be_gone(place):
    class Store:
        labels_files, labelled = False, {}

        def label_files(self, paths, labels=()):
            self.labelled[labels] = paths

        def mark_missing(self, paths):
            raise AssertionError(paths)

    known = KnownFiles([[(*entry[:4], False) for entry in Scan(place / "output").files()] + [("gone.png", 1, 1, 0, False)]])
    source = read(place, "a.png,x\ncats/b.png,x\ncats/new.png,x\n").of_root("output")
    (place / "output/cats/new.png").write_bytes(b"new")
    with FoundFiles(source, known, IndexReport()) as found:
        assert [(entry.path, entry.labels) for entry in found] == [("cats/new.png", ("x",))]
        found.settle(Store(), lambda *_: None)
    assert Store.labelled == {("x",): ["a.png", "cats/b.png"]}
