"""Texts and the date in EXIF."""

from __future__ import annotations

import io
import re
import struct
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..records import Pieces
from ..text import decode
from .png import SIGNATURE

if TYPE_CHECKING:
    from PIL import Image

_EXIF_IFD, _DATE_TIME, _DATE_TIME_ORIGINAL, _OFFSET_ORIGINAL, _USER_COMMENT = 0x8769, 0x0132, 0x9003, 0x9011, 0x9286
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF")
_KEYED = re.compile(r"([A-Za-z_]{1,64}):\s*(?=[{\[])")  # ComfyUI's `prompt:{...}` in WebP and JPEG EXIF


def open_image(data: bytes) -> Image.Image:
    """Pillow's image over a file's content, in the formats we index only: another one would run Ghostscript."""
    from PIL import Image

    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in _FORMATS if name in Image.OPEN])


def read_exif(data: bytes, exif_chunk: bytes | None, pieces: Pieces) -> None:
    """Add EXIF's texts, and when the picture was taken or made."""
    from PIL import Image, UnidentifiedImageError

    try:
        exif = Image.Exif()
        if exif_chunk is not None:
            exif.load(exif_chunk)
        elif not data.startswith(SIGNATURE):
            exif = open_image(data).getexif()
        details = exif.get_ifd(_EXIF_IFD)
        texts = [value for value in exif.values() if isinstance(value, str)]
        comment = details.get(_USER_COMMENT)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return  # the decoder's to report
    except (
        OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, struct.error,
    ) as error:  # fmt: skip
        pieces.problems.append(f"the EXIF data can't be read ({error})")
        return
    for text in texts:
        if match := _KEYED.match(text):
            pieces.add(match[1].lower(), _ascii_tag(text[match.end() :]), "EXIF")
    if isinstance(comment, (bytes, str)) and (text := _user_comment(comment)):
        key = "parameters" if re.search(r"\bSteps: \d|^\s*\{", text) else "UserComment"
        pieces.add(key, text.encode("utf-8", "surrogatepass"), "EXIF UserComment")
    pieces.created = _date(details.get(_DATE_TIME_ORIGINAL) or exif.get(_DATE_TIME), details.get(_OFFSET_ORIGINAL))


def _ascii_tag(text: str) -> bytes:
    """The bytes of an ASCII tag, which Pillow has read as Latin-1 whatever they are."""
    try:
        return text.rstrip("\0").encode("latin-1")
    except UnicodeEncodeError:
        return text.rstrip("\0").encode("utf-8", "surrogatepass")


def _user_comment(value: bytes | str) -> str:
    """EXIF's UserComment: eight bytes name the encoding; writers of UNICODE differ in the order of its bytes."""
    if isinstance(value, str):
        return value.strip("\0 ")
    kind, body = value[:8], value[8:]
    if kind.startswith(b"UNICODE"):
        order = "utf-16-le" if body[1::2].count(0) > body[::2].count(0) else "utf-16-be"
        return body.decode(order, "replace").strip("\0\ufeff ")
    return decode(body if kind.startswith((b"ASCII", b"\0")) else value).strip("\0 ")


def _date(value: Any, offset: Any) -> datetime | None:
    """EXIF's date, naive (the camera's local time) unless the file gives the offset."""
    if not isinstance(value, str):
        return None
    text = value.strip("\0 ")
    try:
        if isinstance(offset, str) and offset.strip("\0 "):
            return datetime.strptime(f"{text} {offset.strip(chr(0) + ' ')}", "%Y:%m:%d %H:%M:%S %z")
        return datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
