"""Texts in WebP files: the RIFF chunks EXIF and XMP, found by hopping over the frames."""

from __future__ import annotations

from ..records import Pieces
from .exif import read_exif
from .source import MAX_PIECES, MAX_STEPS, Source, report, room

_ANIMATION, _XMP, _EXIF = 0x02, 0x04, 0x08  # flags of VP8X


def is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def read_webp(source: Source, pieces: Pieces) -> None:
    """RIFF's own size is not believed: writers have got it wrong, and the file's end is known.

    An animation that announces neither EXIF nor XMP is believed, as by libwebp: it may have hundreds of frames to hop over.
    """
    flags = source.read(20, 1) if source.read(12, 4) == b"VP8X" else b""
    if flags and flags[0] & _ANIMATION and not flags[0] & (_EXIF | _XMP):
        return
    at, left = 12, MAX_PIECES
    for _ in range(MAX_STEPS):
        head = source.read(at, 8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        body, at = at + 8, at + 8 + size + size % 2
        if head[:4] not in (b"EXIF", b"XMP "):
            continue
        left -= 1
        if left < 0:
            report(pieces, "only the first texts were read, there are too many")
            return
        if body + size > source.size:
            report(pieces, "the file ends inside its metadata")
            return
        if head[:4] == b"EXIF":
            read_exif(source, body, size, pieces)
        elif size > room(pieces, source):
            report(pieces, f"an XMP packet of {size} bytes was left unread")
        else:
            pieces.add("xmp", source.read(body, size), "XMP")
