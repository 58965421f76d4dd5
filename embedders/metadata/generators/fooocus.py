"""Fooocus and its forks RuinedFooocus and Fooocus-MRE: one flat JSON object.

The prompt is the one that was typed. What the styles made of it is in the same object (`full_prompt`, MRE's
`real_prompt`) and stays in the original text: people look for what they wrote, and styles repeat in every image.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..records import ImageMetadata
from .flat import flat_fields, plain_keys
from .told import Json, image, items


def from_object(told: Json, where: str) -> ImageMetadata | None:
    """RuinedFooocus says its name; the other two have a base model beside the prompt."""
    software = str(told.get("software", ""))[:100]
    keys = plain_keys(told)
    if not isinstance(keys.get("prompt"), str) or not ("fooocus" in software.lower() or "basemodel" in keys):
        return None
    ruined, mre = "Ruined" in software, "MRE" in software or "realprompt" in keys
    generator = "RuinedFooocus" if ruined else "Fooocus-MRE" if mre else "Fooocus"
    return image(generator, f"{generator} metadata{where}", **flat_fields(told), loras=list(_loras(keys)))


def _loras(keys: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """[name, weight, hash]; RuinedFooocus's [hash, "weight - name"]; "name : weight"; MRE's l1 and w1."""
    for one in items(keys.get("loras")):
        told = one if isinstance(one, list) and len(one) >= 2 else [None, None]
        if isinstance(told[1], str) and " - " in told[1]:
            weight, _, name = told[1].partition(" - ")
            yield name, weight
        else:
            yield told[0], told[1]
    for number in range(1, 21):
        name, _, weight = str(keys.get(f"loracombined{number}")).rpartition(" : ")
        yield name, weight
        yield keys.get(f"l{number}"), keys.get(f"w{number}")
