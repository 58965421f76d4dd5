"""Puts stand-ins in the place of model files that this machine lacks, and says which, and where the real ones come from."""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from .comfyui_source import move_folder

if TYPE_CHECKING:
    from .server import ComfyServer

TEXT_EMBEDDER_NODE = "DiffusionToolkitLoadTextEmbedder"
TEXT_EMBEDDER_NAME = "stand-in-minilm"
_HUB = "https://huggingface.co/"
SOURCES = {
    "sd_xl_base_1.0.safetensors": f"{_HUB}stabilityai/stable-diffusion-xl-base-1.0/blob/main/sd_xl_base_1.0.safetensors",
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors": (
        f"{_HUB}h94/IP-Adapter/blob/main/models/image_encoder/model.safetensors (rename it)"
    ),
    "bge-large-en-v1.5": f"{_HUB}BAAI/bge-large-en-v1.5 (the whole folder)",
    "sd_xl_refiner_1.0.safetensors": f"{_HUB}stabilityai/stable-diffusion-xl-refiner-1.0/blob/main/sd_xl_refiner_1.0.safetensors",
    "sd21-unclip-h.ckpt": f"{_HUB}stabilityai/stable-diffusion-2-1-unclip/blob/main/sd21-unclip-h.ckpt",
    "sd3.5_large_fp8_scaled.safetensors": f"{_HUB}Comfy-Org/stable-diffusion-3.5-fp8/blob/main/sd3.5_large_fp8_scaled.safetensors",
    "flux1-dev.safetensors": f"{_HUB}black-forest-labs/FLUX.1-dev/blob/main/flux1-dev.safetensors",
    "ae.safetensors": f"{_HUB}black-forest-labs/FLUX.1-dev/blob/main/ae.safetensors",
    "clip_l.safetensors": f"{_HUB}comfyanonymous/flux_text_encoders/blob/main/clip_l.safetensors",
    "t5xxl_fp16.safetensors": f"{_HUB}comfyanonymous/flux_text_encoders/blob/main/t5xxl_fp16.safetensors",
}


@dataclass(frozen=True, slots=True)
class _Loader:
    """A ComfyUI loader node: its inputs that name files, their model folder, and the stand-in for it."""

    files: tuple[str, ...]
    folder: str
    stand_in: str
    says: str


_LOADERS = {
    "CheckpointLoaderSimple": _Loader(("ckpt_name",), "checkpoints", "StandInCheckpoint", "a small SDXL with random weights"),
    "DualCLIPLoader": _Loader(
        ("clip_name1", "clip_name2"), "text_encoders", "StandInCLIP", "a small SDXL CLIP with random weights"
    ),
    "CLIPVisionLoader": _Loader(("clip_name",), "clip_vision", "StandInCLIPVision", "a small ViT with random weights"),
    "VAELoader": _Loader(("vae_name",), "vae", "StandInVAE", "a small VAE with random weights"),
    "unCLIPCheckpointLoader": _Loader(("ckpt_name",), "checkpoints", "StandInUnCLIP", "a small SD 2.1 unCLIP-h with random weights"),
    "UNETLoader": _Loader(("unet_name",), "diffusion_models", "StandInFluxModel", "a small Flux with random weights"),
}
_OTHER_MODELS = (  # a loader and a pattern in what its widgets say, by which it is that of another model than SDXL
    ("CheckpointLoaderSimple", "refiner", _Loader(("ckpt_name",), "checkpoints", "StandInRefiner", "a small SDXL refiner with random weights")),
    ("CheckpointLoaderSimple", r"\bsd3", _Loader(("ckpt_name",), "checkpoints", "StandInSD3", "a small Stable Diffusion 3 with random weights")),
    (
        "DualCLIPLoader",
        "flux",
        _Loader(("clip_name1", "clip_name2"), "text_encoders", "StandInFluxCLIP", "a small CLIP-L and T5 with random weights"),
    ),
    ("VAELoader", r"\bae\.", _Loader(("vae_name",), "vae", "StandInFluxVAE", "a small VAE of 16 channels with random weights")),
)


