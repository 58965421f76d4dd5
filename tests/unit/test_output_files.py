"""Where nodes write: names are refused before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from host.comfy_models import import_comfy


@pytest.fixture
def output_files(tmp_path, monkeypatch):
    import_comfy()
    import folder_paths
    from diffusion_toolkit.nodes import output_files

    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    return output_files


def no_such(code: int):
    """What Windows raises of a file that is not there: 2 it has no such name, 3 no such folder, as of paths beyond 259 letters."""

    def lstat(place: Path) -> None:
        error = FileNotFoundError(2, "No such file or directory")
        error.winerror = code
        raise error

    return lstat


def test_a_path_that_is_too_long_for_windows_is_refused_at_once(output_files, monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "lstat", no_such(3))
    with pytest.raises(output_files.PlaceRefused, match=rf"Nothing can be written as 'report': a path of {len(str(tmp_path)) + 19} letters is too long"):
        output_files.new_place("report", ".json", "save_as")


def test_a_name_pasted_in_quotation_marks_is_taken_without_them(output_files, tmp_path):
    assert output_files.new_place(' "kept\\today.json" ', ".json", "save_as") == tmp_path.resolve() / "kept" / "today_00001_.json"


def test_a_name_that_is_too_long_for_a_file_is_refused_at_once(output_files, monkeypatch):
    monkeypatch.setattr(Path, "lstat", no_such(2))
    with pytest.raises(output_files.PlaceRefused, match="is too long. Write a name below ComfyUI's output folder"):
        output_files.new_place("x" * 250, ".json", "save_as")
    assert output_files.new_place("report", ".json", "save_as").name == "report_00001_.json"


@pytest.mark.skipif(os.name == "nt", reason="there it can be a file's")
def test_a_name_that_ends_with_half_an_emoji_is_refused_with_the_cause(output_files):
    with pytest.raises(output_files.PlaceRefused, match=r"^Nothing can be written as 'a fox .ud83d': a character in it is not whole, .* emoji was cut in two. Write"):
        output_files.new_place("a fox \ud83d", ".json", "save_as")
