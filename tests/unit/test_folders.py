"""Which folder and which list a person means on Index Folder, and what is said of one that lies in no root."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest
from host.comfy_models import import_comfy
from host.devices import realpath_of_windows
from host.links import make_link

not_on_windows = pytest.mark.skipif(os.name == "nt", reason="there it is no letter of a name")


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """A root with a folder `cats/tabby`, beside another, `scans`, with `2025`."""
    import_comfy()
    root = tmp_path.resolve() / "photos"
    (root / "cats" / "tabby").mkdir(parents=True)
    (root / "cats" / "list.txt").write_text("a.png\n", encoding="utf-8")
    (tmp_path / "scans" / "2025").mkdir(parents=True)
    monkeypatch.setenv("DIFFUSION_TOOLKIT_ROOTS", os.pathsep.join((f"photos={root}", f"scans={tmp_path / 'scans'}")))
    return root


def subfolder(text: object) -> str:
    from diffusion_toolkit.nodes.indexing.folders import subfolder_in

    return subfolder_in("photos", str(text))


def refusal(text: object) -> str:
    from diffusion_toolkit.nodes.indexing.folders import OutsideRoots

    with pytest.raises(OutsideRoots) as refused:
        subfolder(text)
    return str(refused.value)


def test_a_sub_folder_is_relative_to_its_root_or_whole(photos, tmp_path):
    for text in ("cats/tabby", " cats/tabby/ ", photos / "cats" / "tabby", photos / "cats" / ".." / "cats" / "tabby"):
        assert subfolder(text) == "cats/tabby"
    assert subfolder("") == subfolder(".") == subfolder(photos) == ""
    assert subfolder(photos / "to be" / "made") == subfolder("to be/made") == "to be/made"


def test_a_link_from_outside_leads_to_where_the_folder_lies(photos, tmp_path):
    make_link(tmp_path / "link", photos / "cats")
    assert subfolder(tmp_path / "link") == "cats"


def test_a_whole_path_in_another_root_is_told_with_that_root(photos, tmp_path):
    told = refusal(tmp_path / "scans" / "2025")
    assert "lies in the root scans, not in photos. Choose that root, and 2025 in it." in told
    assert "Choose that root, and all of it." in refusal(tmp_path / "scans")


def test_a_whole_path_in_no_root_is_told_with_the_line_that_adds_it(photos, tmp_path):
    mine = tmp_path / ("my 'best' pictures" if os.name == "nt" else 'my "best" pictures')
    told = refusal(mine)
    mine.mkdir()
    assert refusal(mine) == told  # whoever reaches the page need not learn what is there
    line = told[told.index('{"roots"') : told.index("}}") + 2]
    assert json.loads(line) == {"roots": {mine.name: mine.as_posix()}} and "config.json" in told
    assert '{"roots": {"elsewhere photos": ' in refusal(tmp_path / "elsewhere" / "photos")  # no second root of a name that is in use


def test_a_configuration_that_cannot_be_read_is_told_before_all_else(photos, tmp_path, monkeypatch):
    from diffusion_toolkit.embedders.pipeline.image_list import ListError
    from diffusion_toolkit.nodes import host
    from diffusion_toolkit.nodes.indexing import folders
    from diffusion_toolkit.nodes.indexing.index_folder import _list_file

    file = tmp_path / "config.json"
    file.write_text('{"roots": {"mine": "%s"}' % tmp_path.as_posix(), encoding="utf-8")
    for module in (host, folders):
        monkeypatch.setattr(module, "config_file", lambda: file)
    with pytest.raises(ListError, match=r"config\.json can't be read \(Expecting.* lies below none of the roots"):
        _list_file(str(tmp_path / "mine.txt"), photos)
    told = refusal(tmp_path / "mine")
    assert told.startswith(f"{file} can't be read (Expecting") and f"{tmp_path / 'mine'} lies below none of the roots" in told
    assert told.endswith("or to the environment variable DIFFUSION_TOOLKIT_ROOTS: ComfyUI and run.py read both.")


def test_a_root_that_is_not_there_is_told_among_the_roots(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFUSION_TOOLKIT_ROOTS", f"photos={photos}{os.pathsep}scans={tmp_path / 'scanns'}")
    told = refusal(tmp_path / "scans")
    assert f"scans ({tmp_path / 'scanns'}, which is not there)" in told and f"photos ({photos})" in told


@pytest.mark.parametrize("text", ["../scans", "cats/../../scans", "..\\scans"])
def test_dots_do_not_lead_out_of_the_root(photos, text):
    from diffusion_toolkit.embedders.folders.scan import ScanError

    with pytest.raises(ScanError, match="not below the root"):
        subfolder(text)


@pytest.mark.parametrize("text", ["CON", "cats/nul", '"cats\\AUX"', "{photos}/COM1/x"])
def test_a_name_that_windows_keeps_for_a_device_is_told_on_windows(photos, text, monkeypatch):
    from diffusion_toolkit.embedders.folders import scan

    assert os.name == "nt" or subfolder(text.format(photos=photos))  # a name as any
    monkeypatch.setattr(scan, "device_in", partial(scan.device_in, windows=True))
    monkeypatch.setattr(os.path, "realpath", realpath_of_windows)
    with pytest.raises(scan.ScanError, match="There can be no folder .*: Windows keeps the name (CON|nul|AUX|COM1) for a device"):
        subfolder(text.format(photos=photos))


@pytest.mark.parametrize("text", ["cats\\tabby", "cats\\tabby\\", '"cats/tabby"', '"cats\\tabby"', "'cats/tabby'"])
def test_what_windows_pastes_is_understood(photos, text):
    assert subfolder(text) == "cats/tabby"
    assert subfolder(f'"{photos / "cats"}"') == "cats"


@not_on_windows
def test_a_folder_whose_name_has_a_backslash_or_quotation_marks_is_meant_where_it_is_there(photos):
    for name in ("cats\\tabby", '"cats"'):
        (photos / name).mkdir()
        assert subfolder(name) == subfolder(photos / name) == name


@not_on_windows
@pytest.mark.parametrize("text", ["C:\\images\\cats", '"C:\\images\\cats"', "\\\\server\\images", "//server/images"])
def test_a_folder_of_another_computer_is_told_to_be_one(photos, text):
    assert "a path of another computer" in refusal(text) and str(photos) in refusal(text)


def test_a_list_is_found_by_the_path_that_was_pasted(photos, tmp_path):
    from diffusion_toolkit.embedders.pipeline.image_list import ListError
    from diffusion_toolkit.nodes.indexing.index_folder import _list_file

    listed = photos / "cats" / "list.txt"
    for text in ("cats/list.txt", "cats\\list.txt", '"cats\\list.txt"', f'"{listed}"', str(listed)):
        assert _list_file(text, photos) == listed
    with pytest.raises(ListError, match="lies below none of the roots"):
        _list_file(f'"{tmp_path / "list.txt"}"', photos)
    with pytest.raises(ListError, match="lies below none of the roots"):
        _list_file("cats\0/list.txt", photos)
    too_long = f"{'n' * 300}/list.txt"
    assert _list_file(too_long, photos) == photos / too_long  # which reading it then tells
    if os.name != "nt":
        (photos / "loop.txt").symlink_to(photos / "loop.txt")
        with pytest.raises(ListError, match="lies below none of the roots"):
            _list_file("loop.txt", photos)
        (photos / "cats\\list.txt").write_text("a.png\n", encoding="utf-8")
        assert _list_file("cats\\list.txt", photos) == photos / "cats\\list.txt"


def test_a_folder_whose_name_has_half_a_character_is_refused_with_the_cause(photos):
    from diffusion_toolkit.embedders.folders.scan import ScanError

    for text in ("a\ud83d", photos / "a\ud83d", "/nowhere/a\ud83d", "caf\udce9"):
        with pytest.raises(ScanError, match="can't be kept in the library: a character in it is not whole"):
            subfolder(text)
