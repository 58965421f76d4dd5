"""Small files made by code, piece by piece: sound pictures of each format with a prompt in them, and their parts.

The parts (chunks, boxes, elements) are there to be put together wrongly as well; `mutated` does so by chance.
"""

from __future__ import annotations

import functools
import io
import json
import random
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from . import hostile_graphs, hostile_workflows

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


IHDR = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
IDAT = chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
IEND = chunk(b"IEND", b"")


def png(texts: Mapping[str, str | bytes] = {}, *chunks: bytes, ihdr: bytes = IHDR) -> bytes:
    """A PNG of one pixel with these tEXt chunks (UTF-8, lone surrogates and all) and further chunks."""
    packed = [value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass") for value in texts.values()]
    written = b"".join(chunk(b"tEXt", key.encode() + b"\0" + value) for key, value in zip(texts, packed))
    return SIGNATURE + ihdr + written + b"".join(chunks) + IDAT + IEND


def itxt(key: bytes, value: bytes, packed: bool = False) -> bytes:
    return chunk(b"iTXt", key + b"\0" + bytes([packed, 0]) + b"\0\0" + (zlib.compress(value) if packed else value))


def ztxt(key: bytes, value: bytes) -> bytes:
    return chunk(b"zTXt", key + b"\0\0" + zlib.compress(value, 9))


GRAPH = json.dumps(hostile_graphs.picture())
WORKFLOW = json.dumps(hostile_workflows.ui_picture())
PARAMETERS = "a cat\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: a"


@functools.cache
def sound_files() -> dict[str, bytes]:
    """One real picture of each format with a prompt in it, as the formats' usual writers keep one."""
    from PIL import Image

    rng = random.Random(4)
    picture = Image.frombytes("RGB", (64, 48), rng.randbytes(64 * 48 * 3))
    files = {
        "sound.png": png({"prompt": GRAPH, "workflow": WORKFLOW}),
        "sound-itxt.png": png({}, itxt(b"prompt", GRAPH.encode(), packed=True), ztxt(b"workflow", WORKFLOW.encode())),
        "sound-parameters.png": png({"parameters": PARAMETERS}),
        "sound-comf.png": png({}, chunk(b"acTL", struct.pack(">II", 1, 0)), IDAT, chunk(b"comf", b"prompt\0" + GRAPH.encode())),
        "sound-exif.png": png({}, chunk(b"eXIf", tiff([(0x0110, b"prompt:" + GRAPH.encode() + b"\0")]))),
        "sound.mp4": mp4(meta_tags({"prompt": GRAPH, "workflow": WORKFLOW})),
        "sound.mkv": matroska(track() + tags({"PROMPT": GRAPH, "WORKFLOW": WORKFLOW}) + cluster(picture)),
    }
    exif = b"Exif\0\0" + tiff([(0x0110, b"prompt:" + GRAPH.encode() + b"\0"), (0x010F, b"workflow:" + WORKFLOW.encode() + b"\0")])
    for name, options in {"sound.jpg": {}, "sound.webp": {}, "sound.avif": {}}.items():
        packed = io.BytesIO()
        try:
            picture.save(packed, {"jpg": "JPEG"}.get(name[6:], name[6:].upper()), exif=exif, **options)
        except (KeyError, OSError):  # a Pillow without that format
            continue
        files[name] = packed.getvalue()
    for name, options in {
        "sound.gif": {"comment": PARAMETERS.encode()},
        "sound.tiff": {"description": PARAMETERS},
    }.items():
        packed = io.BytesIO()
        picture.save(packed, name[6:].upper(), **options)
        files[name] = packed.getvalue()
    hidden = bytearray(rng.randbytes(96 * 96 * 4))
    bits = "".join(f"{byte:08b}" for byte in stealth(PARAMETERS.encode()))
    for place, bit in enumerate(bits):  # down the columns, as its writers go
        offset = ((place % 96) * 96 + place // 96) * 4 + 3
        hidden[offset] = 254 | int(bit)
    packed = io.BytesIO()
    Image.frombytes("RGBA", (96, 96), bytes(hidden)).save(packed, "PNG")
    return files | {"sound-stealth.png": packed.getvalue()}


def stealth(text: bytes, length: int | None = None) -> bytes:
    return b"stealth_pnginfo" + struct.pack(">I", len(text) * 8 if length is None else length) + text


def mutated(content: bytes, dice: random.Random) -> bytes:
    """`content` with some bytes changed, removed, repeated, or numbers put to their ends; sometimes with its tail lost."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(len(data)) if data else 0
        match dice.randrange(6):
            case 0:
                data[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                data[at : at + 4] = dice.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\x01", b"\xff\xff\xff\x7f"))
            case 2:
                del data[at : at + dice.randrange(1, 64)]
            case 3:
                data[at:at] = data[at : at + dice.randrange(1, 256)]
            case 4:
                data[at:at] = dice.randbytes(dice.randrange(1, 16))
            case _:
                del data[at if dice.random() < 0.2 else len(data) :]
    return bytes(data)


def tiff(entries: list[tuple[int, bytes]], kind: int = 2) -> bytes:
    """A little-endian TIFF block with one IFD."""
    ifd, rest, at = b"", b"", 8 + 2 + 12 * len(entries) + 4
    for tag, value in sorted(entries):
        ifd += struct.pack("<HHI", tag, kind, len(value)) + (struct.pack("<I", at + len(rest)) if len(value) > 4 else value.ljust(4, b"\0"))
        rest += value if len(value) > 4 else b""
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + ifd + bytes(4) + rest


def riff_chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    return kind + struct.pack("<I", len(content) if length is None else length) + content + b"\0" * (len(content) % 2)


def riff(content: bytes, length: int | None = None, kind: bytes = b"WEBP") -> bytes:
    return b"RIFF" + struct.pack("<I", len(content) + 4 if length is None else length) + kind + content


def box(kind: bytes, content: bytes = b"", size: int | None = None) -> bytes:
    return struct.pack(">I", len(content) + 8 if size is None else size) + kind + content


FTYP = box(b"ftyp", b"isom\0\0\2\0isommp41")


def mp4(moov: bytes) -> bytes:
    return FTYP + box(b"mdat", bytes(100)) + box(b"moov", moov)


def meta_tags(tags: Mapping[str, str]) -> bytes:
    """QuickTime's keys and values, as FFmpeg writes them with `use_metadata_tags`."""
    keys = b"".join(box(b"mdta", key.encode()) for key in tags)
    values = b"".join(
        struct.pack(">I", 24 + len(v.encode())) + struct.pack(">I", i) + box(b"data", struct.pack(">II", 1, 0) + v.encode()) for i, v in enumerate(tags.values(), 1)
    )
    handler = box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    return box(
        b"udta",
        box(b"meta", bytes(4) + handler + box(b"keys", struct.pack(">II", 0, len(tags)) + keys) + box(b"ilst", values)),
    )


def element(number: int, content: bytes, size: bytes | None = None) -> bytes:
    kind = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return kind + (struct.pack(">Q", len(content) | 1 << 56) if size is None else size) + content


def matroska(content: bytes) -> bytes:
    return element(0x1A45DFA3, element(0x4282, b"matroska")) + element(0x18538067, content)


def track() -> bytes:
    """One video track of JPEGs, 64 x 48; FFmpeg opens nothing without one."""
    video = element(0xE0, element(0xB0, b"\x40") + element(0xBA, b"\x30"))
    entry = element(0xD7, b"\1") + element(0x73C5, b"\1") + element(0x83, b"\1") + element(0x86, b"V_MJPEG") + video
    return element(0x1549A966, element(0x2AD7B1, b"\x0f\x42\x40")) + element(0x1654AE6B, element(0xAE, entry))


def cluster(picture: Any) -> bytes:
    """One frame."""
    packed = io.BytesIO()
    picture.save(packed, "JPEG")
    return element(0x1F43B675, element(0xE7, b"\0") + element(0xA3, b"\x81\0\0\x80" + packed.getvalue()))


def tags(tags: Mapping[str, str]) -> bytes:
    simple = b"".join(element(0x67C8, element(0x45A3, key.encode()) + element(0x4487, value.encode())) for key, value in tags.items())
    return element(0x1254C367, element(0x7373, element(0x63C0, b"") + simple))


CARRIERS = (
    "parameters",
    "Comment",
    "Description",
    "sd-metadata",
    "Dream",
    "invokeai_metadata",
    "invokeai_graph",
    "fooocus_scheme",
    "prompt",
    "workflow",
    "generation_data",
    "extra",
    "Title",
)
