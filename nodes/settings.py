"""A stored image's settings under the names that this ComfyUI has for them, or the stated defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..db import StoredImage
    from ..embedders.metadata import ImageMetadata

DEFAULT_SEED = 0
DEFAULT_STEPS = 20
DEFAULT_CFG = 7.0
DEFAULT_SAMPLER = "euler"
DEFAULT_SCHEDULER = "normal"
DEFAULT_GUIDANCE = 3.5
DEFAULT_DENOISE = 1.0
SPELT_OTHERWISE = {"dpm2": "dpm_2", "dpm2_ancestral": "dpm_2_ancestral", "unipc": "uni_pc"}  # than AUTOMATIC1111's label


def wireable(image: StoredImage | ImageMetadata) -> tuple[dict[str, Any], str]:
    """The settings by the names of the outputs that give them, never None, and a note where a known one has no like here."""
    import comfy.samplers
    import folder_paths

    samplers, schedulers = comfy.samplers.KSampler.SAMPLERS, comfy.samplers.KSampler.SCHEDULERS
    sampler, scheduler = sampler_and_scheduler(image.sampler, image.scheduler, samplers, schedulers)
    notes = []
    if sampler is None and image.sampler:
        notes.append(f"sampler {image.sampler} is not known here: {DEFAULT_SAMPLER}")
    if scheduler is None and image.scheduler:
        notes.append(f"scheduler {image.scheduler} is not known here: {DEFAULT_SCHEDULER}")
    settings = {
        "seed": image.seed if image.seed is not None else DEFAULT_SEED,
        "steps": image.steps if image.steps is not None else DEFAULT_STEPS,
        "cfg": image.cfg if image.cfg is not None else DEFAULT_CFG,
        "sampler": sampler or DEFAULT_SAMPLER,
        "scheduler": scheduler or DEFAULT_SCHEDULER,
        "checkpoint": checkpoint_here(image.checkpoint, folder_paths.get_filename_list("checkpoints")),
    }
    return settings, "; ".join(notes)


def not_told(image: StoredImage | ImageMetadata) -> list[str]:
    """The settings that `wireable`, and the denoise beside it, can only give as defaults, since the image's file has none."""
    import comfy.samplers

    told = {name: getattr(image, name) for name in ("seed", "steps", "cfg", "sampler", "scheduler", "denoise", "checkpoint")}
    if not image.scheduler:  # the sampler's label may name it
        host = comfy.samplers.KSampler
        told["scheduler"] = sampler_and_scheduler(image.sampler, None, host.SAMPLERS, host.SCHEDULERS)[1]
    return [name for name, value in told.items() if value is None or value == ""]


def sampler_and_scheduler(
    sampler: str | None, scheduler: str | None, samplers: Sequence[str], schedulers: Sequence[str]
) -> tuple[str | None, str | None]:
    """ComfyUI's names, also of other generators' labels: "DPM++ 2M Karras", k_euler_a, dpmpp_2m_k. None where there is no such one."""
    name, found = _plain(sampler or ""), _plain(scheduler or "")
    if name not in samplers:
        name = re.sub("^k_|^k(?=dpm)", "", name)  # k-diffusion's own prefix, which NovelAI and InvokeAI keep
        name = re.sub(r"_(trailing|ays|v\d+)$", "", name)  # how Draw Things spaces the steps; a revision of NovelAI's
        for ending in sorted((*schedulers, "k"), key=len, reverse=True):
            if name.endswith(f"_{ending}"):
                name, found = name.removesuffix(f"_{ending}"), found or ("karras" if ending == "k" else ending)
                break
        name = re.sub("_a$", "_ancestral", name)
        name = SPELT_OTHERWISE.get(name, name)
    return (name if name in samplers else None), (found if found in schedulers else None)


def checkpoint_here(name: str | None, here: Sequence[str]) -> str:
    """The checkpoint as this ComfyUI lists it, the name as it is where it has no like here, the first one for None."""
    if name is None:
        return here[0] if here else ""
    return name_here(name, here) or name


def name_here(name: str, here: Sequence[str]) -> str | None:
    """A model file as this ComfyUI lists it: folders, separators and a left-out suffix differ between machines.

    None where there is no such one here, or more than one.
    """
    if name in here:
        return name
    for plain in (_slashed, _file_name):
        if alike := [other for other in here if plain(other) == plain(name)]:
            return alike[0] if len(alike) == 1 else None
    return None


def _plain(label: str) -> str:
    return re.sub(r"[\s-]+", "_", label.strip().lower().replace("++", "pp"))


def _slashed(path: str) -> str:
    return path.replace("\\", "/")


def _file_name(path: str) -> str:
    name = _slashed(path).rpartition("/")[2]
    return re.sub(r"\.(safetensors|sft|ckpt|pt|pth|bin|gguf)$", "", name, flags=re.IGNORECASE)
