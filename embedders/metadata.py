"""Read what an image file says of its making: prompts, settings, and the original text it was kept in."""

from __future__ import annotations

import io
import json
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import graph
from .graph import Text

if TYPE_CHECKING:
    from PIL import Image

MAX_TEXT_BYTES = 32 * 2**20  # of one piece of metadata, unpacked; larger ones are left unread and said so

_PNG = b"\x89PNG\r\n\x1a\n"
_EXIF_IFD, _DATE_TIME, _DATE_TIME_ORIGINAL, _OFFSET_ORIGINAL, _USER_COMMENT = 0x8769, 0x0132, 0x9003, 0x9011, 0x9286
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF")
_KEYED = re.compile(r"([A-Za-z_]{1,64}):\s*(?=[{\[])")  # ComfyUI's `prompt:{...}` in WebP and JPEG EXIF
_LORA_TAG = re.compile(r"<lora:([^:>]+):([-+]?[0-9.]+)(?::([-+]?[0-9.]+))?[^>]*>")


@dataclass(frozen=True)
class ImageMetadata:
    """What a file tells of its image; None where it says nothing.

    A prompt is SDXL's pair (text_g, text_l), the same text twice elsewhere; `("", "")` is an empty text that was
    encoded, None is none at all. `raw` holds each piece as it lay in the file (unpacked; EXIF comments as UTF-8).
    """

    prompt: Text | None = None
    negative: Text | None = None
    prompt_joined: bool = False
    negative_joined: bool = False
    seed: int | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    checkpoint: str | None = None
    loras: list[dict[str, Any]] = field(default_factory=list)
    generator: str | None = None
    created: datetime | None = None
    raw: dict[str, bytes] = field(default_factory=dict)
    problem: str | None = None


def open_image(data: bytes) -> Image.Image:
    """Pillow's image over a file's content, in the formats we index only: another one would run Ghostscript."""
    from PIL import Image

    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in _FORMATS if name in Image.OPEN])


def read_metadata(source: bytes | Path) -> ImageMetadata:
    """Read an image file, given as its content or its path. No pixel is decoded.

    Malformed metadata gives None in the fields it should have filled and a `problem`; only reading a path may raise
    (OSError).
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    raw: dict[str, bytes] = {}
    problems: list[str] = []
    exif = None
    if data.startswith(_PNG):
        for key, value in _png_pieces(data, problems):
            if key == "eXIf":
                exif = value
            else:
                raw.setdefault(key, value)
    created = _read_exif(data, exif, raw, problems)
    found = _interpret(raw, problems)
    return replace(found, created=created, raw=raw, problem="; ".join(problems) or None)


# -- where it is kept ------------------------------------------------------------------------------------------------


def _png_pieces(data: bytes, problems: list[str]) -> Iterator[tuple[str, bytes]]:
    """Texts of a PNG by key, also those after the pixels, where Pillow would decode the image to see them.

    `comf` is ComfyUI's private chunk in animated PNGs: key, NUL, JSON.
    """
    at = len(_PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body, at = data[at + 4 : at + 8], at + 8, at + 12 + length
        if kind == b"IEND":
            return
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"comf", b"eXIf"):
            continue
        if at > len(data):
            problems.append("the file ends inside its metadata")
            return
        if length > MAX_TEXT_BYTES:
            problems.append(f"a {kind.decode()} chunk of {length} bytes was left unread")
            continue
        chunk = data[body : body + length]
        if kind == b"eXIf":
            yield "eXIf", chunk
            continue
        key, _, value = chunk.partition(b"\0")
        if not 0 < len(key) < 80:  # PNG's own rule; a chunk without NUL would be all key
            problems.append(f"a {kind.decode()} chunk without a proper keyword was left out")
            continue
        try:
            if kind == b"zTXt":
                value = _inflate(value[1:])
            elif kind == b"iTXt":
                _language, _, rest = value[2:].partition(b"\0")
                _translated, _, text = rest.partition(b"\0")
                value = _inflate(text) if value[:1] == b"\1" else text
        except (zlib.error, ValueError) as error:
            problems.append(f"the metadata {key[:79]!r} can't be unpacked ({error})")
            continue
        yield key.decode("latin-1"), value


def _inflate(packed: bytes) -> bytes:
    stream = zlib.decompressobj()
    unpacked = stream.decompress(packed, MAX_TEXT_BYTES)
    if stream.unconsumed_tail:
        raise ValueError(f"more than {MAX_TEXT_BYTES} bytes")
    return unpacked


def _read_exif(data: bytes, exif_chunk: bytes | None, raw: dict[str, bytes], problems: list[str]) -> datetime | None:
    """Add EXIF's texts to `raw`; return when the picture was taken or made."""
    from PIL import Image, UnidentifiedImageError

    try:
        exif = Image.Exif()
        if exif_chunk is not None:
            exif.load(exif_chunk)
        elif not data.startswith(_PNG):
            exif = open_image(data).getexif()
        details = exif.get_ifd(_EXIF_IFD)
        texts = [value for value in exif.values() if isinstance(value, str)]
        comment = details.get(_USER_COMMENT)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return None  # the decoder's to report
    except (
        OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, struct.error,
    ) as error:  # fmt: skip
        problems.append(f"the EXIF data can't be read ({error})")
        return None
    for text in texts:
        if match := _KEYED.match(text):
            raw.setdefault(match[1].lower(), _ascii_tag(text[match.end() :]))
    if isinstance(comment, (bytes, str)) and (text := _user_comment(comment)):
        key = "parameters" if re.search(r"\bSteps: \d|^\s*\{", text) else "UserComment"
        raw.setdefault(key, text.encode("utf-8", "surrogatepass"))
    return _date(details.get(_DATE_TIME_ORIGINAL) or exif.get(_DATE_TIME), details.get(_OFFSET_ORIGINAL))


