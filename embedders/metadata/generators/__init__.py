"""What generators other than ComfyUI write into their images: one module for each family.

What is found is handed on in this order: formats with keys of their own, JSON objects whose members say which generator
wrote them wherever they lie, AUTOMATIC1111's text, Midjourney's, IPTC's field, JSON and bare prompts of writers that are not known by name;
then the same from the files beside the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..records import ImageMetadata, Pieces
from . import automatic1111, captions, drawthings, easydiffusion, fooocus, invokeai, midjourney, novelai, services, swarmui
from .easydiffusion import owns_prompt
from .told import Json, Told

__all__ = ["owns_prompt", "read_captions", "read_others"]

_OBJECTS: tuple[Callable[[Json, str], ImageMetadata | None], ...] = (
    swarmui.from_object,
    drawthings.from_object,
    services.tensor_art,
    services.stability_matrix,
    invokeai.from_object,
    easydiffusion.from_object,
    fooocus.from_object,
)
_UNNAMED_OBJECTS = (services.meta, services.unnamed)


def _named(told: Told) -> Iterator[ImageMetadata]:
    for key, found in told.objects():
        for read in () if novelai.is_wrapped(found) else _OBJECTS:
            if (image := read(found, told.where("", key))) is not None:
                yield image
                break


def _unnamed(told: Told) -> Iterator[ImageMetadata]:
    for key, found in told.objects():
        if not novelai.is_wrapped(found) and all(read(found, "") is None for read in _OBJECTS):
            yield from (image for read in _UNNAMED_OBJECTS if (image := read(found, told.where("", key))) is not None)


_READERS: tuple[Callable[[Told], Iterator[ImageMetadata]], ...] = (
    novelai.read,
    invokeai.read,
    easydiffusion.read,
    services.civitai,
    _named,
    automatic1111.read,
    midjourney.read,
    services.iptc,
    _unnamed,
    services.plain_prompt,
)
_BROKEN = (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)


def read_others(pieces: Pieces) -> list[ImageMetadata]:
    """Everything that generators wrote into the file, and then beside it."""
    both = Told(pieces), Told(pieces, beside=True)
    return [found for told in both if told.has_texts() for read in _READERS for found in _safely(read, told)]


def read_captions(pieces: Pieces) -> list[ImageMetadata]:
    """What people or programs say is in the picture: beside the file, then in it."""
    both = Told(pieces, beside=True), Told(pieces)
    return [found for told in both for found in _safely(captions.read, told)]


def _safely(read: Callable[[Told], Iterator[ImageMetadata]], told: Told) -> list[ImageMetadata]:
    """What a reader found, up to where a file that nobody foresaw stopped it."""
    found: list[ImageMetadata] = []
    try:
        found.extend(read(told))
    except _BROKEN as error:
        told.problems.append(f"metadata can't be read ({type(error).__name__}: {error})")
    return found