def replace_loaders(
    api_prompt: dict[str, Any], object_info: dict[str, Any], text_embedders: Collection[str], models: Path
) -> tuple[dict[str, Any], list[str]]:
    """The prompt with a stand-in for each loader whose file is not in ComfyUI's model folders, and a line about each.

    `text_embedders` are the folders under models/sentence_transformers that hold a model; `models` is where a person puts
    model files. A file that is there in another sub-folder is used from there.
    """
    prompt, notes = copy.deepcopy(api_prompt), []
    for node in prompt.values():
        kind, inputs = node["class_type"], node["inputs"]
        if kind == TEXT_EMBEDDER_NODE:
            name = inputs["model_name"]
            if name not in text_embedders and not str(inputs.get("download_from") or "").strip():
                inputs["model_name"] = TEXT_EMBEDDER_NAME
                notes.append(_note(name, "MiniLM, a real but small sentence encoder", models / "sentence_transformers" / name))
        elif (loader := _loader_for(kind, inputs)) is not None:
            if not all(isinstance(inputs[name], str) for name in loader.files):  # a name that is known when it runs
                node["class_type"], node["inputs"] = loader.stand_in, {}
                notes.append(f"STAND-IN for the file that {kind} is given over a link: {loader.says}.")
                continue
            found = {name: _present(inputs[name], _options(object_info, kind, name)) for name in loader.files}
            if all(found.values()):
                inputs.update(found)
                continue
            missing = [inputs[name] for name, there in found.items() if there is None]
            notes += [_note(name, loader.says, models / loader.folder / name) for name in missing]
            node["class_type"], node["inputs"] = loader.stand_in, {}
    return prompt, list(dict.fromkeys(notes))


def prepare(server: ComfyServer, api_prompt: dict[str, Any], object_info: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`replace_loaders` for a running server."""
    return replace_loaders(api_prompt, object_info, text_embedders(server), server.own_models)


def text_embedders(server: ComfyServer) -> set[str]:
    """The folders that hold a sentence-transformers model, as ComfyUI sees them."""
    files = (Path(name.replace("\\", "/")) for name in server.get("/models/sentence_transformers"))
    return {file.parent.as_posix() for file in files if file.name == "modules.json"}


def text_embedder_folder(cache: Path) -> Path:
    """A models/sentence_transformers folder, kept in `cache`, with the stand-in for BGE in it."""
    root = cache / "stand-ins" / "sentence_transformers"
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_suffix(".lock")):  # the first tests of a new checkout ask from several processes at once
        if not (root / TEXT_EMBEDDER_NAME / "modules.json").is_file():
            from .stand_in_models import write_text_embedder_folder

            with tempfile.TemporaryDirectory(prefix="making-", dir=root.parent) as scratch:
                made = write_text_embedder_folder(Path(scratch) / TEXT_EMBEDDER_NAME)
                shutil.rmtree(root / TEXT_EMBEDDER_NAME, ignore_errors=True)
                move_folder(made, root / TEXT_EMBEDDER_NAME)  # whole or not at all
    return root


def _loader_for(kind: str, inputs: dict[str, Any]) -> _Loader | None:
    written = " ".join(value for value in inputs.values() if isinstance(value, str)).lower()
    return next((loader for of, pattern, loader in _OTHER_MODELS if of == kind and re.search(pattern, written)), _LOADERS.get(kind))


def _options(object_info: dict[str, Any], kind: str, name: str) -> list[str]:
    """The values of a combo: `[[...], {...}]` from older nodes, `["COMBO", {"options": [...]}]` from newer ones."""
    described = object_info[kind]["input"]["required"][name]
    return described[0] if isinstance(described[0], list) else described[1]["options"]


def _present(wanted: str, options: list[str]) -> str | None:
    if wanted in options:
        return wanted
    return next((name for name in options if name.replace("\\", "/").rpartition("/")[2] == wanted), None)


def _note(name: str, used: str, place: Path) -> str:
    source = SOURCES.get(name, "its own source")
    return f"STAND-IN for {name}: {used}.\n    The real one: {source}\n    goes to {place}"