def _ascii_tag(text: str) -> bytes:
    """The bytes of an ASCII tag, which Pillow has read as Latin-1 whatever they are."""
    try:
        return text.rstrip("\0").encode("latin-1")
    except UnicodeEncodeError:
        return text.rstrip("\0").encode("utf-8", "surrogatepass")


def _user_comment(value: bytes | str) -> str:
    """EXIF's UserComment: eight bytes name the encoding; writers of UNICODE differ in the order of its bytes."""
    if isinstance(value, str):
        return value.strip("\0 ")
    kind, body = value[:8], value[8:]
    if kind.startswith(b"UNICODE"):
        order = "utf-16-le" if body[1::2].count(0) > body[::2].count(0) else "utf-16-be"
        return body.decode(order, "replace").strip("\0\ufeff ")
    return _decode(body if kind.startswith((b"ASCII", b"\0")) else value).strip("\0 ")


def _date(value: Any, offset: Any) -> datetime | None:
    """EXIF's date, naive (the camera's local time) unless the file gives the offset."""
    if not isinstance(value, str):
        return None
    text = value.strip("\0 ")
    try:
        if isinstance(offset, str) and offset.strip("\0 "):
            return datetime.strptime(f"{text} {offset.strip(chr(0) + ' ')}", "%Y:%m:%d %H:%M:%S %z")
        return datetime.strptime(text, "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None


# -- what it means ---------------------------------------------------------------------------------------------------


def _interpret(raw: dict[str, bytes], problems: list[str]) -> ImageMetadata:
    """A ComfyUI graph first, since it says most; what other generators leave where there is no graph with a text."""
    found = ImageMetadata()
    if "prompt" in raw:
        found = _from_graph(raw["prompt"], problems)
    elif "workflow" in raw:
        found = ImageMetadata(generator="ComfyUI")
    if found.prompt is None and found.negative is None:
        found = _from_others(raw, problems) or found
    return found


def _from_graph(content: bytes, problems: list[str]) -> ImageMetadata:
    """Trace ComfyUI's graph. Python's JSON takes the NaN and Infinity that ComfyUI writes."""
    if len(content) > MAX_TEXT_BYTES:
        problems.append(f"the graph of {len(content)} bytes was left unread")
        return ImageMetadata()
    try:
        traced = graph.trace(json.loads(_decode(content)))
    except (ValueError, RecursionError) as error:
        problems.append(f"the ComfyUI graph can't be read ({error})")
        return ImageMetadata()
    prompt, prompt_joined = _join(traced.positive)
    negative, negative_joined = _join(traced.negative)
    return ImageMetadata(
        prompt=prompt,
        negative=negative,
        prompt_joined=prompt_joined,
        negative_joined=negative_joined,
        seed=traced.seed,
        steps=traced.steps,
        cfg=traced.cfg,
        sampler=_clean(traced.sampler),
        scheduler=_clean(traced.scheduler),
        checkpoint=_clean(traced.checkpoint),
        loras=[{**lora, "name": _clean(lora["name"])} for lora in traced.loras],
        generator="ComfyUI",
    )


def _from_others(raw: dict[str, bytes], problems: list[str]) -> ImageMetadata | None:
    """AUTOMATIC1111, Fooocus, InvokeAI and NovelAI through sd-parsers' parsers, which are handed texts, not files."""
    if not raw.keys() & {"parameters", "sd-metadata", "Dream", "invokeai_metadata", "Comment"}:
        return None
    from sd_parsers.exceptions import ParserError
    from sd_parsers.parsers import AUTOMATIC1111Parser, FooocusParser, InvokeAIParser, NovelAIParser

    texts = {key: _decode(value) for key, value in raw.items() if len(value) <= MAX_TEXT_BYTES}
    for parser in (FooocusParser, AUTOMATIC1111Parser, InvokeAIParser, NovelAIParser):
        try:
            return _from_parsed(parser().parse(dict(texts)), texts)
        except ParserError:
            continue
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            problems.append(f"the {parser.generator.value} metadata can't be read ({error})")
    return None


def _from_parsed(info: Any, texts: dict[str, str]) -> ImageMetadata:
    """Our fields from sd-parsers' `PromptInfo`; settings from its last sampler, then from what was left over."""
    sampler = info.samplers[-1]
    settings = {**{str(k).lower(): v for k, v in info.metadata.items()}, **sampler.parameters}
    prompt, prompt_joined = _join([(text.value, text.value) for text in info.prompts])
    negative, negative_joined = _join([(text.value, text.value) for text in info.negative_prompts])
    tags = _LORA_TAG.findall(texts.get("parameters", ""))
    loras = [(_clean(name), _number(model, float), _number(clip, float)) for name, model, clip in tags]
    return ImageMetadata(
        prompt=prompt,
        negative=negative,
        prompt_joined=prompt_joined,
        negative_joined=negative_joined,
        seed=_within(_number(settings.get("seed"), int), 2**64),
        steps=_within(_number(settings.get("steps"), int), 2**31),
        cfg=_number(settings.get("cfg_scale"), float),
        sampler=_clean(sampler.name),
        scheduler=_clean(settings.get("scheduler")),
        checkpoint=_clean(sampler.model.name) if sampler.model is not None else None,
        loras=[
            {"name": name, "strength_model": model, "strength_clip": model if clip is None else clip}
            for name, model, clip in loras
            if name is not None and model is not None
        ],
        generator=info.generator.value,
    )


def _join(texts: list[Text]) -> tuple[Text | None, bool]:
    """One pair from all, and whether more than one text that is not empty made it."""
    pairs = [(_clean(g) or "", _clean(l) or "") for g, l in texts]
    distinct = list(dict.fromkeys(pair for pair in pairs if pair[0].strip() or pair[1].strip()))
    if len(distinct) < 2:
        return (distinct or pairs or [None])[0], False
    halves = ["\n".join(dict.fromkeys(pair[half] for pair in distinct if pair[half].strip())) for half in (0, 1)]
    return (halves[0], halves[1]), True


def _decode(value: bytes) -> str:
    """UTF-8 where it is, else Latin-1, which tEXt is by its standard but not always in fact."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _clean(text: Any) -> str | None:
    """A text that UTF-8 and PostgreSQL take: no NUL, no lone surrogate."""
    if not isinstance(text, str):
        return None
    return re.sub("[\ud800-\udfff]", "\ufffd", text.replace("\0", ""))


def _number(value: Any, kind: Callable[[Any], Any]) -> Any:
    try:
        number = kind(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _within(number: int | None, limit: int) -> int | None:
    return number if number is not None and 0 <= number < limit else None
