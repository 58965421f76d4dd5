"""SwarmUI: a JSON object with `sui_image_params`, under the ids that its parameters have."""

from __future__ import annotations

import re
from typing import Any

from ..records import ImageMetadata
from .flat import flat_fields
from .told import Json, image, real

_SECTION = re.compile(r"//cid=\d{1,6}(?=>)")  # which part of the prompt a tag is confined to, added when it was made
_ENCODERS = (
    "cliplmodel",
    "clipgmodel",
    "clipvisionmodel",
    "t5xxlmodel",
    "llamamodel",
    "llavamodel",
    "qwenmodel",
    "mistralmodel",
    "gemmamodel",
)


def from_object(told: Json, where: str) -> ImageMetadata | None:
    """The prompt is the one with its wildcards chosen; what was typed is in `original_prompt`."""
    found = told.get("sui_image_params")
    if not isinstance(found, dict):
        return None
    fields = flat_fields(found)
    if isinstance(fields["prompt"], str):
        fields["prompt"] = _SECTION.sub("", fields["prompt"])
    fields["denoise"] = found.get("initimagecreativity")
    weights = _list(found.get("loraweights"))
    return image(
        "SwarmUI",
        f"SwarmUI metadata{where}",
        **fields,
        loras=[(lora, weights[at] if at < len(weights) else 1.0) for at, lora in enumerate(_list(found.get("loras")))],
        controlnets=[
            (
                found[f"controlnet{unit}model"],
                weight if (weight := real(found.get(f"controlnet{unit}strength"))) is not None else 1.0,
            )
            for unit in ("", "two", "three")
            if f"controlnet{unit}model" in found
        ],
        text_encoders=[found[key] for key in _ENCODERS if key in found],
    )


def _list(told: Any) -> list[Any]:
    """A list, which older versions wrote as one string with commas."""
    return told.split(",") if isinstance(told, str) and told else told if isinstance(told, list) else []
