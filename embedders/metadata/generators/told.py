"""A file's texts as the readers of generators take them, and what they found made fit for use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from ...graph import Origin, Settings, Text
from ..containers.xmp import xmp_texts
from ..records import MAX_TEXT_BYTES, ImageMetadata, Pieces
from ..text import clean, decode, join, number, whole

Json = Mapping[str, Any]

MAX_PARTS = 100_000  # of one JSON text: an empty list takes two bytes in a file and thirty times that in memory
NO_NAMES = {"", "none", "null", "undefined", "unknown", "automatic", "default", "default (model)"}  # of a model: nothing was chosen

BEGUN_OBJECT = re.compile(r'\{\s*"')  # which no prompt does, not even Dynamic Prompts' {red|blue}
_COMFYUI = {"prompt", "workflow"}
_READ_ELSEWHERE = {"extraMetadata", "invokeai_metadata", "invokeai_graph", "invokeai_workflow", "sd-metadata"}
_MARKS = "\0\ufeff \t\r\n"  # around a text

# Where a JSON object may lie whose members alone say which generator wrote it, the likeliest first.
OBJECT_KEYS = (
    "parameters", "UserComment", "Comment", "comment", "jpeg:comment", "gif:comment", "ImageDescription", "Description",
    "XPComment", "xmp:exif:UserComment", "Model", "generation_data", "parameters-json", "stealth", "sidecar.json",
)  # fmt: skip


def is_words(text: str) -> bool:
    """Whether it has letters, and no signs that are bytes of something else."""
    start = text[:2000]
    return any(sign.isalpha() for sign in start) and not any(
        (ord(sign) < 32 and sign not in "\t\r\n") or sign == "\ufffd" for sign in start
    )


def is_plain(piece: bytes) -> bool:
    """Whether a piece that should be JSON is a person's words, not even begun as JSON that holds something."""
    text = decode(piece[:2000]).strip(_MARKS)
    return not text.startswith(("{", "[", '"')) and text.lower() not in NO_NAMES and is_words(text)


