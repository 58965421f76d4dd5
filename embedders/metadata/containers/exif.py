"""Texts and the date in EXIF, and in TIFF, which is the same: directories of tags."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from ..records import Pieces
from ..text import decode
from .iptc import read_iptc
from .source import Source, report, room

_EXIF_IFD, _DATE_TIME, _DATE_TIME_ORIGINAL, _OFFSET_ORIGINAL = 0x8769, 0x0132, 0x9003, 0x9011
_USER_COMMENT, _MAKER_NOTE, _XMP, _IPTC = 0x9286, 0x927C, 700, 33723
_TEXTS = {
    0x010D: "DocumentName", 0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software",
    0x013B: "Artist", 0x013C: "HostComputer", 0x8298: "Copyright",
}  # fmt: skip
_WINDOWS = {0x9C9B: "XPTitle", 0x9C9C: "XPComment", 0x9C9D: "XPAuthor", 0x9C9E: "XPKeywords", 0x9C9F: "XPSubject"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
_ASCII = (2, 129)
_MAX_TAGS = 4096  # of one directory; real ones hold some dozens
# ComfyUI's `prompt:{...}` in WebP and JPEG EXIF, in whatever tag and capitals others write it.
_KEYED = re.compile(rb"([A-Za-z_][A-Za-z0-9_ .-]{0,63}):\s*(?=[{\[])")


class _Tag(NamedTuple):
    number: int
    type: int
    at: int  # in the source
    size: int


class _Directories:
    """EXIF or TIFF data of `size` bytes at `at`, in its byte order; ValueError when it is none. BigTIFF too."""

    def __init__(self, source: Source, at: int, size: int) -> None:
        head = source.read(at, 16)
        self.order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        if not self.order or len(head) < 8:
            raise ValueError("no TIFF header")
        (version,) = struct.unpack_from(self.order + "H", head, 2)
        self.big = version == 43
        if version not in (42, 43):
            raise ValueError("no TIFF header")
        self.source, self.base, self.size = source, at, size
        self.first = self._number(8, 8) if self.big else self._number(4, 4)

    def _number(self, at: int, size: int) -> int:
        data = self.source.read(self.base + at, size) if at + size <= self.size else b""
        return int.from_bytes(data, "little" if self.order == "<" else "big") if len(data) == size else -1

    def tags(self, at: int) -> Iterator[_Tag]:
        """The tags of the directory at `at`, ending where the data does. Values that lie outside are left out."""
        count = self._number(at, 8 if self.big else 2)
        entry, inside, form = (20, 8, "HHQ") if self.big else (12, 4, "HHI")
        begin = at + (8 if self.big else 2)
        if at < 8 or count < 0:
            return
        table = self.source.read(self.base + begin, min(entry * min(count, _MAX_TAGS), self.size - begin))
        for here in range(0, len(table) - entry + 1, entry):
            number, kind, values = struct.unpack_from(self.order + form, table, here)
            size = values * _SIZES.get(kind, 0)
            where = begin + here + entry - inside
            if size > inside:
                (where,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), table, here + entry - inside)
            if 0 < size and where + size <= self.size:
                yield _Tag(number, kind, self.base + where, size)

    def value(self, tag: _Tag) -> bytes:
        return self.source.read(tag.at, tag.size)

    def pointer(self, tag: _Tag) -> int:
        return int.from_bytes(self.value(tag)[: _SIZES[tag.type]], "little" if self.order == "<" else "big")


def read_exif(source: Source, at: int, size: int, pieces: Pieces, place: str = "EXIF") -> None:
    """Add the texts of EXIF data at `at`, and when the picture was taken or made."""
    if source.read(at, 6) == b"Exif\0\0":
        at, size = at + 6, size - 6
    try:
        directories = _Directories(source, at, min(size, source.size - at))
    except ValueError as error:
        report(pieces, f"the EXIF data can't be read ({error})")
        return
    dates: dict[int, bytes] = {}
    details = []
    for tag in _distinct(directories.tags(directories.first)):
        if tag.number == _EXIF_IFD and tag.type in (4, 13, 16, 18):
            details.append(tag)
        else:
            _read_tag(directories, tag, pieces, dates, place)
    for pointer in details[:1]:
        for tag in _distinct(directories.tags(directories.pointer(pointer))):
            _read_tag(directories, tag, pieces, dates, place)
    taken = _date(dates.get(_DATE_TIME_ORIGINAL) or dates.get(_DATE_TIME), dates.get(_OFFSET_ORIGINAL))
    pieces.created = pieces.created or taken


def _distinct(tags: Iterator[_Tag]) -> Iterator[_Tag]:
    """Each number once, however many tags claim to hold the same megabytes."""
    seen: set[int] = set()
    for tag in tags:
        if tag.number not in seen:
            seen.add(tag.number)
            yield tag


def _read_tag(directories: _Directories, tag: _Tag, pieces: Pieces, dates: dict[int, bytes], place: str) -> None:
    """Some writers put the tags of EXIF's own directory into the first one, so each tag counts in both."""
    if tag.number in (_DATE_TIME, _DATE_TIME_ORIGINAL, _OFFSET_ORIGINAL):
        dates.setdefault(tag.number, directories.source.read(tag.at, min(tag.size, 64)))
        return
    known = _TEXTS.get(tag.number) or _WINDOWS.get(tag.number)
    match = None
    if tag.type in _ASCII or tag.number in _TEXTS:
        match = _KEYED.match(directories.source.read(tag.at, min(tag.size, 80)))
    if match is None and not known and tag.number not in (_USER_COMMENT, _MAKER_NOTE, _XMP, _IPTC):
        return
    key = decode(match[1]).lower() if match else known
    if key in pieces.raw:
        return
    if tag.size > room(pieces, directories.source):
        report(pieces, f"the {place} tag 0x{tag.number:04x} of {tag.size} bytes was left unread")
        return
    value = directories.value(tag)
    if match and key:
        pieces.add(key, value[match.end() :].rstrip(b"\0"), place)
    elif tag.number == _XMP:
        pieces.add("xmp", value, "XMP")
    elif tag.number == _IPTC:
        read_iptc(value, pieces)
    elif tag.number == _USER_COMMENT:
        _add(pieces, "UserComment", _user_comment(value, directories.order), place)
    elif tag.number == _MAKER_NOTE:  # Fooocus writes a word here, cameras a format of their own
        if re.fullmatch(rb"[\x20-\x7e\s]+\0*", value):
            _add(pieces, "MakerNote", decode(value), place)
    elif tag.number in _WINDOWS:
        _add(pieces, known, _utf16(value, "<") if tag.type not in _ASCII else decode(value), place)
    else:
        _add(pieces, known, decode(value), place)


