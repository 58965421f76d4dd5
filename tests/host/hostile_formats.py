"""Traps in containers other than PNG, and in the EXIF and XMP that all of them carry: lying sizes, loops, entities, garbage."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator

from .sound_files import (
    FTYP,
    GRAPH,
    box,
    chunk,
    element,
    matroska,
    meta_tags,
    mp4,
    png,
    riff,
    riff_chunk,
    sound_files,
    stealth,
    tags,
    tiff,
)

File = tuple[str, bytes]


def format_files() -> Iterator[File]:
    """(name, content) of all of them."""
    yield from _exifs()
    yield from _jpegs()
    yield from _riffs()
    yield from _boxes()
    yield from _matroskas()
    yield from _other_formats()


def xmps() -> Iterator[File]:
    open_, close = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>", b"</x:xmpmeta>"
    laughs = b"".join(b'<!ENTITY l%d "%s">' % (i, b"&l%d;" % (i - 1) * 10) for i in range(1, 12))
    yield "laughs", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "lol">' + laughs + b"]><x>&l11;</x>"
    yield "quadratic", b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 100_000 + b'">]><x>' + b"&a;" * 10_000 + b"</x>"
    yield (
        "outside-file",
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x:xmpmeta xmlns:x="adobe:ns:meta/"><d xmlns="http://purl.org/dc/elements/1.1/">&a;</d></x:xmpmeta>',
    )
    yield "deep", open_ + b"<a>" * 100_000 + b"</a>" * 100_000 + close
    yield "wide", open_ + b"<a b='c'/>" * 100_000 + close
    yield "attributes", open_ + b"<a " + b" ".join(b"b%d='c'" % i for i in range(50_000)) + b"/>" + close
    yield "open", b"<" * 300_000
    yield "not-closed", open_ + b"<!--" * 100_000
    yield "utf-16", (open_ + close).decode().encode("utf-16")
    yield "nul", open_ + b"\0" * 1000 + close
    yield "encoding", b'<?xml version="1.0" encoding="utf-7"?>' + open_ + close


# EXIF


def _ifd(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries) % 65536) + packed + struct.pack("<I", following)


def _tiffs() -> Iterator[File]:
    yield "next-is-itself", _ifd((0x010E, 2, 4, 0x61616161), following=8)
    yield "exif-is-itself", _ifd((0x8769, 4, 1, 8), (0x8825, 4, 1, 8), (0xA005, 4, 1, 8), (0x014A, 4, 1, 8))
    yield (
        "count-huge",
        _ifd((0x9286, 7, 2**32 - 1, 8), (0x010E, 2, 2**32 - 1, 8), (0x0110, 5, 2**30, 8), (0x9C9C, 1, 2**31, 8)),
    )
    yield "offset-outside", _ifd((0x9286, 7, 100, 2**32 - 1), (0x010E, 2, 100, 2**31))
    yield (
        "types-unknown",
        _ifd(*((tag, kind, 10, 8) for tag in (0x9286, 0x010E, 0x0110) for kind in (0, 14, 255, 65535))),
    )
    shared = _ifd(*((0x0100 + i, 2, 60_000, 8) for i in range(5000))) + b"a" * 60_000
    yield "many-entries-of-one-text", shared
    yield "entries-lie", b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(100)
    yield "first-outside", b"II*\0" + struct.pack("<I", 2**32 - 1) + bytes(20)
    yield "big-tiff", b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(60)
    yield "header-only", b"II*\0"
    yield "orders-mixed", b"MM\0*" + struct.pack("<I", 8) + bytes(50)
    chain = b"".join(struct.pack("<HHHIII", 1, 0x010E, 2, 4, 0x61616161, 8 + 18 * (i + 1)) for i in range(20_000))
    yield "chain-of-ifds", b"II*\0" + struct.pack("<I", 8) + chain
    for number, start in enumerate((b"UNICODE\0", b"UNICODE\0\xff\xfe", b"ASCII\0\0\0", b"JIS\0\0\0\0\0", bytes(8), b"")):
        yield f"comment-{number}", tiff([(0x9286, start + b"\xd8\0\xff" * 3333)], kind=7)
    yield "comment-of-nul", tiff([(0x9286, bytes(100_000)), (0x9C9C, b"\0\xd8" * 999), (0x010E, bytes(10))], kind=7)
    yield (
        "prompt-name-only",
        tiff([(0x0110, b"prompt:"), (0x010F, b"workflow:\0"), (0x010E, b":"), (0x0131, b"prompt:[[[[[")]),
    )
    yield "graphs-in-all-tags", tiff([(0x0110 + i, b"prompt:" + b"[" * 20_000) for i in range(200)])


def _exifs() -> Iterator[File]:
    for name, block in _tiffs():
        yield f"exif-{name}.png", png({}, chunk(b"eXIf", block))
        yield (
            f"exif-{name}.webp",
            riff(riff_chunk(b"VP8X", bytes([8, 0, 0, 0, 0, 0, 0, 0, 0, 0])) + riff_chunk(b"EXIF", block)),
        )
        if len(block) < 65_000:
            yield f"exif-{name}.jpg", b"\xff\xd8" + _segment(0xE1, b"Exif\0\0" + block) + b"\xff\xd9"
        yield f"exif-{name}.tiff", block


# JPEG


def _segment(marker: int, content: bytes, length: int | None = None) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2 if length is None else length) + content


def _jpegs() -> Iterator[File]:
    sound = sound_files()["sound.jpg"]
    for length in (0, 1, 2, 65535):
        for marker in (0xE1, 0xED, 0xFE):
            yield (
                f"jpeg-segment-{marker:x}-of-length-{length}.jpg",
                b"\xff\xd8" + _segment(marker, b"Exif\0\0II*\0", length) + sound[2:],
            )
    yield "jpeg-fill-bytes.jpg", b"\xff\xd8" + b"\xff" * 1_000_000
    yield "jpeg-many-comments.jpg", b"\xff\xd8" + _segment(0xFE, b"a") * 200_000 + sound[2:]
    yield (
        "jpeg-many-exifs.jpg",
        b"\xff\xd8" + _segment(0xE1, b"Exif\0\0" + tiff([(0x010E, b"a" * 60_000)])) * 50 + sound[2:],
    )
    yield (
        "jpeg-huge-dimensions.jpg",
        b"\xff\xd8" + _segment(0xC0, struct.pack(">BHHB", 8, 65535, 65535, 3) + bytes(9)) + b"\xff\xd9",
    )
    resources = [
        b"",
        b"8BIM",
        b"8BIM\x04\x04\xff",
        b"8BIM\x04\x04\0\0\xff\xff\xff\xff",
        b"8BIM\x04\x04\0\0\0\0\0\x09\x1c\x02\x78\xff\xff\xff\xff\xff\xff",
        b"8BIM\x04\x04\0\0" * 5000,
    ]
    for number, resource in enumerate(resources):
        yield f"jpeg-photoshop-{number}.jpg", b"\xff\xd8" + _segment(0xED, b"Photoshop 3.0\0" + resource) + sound[2:]
    iptc = b"\x1c\x02\x78\0\x05a cat\x1c\x02\x78\x80\x04\xff\xff\xff\xff" + b"\x1c\x02\x19\0\0" * 10_000
    yield (
        "jpeg-iptc-lies.jpg",
        b"\xff\xd8" + _segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc) + sound[2:],
    )
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    for number, (full, offset) in enumerate(((2**32 - 1, 0), (10, 2**32 - 1), (2**31, 2**31 - 10), (0, 0))):
        yield (
            f"jpeg-extended-xmp-{number}.jpg",
            b"\xff\xd8" + _segment(0xE1, head + struct.pack(">II", full, offset) + b"<a/>") * 3 + sound[2:],
        )
    for name, packet in xmps():
        if len(packet) < 60_000:
            yield (
                f"jpeg-xmp-{name}.jpg",
                b"\xff\xd8" + _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet) + sound[2:],
            )


# WebP


def _riffs() -> Iterator[File]:
    sound = sound_files().get("sound.webp", riff(b""))
    body = sound[12:]
    for length in (0, 1, 4, 2**31, 2**32 - 1):
        yield f"webp-size-{length}.webp", riff(body, length)
        yield (
            f"webp-exif-size-{length}.webp",
            riff(body + riff_chunk(b"EXIF", tiff([(0x0110, b"prompt:" + GRAPH.encode())]), length)),
        )
    yield "webp-many-chunks.webp", riff(riff_chunk(b"junk", b"") * 200_000)
    yield "webp-empty.webp", riff(b"")
    yield (
        "webp-huge-canvas.webp",
        riff(riff_chunk(b"VP8X", b"\x0c\0\0\0" + b"\xff" * 6) + riff_chunk(b"XMP ", b"<a>" * 1000)),
    )
    yield (
        "webp-many-exifs.webp",
        riff(body + riff_chunk(b"EXIF", b"Exif\0\0" + tiff([(0x0110, b"prompt:{}")])) * 5000),
    )
    for name, packet in xmps():
        yield f"webp-xmp-{name}.webp", riff(riff_chunk(b"VP8X", b"\x04" + bytes(9)) + riff_chunk(b"XMP ", packet))


# MP4 and AVIF


def _boxes() -> Iterator[File]:
    for size in (0, 1, 2, 7, 8, 2**31, 2**32 - 1):
        for kind in (b"moov", b"meta", b"udta", b"free"):
            yield f"mp4-{kind.decode()}-of-size-{size}.mp4", FTYP + box(kind, bytes(64), size)
            yield (
                f"mp4-{kind.decode()}-of-size-{size}-within.mp4",
                FTYP + box(b"moov", box(b"udta", box(kind, bytes(64), size))),
            )
    yield "mp4-long-size-lies.mp4", FTYP + box(b"moov", struct.pack(">Q", 2**63) + bytes(50), 1)
    yield "mp4-long-size-small.mp4", FTYP + box(b"moov", struct.pack(">Q", 3) + bytes(50), 1)
    yield "mp4-many-boxes.mp4", FTYP + box(b"free") * 300_000
    deep = b""
    for _ in range(5000):
        deep = box(b"moov", box(b"udta", deep))
    yield "mp4-deep.mp4", FTYP + deep
    lying = [box(b"keys", struct.pack(">II", 0, 2**32 - 1) + box(b"mdta", b"prompt")), box(b"keys", struct.pack(">II", 0, 5) + box(b"mdta", b"", 3)),
             box(b"ilst", struct.pack(">II", 2**32 - 1, 1) + box(b"data", b"")), box(b"ilst", box(b"\xa9cmt", box(b"data", b"\0\0")) * 20_000)]  # fmt: skip
    for number, lie in enumerate(lying):
        yield f"mp4-tags-lie-{number}.mp4", mp4(box(b"udta", box(b"meta", bytes(4) + lie + lie)))
    yield "mp4-comment-nested.mp4", mp4(meta_tags({"comment": '{"prompt":' * 50_000, "prompt": "[" * 100_000}))
    sound = sound_files().get("sound.avif")
    if sound:
        for name in (b"iloc", b"iinf", b"infe", b"meta", b"ipco", b"iref", b"idat", b"ispe"):
            at = sound.find(name)
            for number, value in enumerate((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1")):
                if at > 0:
                    yield f"avif-{name.decode()}-size-{number}.avif", sound[: at - 4] + value + sound[at:]
                    yield f"avif-{name.decode()}-content-{number}.avif", sound[: at + 8] + value * 2 + sound[at + 16 :]
    items = b"".join(struct.pack(">HHHHII", i, 0, 0, 1, 0, 2**32 - 1) for i in range(65535))
    iloc = box(b"iloc", b"\0\0\0\0\x44\0" + struct.pack(">H", 65535) + items)
    infe = box(b"infe", b"\2\0\0\0" + struct.pack(">HH", 1, 0) + b"Exif\0")
    iinf = box(b"iinf", bytes(4) + struct.pack(">H", 65535) + infe * 20_000)
    yield (
        "avif-all-items-are-the-file.avif",
        box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", bytes(4) + iinf + iloc),
    )


# Matroska


def _matroskas() -> Iterator[File]:
    head = element(0x1A45DFA3, element(0x4282, b"webm"))
    for name, size in (
        ("unknown", b"\xff"),
        ("unknown-long", b"\x01" + b"\xff" * 7),
        ("huge", b"\x01" + b"\xff" * 6 + b"\xfe"),
        ("zero", b"\x80"),
        ("invalid", b"\0"),
        ("cut", b"\x08"),
    ):
        yield f"mkv-segment-{name}.webm", head + element(0x18538067, tags({"PROMPT": GRAPH}), size)
        yield f"mkv-tags-{name}.webm", head + element(0x18538067, element(0x1254C367, b"\x73\x73" * 100, size))
    deep = tags({"PROMPT": GRAPH})
    for _ in range(3000):
        deep = element(0x67C8, deep)
    yield "mkv-deep-simple-tags.mkv", matroska(element(0x1254C367, element(0x7373, deep)))
    yield "mkv-many-empty.mkv", matroska(b"\xec\x80" * 500_000)
    yield "mkv-many-tags.mkv", matroska(tags({f"KEY{i}": "v" for i in range(20_000)}))
    yield "mkv-header-only.mkv", head
    yield "mkv-comment-nested.mkv", matroska(tags({"COMMENT": '{"prompt":' * 50_000}))


# Others


def _other_formats() -> Iterator[File]:
    sound = sound_files()["sound.gif"]
    yield "gif-many-comments.gif", sound[:13] + sound[13 : 13 + 0] + b"\x21\xfe\x05a cat\0" * 100_000
    yield "gif-comment-without-end.gif", sound[:13] + b"\x21\xfe" + b"\xff" + b"a" * 5_000
    yield "gif-huge.gif", b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;"
    yield (
        "bmp-huge.bmp",
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
    )
    head = b"v/1\x01\x02\0\0\0"
    for number, attribute in enumerate(
        (
            b"prompt\0string\0\xff\xff\xff\xff{}",
            b"prompt\0string\0\xff\xff\xff\x7f",
            b"a" * 100_000,
            b"prompt\0string\0\0\0\0\0" * 20_000,
            b"\0",
        )
    ):
        yield f"exr-{number}.exr", head + attribute
    from PIL import Image

    for name, size, bits in (
        ("lies", (200, 200), stealth(b"a", 2**32 - 1)),
        ("zero", (50, 50), stealth(b"", 0)),
        ("cut", (12, 12), stealth(b"abc")),
    ):
        hidden = bytearray(b"\xff" * size[0] * size[1] * 4)
        for place, bit in enumerate("".join(f"{byte:08b}" for byte in bits)[: size[0] * size[1]]):
            hidden[((place % size[1]) * size[0] + place // size[1]) * 4 + 3] = 254 | int(bit)
        packed = io.BytesIO()
        Image.frombytes("RGBA", size, bytes(hidden)).save(packed, "PNG")
        yield f"stealth-{name}.png", packed.getvalue()
    for suffix in ("txt", "json"):
        yield f"text-named-png-{suffix}.png", b"a cat\nSteps: 20"
