"""InvokeAI: a command line (1.x), `sd-metadata` (2.x), `invokeai_metadata` (3.x and later), else its graph."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..records import ImageMetadata
from .invokeai_graph import read_invokeai_graph
from .told import Json, Told, first, image, items

_NEGATIVE = re.compile(r"\[([^\[\]]*)\]")  # 1.x and 2.x: what stands in brackets is not wanted
_OPTION = re.compile(r"\s-{1,2}([A-Za-z_]{1,30})[ =]?([^\s-][^\s]{0,200}|-[\d.]{1,30})?")
_MAX_LINE = 100_000
_OPTIONS = {"s": "steps", "S": "seed", "W": "width", "H": "height", "C": "cfg", "A": "sampler", "f": "denoise"}
_ENCODERS = ("clip_embed_model", "t5_encoder", "qwen3_encoder", "mistral_encoder", "qwen_vl_encoder")


def read(told: Told) -> Iterator[ImageMetadata]:
    """The newest form first: 3.x and later may keep metadata without the prompt, which is in the graph then."""
    if (found := told.object("invokeai_metadata")) is not None:
        yield from_metadata(found, told.where("InvokeAI metadata", "invokeai_metadata"))
    for key in ("invokeai_graph", "invokeai_workflow"):
        graph = told.object(key)
        if graph is None:
            continue
        core, fields, literal = read_invokeai_graph(graph)
        if core is not None:
            yield from_metadata(core, told.where("InvokeAI metadata", key))
        yield image("InvokeAI", told.where("InvokeAI graph", key), inferred=not literal, **fields)
    if (found := told.object("sd-metadata")) is not None:
        yield _from_sd_metadata(found, told.where("InvokeAI metadata", "sd-metadata"))
    if (line := told.text("Dream")) is not None and len(line) <= _MAX_LINE:
        yield _from_dream(line, told.where("InvokeAI command", "Dream"))


def from_object(told: Json, where: str) -> ImageMetadata | None:
    """The same metadata in another place, such as a side-car."""
    if "positive_prompt" not in told or {"generation_mode", "app_version", "scheduler"}.isdisjoint(told):
        return None
    return from_metadata(told, f"InvokeAI metadata{where}")


def from_metadata(told: Json, where: str) -> ImageMetadata:
    """SDXL's style prompt goes to CLIP-G alone, whose text is the prompt where there is no style."""
    return image(
        "InvokeAI",
        where,
        prompt=_with_style(told.get("positive_prompt"), told.get("positive_style_prompt")),
        negative=_with_style(told.get("negative_prompt"), told.get("negative_style_prompt")),
        seed=told.get("seed"),
        steps=told.get("steps"),
        cfg=told.get("cfg_scale") if not isinstance(told.get("cfg_scale"), list) else next(iter(told["cfg_scale"]), None),
        guidance=told.get("guidance"),
        sampler=told.get("scheduler"),
        denoise=told.get("strength"),
        checkpoint=told.get("model"),
        vae=told.get("vae"),
        text_encoders=[told[key] for key in _ENCODERS if key in told],
        loras=[
            (first(one, "model", "lora"), first(one, "weight"))
            for one in items(told.get("loras"))
            if isinstance(one, dict) and one.get("isEnabled") is not False
        ],
        controlnets=[
            (first(one, "control_model"), _one(first(one, "control_weight"))) for one in items(told.get("controlnets"))
        ],
        width=told.get("width"),
        height=told.get("height"),
    )


def _with_style(prompt: Any, style: Any) -> Any:
    return (style, prompt) if isinstance(style, str) and style.strip() and isinstance(prompt, str) else prompt


def _one(weight: Any) -> Any:
    return (weight[0] if weight else None) if isinstance(weight, list) else weight if weight is not None else 1.0


def _split(prompt: str) -> tuple[str, str | None]:
    unwanted = " ".join(part.strip() for part in _NEGATIVE.findall(prompt))
    return re.sub(r" {2,}", " ", _NEGATIVE.sub(" ", prompt)).strip(), unwanted or None


def _from_sd_metadata(told: Json, where: str) -> ImageMetadata:
    """The prompt is a text, or a list of weighted ones."""
    made = told.get("image")
    made = made if isinstance(made, dict) else {}
    parts = [first(one, "prompt") if isinstance(one, dict) else one for one in items(made.get("prompt"))] or [
        made.get("prompt")
    ]
    texts = [_split(part) for part in parts if isinstance(part, str)]
    return image(
        "InvokeAI",
        where,
        prompt=[prompt for prompt, _ in texts],
        negative=[unwanted for _, unwanted in texts if unwanted],
        seed=made.get("seed"),
        steps=made.get("steps"),
        cfg=made.get("cfg_scale"),
        sampler=made.get("sampler"),
        denoise=made.get("strength") if made.get("type") == "img2img" else None,
        checkpoint=told.get("model_weights"),
        width=made.get("width"),
        height=made.get("height"),
    )


def _from_dream(line: str, where: str) -> ImageMetadata:
    """`"a red fox [blurry]" -s 50 -S 5 -W 512 -H 512 -C 7.5 -A k_lms`"""
    start, quote = (1, line.rfind('"')) if line.startswith('"') else (0, -1)
    options = line[quote + 1 :] if quote > 0 else line
    found = list(islice(_OPTION.finditer(options), 100))
    prompt = line[start:quote] if quote > 0 else options[: found[0].start()] if found else line
    wanted, unwanted = _split(prompt)
    fields = {_OPTIONS[one[1]]: one[2] for one in reversed(found) if one[1] in _OPTIONS}
    return image("InvokeAI", where, prompt=wanted.strip('" '), negative=unwanted, **fields)
