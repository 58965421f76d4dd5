"""Texts in AVIF and HEIF files: the items Exif and XMP that the `meta` box lists."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from ..records import Pieces
from .exif import read_exif
from .source import Source, report, room

_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_MAX_META = 2**20
_MAX_BOXES = 2000
_MAX_ITEMS = 8


def is_avif(head: bytes) -> bool:
    """By the brand, or by a compatible one where the first is general."""
    if head[4:8] != b"ftyp":
        return False
    size = min(int.from_bytes(head[:4], "big"), 128)
    return head[8:12] in _BRANDS or any(head[at : at + 4] in (b"avif", b"avis") for at in range(16, size, 4))


def boxes(source: Source, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, begin, end) of the content of each box. A size that can't be ends it."""
    for _ in range(_MAX_BOXES):
        head = source.read(at, 16)
        if len(head) < 8 or at + 8 > end:
            return
        size, kind, begin = int.from_bytes(head[:4], "big"), head[4:8], at + 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), at + 16
        elif size == 0:
            size = end - at
        if size < begin - at or at + size > end:
            return
        at += size
        yield kind, begin, at


def read_avif(source: Source, pieces: Pieces) -> None:
    for kind, begin, end in boxes(source, 0, source.size):
        if kind != b"meta":
            continue
        if end - begin > _MAX_META:
            report(pieces, f"a meta box of {end - begin} bytes was left unread")
            return
        try:
            _read_meta(source, Source(source.read(begin + 4, end - begin - 4)), pieces)
        except (struct.error, IndexError) as error:
            report(pieces, f"the list of metadata can't be read ({error})")
        return


def _read_meta(source: Source, meta: Source, pieces: Pieces) -> None:
    items: dict[int, bytes] = {}
    places: dict[int, tuple[int, int, int]] = {}
    data_at = 0
    for kind, begin, end in boxes(meta, 0, meta.size):
        content = meta.read(begin, end - begin)
        if kind == b"iinf":
            items.update(_listed(content))
        elif kind == b"iloc":
            places.update(_placed(content))
        elif kind == b"idat":
            data_at = begin
    for number, kind in list(items.items())[:_MAX_ITEMS]:
        method, at, size = places.get(number, (0, 0, 0))
        if not size or size > room(pieces, source):
            continue
        data = (meta if method == 1 else source).read(at + (data_at if method == 1 else 0), size)
        if len(data) < size:
            report(pieces, "the file ends inside its metadata")
        elif kind == b"Exif":
            skip = 4 + int.from_bytes(data[:4], "big")  # to the TIFF header
            read_exif(Source(data[skip:]), 0, len(data) - skip, pieces)
        else:
            pieces.add("xmp", data, "XMP")


def _listed(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Items of `iinf` that hold texts: number, and `Exif` or `mime`, which here is XMP."""
    box = Source(content)
    for kind, begin, end in boxes(box, 6 if content[0] == 0 else 8, box.size):
        entry = content[begin:end]
        if kind != b"infe" or entry[0] < 2:
            continue
        at = 6 if entry[0] == 2 else 8
        number = int.from_bytes(entry[4:at], "big")
        named = entry[at + 2 : at + 6]
        if named == b"Exif" or (named == b"mime" and b"application/rdf+xml" in entry):
            yield number, named


def _placed(content: bytes) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Items of `iloc`: number, and (construction method, place, size); of several extents the first."""
    version, sizes = content[0], struct.unpack_from(">H", content, 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = 4 if version == 2 else 2
    at = 6

    def number(size: int) -> int:
        nonlocal at
        if at + size > len(content):
            raise IndexError("it ends early")
        at += size
        return int.from_bytes(content[at - size : at], "big")

    for _ in range(number(wide)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        extents = number(2)
        skipped = index_size if version else 0
        if extents:
            number(skipped)
            begin, size = number(offset_size), number(length_size)
            at += (extents - 1) * (skipped + offset_size + length_size)
            yield item, (method, base + begin, size)
