"""Which file a person or an upstream node names, and what is said of a name that is no file here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from host.comfy_models import comfyui  # noqa: F401  (a fixture)

pytestmark = pytest.mark.usefixtures("comfyui")
elsewhere_than_on_windows = pytest.mark.skipif(os.name == "nt", reason="these are paths of Windows itself")


@pytest.fixture
def photos(comfyui, tmp_path, monkeypatch) -> Path:  # noqa: F811
    """A root of its own with `sub/fox.png`."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "fox.png").write_bytes(b"a fox")
    monkeypatch.setenv("DIFFUSION_TOOLKIT_ROOTS", f"photos={folder}")
    return folder.resolve()


@pytest.fixture
def resolved(monkeypatch) -> list[str]:
    """Each path that the system was asked for."""
    asked: list[str] = []
    resolve = Path.resolve

    def noted(self: Path, strict: bool = False) -> Path:
        asked.append(str(self))
        return resolve(self, strict)

    monkeypatch.setattr(Path, "resolve", noted)
    return asked


def found(name: str) -> Path:
    from diffusion_toolkit.nodes.files import find_file

    return find_file(name)


def refusal(name: str) -> str:
    from diffusion_toolkit.nodes.files import FileRefused

    with pytest.raises(FileRefused) as refused:
        found(name)
    return str(refused.value)


@pytest.mark.parametrize("name", ["https://example.com/fox.png", "file:///data/fox.png", "s3://bucket/fox.png"])
def test_an_address_is_told_from_a_file(photos, name):
    assert f"{name} is an address, not a file here" in refusal(name) and str(photos) in refusal(name)


def test_the_home_folder_is_not_guessed(photos):
    assert "is a path from the home folder" in refusal("~/fox.png")
    (photos / "~fox.png").write_bytes(b"a fox")
    assert found("~fox.png") == photos / "~fox.png"


@elsewhere_than_on_windows
@pytest.mark.parametrize("name", ["C:\\images\\fox.png", "c:/images/fox.png"])
def test_a_path_with_a_drive_is_of_another_computer(photos, name):
    assert "is a path of another computer" in refusal(name)


@pytest.mark.parametrize("name", ["sub\\fox.png", "photos\\sub\\fox.png", "sub/fox.png", "photos/sub/fox.png"])
def test_separators_of_either_kind_are_understood_below_a_root(photos, name):
    assert found(name) == photos / "sub" / "fox.png"


@elsewhere_than_on_windows
def test_a_name_that_holds_a_backslash_is_still_found(photos):
    (photos / "a\\b.png").write_bytes(b"a fox")
    assert found("a\\b.png") == photos / "a\\b.png"


def test_a_missing_file_comes_with_the_next_step(photos):
    said = refusal("sub\\wolf.png")
    assert f"{photos / 'sub' / 'wolf.png'}" in said and "Check the spelling" in said and "name.png [input]" in said
    assert said.count("wolf.png") == 4  # the name, and one place in each root


def test_where_the_configuration_cannot_be_read_that_is_told_before_the_roots(photos, tmp_path, monkeypatch):
    from diffusion_toolkit.nodes import host

    monkeypatch.setattr(host, "config_file", lambda: tmp_path / "config.json")
    name = str(tmp_path / "mine" / "fox.png")
    assert refusal(name).startswith(f"{name} is under none of the folders")
    (tmp_path / "config.json").write_text('{"roots": {"mine": "%s"}' % (tmp_path / "mine").as_posix(), encoding="utf-8")
    said = refusal(name)
    assert said.startswith(f"{tmp_path / 'config.json'} can't be read (Expecting") and f"{name} is under none of the folders" in said


@pytest.mark.parametrize("name", ["\\\\server\\share\\fox.png", "//server/share/fox.png", "/\\server/fox.png", "//server/fox.png [input]"])
def test_another_computer_is_never_asked_for_a_file(photos, resolved, name):
    assert "is a path of another computer, over the network" in refusal(name)
    assert not [path for path in resolved if "server" in path]


@pytest.mark.parametrize("name", ["photos///server/share/fox.png", "photos\\\\\\server\\share\\fox.png"])
def test_nor_by_a_root_before_its_name(photos, resolved, name):
    refusal(name)
    assert not [path for path in resolved if path.replace("\\", "/").startswith("//")]


def test_nor_for_a_name_that_another_node_holds(photos, resolved):
    from diffusion_toolkit.nodes.files import _files_named_in

    node = {"inputs": {"image": "//server/share/fox.png", "other": " \\\\server\\share\\fox.png [input]", "here": "sub/fox.png"}}
    assert list(_files_named_in(node, frozenset((".png",)))) == [photos / "sub" / "fox.png"]
    assert not [path for path in resolved if path.startswith("//")]


@elsewhere_than_on_windows
def test_two_slashes_before_a_path_below_a_root_are_one(photos):
    assert found(f"/{photos}/sub/fox.png") == photos / "sub" / "fox.png"
    assert "over the network" in refusal(f"/{photos}-2/fox.png")


def test_a_share_that_is_a_root_may_be_asked(photos):
    from diffusion_toolkit.embedders.folders.scan import on_another_host

    roots = [photos, Path("//Server/Share")]
    assert not on_another_host("\\\\server\\share\\2025\\fox.png", roots) and not on_another_host("//server/share", roots)
    assert on_another_host("//server/shared/fox.png", roots) and on_another_host("//other/share/fox.png", roots)
    assert not on_another_host("/server/share/fox.png", roots)
