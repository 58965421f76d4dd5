"""What tells Fill Template and Recall Workflow that a model has come: the files that ComfyUI lists, and nothing that is no model."""

from __future__ import annotations

import os

import pytest
from host.comfy_models import import_comfy


@pytest.fixture
def listed(monkeypatch, tmp_path):
    """`models_here`, and a folder of models beside entries that other packs have put there."""
    import_comfy()
    import folder_paths
    from diffusion_toolkit.nodes.templates import models_here

    models, other = tmp_path / "models", tmp_path / "other"
    entries = {"models": ([str(models)], {".safetensors"}), "anything": ([str(other)], set()), "odd": ([str(other)], None), "short": ([str(other)],)}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", entries)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    for folder in (models, other):
        folder.mkdir()
        os.utime(folder, (1, 1))  # so that a file that comes is told from its folder's time, however coarse that is
    return models_here, models, other


def test_a_model_that_comes_changes_it_and_another_file_does_not(listed):
    models_here, models, other = listed
    before = models_here()
    (other / "a.safetensors").touch()
    assert models_here() == before
    (models / "a.safetensors").touch()
    assert models_here() != before
