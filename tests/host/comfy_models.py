"""ComfyUI as a library inside the test process, on the CPU, with small seeded models as pytest fixtures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import bootstrap, stand_in_models

EMBEDDING_WIDTHS = {"clip_l": 768, "clip_g": 1280}


def import_comfy() -> Path:
    """Put ComfyUI on `sys.path` and tell it to use the CPU; returns its folder. To be called before any `import comfy`.

    ComfyUI reads the command line only when its main.py asks for it, so pytest's arguments don't reach it.
    """
    folder = bootstrap.find_comfyui()
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    from comfy.cli_args import args

    args.cpu = True
    return folder


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """The folder of ComfyUI, whose modules can be imported from here on."""
    return import_comfy()


@pytest.fixture(scope="session")
def embedding_directory(comfyui: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one textual inversion, `spark`, of three vectors for each of SDXL's text encoders."""
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("embeddings")
    random = np.random.default_rng(5)
    vectors = {tower: random.normal(0, 0.05, (3, width)).astype(np.float32) for tower, width in EMBEDDING_WIDTHS.items()}
    save_file(vectors, folder / "spark.safetensors")
    return folder


@pytest.fixture(scope="session")
def sdxl_clip(embedding_directory: Path) -> Any:
    """One small SDXL CLIP. Clone it before adding a LoRA, a CLIP layer or tokenizer options."""
    return stand_in_models.small_clip(1, embedding_directory=str(embedding_directory))


@pytest.fixture(scope="session")
def clip_vision(comfyui: Path) -> Any:
    """One small CLIP_VISION of 1024 dimensions."""
    return stand_in_models.small_clip_vision(2)


@pytest.fixture
def host_inference() -> Iterator[None]:
    """Run the test as ComfyUI's executor runs nodes: under `torch.inference_mode()`."""
    import torch

    with torch.inference_mode():
        yield


def assert_parity(ours: np.ndarray, theirs: np.ndarray) -> None:
    """The project's bars: before storage 1e-4 of the largest value and cosine 0.9999; stored, within float16 rounding."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape and ours.dtype == np.float32
    largest = np.abs(theirs).max()
    assert np.abs(ours - theirs).max() <= 1e-4 * largest
    a, b = (values.reshape(-1, values.shape[-1]).astype(np.float64) for values in (ours, theirs))
    cosines = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    assert cosines.min() >= 0.9999
    stored = ours.astype(np.float16).astype(np.float32)
    assert np.all(np.abs(stored - theirs) <= 2**-10 * np.abs(theirs) + 1e-4 * largest)
