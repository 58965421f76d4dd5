"""The images of a library: those that pass a filter, and of one what is known, its labels, its thumbnail and its file."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...db import Connection, StoredImage, get_images, parse_filter
from ..host import ReadableFiles, readable_file
from ..search.asking import list_by_filter
from ..stored_images import path_of, sureness
from .libraries import opened
from .refusals import Refusal

if TYPE_CHECKING:
    from .schema import Labels, Listing

SETTINGS = (  # of an image among others, beside its texts
    "width", "height", "created", "created_own", "seed", "steps", "cfg", "guidance", "sampler", "scheduler", "denoise", "checkpoint", "vae", "loras",
    "generator", "settings_confidence", "labels", "namespace", "rating",
)  # fmt: skip
_AMONG_OTHERS = ("id", "prompt", "negative", "prompt_confidence", *SETTINGS)
SIZES = (32, 1024)  # the smallest and largest thumbnail's longer side
LARGEST_ID = 2**63 - 1
_RENAMED = {"id": "image_id", "negative": "negative_prompt"}  # as hits and the view `image` have them
_AS_TEXT = {  # what JSON has no word for, and numbers above 2^53, which JavaScript has not
    "created": datetime.isoformat, "indexed": datetime.isoformat, "hash": bytes.hex, "seed": str, "phash": str,
}  # fmt: skip
_QUALITY = 80
_VERSION = 1  # of how thumbnails are made


@dataclass(frozen=True)
class Thumbnail:
    """A small picture; `webp` is None where the client has it already."""

    etag: str
    webp: bytes | None


def images_by_filter(asked: Listing) -> dict[str, Any]:
    """Those that pass a filter, without a search."""
    library = opened(asked.library)
    wanted = parse_filter(asked.filter)
    listed = list_by_filter(library, wanted, asked.order, asked.k, asked.offset)
    note = listed.note if listed.images else listed.why_nothing(wanted, asked.offset)
    return {"library": library.name, "total": listed.total, "note": note, "images": [among_others(image) for image in listed.images]}


def among_others(image: StoredImage) -> dict[str, Any]:
    """What a list, or a search, tells of each of its images."""
    place, note = _readable(int(time.monotonic())).place_of(image)
    notes = "; ".join(filter(None, (note, sureness(image))))
    return {**told(image, _AMONG_OTHERS), "path": path_of(image, place), "note": notes}


def image_record(library: str, image_id: int) -> dict[str, Any]:
    """All that the library knows of an image, but its metadata's bytes."""
    with opened(library).connection() as connection:
        return _record(_image(connection, image_id))


def change_labels(library: str, image_id: int, asked: Labels) -> dict[str, Any]:
    """Add and take labels, move to a namespace, rate; the image as it is then."""
    from ...db import label_images

    with opened(library).connection() as connection:
        _image(connection, image_id)
        label_images(
            connection,
            [image_id],
            add=asked.add_labels,
            remove=asked.remove_labels,
            namespace=asked.namespace,
            rating=asked.rating,
            clear_rating="rating" in asked.model_fields_set and asked.rating is None,
        )
        return _record(_image(connection, image_id))


def image_file(library: str, image_id: int) -> Path:
    """A file that holds the image still, below a root that is configured now; a refusal says what became of it."""
    with opened(library).connection() as connection:
        image = _image(connection, image_id)
    return _file(image)


def thumbnail(library: str, image_id: int, size: int, known: str) -> Thumbnail:
    """The image within `size` x `size`, upright; `known` is the client's If-None-Match."""
    import io

    from PIL import Image

    from ...embedders.pictures.decode import ImageError, decode

    with opened(library).connection() as connection:
        image = _image(connection, image_id)
    file = _file(image)
    etag = f'"{image.hash.hex()[:32]}-{size}-{_VERSION}"'
    if etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Thumbnail(etag, None)
    try:
        picture = Image.fromarray(decode(file).pixels)
    except (ImageError, OSError) as error:
        raise Refusal(404, "file", f"The file of image {image_id} can't be read: {error}.") from None
    picture.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    made = io.BytesIO()
    picture.save(made, "WEBP", quality=_QUALITY, method=2)
    return Thumbnail(etag, made.getvalue())


@functools.lru_cache(maxsize=1)
def _readable(second: int) -> ReadableFiles:
    """Where folders lead is looked at once a second: to follow them takes as long as all else that is told of hits.

    This tells only what an image's file is; `_file` looks anew before one is given away.
    """
    return ReadableFiles()


def _image(connection: Connection, image_id: int) -> StoredImage:
    [image] = get_images(connection, [image_id])
    return image


def _file(image: StoredImage) -> Path:
    file, note = readable_file(image)
    if file is None:
        raise Refusal(404, "file", f"There is no file of image {image.id} that may be shown: {note}.")
    return file


def _record(image: StoredImage) -> dict[str, Any]:
    record = told(image, tuple(field.name for field in fields(image) if field.name != "files"))
    record["files"] = [str(Path(file.root) / file.path) for file in image.files]
    file, record["note"] = readable_file(image)
    record["file"] = str(file) if file is not None else None
    return record


def told(image: StoredImage, names: tuple[str, ...]) -> dict[str, Any]:
    """These fields of an image as JSON has them, under the names that all routes give them."""
    values = ((name, getattr(image, name)) for name in names)
    return {_RENAMED.get(name, name): _AS_TEXT[name](value) if name in _AS_TEXT and value is not None else value for name, value in values}
