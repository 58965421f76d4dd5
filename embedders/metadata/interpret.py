"""What the pieces of a file mean: which generator wrote them, and what they say.

Several readers may find something in one file: a graph and AUTOMATIC1111's text of the same image, a text beside it.

1. Prompt and negative prompt come together, from the surest: exact before inferred before unknown; among equals a text
   before an empty one, then the ComfyUI graph, then the generators in their order, then the files beside the image.
   So a graph whose text was made when it ran, or had to be guessed, yields to the final text that a node wrote beside it.
2. Each setting comes from the same place, and where that says nothing from the next that does. What a text says beside a graph that is
   followed exactly is then inferred, but for the files' names: its cfg or size may be what its writer was never given. LoRAs that a
   text tags are none where the graph has ComfyUI's own nodes alone, and none of them loads one.
3. A caption counts only where nothing else has a text: it tells what is in the picture, not what it was made from.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from ..graph import Origin, Settings
from .comfyui import read_graph
from .containers.xmp import xmp_rating
from .generators import owns_prompt, read_captions, read_others
from .records import ImageMetadata, NodeDefinitions, Pieces
from .text import clean

_SURENESS = ("exact", "inferred", "unknown")
_FILES = {"checkpoint", "vae", "text_encoders"}
_MAX_PROBLEM = 2000  # letters; a file can be wrong in many ways at once


def interpret(pieces: Pieces, *, name: str | None = None, definitions: NodeDefinitions = {}) -> ImageMetadata:
    """What the file tells of its image. `name` is the file's; `pieces` stay as they are."""
    told = Pieces(pieces.raw, pieces.places, pieces.created, list(pieces.problems), pieces.size)
    chosen = _chosen(told, name, definitions) if told.raw else ImageMetadata()
    chosen.created, chosen.raw, chosen.places = pieces.created, pieces.raw, pieces.places
    chosen.rating = xmp_rating(pieces.raw["xmp"]) if "xmp" in pieces.raw else None
    chosen.problem = clean("; ".join(dict.fromkeys(told.problems))[:_MAX_PROBLEM]) or None
    return chosen


def _chosen(told: Pieces, name: str | None, definitions: NodeDefinitions) -> ImageMetadata:
    """A record of its own, all but what comes from the pieces themselves."""
    graphs = told
    if owns_prompt(told):
        graphs = replace(told, raw={key: value for key, value in told.raw.items() if key != "prompt"})
    graph = read_graph(graphs, name, definitions)
    found = [one for one in (graph, *read_others(told)) if one is not None]
    if not any(one.prompt is not None or one.negative is not None for one in found):
        found = found + read_captions(told)
    return _choose(found, graph)


def _choose(found: list[ImageMetadata], graph: ImageMetadata | None) -> ImageMetadata:
    if len(found) < 2:
        return found[0] if found else ImageMetadata()
    best = min(found, key=_rank)  # of equals the first
    followed = best is graph and graph.settings_origin.confidence == "exact"
    settings: dict[str, Any] = {"loras": []} if graph is not None and graph.loads_no_lora else {}  # a tag is a word of the prompt
    sources: list[Origin] = []
    for one in [best, *(other for other in found if other is not best)]:
        new = {
            field.name: value
            for field in fields(Settings)
            if (value := getattr(one, field.name)) not in (None, []) and field.name not in settings
        }
        if {"width", "height"} & settings.keys():
            new.pop("width", None), new.pop("height", None)
        if new:
            settings |= new
            sources.append(one.settings_origin)
            if followed and one is not best and not new.keys() <= _FILES:
                sources.append(Origin("inferred"))
    generator = best.generator
    if graph is not None and generator in (None, "AUTOMATIC1111"):  # nodes that save write its format too
        generator = graph.generator
    return replace(
        best,
        **settings,
        settings_origin=_together(sources) if sources else best.settings_origin,
        passes=graph.passes if graph is not None else best.passes,
        generator=generator,
    )


def _rank(found: ImageMetadata) -> tuple[int, bool]:
    if found.prompt is None:
        return len(_SURENESS) + (found.negative is None), True
    return _SURENESS.index(found.prompt_origin.confidence), not any(half.strip() for half in found.prompt)


def _together(sources: list[Origin]) -> Origin:
    """As sure as the least sure of them; one that lacks some of the settings, which another has, does not count."""
    sources = [source for source in sources if source.confidence != "unknown"] or sources
    least = max((source.confidence for source in sources), key=_SURENESS.index)
    return Origin(least, "; ".join(dict.fromkeys(source.where for source in sources if source.where)))