class Told:
    """A file's own texts, or those beside it, decoded once when asked for, and the JSON objects among them.

    A text in the XMP packet has the key `xmp:dc:description`, and so on.
    """

    def __init__(self, pieces: Pieces, *, beside: bool = False) -> None:
        self.problems = pieces.problems
        self._raw = {key: value for key, value in pieces.raw.items() if key.startswith("sidecar.") == beside}
        self._places = pieces.places
        self._xmp: dict[str, str] | None = None
        self._texts: dict[str, str | None] = {}
        self._objects: dict[str, Json | None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._raw

    def has_texts(self) -> bool:
        """Whether anything but ComfyUI's own pieces is there, or in them: most images have nothing else."""
        return any(key not in _COMFYUI or self.mentions(key, b"extraMetadata") or self.is_plain(key) for key in self._raw)

    def is_plain(self, key: str) -> bool:
        """Whether the piece is words where ComfyUI has JSON."""
        return is_plain(self._raw.get(key, b""))

    def mentions(self, key: str, word: bytes) -> bool:
        """Whether the text has `word` in it, without decoding it."""
        return word in self._raw.get(key, b"")

    def text(self, key: str) -> str | None:
        """The text, without what writers pad it with; None where there is none or it is too long to be one."""
        if key.startswith("xmp:"):
            return self._xmp_text(key)
        if key not in self._texts:
            value = self._raw.get(key)
            if value is not None and len(value) > MAX_TEXT_BYTES:
                self.problems.append(f"the text {key} of {len(value)} bytes was left unread")
                value = None
            self._texts[key] = None if value is None else decode(value).strip(_MARKS) or None
        return self._texts[key]

    def _xmp_text(self, key: str) -> str | None:
        if self._xmp is None:
            packet = self._raw.get("xmp")
            self._xmp = {} if packet is None else xmp_texts(packet)
        return (self._xmp.get(key.removeprefix("xmp:")) or "").strip() or None

    def object(self, key: str) -> Json | None:
        """The JSON object that a text is, else None: a prompt may begin with a brace too."""
        if key not in self._objects:
            text = self.text(key)
            self._objects[key] = None if text is None else self.parse(text, key)
        return self._objects[key]

    def parse(self, text: str, key: str) -> Json | None:
        """The JSON object in `text`, which came from the piece `key`; of a side-car's list the first."""
        if not text.startswith(("{", "[") if key == "sidecar.json" else "{"):
            return None
        try:
            if text.count("{") + text.count("[") + text.count('":') > MAX_PARTS or text.count(",") > 10 * MAX_PARTS:
                raise ValueError("too many parts")
            found = json.loads(text, strict=False)
        except (ValueError, RecursionError) as error:
            if BEGUN_OBJECT.match(text):
                self.problems.append(f"the JSON in {key} can't be read ({error})")
            return None
        if isinstance(found, list):
            found = next((one for one in found if isinstance(one, dict)), None)
        return found if isinstance(found, dict) else None

    def objects(self) -> Iterator[tuple[str, Json]]:
        """Every JSON object in the file that may say how it was made, with the key of its piece."""
        others = [
            key
            for key, piece in self._raw.items()
            if key not in _COMFYUI and key not in _READ_ELSEWHERE and key not in OBJECT_KEYS
            if b"rompt" in piece and piece[:100].lstrip().startswith(b"{")
        ]
        for key in (*OBJECT_KEYS, *others):
            if (found := self.object(key)) is not None:
                yield key, found

    def where(self, what: str, key: str) -> str:
        """In words for a person, where `what` stood."""
        place = "XMP" if key.startswith("xmp:") else self._places.get(key)
        if place and (key.lower() in place.lower() or key.startswith("sidecar.")):
            return clean(f"{what} in {place}") or ""
        return clean(f"{what} in {place} '{key}'" if place else f"{what} in '{key}'") or ""


def image(
    generator: str | None, where: str, *, prompt: Any = None, negative: Any = None, inferred: bool = False, **settings: Any
) -> ImageMetadata:
    """What was found, made fit: wrong types become None, names without a meaning too.

    A prompt is a text, a pair of texts, or a list of texts and pairs, which are joined. `where` says where it stood.
    """
    origin = Origin("inferred" if inferred else "exact", where)
    texts, joined = join(_texts(prompt))
    against, against_joined = join(_texts(negative))
    found = ImageMetadata(
        prompt=texts,
        negative=against,
        prompt_joined=joined,
        negative_joined=against_joined,
        prompt_origin=origin if texts is not None else Origin(),
        negative_origin=origin if against is not None else Origin(),
        seed=whole(settings.get("seed"), 2**64),
        steps=whole(settings.get("steps"), 2**31) or None,
        cfg=real(settings.get("cfg")),
        guidance=real(settings.get("guidance")),
        sampler=name(settings.get("sampler")),
        scheduler=name(settings.get("scheduler")),
        denoise=real(settings.get("denoise")),
        checkpoint=name(settings.get("checkpoint")),
        vae=name(settings.get("vae")),
        text_encoders=[known for one in items(settings.get("text_encoders")) if (known := name(one))],
        loras=_weighted(settings.get("loras"), "strength_model", "strength_clip"),
        controlnets=_weighted(settings.get("controlnets"), "strength"),
        width=whole(settings.get("width"), 2**31) or None,
        height=whole(settings.get("height"), 2**31) or None,
        generator=generator,
    )
    return replace(found, settings_origin=origin) if has_settings(found) else found


def has_settings(found: Settings) -> bool:
    """Whether any setting is known."""
    return any(getattr(found, field.name) not in (None, []) for field in fields(Settings))


def _texts(told: Any) -> list[Text]:
    found = []
    for one in told if isinstance(told, list) else [told]:
        pair = one if isinstance(one, tuple) else (one, one)
        if all(isinstance(half, str) for half in pair):
            found.append((pair[0].replace("\r\n", "\n"), pair[1].replace("\r\n", "\n")))  # Windows' ends of lines
    return found


def _weighted(told: Any, *strengths: str) -> list[dict[str, Any]]:
    """[(name, weight, ...)] as the records have LoRAs and ControlNets; a weight left out is the one before it."""
    found = []
    for what, *weights in items(told)[:1000]:
        known = [real(weight) for weight in weights]
        if (called := name(what)) is not None and known and known[0] is not None:
            known += [known[0]] * (len(strengths) - len(known))
            found.append((called, *known[: len(strengths)]))
    return [dict(zip(("name", *strengths), one, strict=True)) for one in dict.fromkeys(found)]


def real(value: Any) -> float | None:
    """A finite number; true and false are none."""
    return None if isinstance(value, bool) else number(value, float)


def name(value: Any) -> str | None:
    """A model's or a sampler's name as the file has it; an object's is looked up in it."""
    if isinstance(value, Mapping):
        value = first(value, "model_name", "name", "modelFileName", "label", "file")
    text = (clean(value[:1000] if isinstance(value, str) else None) or "").strip()
    return None if text.lower() in NO_NAMES else text


def first(told: Any, *keys: str) -> Any:
    """The first of the members that is there and not null."""
    if isinstance(told, Mapping):
        for key in keys:
            if (value := told.get(key)) is not None:
                return value
    return None


def items(told: Any) -> list[Any]:
    """A list's items; none where something else stands for the list."""
    return told if isinstance(told, list) else []


def size(told: Any) -> dict[str, Any]:
    """Width and height from "512x768", "(512, 768)" or [512, 768]."""
    if isinstance(told, str):
        told = "".join(sign if sign in "0123456789" else " " for sign in told[:40]).split()
    return dict(zip(("width", "height"), told, strict=True)) if isinstance(told, (list, tuple)) and len(told) == 2 else {}


def weights_by_name(told: Iterable[Any]) -> list[tuple[Any, Any]]:
    """(name, weight) of the usual objects for LoRAs: {"name": ..., "weight": ...} and its kin."""
    return [
        (
            first(one, "name", "modelName", "model", "lora", "file", "modelFileName", "label"),
            first(one, "weight", "strength", "control_weight", "strength_model"),
        )
        for one in told
        if isinstance(one, Mapping)
    ]
