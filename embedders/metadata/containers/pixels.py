"""Pillow's image over a file's content, and its pixels as the file stores them, where texts may hide."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

from .png import SIGNATURE as PNG

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MAX_PIXELS = 178_956_970  # where Pillow itself sees a decompression bomb; above 500 MB of pixels
_SMALL_TEXT = 1000  # bytes; zlib makes no more than a thousand of one
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF")


def open_image(data: bytes) -> Image.Image:
    """In the formats we index only: another one would run Ghostscript."""
    from PIL import Image

    Image.init()
    if data.startswith(PNG) and (b"zTXt" in data or b"iTXt" in data):
        data = _without_packed_texts(data)
    return Image.open(io.BytesIO(data), formats=[name for name in _FORMATS if name in Image.OPEN])


def begun_format(data: bytes) -> str | None:
    """The one of our formats that a file begins as, by Pillow's own look at its first bytes."""
    from PIL import Image

    Image.init()
    known = ((name, Image.OPEN[name][1]) for name in _FORMATS if name in Image.OPEN)
    head = data[:16]  # all that they look at, and not less: some read numbers from it
    return next((name for name, accepts in known if len(head) == 16 and accepts is not None and accepts(head) is True), None)


def _without_packed_texts(data: bytes) -> bytes:
    """A PNG without texts that may unpack to more than a MiB, with which Pillow refuses the picture too."""
    parts, at = [data[:8]], 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind not in (b"zTXt", b"iTXt") or length <= _SMALL_TEXT:
            parts.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(parts)


def stored_pixels(image: Image.Image) -> np.ndarray | None:
    """uint8 [height, width, 3 or 4] of an image with colours of 8 bits, None of another one; nothing is turned."""
    import numpy as np

    return np.asarray(image) if image.mode in ("RGB", "RGBA") else None


def decoded_pixels(data: bytes) -> np.ndarray | None:
    """`stored_pixels` of a file's content, None when it can't be decoded: the decoder that indexes says why."""
    from PIL import Image

    try:
        with open_image(data) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.load()
            return stored_pixels(image)
    except (
        OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, RuntimeError, MemoryError, struct.error,
        Image.DecompressionBombError,
    ):  # fmt: skip
        return None
