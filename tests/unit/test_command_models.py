"""Which model file a run of the command takes for a library, with small objects in the place of models."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module", autouse=True)
def comfyui():
    import_comfy()


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """Finds a model for a library of CLIP-L "l" and CLIP-G "g" among files: name to (CLIP-L, CLIP-G), or what loading it raises."""
    from diffusion_toolkit.nodes import host, model_files
    from diffusion_toolkit.nodes.command import models

    monkeypatch.setattr(host, "toolkit_directory", lambda: tmp_path)
    active = {family: SimpleNamespace(fingerprint=family[-1], name="mine.safetensors") for family in ("clip_l", "clip_g")}

    def find(**files):
        for name in files:
            if not (tmp_path / name).exists():
                (tmp_path / name).touch()
        monkeypatch.setattr(model_files, "candidates", lambda family: [model_files.ModelFile("clip", (tmp_path / name,)) for name in files])
        loaded = []

        def load(path):
            name = path.rpartition("/")[2].rpartition("\\")[2]
            loaded.append(name)
            if isinstance(files[name], Exception):
                raise files[name]
            clip_l, clip_g = files[name]
            return SimpleNamespace(clip_l_fingerprint=clip_l, clip_g_fingerprint=clip_g)

        kind = replace(models._KINDS[-1], load=load, wrap=lambda model: model)
        model, note = models._by_the_library(kind, active, told.append)
        return model, note, loaded

    told: list[str] = []
    find.told, find.kept = told, tmp_path / "models.json"
    return find


def test_a_merge_that_has_the_librarys_clip_g_and_another_clip_l_is_not_its_model(loader):
    model, _, loaded = loader(a=("other", "g"), b=("l", "g"))
    assert (model.clip_l_fingerprint, loaded) == ("l", ["a", "b"])
    model, _, loaded = loader(a=("other", "g"), b=("l", "g"))
    assert (model.clip_l_fingerprint, loaded) == ("l", ["b"]), "what was learnt of both is looked at too"
    model, note, _ = loader(a=("other", "g"))
    assert model is None and "--checkpoint" in note


def test_a_file_that_is_another_model_is_loaded_once_and_one_that_memory_lacked_for_again(loader):
    from diffusion_toolkit.embedders.errors import EmbedderError

    files = {"odd": EmbedderError("is no SDXL"), "large": MemoryError()}
    assert loader(**files)[2] == ["odd", "large"] and loader(**files)[2] == ["large"]
    assert list(json.loads(loader.kept.read_text(encoding="utf-8")).values()) == [{}]
    assert loader.told[0] == "Looking for the model mine.safetensors (1 of 2 files): loading odd"
