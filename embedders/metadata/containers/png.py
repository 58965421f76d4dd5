"""Texts in PNG files: tEXt, zTXt, iTXt, eXIf, and ComfyUI's own `comf` of animated ones."""

from __future__ import annotations

import re
import struct
import zlib

from ..records import Pieces
from .exif import read_exif
from .iptc import read_iptc
from .source import MAX_STEPS, Source, report, room

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP_KEY = "XML:com.adobe.xmp"
_PROFILE = re.compile(r"Raw profile type (exif|APP1|xmp|iptc|8bim)$", re.IGNORECASE)
_MAX_UNPACKED = 64 * 2**20  # of all texts of a file together
_MAX_EXIF = 4
_MAX_TEXTS = 10_000
_XMP_HEADER = b"http://ns.adobe.com/xap/1.0/\0"


def read_png(source: Source, pieces: Pieces) -> None:
    """Texts of a PNG by key, also those after the pixels, where Pillow would decode the image to see them.

    `comf` is ComfyUI's private chunk in animated PNGs: key, NUL, JSON.
    """
    texts, left = _Texts(source, pieces), _MAX_TEXTS
    at, read, head = len(SIGNATURE), source.read, struct.Struct(">I4s")
    if read(at + 4, 4) == b"IHDR" and len(size := read(at + 8, 8)) == 8:
        pieces.size = struct.unpack(">II", size)
    for _ in range(MAX_STEPS):
        found = read(at, 8)
        if len(found) < 8:
            break
        length, kind = head.unpack(found)
        body, at = at + 8, at + 12 + length
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            at = behind_pixels(source, found, at, 12 + length)
            continue
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"comf", b"eXIf"):
            continue
        left -= 1
        if left < 0:
            report(pieces, "only the first texts were read, there are too many")
            break
        if at > source.size:
            report(pieces, "the file ends inside its metadata")
            break
        if length > room(pieces, source):
            report(pieces, f"a {kind.decode()} chunk of {length} bytes was left unread")
        elif kind == b"eXIf":
            texts.add_exif(source, body, length)
        else:
            texts.read(kind, read(body, length))
    else:
        report(pieces, "only the first chunks were read, there are too many")
    for place in texts.exif:  # last: a keyword says more than the tag of that name
        read_exif(*place, pieces)


def behind_pixels(source: Source, head: bytes, at: int, size: int) -> int:
    """Behind the chunks from `at` on that begin as the one before, found in few reads: in ever longer leaps while these
    land on such a chunk, then in shorter ones. PNG wants its IDAT chunks in a row, and writers make all but the last
    alike, often of 8 KiB."""
    leap, growing = 1, True
    while leap:
        landed = at + (leap - 1) * size
        if source.read(landed, 8) == head:
            at = landed + size
            leap = leap * 2 if growing else leap // 2
        else:
            leap, growing = leap // 2, False
    return at


class _Texts:
    """Reads the chunks of one file, and keeps count of what was unpacked, which a small file can have too much of."""

    def __init__(self, source: Source, pieces: Pieces) -> None:
        self._source, self._pieces = source, pieces
        self._left = _MAX_UNPACKED
        self.exif: list[tuple[Source, int, int]] = []

    def add_exif(self, source: Source, at: int, size: int) -> None:
        if len(self.exif) < _MAX_EXIF:
            self.exif.append((source, at, size))

    def read(self, kind: bytes, chunk: bytes) -> None:
        key, _, value = chunk.partition(b"\0")
        if not 0 < len(key) < 80:  # PNG's own rule; a chunk without NUL would be all key
            report(self._pieces, f"a {kind.decode()} chunk without a proper keyword was left out")
            return
        name = key.decode("latin-1")
        if name in self._pieces.raw:
            return
        try:
            if kind == b"zTXt":
                value = self._inflate(value[1:])
            elif kind == b"iTXt":
                _language, _, rest = value[2:].partition(b"\0")
                _translated, _, text = rest.partition(b"\0")
                value = self._inflate(text) if value[:1] == b"\1" else text
        except (zlib.error, ValueError) as error:
            report(self._pieces, f"the metadata {name!r} can't be unpacked ({error})")
            return
        self._add(name, value, f"PNG {kind.decode()}")

    def _add(self, name: str, value: bytes, place: str) -> None:
        if name == _XMP_KEY:
            self._pieces.add("xmp", value, place)
        elif (match := _PROFILE.match(name)) and (profile := _profile(value)) is not None:
            if profile.startswith(_XMP_HEADER) or match[1].lower() == "xmp":
                self._pieces.add("xmp", profile.removeprefix(_XMP_HEADER), place)
            elif match[1].lower() in ("iptc", "8bim"):
                read_iptc(profile, self._pieces)
            else:
                self.add_exif(Source(profile), 0, len(profile))
        else:
            self._pieces.add(name, value, place)

    def _inflate(self, packed: bytes) -> bytes:
        """Of a small text only a few MiB: JSON shrinks to a tenth, a bomb to a thousandth."""
        limit = min(room(self._pieces, self._source), max(4 * 2**20, 100 * len(packed)), self._left)
        if limit <= 0:
            raise ValueError("too much is packed in this file")
        stream = zlib.decompressobj()
        unpacked = stream.decompress(packed, limit)
        self._left -= len(unpacked)
        if stream.unconsumed_tail:
            raise ValueError(f"more than {limit} bytes")
        return unpacked


def _profile(text: bytes) -> bytes | None:
    """ImageMagick's form: a name, a size, and that many bytes in hexadecimal, on lines; None when it is not that."""
    lines = text.split(None, 2)
    try:
        return bytes.fromhex(lines[2].decode("ascii"))[: int(lines[1])]
    except (ValueError, IndexError):
        return None
