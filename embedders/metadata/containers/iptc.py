"""IPTC captions: IIM records, bare (TIFF) or among Photoshop's image resources (JPEG)."""

from __future__ import annotations

from ..records import Pieces
from ..text import decode

_NAMES = {
    5: "iptc:title", 25: "iptc:keywords", 40: "iptc:instructions", 80: "iptc:byline", 105: "iptc:headline",
    115: "iptc:source", 120: "iptc:caption",
}  # fmt: skip


def read_resources(data: bytes, pieces: Pieces) -> None:
    """Photoshop's resources: `8BIM`, number, a name padded to even, size, content padded to even. IPTC is 0x0404."""
    at = 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        number = int.from_bytes(data[at + 4 : at + 6], "big")
        name = data[at + 6] + 1
        body = at + 6 + name + name % 2 + 4
        size = int.from_bytes(data[body - 4 : body], "big")
        if number == 0x0404:
            read_iptc(data[body : body + size], pieces)
        at = body + size + size % 2


def read_iptc(data: bytes, pieces: Pieces) -> None:
    """Records of 0x1c, set, number, size (two bytes), text. An extended size, for pictures in records, ends it."""
    if data.startswith(b"8BIM"):
        read_resources(data, pieces)
        return
    texts: dict[str, list[str]] = {}
    at = 0
    while at + 5 <= len(data) and data[at] == 0x1C:
        size = int.from_bytes(data[at + 3 : at + 5], "big")
        if size >= 0x8000:
            break
        name = _NAMES.get(data[at + 2]) if data[at + 1] == 2 else None
        text = decode(data[at + 5 : at + 5 + size]).strip("\0 ") if name else ""
        if name and text:
            texts.setdefault(name, []).append(text)
        at += 5 + size
    for name, found in texts.items():
        joined = (", " if name == "iptc:keywords" else "\n").join(found)
        pieces.add(name, joined.encode("utf-8", "surrogatepass"), "IPTC")
