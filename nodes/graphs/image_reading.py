"""One file's metadata as Read Image Prompt gives it: outputs that wire, all of it as JSON, and a text for a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from comfy_api.v0_0_2 import io

from ...db import TextPair
from ...embedders.folders.scan import SUFFIXES
from ...embedders.graph import Origin, Settings
from ...embedders.metadata import ImageMetadata, NodeDefinitions, read_metadata
from ...embedders.metadata.records import sureness
from ...embedders.metadata.text import decode as decode_text
from ...embedders.pictures.decode import ImageError, read_image
from ..files import FileRefused
from ..settings import DEFAULT_DENOISE, DEFAULT_GUIDANCE, name_here, not_told, wireable

SHOWN = 4_000  # characters of a prompt in the text on the node
MAX_JSON = 4 * 2**20  # characters of a piece that is given as JSON rather than as text: read, it may take thirty times as much


def read(file: Path, definitions: NodeDefinitions, notes: Sequence[str] = ()) -> io.NodeOutput:
    """The node's outputs for a file. FileRefused when it is no image and tells nothing."""
    try:
        found, size, notes = _found(file, definitions, list(notes))
    except OSError as error:
        raise FileRefused(f"{file} can't be read: {error.strerror or error}.") from error
    here, missing = _models_here(found)
    settings, replaced = wireable(found)
    width, height = found.width or size[0], found.height or size[1]
    text = _text(file, found, [*notes, *filter(None, [replaced]), *missing])
    return io.NodeOutput(
        _joined(found.prompt),
        _joined(found.negative),
        _confidence(found.prompt_origin, found.prompt is not None),
        settings["seed"],
        settings["steps"],
        settings["cfg"],
        found.guidance if found.guidance is not None else DEFAULT_GUIDANCE,
        settings["sampler"],
        settings["scheduler"],
        found.denoise if found.denoise is not None else DEFAULT_DENOISE,
        settings["checkpoint"],
        _first_or(here["diffusion_model"], "diffusion_models"),
        here["vae"] or "",
        _unicode(here["loras"], indent=None),
        width,
        height,
        _unicode(_record(file, size, found, here)),
        _raw_json(found),
        ui={"text": [text]},
    )


def _found(
    file: Path, definitions: NodeDefinitions, notes: list[str]
) -> tuple[ImageMetadata, tuple[int, int], list[str]]:
    """What the file tells, as Index Folder reads it, and the picture's size; (0, 0) with a note where it can't be told.

    FileRefused when it is no picture and tells nothing.
    """
    try:
        image = read_image(file, definitions=definitions)
    except ImageError as error:
        found = read_metadata(file, definitions=definitions)
        if file.suffix.lower() not in SUFFIXES or not found.raw:
            raise FileRefused(f"{file} is no image that can be read: {error}.") from error
        return found, (0, 0), [*notes, f"the picture itself can't be read: {error}"]
    return image.metadata, (image.width, image.height), notes


def _models_here(found: ImageMetadata) -> tuple[dict[str, Any], list[str]]:
    """The model files under the names that the combos of this ComfyUI have, and a note for each that is not here."""
    import folder_paths

    def listed(folder: str) -> list[str]:
        try:
            return folder_paths.get_filename_list(folder)
        except KeyError:  # a folder that this ComfyUI does not know
            return []

    notes = []

    def named(name: str, *folders: str) -> str:
        match = next((match for folder in folders if (match := name_here(name, listed(folder)))), None)
        if match is None:
            notes.append(f"{name} is not here under {' or '.join(f'models/{folder}' for folder in folders)}")
        return match or name

    here: dict[str, Any] = {"checkpoint": None, "diffusion_model": None, "vae": None}
    if found.checkpoint is not None:
        named(found.checkpoint, "checkpoints", "diffusion_models")
        here["checkpoint"] = name_here(found.checkpoint, listed("checkpoints")) or found.checkpoint
        here["diffusion_model"] = name_here(found.checkpoint, listed("diffusion_models")) or found.checkpoint
    if found.vae is not None:
        here["vae"] = named(found.vae, "vae")
    here["text_encoders"] = [named(name, "text_encoders") for name in found.text_encoders]
    here["loras"] = [{**one, "name": named(one["name"], "loras")} for one in found.loras if one.get("name")]
    here["controlnets"] = [{**one, "name": named(one["name"], "controlnet")} for one in found.controlnets if one.get("name")]
    return here, list(dict.fromkeys(notes))


def _first_or(name: str | None, folder: str) -> str:
    import folder_paths

    return name if name is not None else next(iter(folder_paths.get_filename_list(folder)), "")