def _add(pieces: Pieces, key: str | None, text: str, place: str) -> None:
    text = text.strip("\0\ufeff ")
    if key and text:
        pieces.add(key, text.encode("utf-8", "surrogatepass"), f"{place} {key}")


def _user_comment(value: bytes, order: str) -> str:
    """EXIF's UserComment: eight bytes name the encoding; writers of UNICODE differ in the order of its bytes."""
    kind, body = value[:8], value[8:]
    if kind.startswith(b"UNICODE"):
        return _utf16(body, order)
    if kind == b"JIS\0\0\0\0\0":
        for encoding in ("iso2022_jp", "shift_jis"):
            try:
                return body.decode(encoding)
            except UnicodeDecodeError:
                continue
        return decode(body)
    return decode(body if kind.startswith(b"ASCII\0") or kind == bytes(8) else value)


def _utf16(body: bytes, order: str) -> str:
    """UTF-16 in the order that its Latin letters show, else in `order`; some writers have put UTF-8 there."""
    if b"\0" not in body and sum(byte < 128 for byte in body[:4096]) * 2 >= len(body[:4096]):
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            pass
    low, high = body[::2].count(0), body[1::2].count(0)
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        order = "<" if body[:2] == b"\xff\xfe" else ">"
    elif low != high:
        order = "<" if high > low else ">"
    return body[: len(body) & ~1].decode("utf-16-le" if order == "<" else "utf-16-be", "replace")


def _date(value: bytes | None, offset: bytes | None) -> datetime | None:
    """EXIF's date, naive (the camera's local time) unless the file gives the offset."""
    match = re.match(rb"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)[\0 ]*$", (value or b"").lstrip(b" "))
    away = re.match(rb"([+-])(\d\d):(\d\d)[\0 ]*$", offset or b"")
    if not match:
        return None
    zone = None
    try:
        if away:
            minutes = int(away[2]) * 60 + int(away[3])
            zone = timezone(timedelta(minutes=minutes if away[1] == b"+" else -minutes))
        return datetime(*map(int, match.groups()), tzinfo=zone)  # type: ignore[arg-type, misc]
    except ValueError:
        return None
