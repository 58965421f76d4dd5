"""For `run.py --models-from`: the small stand-ins in the place of model files, which no loader of ComfyUI's would recognise."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

SEED = 0


def clip_vision() -> Any:
    return _models().small_clip_vision(SEED)


def clip() -> Any:
    import folder_paths

    return _models().small_clip(SEED, embedding_directory=folder_paths.get_folder_paths("embeddings"))


def _models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("diffusion_toolkit_stand_in_models", Path(__file__).with_name("stand_in_models.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
