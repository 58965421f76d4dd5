"""What stands in an image's captions: of photographs, of training sets, and in a text file beside it.

A caption tells what is in the picture. That it is also what the picture was made from is a guess, so it is `inferred`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..records import ImageMetadata
from .infotext import parse_infotext
from .told import Told, image, is_words

KEYS = (
    "Description", "description", "Caption", "xmp:dc:description", "iptc:caption", "xmp:tiff:ImageDescription",
    "ImageDescription", "XPComment", "XPSubject", "xmp:exif:UserComment", "UserComment", "Comment", "comment",
    "jpeg:comment", "gif:comment", "Prompt",
    "xmp:dc:title", "xmp:photoshop:Headline", "iptc:headline", "iptc:title", "XPTitle", "Title", "title", "DocumentName",
)  # fmt: skip

# What cameras and programs write where a caption would be. Each one begins the text.
_BOILERPLATE = re.compile(
    r"(created|made|edited|processed|generated|exported|captured|taken|shot|produced|converted|optimi[sz]ed|compressed|resized"
    r"|written|saved|encoded|scanned)\s+(with|by|in|on|using|from|via)\b"
    r"|(file\s+written|creator\s*:|software\s*:|screenshot\b|screen\s+shot|untitled\b|default\b|charset\s*=|applemark|lead\s+technologies"
    r"|intel\(r\)|copyright\b|\(c\)|\u00a9|ai\s+generated\s+image|novelai\s+generated|https?://\S+$|www\.\S+$|lavc?[\d.]|lavf[\d.]|vid:v\d)",
    re.IGNORECASE,
)
_NAMES = ("Software", "Make", "Model", "Artist", "HostComputer", "iptc:byline", "xmp:xmp:CreatorTool", "xmp:dc:creator")
_FILE_NAME = re.compile(
    r"\S{1,200}\.(jpe?g|png|webp|gif|tiff?|bmp|heic|avif|raw|cr2|nef|arw|dng|mp4|webm|mov|psd)$", re.IGNORECASE
)


def read(told: Told) -> Iterator[ImageMetadata]:
    """The text beside the image, then the file's own captions, then its titles."""
    for key in ("sidecar.caption", "sidecar.txt"):
        text = told.text(key)
        if text is not None and is_caption(text, told) and told.object(key) is None:
            yield image(None, told.where("a caption", key), prompt=text, inferred=True)
    beside = told.object("sidecar.json")
    if beside is not None and "category" not in beside:  # downloaders of galleries write that; their texts are not prompts
        text = next(
            (beside[key] for key in ("caption", "prompt", "description", "tags") if isinstance(beside.get(key), str)), None
        )
        if text is not None and is_caption(text, told):
            yield image(None, told.where("a caption", "sidecar.json"), prompt=text.strip(), inferred=True)
    for key, text in captions(told):
        if is_caption(text, told) and len(text[:2000].split()) > 1:  # one word is a code of the camera's more often
            yield image(None, told.where("a caption", key), prompt=text, inferred=True)


def captions(told: Told) -> Iterator[tuple[str, str]]:
    """(key, text) of all captions in the file, whatever they are, but those with settings, which `automatic1111` reads."""
    for key in KEYS:
        if (text := told.text(key)) is not None and told.object(key) is None and not parse_infotext(text).settings:
            yield key, text


def is_caption(text: Any, told: Told) -> bool:
    """Words about a picture: not a program's or a camera's name, a file's name, a number, or bytes of something else."""
    if not isinstance(text, str):
        return False
    start = text[:2000].strip()
    letters = sum(sign.isalpha() for sign in start)
    if letters < 3 or letters * 3 < len(start.replace(" ", "")) or start.startswith(("{", "<?xml", "<x:", "<rdf")):
        return False
    if not is_words(start):
        return False
    if _BOILERPLATE.match(start) or _FILE_NAME.fullmatch(start):
        return False
    words = start.split()
    if len(words) <= 5 and start.isascii() and start == start.upper():  # OLYMPUS DIGITAL CAMERA, SONY DSC, DSC_0042
        return False
    if len(words) == 1 and any(sign.isdigit() or sign == "_" for sign in start):
        return False
    return not any(start.lower() == (told.text(key) or "").lower() for key in _NAMES)
