"""Texts in OpenEXR files: the header's attributes of type string, under which ComfyUI puts its graphs."""

from __future__ import annotations

from ..records import Pieces
from .source import MAX_PIECES, Source, report, room

SIGNATURE = b"\x76\x2f\x31\x01"
_LAYOUT = (b"type", b"name", b"view")  # of the parts and layers, no text about the image


def read_exr(source: Source, pieces: Pieces) -> None:
    """The first part's header: name, NUL, type, NUL, size, value; an empty name ends it."""
    at = 8
    for _ in range(MAX_PIECES):
        head = source.read(at, 512)
        name, _, rest = head.partition(b"\0")
        kind, end, rest = rest.partition(b"\0")
        if not name or not end or len(rest) < 4:
            return
        size = int.from_bytes(rest[:4], "little", signed=True)
        body = at + len(name) + len(kind) + 6
        if size < 0 or body + size > source.size:
            report(pieces, "the file ends inside its metadata")
            return
        at = body + size
        if kind == b"string" and name not in _LAYOUT:
            if size > room(pieces, source):
                report(pieces, f"an attribute of {size} bytes was left unread")
            else:
                pieces.add(name.decode("latin-1"), source.read(body, size), "EXR header")
