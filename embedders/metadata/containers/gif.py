"""Texts in GIF files: comments, and XMP, wherever among the frames."""

from __future__ import annotations

from collections.abc import Iterator

from ..records import Pieces
from ..text import decode
from .source import Source, room

SIGNATURES = (b"GIF87a", b"GIF89a")
_XMP = b"XMP DataXMP"
_MAX_BLOCKS = 1_000_000  # of all frames together
_TRAILER = 257  # bytes that end XMP in a GIF, so that readers which know no XMP find its end


def read_gif(source: Source, pieces: Pieces) -> None:
    flags = source.read(10, 1)
    at = 13 + _table(flags)
    steps = iter(range(_MAX_BLOCKS))
    for _ in steps:
        head = source.read(at, 2)
        if head[:1] == b"\x2c":  # a frame: place, colours, code size, then its blocks
            at = _after_blocks(source, steps, at + 11 + _table(source.read(at + 9, 1)))
        elif head == b"\x21\xfe":
            end = _after_blocks(source, steps, at + 2)
            if end - at <= min(room(pieces, source), 2**20):
                data = source.read(at + 2, end - at - 2)
                text = decode(_joined(data)).strip("\0 ")
                if text:
                    pieces.add("gif:comment", text.encode("utf-8", "surrogatepass"), "GIF comment")
            at = end
        elif head == b"\x21\xff" and source.read(at + 3, 11) == _XMP:
            end = _after_blocks(source, steps, at + 14)
            if 0 < (size := end - at - 14 - _TRAILER - 1) <= room(pieces, source):
                pieces.add("xmp", source.read(at + 14, size), "XMP")
            at = end
        elif head[:1] == b"\x21":
            at = _after_blocks(source, steps, at + 2)
        else:
            return


def _table(flags: bytes) -> int:
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _after_blocks(source: Source, steps: Iterator[int], at: int) -> int:
    """Where a chain of blocks ends: each begins with its size, the last has none. The file's end ends it too."""
    window, begin = b"", at
    for _ in steps:
        if at - begin >= len(window):
            window, begin = source.read(at, 65536), at
        if not window or not (size := window[at - begin]):
            return at + 1
        at += 1 + size
    return source.size


def _joined(blocks: bytes) -> bytes:
    parts, at = [], 0
    while at < len(blocks) and blocks[at]:
        parts.append(blocks[at + 1 : at + 1 + blocks[at]])
        at += 1 + blocks[at]
    return b"".join(parts)
