"""Draw Things: JSON with `c` and `uc` in a PNG's comment, which Apple's library also puts into XMP's exif:UserComment."""

from __future__ import annotations

from ..records import ImageMetadata
from .flat import flat_fields
from .told import Json, first, image, items, weights_by_name


def from_object(told: Json, where: str) -> ImageMetadata | None:
    """`v2` repeats the settings under other names; some are only there."""
    if not isinstance(told.get("c"), str) or {"uc", "sampler", "scale", "v2"}.isdisjoint(told):
        return None
    more = told.get("v2")
    fields = {**flat_fields(told), "prompt": told["c"], "negative": told.get("uc")}
    if isinstance(more, dict):
        later = flat_fields(more)
        fields |= {
            key: later[key] for key in ("seed", "steps", "denoise", "checkpoint", "width", "height") if fields[key] is None
        }
    return image(
        "Draw Things",
        f"Draw Things metadata{where}",
        **fields,
        loras=weights_by_name(items(first(told, "lora")) or items(first(more, "loras"))),
        controlnets=weights_by_name(items(first(told, "control")) or items(first(more, "controls"))),
    )
