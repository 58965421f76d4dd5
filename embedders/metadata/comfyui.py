"""What a ComfyUI graph in a file says of the image."""

from __future__ import annotations

import json
from dataclasses import fields, replace

from ..graph import Settings, trace
from .records import MAX_TEXT_BYTES, ImageMetadata, NodeDefinitions, Pieces
from .text import clean, decode, join


def read_graph(pieces: Pieces, name: str | None, definitions: NodeDefinitions) -> ImageMetadata | None:
    """Trace ComfyUI's graph; `name` is the file's, which tells which of several outputs it is.

    Python's JSON takes the NaN and Infinity that ComfyUI writes.
    """
    content = pieces.raw.get("prompt")
    if content is None:
        return ImageMetadata(generator="ComfyUI") if "workflow" in pieces.raw else None
    if len(content) > MAX_TEXT_BYTES:
        pieces.problems.append(f"the graph of {len(content)} bytes was left unread")
        return None
    try:
        traced = trace(json.loads(decode(content)), saved_as=name)
    except (ValueError, RecursionError) as error:
        pieces.problems.append(f"the ComfyUI graph can't be read ({error})")
        return None
    prompt, prompt_joined = join(traced.positive)
    negative, negative_joined = join(traced.negative)
    settings = {field.name: getattr(traced, field.name) for field in fields(Settings)}
    settings |= {key: clean(settings[key]) for key in ("sampler", "scheduler", "checkpoint", "vae")}
    settings["loras"] = [{**lora, "name": clean(lora["name"])} for lora in traced.loras]
    return replace(
        ImageMetadata(**settings),
        prompt=prompt,
        negative=negative,
        prompt_joined=prompt_joined,
        negative_joined=negative_joined,
        prompt_origin=traced.positive_origin,
        negative_origin=traced.negative_origin,
        settings_origin=traced.settings_origin,
        passes=traced.passes,
        generator="ComfyUI",
    )
