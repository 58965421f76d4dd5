"""Read an image or video file once: its hash, its pixels as ComfyUI's LoadImage gives them, and its metadata."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..metadata import ImageMetadata, NodeDefinitions, read_metadata
from ..metadata.containers import FileSource, Source, ffmpeg_format, open_source
from ..metadata.containers.pixels import MAX_PIXELS, begun_format, open_image, stored_pixels
from .narrow import used_centre
from .phash import phash
from .plain_png import PlainPng, plain_png
from .png_workers import Picture
from .video import VideoError, exr_pixels, middle_frame

MAX_BYTES = 2**31  # of a picture's file, which is read whole: more than MAX_PIXELS of eight bytes
_HASH_STEP = 2**20
_FRAME_BYTES = 100 * 2**20  # that decoding a video may take, for want of a better guess
_DAMAGED_EXIF = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error)
# Of what is made smaller where only a vector is wanted from 224 x 224: means of 2 x 2 pixels soften what is left, JPEG's own way less.
HALVED_SIDE, DRAFT_SIDE = 896, 448
NO_PIXELS = np.empty((0, 0, 3), np.uint8)


class ImageError(ValueError):
    """A file that is no image that can be used; the message is the reason."""


@dataclass(frozen=True)
class Decoded:
    """An image's pixels: uint8 [height, width, 3], RGB. Width and height are the file's, also where the pixels were made smaller."""

    pixels: np.ndarray
    width: int
    height: int


@dataclass(frozen=True)
class ImageFile:
    """One file, read once. `hash` is the blake3 of its content: by it an image is known, under whatever path.

    `older_hash` is its sha256, by which older versions knew it; only where it was asked for. Of a content that was known there are
    no pixels, no size and no `phash`: it is not decoded again (`Ways.known`).
    """

    hash: bytes
    metadata: ImageMetadata
    pixels: np.ndarray  # uint8 [height, width, 3], or smaller
    width: int
    height: int
    size: int
    mtime_ns: int
    phash: int | None  # signed 64 bits
    older_hash: bytes | None = None


@dataclass(frozen=True)
class Ways:
    """How one who reads many files for their vectors has them read."""

    older_hash: Callable[[int], bool] = lambda size: False  # whether a file of this size needs its sha256 too
    known: Callable[[bytes], bool] = lambda hash: False  # whether the content of this hash was decoded before
    room: Callable[[int], None] = lambda size: None  # waits until so many more bytes may be held in memory
    begin_png: Callable[[bytes, PlainPng, int], Callable[[], Picture | None]] | None = None  # what is begun is waited for; None: not done
    shrink: bool = False  # hand over fewer pixels where the vector stays the same; see `benchmarks/shrunk.py`


def read_image(path: Path, *, definitions: NodeDefinitions = {}, ways: Ways = Ways()) -> ImageFile:
    """Raises ImageError when the file is no usable image, OSError when it can't be read.

    `definitions` are those of the ComfyUI that runs, for files that hold nothing but a workflow.
    """
    with FileSource(path) as file:
        source: Source = file
        if not (filmed := bool(ffmpeg_format(file.read(0, 64)))):  # a picture is needed whole
            source = Source(_whole(file, ways))
        hash, older_hash = _digests(source, ways)
        small = None
        if ways.known(hash):  # moved, copied or touched: texts beside it may be others, its pixels are not
            decoded, metadata = None, read_metadata(source, path=path, definitions=definitions)
        elif filmed:
            ways.room(_FRAME_BYTES)
            decoded = _decode_frame(file)
            metadata = read_metadata(source, path=path, definitions=definitions)
        else:
            decoded, small, metadata = _picture(source, path, definitions, ways)
        return ImageFile(
            hash=hash,
            metadata=metadata,
            pixels=_used(decoded.pixels, ways) if decoded else NO_PIXELS,
            width=decoded.width if decoded else 0,
            height=decoded.height if decoded else 0,
            size=source.size,
            mtime_ns=file.mtime_ns,
            phash=phash(decoded.pixels, small) if decoded else None,
            older_hash=older_hash,
        )


def _picture(
    source: Source, path: Path, definitions: NodeDefinitions, ways: Ways
) -> tuple[Decoded, np.ndarray | None, ImageMetadata]:
    """A picture's pixels, what its perceptual hash is made of where that was made on the way, and its metadata, read meanwhile."""
    content, pending, stored = source.read(0, source.size), None, None
    if ways.begin_png is not None and (plain := plain_png(source)) is not None:
        ways.room(plain.width * plain.height * 3)
        pending = ways.begin_png(content, plain, halvings(plain.width, plain.height) if ways.shrink else 0)
    if pending is None:
        decoded, stored = _decode(content, ways)
    try:
        metadata = read_metadata(source, path=path, pixels=stored, definitions=definitions)
    finally:
        picture = pending() if pending is not None else None
    if picture is None:
        if pending is not None:  # not as plain as it looks: Pillow says what is wrong, if anything is
            decoded, _ = _decode(content, ways)
        return decoded, None, metadata
    decoded = Decoded(_made_smaller(picture.pixels, ways), plain.width, plain.height)
    return decoded, picture.small if decoded.pixels is picture.pixels else None, metadata


def decode(source: bytes | Path) -> Decoded:
    """Decode a file's first frame, of a video the middle one: turned upright, alpha dropped, not blended.

    ImageError names the reason: no image, truncated, damaged, or more than MAX_PIXELS.
    """
    with open_source(source) as opened:
        if ffmpeg_format(opened.read(0, 64)):
            return _decode_frame(opened)
        return _decode(_whole(opened, Ways()), Ways())[0]


