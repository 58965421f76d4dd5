"""Read an image file once: its hash, its pixels as ComfyUI's LoadImage gives them, and its metadata."""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .metadata import ImageMetadata, open_image, read_metadata

MAX_PIXELS = 178_956_970  # where Pillow itself sees a decompression bomb; above 500 MB of pixels


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


def read_image(path: Path) -> ImageFile:
    """Raises ImageError when the file is no usable image, OSError when it can't be read."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        data = file.read()
    decoded = decode(data)
    return ImageFile(
        hash=hashlib.sha256(data).digest(),
        metadata=read_metadata(data, path=path),
        pixels=decoded.pixels,
        width=decoded.width,
        height=decoded.height,
        size=len(data),
        mtime_ns=status.st_mtime_ns,
    )


def decode(source: bytes | Path) -> Decoded:
    """Decode a file's first frame: turned upright by its EXIF orientation, alpha dropped, not blended.

    ImageError names the reason: no image, truncated, damaged, or more than MAX_PIXELS.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    if not data:
        raise ImageError("the file is empty")
    try:
        with open_image(data) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(f"{image.width} x {image.height} pixels are too many to decode safely")
            image.load()
            pixels = np.ascontiguousarray(_rgb(_upright(image)))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("it is no PNG, JPEG, WebP, AVIF, BMP, GIF or TIFF image") from error
    except Image.DecompressionBombError as error:
        raise ImageError("its dimensions are too large to decode safely") from error
    except MemoryError as error:
        raise ImageError("there is not enough memory to decode it") from error
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, RuntimeError, struct.error) as error:
        raise ImageError(f"the image is damaged ({error})") from error
    height, width, _ = pixels.shape
    return Decoded(pixels, width, height)


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
    else:
        # A palette with transparency goes by RGBA, the same colours without Pillow's warning.
        via = image.convert("RGBA") if image.mode == "P" and "transparency" in image.info else image
        return np.array(via.convert("RGB"))
    grey = np.clip(np.nan_to_num(np.rint(grey)), 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
