"""Read an image or video file once: its hash, its pixels as ComfyUI's LoadImage gives them, and its metadata."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .metadata import ImageMetadata, NodeDefinitions, read_metadata
from .metadata.containers import FileSource, Source, ffmpeg_format, open_source
from .metadata.containers.pixels import MAX_PIXELS, open_image, stored_pixels
from .phash import phash
from .video import VideoError, exr_pixels, middle_frame

_HASH_STEP = 2**20


class ImageError(ValueError):
    """A file that is no image that can be used; the message is the reason."""


@dataclass(frozen=True)
class Decoded:
    """An image's pixels: uint8 [height, width, 3], RGB."""

    pixels: np.ndarray
    width: int
    height: int


@dataclass(frozen=True)
class ImageFile:
    """One file, read once. `hash` is the sha256 of its content: by it an image is known, under whatever path."""

    hash: bytes
    metadata: ImageMetadata
    pixels: np.ndarray  # uint8 [height, width, 3]
    width: int
    height: int
    size: int
    mtime_ns: int
    phash: int  # signed 64 bits


def read_image(path: Path, *, definitions: NodeDefinitions = {}) -> ImageFile:
    """Raises ImageError when the file is no usable image, OSError when it can't be read.

    `definitions` are those of the ComfyUI that runs, for files that hold nothing but a workflow.
    """
    with FileSource(path) as file:
        if ffmpeg_format(file.read(0, 64)):
            digest = _digest(file)
            source: Source = file
            decoded, stored = _decode_frame(file), None
        else:  # a picture is needed whole
            source = Source(file.read(0, file.size))
            digest = hashlib.sha256(source.read(0, source.size)).digest()
            decoded, stored = _decode(source.read(0, source.size))
        return ImageFile(
            hash=digest,
            metadata=read_metadata(source, path=path, pixels=stored, definitions=definitions),
            pixels=decoded.pixels,
            width=decoded.width,
            height=decoded.height,
            size=source.size,
            mtime_ns=file.mtime_ns,
            phash=phash(decoded.pixels),
        )


def decode(source: bytes | Path) -> Decoded:
    """Decode a file's first frame, of a video the middle one: turned upright, alpha dropped, not blended.

    ImageError names the reason: no image, truncated, damaged, or more than MAX_PIXELS.
    """
    with open_source(source) as opened:
        if ffmpeg_format(opened.read(0, 64)):
            return _decode_frame(opened)
        return _decode(opened.read(0, opened.size))[0]


def _decode_frame(source: Source) -> Decoded:
    container = ffmpeg_format(source.read(0, 64))
    try:
        pixels = exr_pixels(source.read(0, source.size)) if container == "exr" else middle_frame(source, container or "")
    except VideoError as error:
        raise ImageError(str(error)) from error
    except MemoryError as error:
        raise ImageError("there is not enough memory to decode it") from error
    height, width, _ = pixels.shape
    return Decoded(pixels, width, height)


def _digest(file: Source) -> bytes:
    """Of a video, which may be larger than memory."""
    digest = hashlib.sha256()
    for at in range(0, file.size, _HASH_STEP):
        digest.update(file.read(at, _HASH_STEP))
    return digest.digest()


def _decode(data: bytes) -> tuple[Decoded, np.ndarray | None]:
    """Also the pixels as the file stores them: with alpha and not turned, None of an image with other colours."""
    if not data:
        raise ImageError("the file is empty")
    try:
        with open_image(data) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"{image.width} x {image.height} pixels are too many to decode safely")
            image.load()
            stored = stored_pixels(image)
            pixels = np.ascontiguousarray(_rgb(_upright(image)))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("it is no PNG, JPEG, WebP, AVIF, BMP, GIF, TIFF, EXR, MP4, MOV, MKV or WebM file") from error
    except Image.DecompressionBombError as error:
        raise ImageError("its dimensions are too large to decode safely") from error
    except MemoryError as error:
        raise ImageError("there is not enough memory to decode it") from error
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, RuntimeError, struct.error) as error:
        raise ImageError(f"the image is damaged ({error})") from error
    height, width, _ = pixels.shape
    return Decoded(pixels, width, height), stored


def _upright(image: Image.Image) -> Image.Image:
    """By EXIF's orientation; a picture whose EXIF is damaged stays as it is stored."""
    try:
        return ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error):
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
