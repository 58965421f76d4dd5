"""Models for the real ComfyUI of these tests, and pictures with real metadata for it to index."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host.node_graphs import TEXT_EMBEDDER, index
from host.picture_graphs import ids_of, picture_graph
from host.server import ComfyServer
from host.stand_in_models import write_text_embedder_folder
from PIL import Image
from PIL.PngImagePlugin import PngInfo


@pytest.fixture(scope="session")
def server(comfy_server: ComfyServer) -> ComfyServer:
    """The server with the small text embedder among its models."""
    folder = comfy_server.models / "sentence_transformers" / TEXT_EMBEDDER
    if not folder.exists():
        write_text_embedder_folder(folder)
    return comfy_server


@pytest.fixture(scope="session")
def pictures(server: ComfyServer) -> Callable[[str, int], str]:
    """Make `<output>/<folder>` hold `n` different PNGs as SaveImage writes them, with seeds from `seed` down, and return the folder's name."""

    def make(folder: str, n: int, prompt: str = "a picture of thing {i} in {folder}", negative: str = "blurry", seed: int = 2**64 - 1) -> str:
        directory = server.output / folder
        directory.mkdir(parents=True, exist_ok=True)
        for i in range(n):
            file = directory / f"{i:04}.png"
            if file.exists():
                continue
            info = PngInfo()
            graph = saved_graph(prompt.format(i=i, folder=folder), negative, seed=seed - i)
            info.add_text("prompt", json.dumps(graph))
            random = np.random.default_rng([i, zlib.crc32(folder.encode())])
            pixels = random.integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)  # [48, 64, 3], large patches
            Image.fromarray(pixels).save(file, pnginfo=info)
        return folder

    return make


@pytest.fixture
def old_workflow() -> dict[str, Any]:
    """ComfyUI's default workflow as older front ends saved it, without the names of widgets."""
    import comfyui_workflow_templates_json

    file = Path(comfyui_workflow_templates_json.__file__).parent / "templates" / "default.json"
    workflow = json.loads(file.read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        node["inputs"] = [entry for entry in node.get("inputs", []) if "widget" not in entry]
    return workflow


@pytest.fixture
def heron(server) -> int:
    """The id of a picture that this ComfyUI rendered and saved, with its workflow beside the prompt."""
    folder = "heron"
    if not (server.output / folder).exists():
        workflow = {"version": 0.4, "nodes": [{"id": 1, "type": "Note", "pos": [0, 0], "widgets_values": ["by the lake"]}], "links": []}
        server.queue(picture_graph(folder), extra_data={"extra_pnginfo": {"workflow": workflow}})
        server.queue(index(folder))
    [image_id] = ids_of(server, folder)
    return image_id


@pytest.fixture
def config(server) -> Iterator[Path]:
    """The configuration file in the user directory, gone again after the test."""
    file = server.user / "diffusion_toolkit" / "config.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def model_file(server) -> Iterator[Callable[[str], None]]:
    """Make an empty file among the models, such as loras/ink.safetensors, for this test: it is listed, and never opened."""
    made: list[Path] = []

    def make(name: str) -> None:
        file = server.models / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        made.append(file)

    yield make
    for file in made:
        file.unlink()


def saved_graph(prompt: str, negative: str, seed: int) -> dict:
    """An API-format graph as ComfyUI saves it with an image."""
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "made_with.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": negative, "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
        "5": {
            "class_type": "KSampler",
            "inputs": {
                "seed": seed, "steps": 12, "cfg": 6.5, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1.0,
                "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0],
            },
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "x"}},
    }  # fmt: skip
