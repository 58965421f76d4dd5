"""Texts beside the image: `x.txt`, `x.caption` and `x.json` for `x.png`; `x.png.txt` and `x.png.json` too."""

from __future__ import annotations

import codecs
import os
import stat
from pathlib import Path

from ..records import Pieces
from .source import open_regular, report

SUFFIXES = (".txt", ".caption", ".json")
_MAX_BYTES = 4 * 2**20
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


def sidecar_names(name: str) -> list[tuple[str, str]]:
    """(key, name) of each file that may lie beside the image `name`, or its path; of two with one key the first wins."""
    stem = os.path.splitext(name)[0]
    return [("sidecar" + suffix, stem + suffix) for suffix in SUFFIXES] + [
        ("sidecar" + suffix, name + suffix) for suffix in (".txt", ".json")
    ]


def read_sidecars(path: Path, pieces: Pieces) -> None:
    """Only regular files: a link may lead anywhere, and is left out."""
    for key, file in sidecar_names(os.fspath(path)):
        try:
            status = os.lstat(file)
        except (OSError, ValueError):
            continue
        if key in pieces.raw or not stat.S_ISREG(status.st_mode) or not status.st_size:
            continue
        beside = os.path.basename(file)
        if status.st_size > _MAX_BYTES:
            report(pieces, f"{beside} of {status.st_size} bytes was left unread")
            continue
        try:
            descriptor, _ = open_regular(file, getattr(os, "O_NOFOLLOW", 0))
            with open(descriptor, "rb") as opened:
                text = _utf8(opened.read(_MAX_BYTES))
        except OSError as error:
            report(pieces, f"{beside} can't be read ({error.strerror or error})")
            continue
        if text.strip():
            pieces.add(key, text, beside)


def _utf8(data: bytes) -> bytes:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace").encode("utf-8", "surrogatepass")
    return data
