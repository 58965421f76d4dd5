"""What a file tells of its image, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..graph import Confidence, Origin, Pass, Settings, Text

MAX_TEXT_BYTES = 32 * 2**20  # of one piece of metadata, unpacked; larger ones are left unread and said so

MAX_KEY = 500  # letters of a key: writers use some dozens, and the library indexes it

READER_VERSION = 10
"""Grows whenever `interpret` gives other answers for the same pieces: libraries then read their stored pieces anew."""

NodeDefinitions = Mapping[str, Mapping[str, Any]]
"""ComfyUI's `/object_info`: class -> definition. May be empty, and may make each entry when it is asked for."""


@dataclass
class Pieces:
    """What lies in a file, before anyone knows what it means."""

    raw: dict[str, bytes] = field(default_factory=dict)  # by key, unpacked; EXIF comments as UTF-8
    places: dict[str, str] = field(default_factory=dict)  # where each lay, such as "PNG tEXt" or "EXIF Model"
    created: datetime | None = None
    problems: list[str] = field(default_factory=list)
    size: tuple[int, int] | None = None  # of the picture, where it is at hand

    def add(self, key: str, value: bytes, place: str) -> None:
        """The first piece of a key wins, as in ComfyUI and Pillow."""
        if key not in self.raw and len(key) <= MAX_KEY:
            self.raw[key], self.places[key] = value, place


def sureness(found: bool, origin: Origin) -> Confidence | None:
    """How sure an answer is; None where the file has no such thing, which is another matter than not knowing it."""
    return origin.confidence if found or (origin.where and origin.confidence == "unknown") else None


@dataclass(kw_only=True)
class ImageMetadata(Settings):
    """What a file tells of its image; None where it says nothing.

    A prompt is SDXL's pair (text_g, text_l), the same text twice elsewhere; `("", "")` is an empty text that was
    encoded, None is none at all. `joined` says that several texts made it. Each origin says how sure the answer is.
    """

    prompt: Text | None = None
    negative: Text | None = None
    prompt_joined: bool = False
    negative_joined: bool = False
    prompt_origin: Origin = Origin()
    negative_origin: Origin = Origin()
    settings_origin: Origin = Origin()
    passes: list[Pass] = field(default_factory=list)  # ComfyUI: first to last
    loads_no_lora: bool = False  # the graph, for certain
    generator: str | None = None
    rating: int | None = None  # -1 rejected, 1 to 5 stars
    created: datetime | None = None
    raw: dict[str, bytes] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    problem: str | None = None
