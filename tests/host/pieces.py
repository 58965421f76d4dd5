"""What `interpret` makes of texts by key, and its records in short."""

from __future__ import annotations

import json
from typing import Any

from diffusion_toolkit.embedders.metadata import ImageMetadata, Pieces, interpret


def read(**texts: Any) -> ImageMetadata:
    """From texts by key; whatever is none is written as JSON. What is well formed has no problem."""
    told = {key: text if isinstance(text, str) else json.dumps(text) for key, text in texts.items()}
    found = interpret(Pieces({k: v.encode() for k, v in told.items()}, dict.fromkeys(told, "PNG text")))
    assert found.problem is None
    return found


def pair(text: str) -> tuple[str, str]:
    return text, text


def lora(name: str, strength: float) -> dict[str, Any]:
    return {"name": name, "strength_model": strength, "strength_clip": strength}
