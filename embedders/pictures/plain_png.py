"""Which PNGs a fast decoder that knows nothing but pixels gives rightly: most of all that generators write."""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..metadata.containers import Source
from ..metadata.containers.pixels import MAX_PIXELS
from ..metadata.containers.png import SIGNATURE, behind_pixels

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_TURNING = (b"Raw profile type", b"XML:com.adobe.xmp")  # texts in which Pillow looks for the orientation
_OTHER = (b"eXIf", b"acTL", b"CgBI")  # may turn it; animates it; Apple's own, which is no PNG
_MAX_CHUNKS = 1000
_RGB, _RGBA = 2, 6  # colour types


class PlainPng(NamedTuple):
    width: int
    height: int
    channels: int  # 3, or 4 with alpha last


def plain_png(source: Source) -> PlainPng | None:
    """The size of a PNG of 8-bit RGB or RGBA in one pass, whose pixels no other chunk turns or replaces; None of another file."""
    head = source.read(0, 33)
    if len(head) < 33 or not head.startswith(SIGNATURE) or head[12:16] != b"IHDR":
        return None
    width, height, depth, colours, packing, filters, passes = struct.unpack_from(">IIBBBBB", head, 16)
    if depth != 8 or colours not in (_RGB, _RGBA) or packing or filters or passes or not 0 < width * height <= MAX_PIXELS:
        return None
    at = 33
    for _ in range(_MAX_CHUNKS):
        found = source.read(at, 8)
        if len(found) < 8:
            return None
        length, kind = struct.unpack(">I4s", found)
        if kind == b"IEND":
            return PlainPng(width, height, 3 if colours == _RGB else 4)
        if kind in _OTHER or (kind in _TEXTS and source.read(at + 8, 20).startswith(_TURNING)):
            return None
        body = 12 + length
        at = behind_pixels(source, found, at + body, body) if kind == b"IDAT" else at + body
    return None
