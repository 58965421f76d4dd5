"""Saved graphs become fit to be queued again: what ComfyUI leaves in them goes, and what no JSON has."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from diffusion_toolkit.db import StoredImage
from diffusion_toolkit.embedders.metadata import Pieces
from host.comfy_models import import_comfy
from host.sampled_graphs import basic


@pytest.fixture(scope="module")
def stored_graphs():
    import_comfy()
    from diffusion_toolkit.nodes.graphs import stored_graphs

    return stored_graphs


@pytest.fixture(scope="module")
def filling():
    import_comfy()
    from diffusion_toolkit.nodes.graphs import filling

    return filling


def image(**changes: Any) -> StoredImage:
    now = datetime.now(timezone.utc)
    return StoredImage(
        id=7, hash=b"", width=64, height=64, files=(), prompt=None, negative=None, prompt_id=None, negative_id=None, created=now, **changes
    )


def test_fingerprints_and_nan_are_left_out(stored_graphs) -> None:
    saved = {"1": {"class_type": "A", "inputs": {"x": float("nan"), "y": [1.0, float("inf")]}, "is_changed": [float("nan")]}}
    graph = stored_graphs.queueable(saved)
    assert graph == {"1": {"class_type": "A", "inputs": {"x": None, "y": {"__value__": [1.0, None]}}}}
    json.dumps(graph, allow_nan=False)


def test_links_to_numbers_become_links_and_what_is_no_node_goes(stored_graphs) -> None:
    graph = stored_graphs.queueable({"1": {"class_type": "A", "inputs": {"x": [12, 0]}}, "version": 0.4})
    assert graph == {"1": {"class_type": "A", "inputs": {"x": ["12", 0]}}}


@pytest.mark.parametrize("value", [[], ["#fff"], ["#fff", "#000"], [{"x": 1}], [[0, 0], [1, 1]], ["1", 0, 0]])
def test_a_list_that_is_no_link_is_wrapped_as_the_page_queues_it(stored_graphs, value: Any) -> None:
    """ComfyUI unwraps it before it saves the graph in a picture, and refuses it, or fails at it, when it comes back so."""
    graph = stored_graphs.queueable({"1": {"class_type": "CreateBoundingBoxes", "inputs": {"editor_state": value}}})
    assert graph["1"]["inputs"] == {"editor_state": {"__value__": value}}
    assert stored_graphs.queueable(graph) == graph


def test_an_image_gives_its_graph_whatever_the_piece_was_called(stored_graphs) -> None:
    for key, content in (("prompt", basic()), ("comment", {"prompt": json.dumps(basic()), "workflow": {"nodes": [{"type": "Note"}]}})):
        found = stored_graphs.graphs_of(image(), Pieces({key: json.dumps(content).encode()}, {key: "file"}), {})
        assert found.prompt == basic()
    assert found.workflow == {"nodes": [{"type": "Note"}]}


def test_an_image_without_one_says_what_made_it(stored_graphs) -> None:
    found = stored_graphs.graphs_of(image(generator="InvokeAI"), Pieces({"invokeai_metadata": b"{}"}, {}), {})
    assert found.prompt is None and found.workflow is None and "InvokeAI made it" in found.note


def test_a_workflow_that_this_comfyui_lacks_nodes_of_is_given_with_the_reason(stored_graphs) -> None:
    saved = {"version": 0.4, "nodes": [{"id": 1, "type": "Nobody's", "inputs": [], "outputs": []}], "links": []}
    found = stored_graphs.graphs_of(image(), Pieces({"workflow": json.dumps(saved).encode()}, {}), {})
    assert found.workflow == saved and found.prompt is None and "can't be queued here" in found.note


@pytest.mark.parametrize("deep", [250, 450, 800])
def test_a_graph_nested_deeper_than_any_is_no_graph(stored_graphs, deep: int) -> None:
    """Python's JSON reads more levels than what copies and writes a graph can go down."""
    value = json.loads("[" * deep + "]" * deep)
    with pytest.raises(stored_graphs.NoGraph, match="nested more than 200 levels deep"):
        stored_graphs.queueable({"1": {"class_type": "A", "inputs": {"x": value}}})
    for saved in ({"prompt": {"1": {"class_type": "A", "inputs": {"x": value}}}}, {"workflow": {"nodes": [{"type": "Note", "x": value}]}}):
        (key, graph), = saved.items()
        found = stored_graphs.graphs_of(image(), Pieces({key: json.dumps(graph).encode()}, {}), {})
        assert found.prompt is None and found.workflow is None and found.note.startswith("Image 7 has a graph that can't be given back: ")


