"""Texts in PNG files: tEXt, zTXt, iTXt, eXIf, and ComfyUI's own `comf` of animated ones."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from ..records import MAX_TEXT_BYTES

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_pieces(data: bytes, problems: list[str]) -> Iterator[tuple[str, bytes]]:
    """Texts of a PNG by key, also those after the pixels, where Pillow would decode the image to see them.

    `comf` is ComfyUI's private chunk in animated PNGs: key, NUL, JSON.
    """
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body, at = data[at + 4 : at + 8], at + 8, at + 12 + length
        if kind == b"IEND":
            return
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"comf", b"eXIf"):
            continue
        if at > len(data):
            problems.append("the file ends inside its metadata")
            return
        if length > MAX_TEXT_BYTES:
            problems.append(f"a {kind.decode()} chunk of {length} bytes was left unread")
            continue
        chunk = data[body : body + length]
        if kind == b"eXIf":
            yield "eXIf", chunk
            continue
        key, _, value = chunk.partition(b"\0")
        if not 0 < len(key) < 80:  # PNG's own rule; a chunk without NUL would be all key
            problems.append(f"a {kind.decode()} chunk without a proper keyword was left out")
            continue
        try:
            if kind == b"zTXt":
                value = _inflate(value[1:])
            elif kind == b"iTXt":
                _language, _, rest = value[2:].partition(b"\0")
                _translated, _, text = rest.partition(b"\0")
                value = _inflate(text) if value[:1] == b"\1" else text
        except (zlib.error, ValueError) as error:
            problems.append(f"the metadata {key[:79]!r} can't be unpacked ({error})")
            continue
        yield key.decode("latin-1"), value


def _inflate(packed: bytes) -> bytes:
    stream = zlib.decompressobj()
    unpacked = stream.decompress(packed, MAX_TEXT_BYTES)
    if stream.unconsumed_tail:
        raise ValueError(f"more than {MAX_TEXT_BYTES} bytes")
    return unpacked
