"""Files that should be images and are traps: cut, empty, bombs, lying sizes, loops, garbage; and sound pictures to mutate.

All are made here by code, small ones first; `hostile_files(large=True)` adds those of up to 100 MB. The names say what
is wrong and end in the suffix that the file claims.
"""

from __future__ import annotations

import functools
import json
import random
import struct
import zlib
from collections.abc import Iterator

from . import hostile_graphs, hostile_workflows
from .hostile_formats import File, format_files, xmps
from .sound_files import (
    CARRIERS,
    FTYP,
    GRAPH,
    IDAT,
    IEND,
    IHDR,
    SIGNATURE,
    box,
    chunk,
    itxt,
    meta_tags,
    mutated,
    png,
    riff,
    riff_chunk,
    sound_files,
    ztxt,
)


def hostile_files(large: bool = False) -> Iterator[File]:
    """(name, content), each made when it is asked for; the same ones in every run."""
    yield from _cut()
    yield from _pngs()
    yield from format_files()
    yield from _generators()
    if large:
        yield from _large()


def hostile_graph_files(many: int = hostile_graphs.MANY) -> Iterator[File]:
    """PNGs with the graphs and workflows of `hostile_graphs`."""
    for name, text in hostile_graphs.hostile_graphs(many):
        yield f"graph-{name}.png", png({"prompt": text})
    for name, text in hostile_workflows.hostile_workflows(many):
        yield f"workflow-{name}.png", png({"workflow": text})


# Cut and empty