def _whole(source: Source, ways: Ways) -> bytes:
    if source.size > MAX_BYTES:
        raise ImageError(f"it is no video, and {source.size / 10**9:.1f} GB are too many for a picture")
    ways.room(source.size)
    return source.read(0, source.size)


def _decode_frame(source: Source) -> Decoded:
    container = ffmpeg_format(source.read(0, 64))
    try:
        pixels = exr_pixels(_whole(source, Ways())) if container == "exr" else middle_frame(source, container or "")
    except VideoError as error:
        raise ImageError(str(error)) from error
    except MemoryError as error:
        raise ImageError("there is not enough memory to decode it") from error
    height, width, _ = pixels.shape
    return Decoded(pixels, width, height)


def _digests(source: Source, ways: Ways) -> tuple[bytes, bytes | None]:
    """blake3, and sha256 where it is wanted; in steps, since a video may be larger than memory."""
    from blake3 import blake3

    made: list[Any] = [blake3()]
    if ways.older_hash(source.size):
        made.append(hashlib.sha256())
    step = _HASH_STEP if isinstance(source, FileSource) else max(1, source.size)
    for at in range(0, source.size, step):
        part = source.read(at, step)
        for one in made:
            one.update(part)
    return made[0].digest(), made[1].digest() if len(made) > 1 else None


def _decode(data: bytes, ways: Ways) -> tuple[Decoded, np.ndarray | None]:
    """Also the pixels as the file stores them: with alpha and not turned, None of an image with other colours."""
    if not data:
        raise ImageError("the file is empty")
    try:
        with open_image(data) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(f"{width} x {height} pixels are too many to decode safely")
            if ways.shrink and image.format == "JPEG" and image.mode in ("RGB", "L"):
                short = max(1, min(width, height))
                image.draft(image.mode, (width * DRAFT_SIDE // short, height * DRAFT_SIDE // short))
            ways.room(image.width * image.height * 7)  # Pillow's four bytes a pixel, and our three
            image.load()
            drafted = image.size != (width, height)
            stored = None if drafted else stored_pixels(image)
            orientation = _orientation(image)
            if stored is not None and orientation == 1:
                pixels = np.ascontiguousarray(stored[:, :, :3])
            else:
                pixels = np.ascontiguousarray(_rgb(_upright(image)))
            if not drafted:
                height, width, _ = pixels.shape
            elif orientation >= 5:
                height, width = width, height
            pixels = _made_smaller(pixels, ways)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        if kind := begun_format(data):
            raise ImageError(f"it begins as a {kind} file, and is damaged, cut short or of a kind that can't be decoded") from error
        raise ImageError("it is no PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF, EXR, MP4, MOV, MKV or WebM file") from error
    except Image.DecompressionBombError as error:
        raise ImageError("its dimensions are too large to decode safely") from error
    except MemoryError as error:
        raise ImageError("there is not enough memory to decode it") from error
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, RuntimeError, struct.error) as error:
        raise ImageError(f"the image is damaged ({error})") from error
    return Decoded(pixels, width, height), stored


def halvings(width: int, height: int) -> int:
    """How often a picture is halved without any side becoming smaller than a vector needs."""
    return max(0, (min(width, height) // HALVED_SIDE).bit_length() - 1)


def _made_smaller(pixels: np.ndarray, ways: Ways) -> np.ndarray:
    """Halved, each time to the rounded means of 2 x 2 pixels, as a worker does it: what a vector from 224 x 224 does not see is
    only memory, and time to move it."""
    height, width, _ = pixels.shape
    if not ways.shrink or not (times := halvings(width, height)):
        return pixels
    image = Image.fromarray(pixels)
    for _ in range(times):
        image = image.reduce(2)
    return np.asarray(image)


def _used(pixels: np.ndarray, ways: Ways) -> np.ndarray:
    """What a vector sees of them: of a narrow picture the middle alone, which then holds on to nothing else."""
    used = used_centre(pixels) if ways.shrink else pixels
    return pixels if used is pixels else used.copy()


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 to 8: from 5 on the sides change places; 1 where there is none, or a damaged one."""
    try:
        found = image.getexif().get(0x0112, 1)
    except _DAMAGED_EXIF:
        return 1
    return found if found in range(1, 9) else 1


def _upright(image: Image.Image) -> Image.Image:
    """By EXIF's orientation; a picture whose EXIF is damaged stays as it is stored."""
    try:
        return ImageOps.exif_transpose(image) if _orientation(image) > 1 else image  # it copies one that is upright
    except _DAMAGED_EXIF:
        return image


def _rgb(image: Image.Image) -> np.ndarray:
    """uint8 [H, W, 3]. Pillow clips greyscale of more than 8 bits to 255; here it is scaled."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.float32) / 257  # [H, W]
    elif image.mode == "I":
        grey = np.asarray(image).astype(np.float32)
        grey = grey / 257 if grey.max(initial=0) > 255 else grey
    elif image.mode == "F":
        grey = np.asarray(image)
        grey = grey * 255 if np.nanmax(grey, initial=0) <= 1 else grey
    elif image.mode in ("RGB", "RGBA"):
        return np.asarray(image)[:, :, :3]
    else:
        # A palette with transparency goes by RGBA, the same colours without Pillow's warning.
        via = image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
        return np.array(via.convert("RGB"))
    grey = np.clip(np.nan_to_num(np.rint(grey)), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
