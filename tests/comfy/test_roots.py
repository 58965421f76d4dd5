"""Which folders may be read: ComfyUI's own, and those that the administrator configured, and no others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from host.client import PromptError
from host.node_graphs import index, search_by_prompt
from PIL import Image
from PIL.PngImagePlugin import PngInfo


@pytest.fixture
def photos(tmp_path) -> Path:
    """A folder outside ComfyUI, with a space and an umlaut in its name, with one picture."""
    folder = tmp_path / "my ph\u00f6tos"
    folder.mkdir()
    info = PngInfo()
    settings = "Steps: 30, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 8x8, Model hash: 1a2b3c4d5e, Model: some"
    info.add_text("parameters", f"a zeppelin over the harbour\nNegative prompt: rain\n{settings}")
    Image.new("RGB", (8, 8), (3, 77, 145)).save(folder / "zeppelin.png", pnginfo=info)
    return folder


def roots(server) -> list[str]:
    return server.get("/object_info/DiffusionToolkitIndexFolder")["DiffusionToolkitIndexFolder"]["input"]["required"]["root"][1]["options"]


def hit(server) -> dict:
    return server.queue(search_by_prompt("zeppelin over the harbour", top_k=1)).outputs["search"]["hits"][0]


def test_only_comfyuis_folders_are_offered_where_nothing_is_configured(server):
    assert roots(server) == ["output", "input"]


def test_a_configured_folder_is_indexed_and_found(server, config, photos):
    config.write_text(json.dumps({"roots": {"photos": str(photos)}}), encoding="utf-8")
    assert roots(server) == ["output", "input", "photos"]
    assert "1 added" in server.queue(index(root="photos")).outputs["index"]["text"][0]
    found = hit(server)
    assert (found["path"], found["note"]) == (os.fspath(photos / "zeppelin.png"), "")


def test_a_file_is_not_read_once_its_root_is_no_longer_configured(server, config, photos):
    config.write_text(json.dumps({"roots": {"photos": str(photos)}}), encoding="utf-8")
    server.queue(index(root="photos"))
    config.unlink()
    assert "no longer under a configured root" in hit(server)["note"]


def test_a_root_that_is_not_configured_cannot_be_indexed(server):
    with pytest.raises(PromptError, match="root"):
        server.queue(index(root="photos"))


def test_a_broken_configuration_leaves_the_nodes_and_comfyuis_folders_there_and_is_told(server, config):
    config.write_text("{roots: nowhere", encoding="utf-8")
    assert roots(server) == ["output", "input"]
    server.queue(index())
    assert "config.json can't be read" in server.log_text()
    problems = server.get("/diffusion_toolkit/status")["problems"]
    assert any("config.json can't be read" in problem["what"] for problem in problems)


@pytest.mark.skipif(os.name == "nt", reason="Windows asks nobody for a user's folder: it is beside one's own")
def test_a_user_that_does_not_exist_leaves_the_nodes_there(server, config):
    config.write_text(json.dumps({"roots": {"home": "~nosuchuser/pictures"}}), encoding="utf-8")
    assert roots(server) == ["output", "input"]
    with pytest.raises(PromptError, match="nosuchuser"):
        server.queue(index())


def test_a_configured_root_takes_no_name_that_is_in_use(server, config, photos):
    config.write_text(json.dumps({"roots": {"output": str(photos)}}), encoding="utf-8")
    with pytest.raises(PromptError, match="Two roots are named 'output'"):
        server.queue(index())


def test_a_byte_order_mark_in_the_configuration_is_read_over(server, config, photos):
    config.write_text(json.dumps({"roots": {"photos": str(photos)}}), encoding="utf-8-sig")
    assert "photos" in roots(server)


def test_the_variable_takes_names_plain_paths_and_paths_with_an_equals_sign(tmp_path, monkeypatch):
    from host.comfy_models import import_comfy

    import_comfy()
    from diffusion_toolkit.nodes import host

    items = ["named = /data/pictures", "/data/a=b", "/photos"]
    monkeypatch.setenv(host.ROOTS_VARIABLE, os.pathsep.join(items))
    assert host._roots_of_variable() == [("named", "/data/pictures"), ("", "/data/a=b"), ("", "/photos")]


def test_a_missing_folder_is_named(server, config, tmp_path):
    config.write_text(json.dumps({"roots": {"usb": str(tmp_path / "unplugged")}}), encoding="utf-8")
    said = r"unplugged does not exist .* it is the root 'usb'\. If it lies on a drive .*, connect that; .* correct it in .*config\.json or DIFFUSION_"
    with pytest.raises(PromptError, match=said):
        server.queue(index(root="usb"))
