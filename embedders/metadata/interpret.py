"""What the pieces of a file mean: which generator wrote them, and what they say."""

from __future__ import annotations

from dataclasses import replace

from .comfyui import read_graph
from .generators import read_others
from .records import ImageMetadata, NodeDefinitions, Pieces


def interpret(pieces: Pieces, *, name: str | None = None, definitions: NodeDefinitions = {}) -> ImageMetadata:
    """A ComfyUI graph first, since it says most; what other generators leave where there is no graph with a text."""
    found = read_graph(pieces, name, definitions)
    if found is None or (found.prompt is None and found.negative is None):
        found = read_others(pieces) or found or ImageMetadata()
    return replace(
        found,
        created=pieces.created,
        raw=pieces.raw,
        places=pieces.places,
        problem="; ".join(pieces.problems) or None,
    )