def _cut() -> Iterator[File]:
    yield "empty.png", b""
    for suffix in ("jpg", "webp", "gif", "avif", "mp4", "mkv", "exr", "tiff"):
        yield f"empty.{suffix}", b""
    for name, content in sound_files().items():
        stem, suffix = name.rsplit(".", 1)
        points = sorted({1, 8, 12, 30, len(content) - 1, len(content) - 5, *(len(content) * i // 6 for i in range(1, 6))})
        for point in points:
            if 0 < point < len(content):
                yield f"cut-{stem}-at-{point}.{suffix}", content[:point]
        dice = random.Random(name)
        for number in range(6):
            yield f"mutated-{stem}-{number}.{suffix}", mutated(content, dice)
    dice = random.Random(6)
    starts = {"png": SIGNATURE, "jpg": b"\xff\xd8\xff\xe1", "webp": b"RIFF\0\1\0\0WEBP", "mp4": b"\0\0\0\x18ftypisom", "mkv": b"\x1aE\xdf\xa3", "gif": b"GIF89a",
              "tiff": b"II*\0", "exr": b"v/1\x01", "avif": b"\0\0\0\x20ftypavif", "bmp": b"BM", "txt": b""}  # fmt: skip
    for suffix, start in starts.items():
        yield f"garbage.{suffix}", start + dice.randbytes(50_000)
        yield f"zeros.{suffix}", start + bytes(50_000)
        yield f"ones.{suffix}", start + b"\xff" * 50_000


# PNG


def _pngs() -> Iterator[File]:
    yield "png-signature-only.png", SIGNATURE
    yield "png-no-ihdr.png", SIGNATURE + IDAT + IEND
    yield "png-no-idat.png", SIGNATURE + IHDR + chunk(b"tEXt", b"prompt\0" + GRAPH.encode()) + IEND
    yield "png-text-before-ihdr.png", SIGNATURE + chunk(b"tEXt", b"prompt\0" + GRAPH.encode()) + IHDR + IDAT + IEND
    for name, width, height in (
        ("both", 2**31 - 1, 2**31 - 1),
        ("width", 2**31 - 1, 1),
        ("over", 2**32 - 1, 2**32 - 1),
        ("zero", 0, 0),
        ("large", 100_000, 100_000),
    ):
        ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
        yield f"png-dimensions-{name}.png", png({"prompt": GRAPH}, ihdr=ihdr)
        yield f"png-dimensions-{name}-no-text.png", png(ihdr=ihdr)
    for kind in (0, 2, 3, 4, 6):  # rows of no pixel, or of too few to hide anything: found by fuzzing
        for width, bits in ((0, 8), (1, 8), (0, 16), (3, 1)):
            ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 65537, bits, kind, 0, 0, 0))
            yield f"png-rows-of-{width}-pixels-of-kind-{kind}-of-{bits}-bits.png", png(ihdr=ihdr)
    for width, height in ((30_000, 1), (1, 30_000), (1_500_000, 2), (2, 1_500_000)):  # sound, and small until they are scaled
        yield f"png-narrow-{width}-x-{height}.png", _narrow(width, height)
    yield "png-chunk-longer-than-the-file.png", SIGNATURE + IHDR + struct.pack(">I", 2**32 - 1) + b"tEXtprompt\0{}"
    yield "png-chunk-length-signed.png", SIGNATURE + IHDR + struct.pack(">I", 2**31) + b"tEXtprompt\0{}"
    yield (
        "png-wrong-crc.png",
        png({"prompt": GRAPH}).replace(struct.pack(">I", zlib.crc32(b"tEXtprompt\0" + GRAPH.encode())), b"\0\0\0\0"),
    )
    yield "png-a-million-empty-chunks.png", png({}, chunk(b"teSt", b"") * 100_000)
    yield "png-many-texts.png", png({f"key{i}": "value" for i in range(50_000)})
    yield "png-the-same-text-often.png", png({}, chunk(b"tEXt", b"prompt\0" + GRAPH.encode()) * 3000)
    yield "png-long-keyword.png", png({"k" * 1_000_000: "v"})
    yield (
        "png-no-nul.png",
        png({}, chunk(b"tEXt", b"prompt" + b"x" * 100), chunk(b"zTXt", b"prompt"), chunk(b"iTXt", b"prompt\0")),
    )
    yield "png-empty-texts.png", png({"": "", "prompt": "", "workflow": "", "parameters": ""})
    yield (
        "png-keys-of-nul-and-garbage.png",
        png(
            {},
            chunk(b"tEXt", b"\0\0\0"),
            chunk(b"tEXt", b"\xff\xfe\0\xff"),
            chunk(b"iTXt", b"\xff\0\0\0\xff\0\xff\0\xff"),
        ),
    )
    yield (
        "png-invalid-utf-8.png",
        png({"prompt": b"\xff\xfe" + GRAPH.encode(), "parameters": b"\xc3\x28 a cat\xff\nSteps: 20"}),
    )
    yield "png-utf-16.png", png({"prompt": GRAPH.encode("utf-16")})
    yield "png-bomb-ztxt.png", png({}, ztxt(b"prompt", bytes(300_000_000)))
    yield "png-bomb-ztxt-of-spaces.png", png({}, ztxt(b"prompt", b" " * 40_000_000))
    yield "png-bomb-itxt.png", png({}, itxt(b"parameters", b"a" * 300_000_000, packed=True))
    yield "png-bomb-itxt-xmp.png", png({}, itxt(b"XML:com.adobe.xmp", b"<a>" * 50_000_000, packed=True))
    yield "png-bombs-many.png", png({}, *[ztxt(f"key{i}".encode(), bytes(20_000_000)) for i in range(1)] * 200)
    many = ztxt(b"KEY", bytes(20_000_000))[8:-4]
    yield "png-bombs-many-keys.png", png({}, *(chunk(b"zTXt", f"k{i:02}".encode() + many[3:]) for i in range(60)))
    yield "png-bomb-within-a-bomb.png", png({}, ztxt(b"prompt", zlib.compress(bytes(100_000_000), 9)))
    yield (
        "png-bomb-of-nested-json.png",
        png({}, ztxt(b"prompt", b"[" * 20_000_000), ztxt(b"workflow", b'{"nodes":' * 3_000_000)),
    )
    yield "png-bomb-iccp.png", png({}, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(100_000_000), 9)))
    yield (
        "png-ztxt-garbage.png",
        png(
            {},
            chunk(b"zTXt", b"prompt\0\0garbage"),
            chunk(b"zTXt", b"workflow\0\7" + zlib.compress(b"{}")),
            chunk(b"iTXt", b"parameters\0\1\0\0\0garbage"),
        ),
    )
    yield "png-ztxt-cut.png", png({}, chunk(b"zTXt", b"prompt\0\0" + zlib.compress(GRAPH.encode())[:-20]))
    profile = b"\nexif\n" + b" 99999999\n" + b"4578" * 100_000
    yield (
        "png-raw-profile-lies.png",
        png(
            {},
            ztxt(b"Raw profile type exif", profile),
            ztxt(b"Raw profile type xmp", b"\nxmp\n -5\nzz"),
            ztxt(b"Raw profile type iptc", b"\n" * 1_000_000),
        ),
    )
    for number, rest in enumerate((b"", b"\0" * 8, b"prompt", b"prompt\0" + b"[" * 100_000, b"\0" + GRAPH.encode())):
        yield f"png-comf-{number}.png", SIGNATURE + IHDR + IDAT + chunk(b"comf", rest) + IEND
    yield "png-text-behind-the-end.png", png() + chunk(b"tEXt", b"prompt\0" + GRAPH.encode()) * 5
    for name, packet in xmps():
        yield f"png-xmp-{name}.png", png({}, itxt(b"XML:com.adobe.xmp", packet))


def _narrow(width: int, height: int) -> bytes:
    """A sound picture in grey, of one colour."""
    ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return SIGNATURE + ihdr + chunk(b"IDAT", zlib.compress(bytes(height * (width + 1)), 1)) + IEND


