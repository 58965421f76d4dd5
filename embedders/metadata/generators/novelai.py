"""NovelAI: v1 to v3 with one prompt, v4 and later with one for each character beside it.

A PNG has `Description`, `Comment` (JSON), `Source`, `Software` and `Title`; a WebP and the pixels' low bits have the
same as one JSON object, whose `Comment` is JSON in a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..records import ImageMetadata
from .told import Json, Told, first, image, items

_WRAPPED = ("UserComment", "stealth", "ImageDescription", "parameters", "sidecar.json")
_HASH = re.compile(r"\s+[0-9A-F]{6,16}$")


def read(told: Told) -> Iterator[ImageMetadata]:
    """From a PNG's texts, then from the one object of other places."""
    comment = told.object("Comment")
    named = told.text("Software") == "NovelAI"
    if comment is not None and (named or is_comment(comment)):
        beside = {key: told.text(key) for key in ("Description", "Source", "Title")}
        yield from_comment(comment, beside, told.where("NovelAI metadata", "Comment"))
    elif named and (description := told.text("Description")):
        yield image("NovelAI", told.where("NovelAI metadata", "Description"), prompt=description)
    for key in _WRAPPED:
        outer = told.object(key)
        if outer is None:
            continue
        inner = outer.get("Comment")
        inner = told.parse(inner.strip(), key) if isinstance(inner, str) else inner
        if isinstance(inner, Mapping) and is_comment(inner):
            yield from_comment(inner, outer, told.where("NovelAI metadata", key))
        elif is_comment(outer):
            yield from_comment(outer, outer, told.where("NovelAI metadata", key))
        elif outer.get("Software") == "NovelAI" and isinstance(outer.get("Description"), str):
            yield image("NovelAI", told.where("NovelAI metadata", key), prompt=outer["Description"])


def is_comment(told: Json) -> bool:
    """Draw Things has an `uc` too, beside its `c`."""
    return "v4_prompt" in told or ("uc" in told and "c" not in told and not {"scale", "sampler"}.isdisjoint(told))


def is_wrapped(told: Json) -> bool:
    """Whether an object is read here, whatever else its members could mean."""
    return is_comment(told) or "Comment" in told or told.get("Software") == "NovelAI"


def from_comment(told: Json, beside: Json, where: str) -> ImageMetadata:
    """`strength` counts only where the image began from another: text to image has it too, unused."""
    from_image = (
        "img2img" in str(told.get("request_type", "")).lower() or "infill" in str(told.get("request_type", "")).lower()
    )
    source = beside.get("Source")
    return image(
        "NovelAI",
        where,
        prompt=_caption(told.get("v4_prompt"), first(told, "prompt") or first(beside, "Description")),
        negative=_caption(told.get("v4_negative_prompt"), told.get("uc")),
        seed=told.get("seed"),
        steps=told.get("steps"),
        cfg=told.get("scale"),
        sampler=told.get("sampler"),
        scheduler=told.get("noise_schedule"),
        denoise=told.get("strength") if from_image else None,
        checkpoint=_HASH.sub("", source[:200]) if isinstance(source, str) else None,
        width=told.get("width"),
        height=told.get("height"),
    )


def _caption(told: Any, plain: Any) -> list[Any]:
    """The base caption and behind it each character's; the plain text where there is no caption."""
    caption = first(told, "caption")
    base = first(caption, "base_caption")
    characters = [first(one, "char_caption") for one in items(first(caption, "char_captions"))]
    return [base if isinstance(base, str) and base.strip() else plain, *characters]
