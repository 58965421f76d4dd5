"""Easy Diffusion: PNG texts by key in two spellings, the same as JSON elsewhere, and its side-cars.

Its key `prompt` is ComfyUI's too, whose value is JSON; here it is a text with other keys of its own beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..records import ImageMetadata, Pieces
from .flat import flat_fields, plain_keys
from .told import Json, Told, image, is_plain, real

_LABELS = {
    "prompt": "Prompt", "negative_prompt": "Negative Prompt", "seed": "Seed",
    "use_stable_diffusion_model": "Stable Diffusion model", "use_vae_model": "VAE model", "sampler_name": "Sampler",
    "scheduler_name": "Scheduler", "width": "Width", "height": "Height", "num_inference_steps": "Steps",
    "guidance_scale": "Guidance Scale", "distilled_guidance_scale": "Distilled Guidance",
    "prompt_strength": "Prompt Strength", "use_lora_model": "LoRA model", "lora_alpha": "LoRA Strength",
    "use_controlnet_model": "ControlNet model", "control_alpha": "ControlNet Strength",
    "use_text_encoder_model": "Text Encoder model",
}  # fmt: skip
_OTHERS = (
    "CFG Scale", "Denoising Strength", "Clip Skip", "ControlNet Filter", "Hypernetwork model", "Hypernetwork Strength",
    "Embedding models", "Seamless Tiling", "Use Face Correction", "Use Upscaling", "Upscale By", "Latent Upscaler Steps",
)  # fmt: skip
_OWN = {"num_inference_steps", "use_stable_diffusion_model", "Stable Diffusion model", "negative_prompt", "Negative Prompt"}
_LINE = re.compile(rf"^({'|'.join([*_LABELS.values(), *_OTHERS])}):[ \t]*", re.MULTILINE | re.IGNORECASE)
_MAX_LENGTH = 100_000
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def owns_prompt(pieces: Pieces) -> bool:
    """Whether the piece `prompt` is a text, not ComfyUI's graph: its own, or anybody's words."""
    prompt = pieces.raw.get("prompt", b"")
    return is_plain(prompt) or (not _OWN.isdisjoint(pieces.raw) and not prompt.lstrip().startswith(b"{"))


def read(told: Told) -> Iterator[ImageMetadata]:
    """The PNG texts, then the text file beside the image."""
    if any(key in told for key in _OWN):
        texts = {key: told.text(key) for pair in _LABELS.items() for key in pair if key in told}
        if told.object("prompt") is not None:
            texts.pop("prompt")
        key = "Prompt" if "Prompt" in texts else "prompt"
        if key in texts:
            yield _found(texts, told.where("Easy Diffusion metadata", key))
    text = told.text("sidecar.txt")
    if text is not None and (lines := _lines(text)):
        yield _found(lines, told.where("Easy Diffusion metadata", "sidecar.txt"))


def from_object(told: Json, where: str) -> ImageMetadata | None:
    """Told by the names that only it has."""
    known = plain_keys(told)
    if "prompt" not in known or {"usestablediffusionmodel", "stablediffusionmodel", "numinferencesteps"}.isdisjoint(known):
        return None
    return _found(told, f"Easy Diffusion metadata{where}")


def _found(told: Json, where: str) -> ImageMetadata:
    keys = plain_keys(told)
    weights = _several(next((keys[key] for key in ("loraalpha", "lorastrength") if keys.get(key) is not None), None))
    models = _several(next((keys[key] for key in ("useloramodel", "loramodel") if keys.get(key) is not None), None))
    controlnet = keys.get("usecontrolnetmodel") or keys.get("controlnetmodel")
    alpha = real(keys["controlalpha"] if "controlalpha" in keys else keys.get("controlnetstrength"))
    return image(
        "Easy Diffusion",
        where,
        **flat_fields(told),
        loras=[(model, weights[at] if at < len(weights) else 1.0) for at, model in enumerate(models)],
        controlnets=[(controlnet, 1.0 if alpha is None else alpha)],
        text_encoders=_several(keys.get("usetextencodermodel") or keys.get("textencodermodel")),
    )


def _several(told: Any) -> list[Any]:
    """One or more: a list, a list as Python prints it, names with commas, or one value."""
    if isinstance(told, str) and told.startswith("["):
        told = told[:10_000]
        return [one or other for one, other in _QUOTED.findall(told)] or [
            part.strip() for part in told.strip("[]").split(",")
        ]
    if isinstance(told, str):
        return [part.strip() for part in told[:10_000].split(",")]
    return told if isinstance(told, list) else [] if told is None else [told]


def _lines(text: str) -> dict[str, str]:
    """`Label: value` lines, where a prompt may take several; none of it unless three labels are there."""
    if len(text) > _MAX_LENGTH:
        return {}
    marks = list(islice(_LINE.finditer(text), 100))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    found: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=False):
        found.setdefault(mark[1], text[mark.end() : end].strip())
    spelt = {label.lower() for label in found}
    return found if len(found) >= 3 and "prompt" in spelt and "seed" in spelt else {}
