"""AUTOMATIC1111's parameters and their kin: Forge, SD.Next, Civitai, Fooocus's like scheme, ComfyUI's savers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from ..records import ImageMetadata
from . import captions
from .infotext import Infotext, parse_infotext, read_settings
from .told import BEGUN_OBJECT, Told, first, image, items, real, size

_TAG = re.compile(r"<(?:lora|lyco):([^<>:]{1,300})((?::[^<>:]{0,100}){0,8})>", re.IGNORECASE)
_CONTROLNET = re.compile(r"controlnet(?:[ -]\d{1,2})?", re.IGNORECASE)
_HASH = re.compile(r"\s*[\[(][0-9a-fA-F]{4,64}[\])]$")
# Where such a text may lie. Only `parameters` is known to hold a prompt when nothing else in the text says so.
KEYS = dict.fromkeys((
    "parameters", "UserComment", "stealth", "Comment", "comment", "jpeg:comment", "gif:comment", "ImageDescription",
    "Description", "description", "XPComment", "xmp:exif:UserComment", "xmp:dc:description", "iptc:caption",
    "sidecar.txt", "sidecar.caption", *captions.KEYS,
))  # fmt: skip


def read(told: Told) -> Iterator[ImageMetadata]:
    """A text counts when it names a negative prompt or settings; a bare one under `parameters` is inferred."""
    for key in KEYS:
        text = told.text(key)
        if text is None or told.object(key) is not None:
            continue
        info = parse_infotext(text)
        if info.settings or info.negative is not None:
            yield from_infotext(info, told, key)
        elif key == "parameters" and not BEGUN_OBJECT.match(text):
            yield image("AUTOMATIC1111", told.where("a text without settings", key), prompt=info.prompt, inferred=True)


def from_infotext(info: Infotext, told: Told, key: str) -> ImageMetadata:
    """The settings under our names. Fooocus's prompt is the one that was typed, as in its own scheme."""
    known = info.settings
    generator = _generator(known, told)
    if generator == "Draw Things" and info.negative is None:  # its description has the negative prompt behind a dash
        prompt, dash, negative = info.prompt.rpartition("\n-")
        info = Infotext(prompt if dash else info.prompt, negative if dash else None, known)
    told_nothing = generator == "ComfyUI" and info.prompt == "unknown"  # a saver's input to which nothing was linked, nor maybe to others
    if told_nothing:
        info = Infotext("", None if info.negative == "unknown" else info.negative, known)
    resources = [one for one in items(known.get("civitai resources")) if isinstance(one, Mapping)]
    modules = [value for name, value in known.items() if re.fullmatch(r"module \d+", name) and isinstance(value, str)]
    vaes = [one for one in modules if re.search(r"vae|^ae\b", one, re.IGNORECASE)]
    return image(
        generator,
        told.where(f"{generator} parameters", key),
        prompt=None if told_nothing else known.get("raw prompt", info.prompt) if generator == "Fooocus" else info.prompt,
        negative=known.get("raw negative prompt", info.negative) if generator == "Fooocus" else info.negative,
        inferred=told_nothing or not info.prompt and info.negative == "",  # whoever writes an empty negative prompt may have found none
        seed=known.get("seed"),
        steps=known.get("steps"),
        cfg=first(known, "cfg scale", "guidance scale"),
        guidance=first(known, "distilled cfg scale", "guidance"),
        sampler=known.get("sampler"),
        scheduler=first(known, "schedule type", "scheduler", "schedule"),
        denoise=None if _has_second_pass(known) else first(known, "denoising strength", "denoise", "strength"),
        checkpoint=first(known, "model", "unet")
        or next((first(one, "modelName", "air") for one in resources if _is(one, "checkpoint")), None),
        vae=first(known, "vae") or next(iter(vaes), None),
        text_encoders=[one for one in modules if one not in vaes] or [known.get("te")],
        loras=_loras(info, resources),
        controlnets=_controlnets(known),
        **(size(known.get("size")) or {"width": known.get("width"), "height": known.get("height")}),
    )


