"""Text in the lowest bits of the pixels: "stealth PNG info", in the alpha channel or in red, green and blue.

Bits run down the columns, left to right, most significant first: 15 letters that name the form, 32 bits of length in
bits, the text. `comp` forms are gzipped. NovelAI and add-ons of AUTOMATIC1111 write it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..records import Pieces
from .source import Source, report

if TYPE_CHECKING:
    import numpy as np

_HEAD = (15 + 4) * 8  # bits
_MAX_TEXT = 8 * 2**20
_MAX_ROW = 2**20
_BEGIN = b"stealth_"  # of every form's name
_ALPHA = {b"stealth_pnginfo": False, b"stealth_pngcomp": True}
_COLOURS = {b"stealth_rgbinfo": False, b"stealth_rgbcomp": True}


def may_hide(source: Source) -> bool:
    """Whether the pixels are worth decoding for a hidden text.

    Of a PNG the first rows tell it: their leftmost pixels hold the name of the form, and are known without the rest of
    the row. A WebP is decoded when it is a still with alpha, which is where the lowest bits of alpha are kept.
    """
    head = source.read(0, 34)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_begins_so(source)
    if head[8:12] != b"WEBP" or len(head) < 34:
        return False
    return bool(head[24] & 0x10) if head[12:16] == b"VP8L" else head[12:16] == b"VP8X" and head[20] & 0x12 == 0x10


def _png_begins_so(source: Source) -> bool:
    """In PNG's filters the leftmost pixel depends on none but the one above it: it is the difference to none of it
    (0, 1), all of it (2, 4) or half of it (3)."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", source.read(16, 13).ljust(13, b"\0"))
    channels = {2: 3, 6: 4}.get(kind)
    if channels is None or depth != 8 or not 0 < width * channels < _MAX_ROW:
        return False
    if interlaced:
        return channels == 4
    above = bytes(channels)
    alpha, colours, seen = channels == 4, True, 0
    wanted = min(height, 8 * len(_BEGIN) // 3)
    for number, row in zip(range(wanted), _rows(source, 1 + width * channels)):
        half = [value // 2 for value in above] if row[0] == 3 else above if row[0] in (2, 4) else bytes(channels)
        above = bytes((value + other) & 0xFF for value, other in zip(row[1 : 1 + channels], half))
        alpha = alpha and above[3] & 1 == _bit(number)
        colours = colours and all(above[channel] & 1 == _bit(3 * number + channel) for channel in range(3))
        if not (alpha or colours):
            return False
        seen = number + 1
    return 0 < seen == wanted


def _bit(number: int) -> int:
    return _BEGIN[number // 8] >> 7 - number % 8 & 1


def _rows(source: Source, size: int) -> Iterator[bytes]:
    """The first rows of a PNG's pixels, `size` bytes each with its filter, as far as they are asked for."""
    stream, row = zlib.decompressobj(), b""
    at = 8
    for _ in range(1000):
        head = source.read(at, 8)
        length = int.from_bytes(head[:4], "big")
        begin, at = at + 8, at + 12 + length
        if len(head) < 8 or head[4:] == b"IEND":
            return
        for step in range(begin, begin + length, 16384) if head[4:] == b"IDAT" else ():
            packed = source.read(step, min(16384, begin + length - step))
            while packed:
                try:
                    row += stream.decompress(packed, size - len(row))
                except zlib.error:
                    return
                packed = stream.unconsumed_tail
                if len(row) < size:
                    break
                yield row
                row = b""


def read_stealth(pixels: np.ndarray, pieces: Pieces) -> bool:
    """Add the text hidden in `pixels`, uint8 [height, width, 3 or 4], as the file stores them.

    Whether there was one, or a problem with it.
    """
    channels = pixels.shape[2]
    if channels == 4 and _read(pixels[:, :, 3:], _ALPHA, "stealth alpha", pieces):
        return True
    return _read(pixels[:, :, :3], _COLOURS, "stealth RGB", pieces)


def _read(pixels: np.ndarray, forms: dict[bytes, bool], place: str, pieces: Pieces) -> bool:
    if pixels.size < _HEAD:
        return False
    head = _bytes(pixels, 0, _HEAD)
    packed = forms.get(head[:15])
    if packed is None:
        return False
    size = int.from_bytes(head[15:], "big") // 8
    if not 0 < size * 8 <= pixels.size - _HEAD or size > _MAX_TEXT:
        report(pieces, f"the hidden text of {size} bytes was left unread")
        return True
    text = _bytes(pixels, _HEAD, size * 8)
    if packed:
        stream = zlib.decompressobj(wbits=31)
        try:
            text = stream.decompress(text, _MAX_TEXT)
        except zlib.error as error:
            report(pieces, f"the hidden text can't be unpacked ({error})")
            return True
        if stream.unconsumed_tail:
            report(pieces, f"the hidden text of more than {_MAX_TEXT} bytes was left unread")
            return True
    pieces.add("stealth", text, place)
    return True


def _bytes(pixels: np.ndarray, first: int, count: int) -> bytes:
    """`count` bits from bit `first` on; only the columns that hold them are looked at."""
    import numpy as np

    height, _, channels = pixels.shape
    column = height * channels
    begin, end = first // column, -(-(first + count) // column)
    bits = pixels[:, begin:end].transpose(1, 0, 2).reshape(-1) & 1  # [columns * height * channels]
    return np.packbits(bits[first - begin * column :][:count]).tobytes()
