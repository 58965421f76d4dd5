"""What Index Folder and the command have in common: which files a job has, and one report of several."""

from __future__ import annotations

import os
import re

import pytest
from diffusion_toolkit.embedders.folders.scan import ScanError
from diffusion_toolkit.embedders.pipeline import IndexReport
from diffusion_toolkit.embedders.pipeline.image_list import ListError
from diffusion_toolkit.embedders.pipeline.records import Named
from diffusion_toolkit.nodes.indexing import index_run
from diffusion_toolkit.nodes.indexing.index_run import Job, JobFiles, together


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(index_run, "roots", lambda: {"output": tmp_path})
    return tmp_path


@pytest.mark.parametrize("labels", [",,", " , \n,"])
def test_labels_that_hold_none_are_refused(folder, labels):
    with pytest.raises(ValueError, match="There is no label in"):
        JobFiles(Job("output", folder, labels=labels))


@pytest.mark.parametrize("labels", ["", "  ", "sea,,", "a, b"])
def test_no_labels_at_all_and_an_empty_one_beside_others_are_taken(folder, labels):
    assert len(list(JobFiles(Job("output", folder, labels=labels)).parts())) == 1


def test_a_folder_that_is_not_there_is_an_error_unless_it_is_waited_for(folder):
    with pytest.raises(ScanError, match="There is no folder 'new'"):
        list(JobFiles(Job("output", folder, "new")).parts())
    assert list(JobFiles(Job("output", folder, "new", may_be_missing=True)).parts()) == []
    (folder / "new").mkdir()
    assert len(list(JobFiles(Job("output", folder, "new", may_be_missing=True)).parts())) == 1


def test_a_file_in_a_folders_place_is_told(folder):
    (folder / "a.png").touch()
    with pytest.raises(ScanError, match="'a.png' is a file. Name the folder"):
        list(JobFiles(Job("output", folder, "a.png")).parts())


def test_a_root_that_is_not_there_is_an_error_even_where_a_folder_of_it_is_waited_for(folder):
    with pytest.raises(ScanError, match="does not exist"):
        list(JobFiles(Job("output", folder / "pulled", "new", may_be_missing=True)).parts())


def test_a_sub_folder_is_spelled_as_it_is_called(folder, monkeypatch):
    (folder / "Cats" / "old").mkdir(parents=True)
    (folder / "dogs").mkdir()
    stat, isdir = os.stat, os.path.isdir
    called = lambda path: re.sub("(?i)cats", "Cats", re.sub("(?i)old", "old", str(path)))  # noqa: E731  (as Windows and macOS look for it)
    monkeypatch.setattr(os, "stat", lambda path, **more: stat(called(path), **more))
    monkeypatch.setattr(os.path, "isdir", lambda path: isdir(called(path)))
    monkeypatch.setattr(os.path, "samefile", lambda one, other: called(one) == called(other))
    given = {"cats/OLD": "Cats/old", "Cats": "Cats", "dogs": "dogs", "": ""}
    assert {typed: next(JobFiles(Job("output", folder, typed)).parts())[0].subfolder for typed in given} == given


def test_a_list_of_which_no_file_can_be_had_is_refused_with_its_first_lines(folder):
    lines = [f"gone/{n}.png,mine" for n in range(1, 8)]
    listed = folder / "list.txt"
    listed.write_text("\n".join(["/elsewhere/a.png", *lines]), encoding="utf-8")
    with pytest.raises(ListError, match="names no image that can be had") as refused:
        JobFiles(Job("output", folder, image_list=listed))
    _, first, *told, more = str(refused.value).splitlines()
    assert first == f"line 1: /elsewhere/a.png: {os.path.abspath(folder / '/elsewhere')} lies below none of the configured roots: output."
    assert told == [f"line {n}: gone/{n - 1}.png: there is no such file in {folder / 'gone'}." for n in range(2, 6)]
    assert more == "3 lines more."
    listed.write_text("\n".join([*lines, "a.png"]), encoding="utf-8")
    (folder / "a.png").touch()
    assert len(list(JobFiles(Job("output", folder, image_list=listed)).parts())) == 1


def test_to_look_for_a_lists_files_is_told_and_can_be_cancelled(folder):
    listed, told = folder / "list.txt", []
    listed.write_text("".join(f"gone/{n}.png\n" for n in range(300)), encoding="utf-8")

    def progress(stage, done, total):
        told.append((stage, done, total))
        if done >= 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        JobFiles(Job("output", folder, image_list=listed), progress)
    assert told == [("Files of the image list", done, 300) for done in range(0, 51, 10)]


def test_a_long_list_and_one_that_is_looked_at_already_are_not_refused(folder, monkeypatch):
    listed = folder / "list.txt"
    listed.write_text("gone/1.png\ngone/2.png\n", encoding="utf-8")
    assert len(list(JobFiles(Job("output", folder, image_list=listed), check=False).parts())) == 1
    monkeypatch.setattr(index_run, "LOOKED_AT", 1)
    assert len(list(JobFiles(Job("output", folder, image_list=listed)).parts())) == 1


def test_of_several_reports_the_files_come_in_order_and_each_label_and_run_once():
    two = Named([("line 10: b.png", "damaged"), ("line 9: a.png", "damaged"), (f"line 10: {'1' * 5000}.png", "damaged")])
    first = IndexReport(skipped=two, labels={"sea"}, labelled={1, 2}, others={"a", "b"})
    second = IndexReport(skipped=Named([("line 2: c.png", "damaged")]), labels={"sea"}, labelled={2, 3}, others={"b"}, unrefreshed=True)
    whole = together([first, second])
    assert [place for place, _ in whole.skipped] == ["line 2: c.png", "line 9: a.png", f"line 10: {'1' * 5000}.png", "line 10: b.png"]
    assert (whole.labels, whole.labelled, whole.others) == ({"sea"}, {1, 2, 3}, {"a", "b"}) and first.labelled == {1, 2}
    assert whole.unrefreshed and not whole.unfinished