def _generator(known: Mapping[str, Any], told: Told) -> str:
    version, app = str(known.get("version", ""))[:200].lower(), str(known.get("app", ""))[:200].lower()
    for sign, generator in (
        ("ruinedfooocus", "RuinedFooocus"), ("fooocus", "Fooocus"), ("comfy", "ComfyUI"), ("reforge", "reForge"),
        ("sd.next", "SD.Next"), ("sdnext", "SD.Next"),
    ):  # fmt: skip
        if sign in version or sign in app:
            return generator
    if re.match(r"(f\d|neo|classic)", version) or "distilled cfg scale" in known or "forge" in version:
        return "Forge"
    if "seed mode" in known:
        return "Draw Things"
    if "smproj" in told or "parameters-json" in told:
        return "Stability Matrix"
    if "pipeline" in known or "backend" in known:
        return "SD.Next"
    return "Civitai" if "civitai resources" in known and not {"version", "model"} & known.keys() else "AUTOMATIC1111"


def _has_second_pass(known: Mapping[str, Any]) -> bool:
    """With a hires fix the denoising strength is its own; the picture itself began from noise alone."""
    return any(name.startswith(("hires", "first pass size")) for name in known)


def _is(resource: Mapping[str, Any], kind: str) -> bool:
    said = resource.get("type")
    air = resource.get("air")
    return (isinstance(said, str) and said.lower() == kind) or (isinstance(air, str) and f":{kind}:" in air[:200])


def _loras(info: Infotext, resources: list[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    """From the tags in the prompt, which say most; else from whichever list names them with a weight."""
    known = info.settings
    comfy = "comfy" in str(known.get("version", "")).lower()
    found: list[tuple[Any, ...]] = [_tag(tag, comfy) for tag in islice(_TAG.finditer(info.prompt), 1000)]
    if not found and isinstance(weights := known.get("lora weights"), str):  # Fooocus
        found = [(name.strip(), weight) for name, _, weight in (one.rpartition(":") for one in weights.split(","))]
    if not found:
        found = [
            (first(one, "modelName", "air"), first(one, "weight") or 1.0)
            for one in resources
            if any(_is(one, kind) for kind in ("lora", "lycoris", "locon", "dora"))
        ]
    if not found:  # the Additional Networks extension
        for number in range(1, 6):
            model, weight = known.get(f"addnet model {number}"), known.get(f"addnet weight a {number}")
            if isinstance(model, str):
                clip = known.get(f"addnet weight b {number}")
                unet = weight if weight is not None else known.get(f"addnet weight {number}")
                found.append((_HASH.sub("", model[:1000]), unet, clip if clip is not None else unet))
    return found


def _tag(tag: re.Match[str], comfy: bool) -> tuple[str, float, float]:
    """`<lora:name:text encoder:unet>` or `:te=..:unet=..`; ComfyUI's nodes have the two numbers the other way round."""
    plain, named = [], {}
    for part in tag[2].split(":")[1:]:
        label, equals, value = part.partition("=")
        if not equals:
            plain.append(real(label))
        elif label.strip().lower() in ("te", "unet"):
            named[label.strip().lower()] = real(value)
    numbers = [1.0 if value is None else value for value in plain] or [1.0]
    clip = numbers[0]
    model = numbers[1] if len(numbers) > 1 else clip
    if comfy:
        clip, model = model, clip
    clip = clip if named.get("te") is None else named["te"]
    model = (model if "te" not in named else clip) if named.get("unet") is None else named["unet"]
    return tag[1].strip(), model, clip


def _controlnets(known: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """`ControlNet 0: "Module: .., Model: .., Weight: 1"`, and the older `ControlNet-0 Model: .., ControlNet-0 Weight: 1`."""
    found = []
    for name, value in known.items():
        unit = _CONTROLNET.match(name)
        if unit is None or not isinstance(value, str):
            continue
        if unit.end() == len(name):
            inner = read_settings(value)
            model, weight = inner.get("model"), inner.get("weight", 1.0)
        elif name[unit.end() :] == " model":
            model, weight = value, known.get(f"{unit[0]} weight", 1.0)
        else:
            continue
        if isinstance(model, str):
            found.append((_HASH.sub("", model[:1000]), weight))
    return found
