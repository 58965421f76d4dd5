"""Texts in PNG files: tEXt, zTXt, iTXt, eXIf, and ComfyUI's own `comf` of animated ones."""

from __future__ import annotations

import re
import struct
import zlib

from ..records import Pieces
from .exif import read_exif
from .iptc import read_iptc
from .source import MAX_STEPS, Source, room

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP_KEY = "XML:com.adobe.xmp"
_PROFILE = re.compile(r"Raw profile type (exif|APP1|xmp|iptc|8bim)$", re.IGNORECASE)
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"


def read_png(source: Source, pieces: Pieces) -> None:
    """Texts of a PNG by key, also those after the pixels, where Pillow would decode the image to see them.

    `comf` is ComfyUI's private chunk in animated PNGs: key, NUL, JSON.
    """
    exif: list[tuple[Source, int, int]] = []
    at, read, head = len(SIGNATURE), source.read, struct.Struct(">I4s")
    for _ in range(MAX_STEPS):
        found = read(at, 8)
        if len(found) < 8:
            break
        length, kind = head.unpack(found)
        body, at = at + 8, at + 12 + length
        if kind == b"IEND":
            break
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"comf", b"eXIf"):
            continue
        if at > source.size:
            pieces.problems.append("the file ends inside its metadata")
            break
        if length > room(pieces, source):
            pieces.problems.append(f"a {kind.decode()} chunk of {length} bytes was left unread")
        elif kind == b"eXIf":
            exif.append((source, body, length))
        else:
            _read_text(kind, read(body, length), source, pieces, exif)
    else:
        pieces.problems.append("only the first chunks were read, there are too many")
    for place in exif[:8]:  # last: a keyword says more than the tag of that name
        read_exif(*place, pieces)


def _read_text(
    kind: bytes, chunk: bytes, source: Source, pieces: Pieces, exif: list[tuple[Source, int, int]]
) -> None:
    key, _, value = chunk.partition(b"\0")
    if not 0 < len(key) < 80:  # PNG's own rule; a chunk without NUL would be all key
        pieces.problems.append(f"a {kind.decode()} chunk without a proper keyword was left out")
        return
    name = key.decode("latin-1")
    if name in pieces.raw:
        return
    try:
        if kind == b"zTXt":
            value = _inflate(value[1:], room(pieces, source))
        elif kind == b"iTXt":
            _language, _, rest = value[2:].partition(b"\0")
            _translated, _, text = rest.partition(b"\0")
            value = _inflate(text, room(pieces, source)) if value[:1] == b"\1" else text
    except (zlib.error, ValueError) as error:
        pieces.problems.append(f"the metadata {key[:79]!r} can't be unpacked ({error})")
        return
    place = f"PNG {kind.decode()}"
    if name == _XMP_KEY:
        pieces.add("xmp", value, place)
    elif (match := _PROFILE.match(name)) and (profile := _profile(value)) is not None:
        if profile.startswith(_XMP_HEADER) or match[1].lower() == "xmp":
            pieces.add("xmp", profile.removeprefix(_XMP_HEADER), place)
        elif match[1].lower() in ("iptc", "8bim"):
            read_iptc(profile, pieces)
        else:
            exif.append((Source(profile), 0, len(profile)))
    else:
        pieces.add(name, value, place)


def _profile(text: bytes) -> bytes | None:
    """ImageMagick's form: a name, a size, and that many bytes in hexadecimal, on lines; None when it is not that."""
    lines = text.split(None, 2)
    try:
        return bytes.fromhex(lines[2].decode("ascii"))[: int(lines[1])]
    except (ValueError, IndexError):
        return None


def _inflate(packed: bytes, limit: int) -> bytes:
    """At most `limit`, and of a text so much smaller only a few MiB: JSON shrinks to a tenth, a bomb to a thousandth."""
    limit = min(limit, max(4 * 2**20, 100 * len(packed)))
    stream = zlib.decompressobj()
    unpacked = stream.decompress(packed, limit)
    if stream.unconsumed_tail:
        raise ValueError(f"more than {limit} bytes")
    return unpacked
