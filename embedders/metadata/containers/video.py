"""Texts in MP4, MOV, MKV and WebM files: their tags, read by FFmpeg."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from ..records import Pieces
from .source import Source, SourceFile, report, room

if TYPE_CHECKING:
    from av.container import InputContainer

_MATROSKA = b"\x1a\x45\xdf\xa3"
_MP4 = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_LAYOUT = frozenset(
    ("major_brand", "minor_version", "compatible_brands", "encoder", "handler_name", "language", "vendor_id", "duration")
)


class NoFFmpeg(RuntimeError):
    """PyAV, through which videos are read, is not installed."""


def video_format(head: bytes) -> str | None:
    """FFmpeg's name of the container: told by the content, and given so that FFmpeg tries no other one."""
    if head.startswith(_MATROSKA):
        return "matroska"
    return "mov" if head[4:8] in _MP4 else None


@contextmanager
def open_video(source: Source, container: str, probe: bool = True) -> Iterator[InputContainer]:
    """Opened for a short look: FFmpeg's search for missing facts is bounded, and without `probe` left out.

    Raises NoFFmpeg, or what `ffmpeg_errors` lists.
    """
    try:
        import av
    except ImportError as error:
        raise NoFFmpeg(f"a video is read through PyAV, which is not there ({error}); run: pip install av") from error
    options = {"probesize": "1000000" if probe else "32", "analyzeduration": "1000000" if probe else "0"}
    # PyAV 19 decodes tags so by itself and takes no such arguments.
    decoded = {"metadata_encoding": "utf-8", "metadata_errors": "surrogateescape"} if int(av.__version__.split(".")[0]) < 19 else {}
    with av.open(SourceFile(source), "r", format=container, options=options, **decoded) as opened:
        yield opened


def ffmpeg_errors() -> tuple[type[Exception], ...]:
    """What PyAV raises for a file that is none: mostly by cause, else its own; and a stream may lack what it has."""
    av = sys.modules.get("av")
    known = (OSError, ValueError, RuntimeError, LookupError, TypeError, EOFError, ArithmeticError, AttributeError)
    return (*known, av.FFmpegError) if av is not None else known


def read_video(source: Source, container: str, pieces: Pieces) -> None:
    """Tags by name, lower-cased, since Matroska's are in capitals; first the file's, then those of its picture."""
    try:
        with open_video(source, container, probe=False) as opened:
            tags = list(opened.metadata.items())
            for stream in opened.streams.video[:1]:
                tags += stream.metadata.items()
    except NoFFmpeg as error:
        report(pieces, str(error))
        return
    except ffmpeg_errors():
        return  # the decoder's to report
    for key, text in tags:
        value = text.encode("utf-8", "surrogateescape")
        if key.lower() == "creation_time":
            pieces.created = pieces.created or _date(text)
        elif key.lower() not in _LAYOUT and value.strip() and key.lower() not in pieces.raw:
            if len(value) > room(pieces, source):
                report(pieces, f"the tag {key[:80]!r} of {len(value)} bytes was left unread")
            elif not (key.lower() == "comment" and _unpack(value, pieces)):
                pieces.add(key.lower(), value, "video tag")


def _unpack(comment: bytes, pieces: Pieces) -> bool:
    """VideoHelperSuite's comment: one JSON object of all it would have put into a PNG. Whether it was that."""
    if not comment.startswith(b"{"):
        return False
    try:
        told = json.loads(comment)
    except (ValueError, RecursionError):
        return False
    if len(told) > 100:
        return False
    for key, value in told.items():
        text = value if isinstance(value, str) else json.dumps(value)
        pieces.add(key.replace("\0", ""), text.encode("utf-8", "surrogatepass"), "video tag comment")
    return True


def _date(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