def _record(file: Path, size: tuple[int, int], found: ImageMetadata, here: dict[str, Any]) -> dict[str, Any]:
    """All that was found, for JSON. Settings stand as the file has them; `here` has the names of this ComfyUI."""

    def text(pair: tuple[str, str] | None, origin: Origin, joined: bool) -> dict[str, Any]:
        both = {} if pair is None or pair[0] == pair[1] else {"text_g": pair[0], "text_l": pair[1]}
        sure = {"confidence": _confidence(origin, pair is not None), "where": origin.where}
        return {"text": None if pair is None else _joined(pair), **both, **sure, "joined_from_several": joined}

    settings = {field.name: getattr(found, field.name) for field in fields(Settings)}
    return {
        "file": {"path": str(file), "width": size[0], "height": size[1]},
        "generator": found.generator,
        "created": found.created.isoformat() if found.created else None,
        "prompt": text(found.prompt, found.prompt_origin, found.prompt_joined),
        "negative_prompt": text(found.negative, found.negative_origin, found.negative_joined),
        "settings": {**settings, "confidence": _confidence(found.settings_origin, _any(found)), "where": found.settings_origin.where},
        "here": here,
        "passes": [asdict(one) for one in found.passes],
        "metadata": found.places,
        "problem": found.problem,
    }


def _raw_json(found: ImageMetadata) -> str:
    """Each piece as JSON where it is that, to the letter; else as text: NaN, and numbers that no JSON has, stay as they are."""
    pieces = {key: _piece(decode_text(raw)) for key, raw in found.raw.items()}
    return _unicode(pieces, indent=None)  # indents of what is nested deep would be hundreds of times the file


def _piece(text: str) -> Any:
    if len(text) > MAX_JSON:
        return text
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, (dict, list)) else text


def _unicode(value: Any, indent: int | None = 2) -> str:
    """JSON with its letters readable, unless a lone surrogate is among them, which UTF-8 has not."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def _text(file: Path, found: ImageMetadata, notes: Sequence[str]) -> str:
    """What the node shows."""
    lines = [f"{file.name}: {found.generator or 'no generator is known'}"]
    for what, pair, origin, joined in (
        ("Prompt", found.prompt, found.prompt_origin, found.prompt_joined),
        ("Negative prompt", found.negative, found.negative_origin, found.negative_joined),
    ):
        sure = ", ".join(filter(None, [_confidence(origin, pair is not None), origin.where, "joined from several texts" * joined]))
        shown = _joined(pair).strip()
        lines += ["", f"{what} ({sure})"]
        if pair is not None:
            lines.append((shown[:SHOWN] + "\u2026" if len(shown) > SHOWN else shown) or "(the empty text)")
    settings = _settings_lines(found)
    if settings:
        sure = ", ".join(filter(None, [found.settings_origin.confidence, found.settings_origin.where]))
        lines += ["", f"Settings ({sure})", *settings]
    missing = not_told(found)
    if missing:
        lines += ["", f"Not in the file: {', '.join(missing)}; the defaults are given."]
    if found.problem:
        notes = [*notes, found.problem]
    if notes:
        lines += ["", *(f"Note: {note}." for note in notes)]
    return "\n".join(lines)


def _settings_lines(found: ImageMetadata) -> list[str]:
    numbers = {
        "seed": found.seed, "steps": found.steps, "cfg": found.cfg, "guidance": found.guidance, "sampler": found.sampler,
        "scheduler": found.scheduler, "denoise": found.denoise,
        "size": f"{found.width} x {found.height}" if found.width and found.height else None,
    }  # fmt: skip
    lines = ["  ".join(f"{name} {_short(value)}" for name, value in numbers.items() if value is not None)]
    lines += [f"model {found.checkpoint}" if found.checkpoint else "", f"VAE {found.vae}" if found.vae else ""]
    lines += [f"text encoder {name}" for name in found.text_encoders]
    lines += [f"LoRA {one.get('name')} at {_short(one.get('strength_model'))}" for one in found.loras]
    lines += [f"ControlNet {one.get('name')} at {_short(one.get('strength'))}" for one in found.controlnets]
    if len(found.passes) > 1:
        lines.append(f"{len(found.passes)} passes of a sampler; these are the settings of the one that began the picture")
    return [line for line in lines if line]


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _confidence(origin: Origin, has: bool) -> str:
    return sureness(has, origin) or "none"


def _any(found: ImageMetadata) -> bool:
    return any(getattr(found, field.name) for field in fields(Settings))


def _joined(pair: tuple[str, str] | None) -> str:
    """The pair as one text, as the library joins it."""
    return "" if pair is None else TextPair(*pair).joined