def test_a_graph_nested_as_deep_as_is_taken_can_be_filled_and_written(stored_graphs, filling) -> None:
    value: Any = 1
    for _ in range(190):
        value = [value]
    graph = stored_graphs.queueable({**basic(), "x": {"class_type": "A", "inputs": {"x": value}}})
    assert filling.fill(graph, {"seed": 5}, {}).graph["x"] == graph["x"]
    assert json.loads(json.dumps(graph, indent=1)) == graph


def test_settings_to_keep_are_named_as_a_person_writes_them(filling) -> None:
    assert filling.keep_of(" Denoise ; cfg,, ") == ["denoise", "cfg"]
    with pytest.raises(ValueError, match="Was sampler meant"):
        filling.keep_of("samplr")


def test_where_a_template_is_told_the_images_id_it_is_told_their_library_too(filling) -> None:
    by_id = {"class_type": "Loader", "inputs": {"image_ids": "%image_id%", "library_name": "default"}}
    linked = {"class_type": "Loader", "inputs": {"image_ids": "%image_id%", "library_name": ["1", 0]}}
    other = {"class_type": "Search", "inputs": {"library_name": "default"}}
    graph = filling.of_library({"1": by_id, "2": linked, "3": other}, "work")
    assert graph["1"]["inputs"]["library_name"] == "work" and by_id["inputs"]["library_name"] == "default"
    assert graph["2"] == linked and graph["3"] == other


def test_graphs_are_written_below_the_output_folder_only_each_once_and_never_over_another(stored_graphs, tmp_path, monkeypatch) -> None:
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    file = stored_graphs.write_json("recalled/one_12_prompt", {"a": 1})
    assert file == tmp_path / "recalled" / "one_12_prompt.json"
    assert stored_graphs.write_json("recalled//one_12_prompt", {"a": 1}) == file
    assert stored_graphs.write_json("recalled/one_12_prompt", {"a": 2}).name == "one_12_prompt_2.json"
    assert stored_graphs.write_json("%year%/one", {}).parent.name.isdigit()
    (tmp_path / "file").touch()
    for name in ("file/x", "sub/../b", "a\0b", "n" * 300, "../outside", "/tmp/outside"):
        with pytest.raises(ValueError, match="save_as|can't be written"):
            stored_graphs.write_json(name, {})
    assert not list(tmp_path.rglob("*.part"))


def test_a_picture_is_no_template_and_the_next_step_is_told(stored_graphs, tmp_path) -> None:
    from diffusion_toolkit.nodes.graphs.templates import read_template

    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match="A picture is no template: Recall Workflow"):
        read_template(tmp_path / "a.png", {})


def test_the_built_in_template_takes_an_images_checkpoint_where_there_is_none_here(filling, monkeypatch) -> None:
    import folder_paths
    from diffusion_toolkit.nodes.graphs.templates import STOP, read_template

    monkeypatch.setattr(folder_paths, "get_filename_list", lambda kind: [])
    wanted = {"checkpoint": "sd_xl_base_1.0.safetensors", "prompt": None, "loras": []}
    found = {"CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [[]]}}, "output": ["MODEL", "CLIP", "VAE"]}}
    types = {one["class_type"]: {"input": {}} for one in read_template(None, {}).values()}
    done = filling.filled_for(read_template(None, {}), wanted, {**types, **found}, marks={}, keep=[], loras="replace", missing=STOP)
    assert done.filled.graph["4"]["inputs"]["ckpt_name"] == "sd_xl_base_1.0.safetensors"
    assert "sd_xl_base_1.0.safetensors is not here" in done.missing[0] and done.keepable == []
    assert "prompt is not known" in filling.summary(done, wanted, False)[1]


def test_a_graph_of_ones_own_that_asks_a_library_is_said_to_make_another_image_perhaps(filling, monkeypatch) -> None:
    import nodes
    from diffusion_toolkit.embedders.template import Filled

    def said(own: bool, **classes: str) -> str:
        graph = {key: {"class_type": kind, "inputs": {}} for key, kind in classes.items()}
        return "\n".join(filling.summary(filling.FilledFor(Filled(graph, ["seed"])), {}, own))

    monkeypatch.setitem(nodes.NODE_DISPLAY_NAME_MAPPINGS, "DiffusionToolkitLoader", "Diffusion Toolkit Loader")
    ours = {"1": "DiffusionToolkitLoader", "2": "DiffusionToolkitPickHit", "3": "DiffusionToolkitSaveImage", "4": "KSampler"}
    assert "It asks a library when it runs (Diffusion Toolkit Loader, DiffusionToolkitPickHit)" in said(True, **ours)
    assert "asks a library" not in said(False, **ours)  # a template that does is meant to
    assert "asks a library" not in said(True, **{"3": "DiffusionToolkitSaveImage", "4": "KSampler"})
