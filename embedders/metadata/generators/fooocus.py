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
    generator = (
        "RuinedFooocus"
        if "Ruined" in software
        else "Fooocus-MRE"
        if "MRE" in software or "realprompt" in keys
        else "Fooocus"
    )
    fields = flat_fields(told)
    if generator == "Fooocus-MRE":  # its own `scale` is the one of the input image
        fields["cfg"] = keys.get("cfg")
    return image(generator, f"{generator} metadata{where}", **fields, loras=list(_loras(keys)))


def _loras(keys: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """[name, weight, hash]; RuinedFooocus's [hash, "weight - name"]; "name : weight"; MRE's l1 and w1."""
    listed = False
    for one in items(keys.get("loras")):
        if not isinstance(one, (list, tuple)) or len(one) < 2:
            continue
        listed = True
        if isinstance(one[1], str) and " - " in one[1]:
            weight, _, name = one[1].partition(" - ")
            yield name, weight
        elif isinstance(one[0], str) and isinstance(one[1], (int, float, str)):
            yield one[0], one[1]
    for number in range(1, 21):
        combined = keys.get(f"loracombined{number}")
        if isinstance(combined, str) and not listed:
            name, _, weight = combined.rpartition(" : ")
            yield name, weight
        name = keys.get(f"l{number}")
        if isinstance(name, str) and isinstance(weight := keys.get(f"w{number}"), (int, float, str)):
            yield name, weight
