"""Texts in JPEG files (MPO too): EXIF, XMP, IPTC and comments in the segments before the pixels."""

from __future__ import annotations

from ..records import Pieces
from ..text import decode
from .exif import read_exif
from .iptc import read_resources
from .source import MAX_STEPS, Source, report, room

SIGNATURE = b"\xff\xd8\xff"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP = b"Photoshop 3.0\0"
_MAX_EXTENSIONS = 16  # of XMP; the packet names one


def read_jpeg(source: Source, pieces: Pieces) -> None:
    """One pass over the segments; what is larger than one (EXIF, XMP, Photoshop's resources) is put together."""
    exif, resources = bytearray(), bytearray()
    packet: bytes | None = None
    extension: dict[bytes, dict[int, bytes]] = {}
    left = room(pieces, source)
    at = 2
    for _ in range(MAX_STEPS):
        head = source.read(at, 4)
        if len(head) < 4 or head[0] != 0xFF:
            break
        marker = head[1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if marker in (0xD9, 0xDA):  # the end, or the pixels
            break
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        size = int.from_bytes(head[2:], "big") - 2
        body, at = at + 4, at + 4 + size
        if size < 0:
            break
        if marker not in (0xE1, 0xED, 0xFE):
            continue
        left -= size
        if left < 0 or at > source.size:
            report(pieces, "the file ends inside its metadata" if left >= 0 else "metadata was left unread")
            break
        data = source.read(body, size)
        if marker == 0xFE:
            if text := decode(data).strip("\0 "):
                pieces.add("jpeg:comment", text.encode("utf-8", "surrogatepass"), "JPEG comment")
        elif marker == 0xED:
            if data.startswith(_PHOTOSHOP):
                resources += data[len(_PHOTOSHOP) :]
        elif data.startswith(b"Exif\0"):
            if not exif or data[6:8] not in (b"II", b"MM"):  # else a second one, which does not count
                exif += data[6:]
        elif data.startswith(_XMP):
            packet = packet or data[len(_XMP) :]
        elif data.startswith(_EXTENSION) and size >= len(_EXTENSION) + 40:
            begin = len(_EXTENSION)
            offset = int.from_bytes(data[begin + 36 : begin + 40], "big")
            guid = data[begin : begin + 32]
            if guid in extension or len(extension) < _MAX_EXTENSIONS:
                extension.setdefault(guid, {})[offset] = data[begin + 40 :]
    if exif:
        read_exif(Source(bytes(exif)), 0, len(exif), pieces)
    if packet:
        named = [parts for guid, parts in extension.items() if guid in packet]
        longer = [b"".join(parts[offset] for offset in sorted(parts)) for parts in named[:1]]
        pieces.add("xmp", b"\0".join([packet.rstrip(b"\0"), *longer]), "XMP")  # no XML holds a NUL
    if resources:
        read_resources(bytes(resources), pieces)
