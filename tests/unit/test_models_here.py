"""What tells Fill Template and Recall Workflow that a model has come: the files that ComfyUI lists, and nothing that is no model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from host.comfy_models import import_comfy

LISTED = {  # how a folder of models is given to ComfyUI, by the name of the file that comes
    "a.safetensors": lambda folder: ([folder], {".safetensors"}),
    "a.gguf": lambda folder: ([folder], {".gguf"}),  # as a pack does for a format of its own
    "a.onnx": lambda folder: ([Path(folder)], [".onnx"]),
    "a.sft": lambda folder: ({folder}, ".sft"),  # a set that was meant
    "any file": lambda folder: ([folder], set()),  # as `add_model_folder_path` does for a kind that is new
}
ODD = {
    "a string as folder": lambda folder: (folder, {".safetensors"}),
    "nothing": lambda folder: None,
    "empty": lambda folder: (),
    "no endings": lambda folder: ([folder],),
    "None as endings": lambda folder: ([folder], None),
    "True as endings": lambda folder: ([folder], True),
    "None as folders": lambda folder: (None, {".pt"}),
    "None as folder": lambda folder: ([None], {".pt"}),
}


@pytest.fixture
def comfy(monkeypatch):
    """ComfyUI's own `folder_paths`, with no kinds in it."""
    import_comfy()
    import folder_paths

    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {})
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return folder_paths


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    os.utime(folder, (1, 1))  # so that a file that comes is told from its folder's time, however coarse that is
    return folder


@pytest.fixture
def models_here(comfy):
    from diffusion_toolkit.nodes.graphs.templates import models_here

    return models_here


@pytest.mark.parametrize("name", LISTED)
def test_a_model_that_comes_changes_it(name, comfy, models, models_here):
    comfy.folder_names_and_paths["kind"] = LISTED[name](str(models))
    before = models_here()
    (models / name).touch()
    assert models_here() != before


def test_a_model_of_a_kind_that_a_pack_or_a_list_of_paths_adds_changes_it(comfy, models, models_here):
    comfy.add_model_folder_path("ipadapter", str(models))
    before = models_here()
    (models / "a.safetensors").touch()
    assert models_here() != before


@pytest.mark.parametrize("kind", ["custom_nodes", "configs", "datasets", "diffusers"])
def test_a_file_that_is_no_model_does_not_change_it(kind, comfy, models, models_here):
    comfy.folder_names_and_paths[kind] = ([str(models)], set())
    before = models_here()
    (models / "a.safetensors").touch()
    assert models_here() == before


@pytest.mark.parametrize("odd", ODD)
def test_what_comfyui_can_not_list_is_left_out(odd, comfy, models, models_here, monkeypatch):
    asked = []
    monkeypatch.setattr(comfy, "recursive_search", lambda folder, **_: (asked.append(folder), ([], {}))[1])
    comfy.folder_names_and_paths.update({"odd": ODD[odd](str(models)), "checkpoints": ([str(models)], {".safetensors"}), None: ([], set())})
    models_here()
    assert asked == [str(models)]


@pytest.mark.parametrize("place", ["base", "output", "input", "temp", "user"])
def test_a_folder_that_comfyuis_own_lie_in_is_walked_for_its_models_alone(place, comfy, models, models_here, monkeypatch):
    """All of a disk, which a pack may name for its own kind; where a person names it for checkpoints ComfyUI walks it, too."""
    monkeypatch.setattr(comfy, "base_path" if place == "base" else f"{place}_directory", str(models / "deep" / "ComfyUI"))
    entries = comfy.folder_names_and_paths
    entries["anything"] = ([str(models)], set())
    before = models_here()
    (models / "a.safetensors").touch()
    assert models_here() == before
    entries["checkpoints"] = ([str(models)], {".safetensors"})
    before = models_here()
    (models / "b.safetensors").touch()
    assert models_here() != before


@pytest.mark.parametrize(
    ("missed", "helps"),
    [
        ("a.safetensors is not here (node 1, A, name). Nearest here: b.safetensors.", True),
        ("LoRA ink is not here. There is none like it here.", True),
        ("a.safetensors is not here (node 1, A, name). There is none here at all.", False),
        ("This ComfyUI has no node Odd. Install the pack that it is from.", False),
    ],
)
def test_the_nearest_are_offered_where_that_would_help(missed, helps):
    import_comfy()
    from diffusion_toolkit.nodes.graphs import fill_template

    said = fill_template._not_here([missed], fill_template.STOP, [], others=False)
    assert (fill_template.NEAREST in said) is helps and "Get what is missing" in said and fill_template.LEAVE_OUT not in said
    assert fill_template.LEAVE_OUT in fill_template._not_here([missed], fill_template.STOP, [], others=True)
    assert (fill_template.NEAREST in fill_template._not_here([missed], fill_template.LEAVE_OUT, [], others=False)) is helps


def test_how_many_images_are_left_out_is_told_also_of_those_that_are_not_named():
    import_comfy()
    from diffusion_toolkit.nodes.graphs import fill_template

    heading, *rest = fill_template._report([1, 2], ["Image 1 in it"], [f"Image {one} is left out." for one in range(2, 27)], [""]).splitlines()
    assert heading == "2 filled graphs, seed 1 to 2; 25 images left out"
    assert rest[-2:] == ["Image 21 is left out.", "and 5 more"]