def _generators() -> Iterator[File]:
    """What other generators' keys may hold."""
    lines = {
        "no-end-of-pairs": "a cat\nSteps: 20, " + "a: b, " * 50_000, "quotes": 'a cat\nSteps: 20, Lora hashes: "' + "a: b, " * 50_000, "steps-often": "Steps: 20, " * 30_000,
        "colons": "a cat\nSteps: " + ":" * 200_000, "commas": "a cat\nSteps: 20" + "," * 200_000, "newlines": "a" + "\n" * 300_000 + "Steps: 20", "negatives": "Negative prompt: " * 50_000,
        "numbers": "a cat\nSteps: " + "9" * 10_000 + ", Seed: -" + "9" * 10_000 + ", CFG scale: 1e999999, Size: " + "9" * 5000 + "x" + "9" * 5000,
        "backslashes": 'a\nSteps: 20, X: "' + "\\" * 100_001 + '"', "spaces": "a cat\n" + " " * 300_000 + "Steps:", "loras": "<lora:" * 60_000 + "\nSteps: 20",
        "lora-weights": "<lora:a:" + "1" * 5000 + ">" * 20_000 + "\nSteps: 20", "dashes": "a cat " + "--ar " * 60_000, "brackets": "{" * 100_000, "braces": "[" * 100_000,
        "json-of-strings": json.dumps(dict.fromkeys(("prompt", "negative_prompt", "steps", "seed", "sui_image_params", "Comment", "extra", "civitaiResources"), [[[{}]]])),
        "json-of-numbers": json.dumps(dict.fromkeys(("prompt", "uc", "steps", "seed", "scale", "sampler", "v4_prompt", "v4_negative_prompt", "width", "height", "image", "c"), 10**400)),
        "json-of-nulls": json.dumps(dict.fromkeys(("prompt", "uc", "steps", "seed", "v4_prompt", "sui_image_params", "image", "extraMetadata", "positive_prompt"), None)),
        "json-of-odd-text": json.dumps(dict.fromkeys(("prompt", "uc", "c", "uc", "Description", "positive_prompt", "sampler"), "\0\ud800" * 100)),
        "json-in-json": functools.reduce(lambda inner, _: json.dumps({"Comment": inner, "prompt": inner[:50]}), range(12), "x"),
        "long-number": '{"seed": ' + "9" * 100_000 + ', "prompt": "a cat"}', "nan": '{"prompt": NaN, "steps": Infinity, "seed": -Infinity, "scale": NaN}',
    }  # fmt: skip
    lines |= {f"odd-{number}": json.dumps({key: value for key in _KEYS}) for number, value in enumerate(hostile_graphs.ODD_VALUES)}
    lines |= {f"list-of-odd-{number}": json.dumps([value] * 3) for number, value in enumerate(hostile_graphs.ODD_VALUES)}
    for name, text in lines.items():
        yield f"said-{name}.png", png({key: text for key in CARRIERS if key != "prompt"})
        for key in CARRIERS if name.startswith(("json", "odd")) else ():
            yield f"said-{name}-{key.replace(' ', '-')}.png", png({key: text})
    for software in ("NovelAI", "Draw Things", "AUTOMATIC1111", "\0", "x" * 100_000):
        yield (
            f"said-by-{software[:9].strip(chr(0))}.png",
            png({"Software": software, "Comment": "{" * 1000, "Description": "\0", "Source": "Stable Diffusion"}),
        )


_KEYS = ("prompt", "negative_prompt", "uc", "steps", "seed", "sampler", "scale", "cfg_scale", "width", "height", "model", "v4_prompt", "v4_negative_prompt", "image", "sui_image_params", "loras",
         "positive_prompt", "metadata_version", "app_version", "nodes", "edges", "base_model", "full_prompt", "Comment", "Description", "c", "v2", "profile", "size", "extraMetadata")  # fmt: skip


def _large() -> Iterator[File]:
    """Of up to 100 MB."""
    yield "large-text.png", png({"prompt": b'{"3": "' + b"a" * 100_000_000 + b'"}'})
    yield "large-text-of-nested-json.png", png({"workflow": b"[" * 100_000_000})
    yield "large-parameters.png", png({"parameters": b"a cat, " * 14_000_000 + b"\nSteps: 20"})
    yield "large-itxt.png", png({}, itxt(b"parameters", b"\xff" * 100_000_000))
    yield (
        "large-graph-under-the-limit.png",
        png({"prompt": json.dumps(hostile_graphs.picture(**{"6": hostile_graphs.node("CLIPTextEncode", text="a cat, " * 4_000_000)}))}),
    )
    yield "large-xmp.webp", riff(riff_chunk(b"VP8X", b"\x04" + bytes(9)) + riff_chunk(b"XMP ", b"<a>" * 10_000_000))
    yield "large-narrow.png", _narrow(89_000_000, 2)
    yield "large-narrow-and-tall.png", _narrow(2, 44_000_000)
    yield "large-mdat.mp4", FTYP + box(b"mdat", bytes(100_000_000)) + box(b"moov", meta_tags({"prompt": GRAPH}))
    yield "large-zeros.mkv", b"\x1aE\xdf\xa3" + bytes(50_000_000)
