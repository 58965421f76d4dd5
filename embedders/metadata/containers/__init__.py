"""Where image files keep texts: one module for each way."""

from __future__ import annotations

from pathlib import Path

from ..records import Pieces
from .exif import open_image, read_exif
from .png import SIGNATURE, png_pieces

__all__ = ["open_image", "read_pieces"]


def read_pieces(source: bytes | Path) -> Pieces:
    """Every text that the file carries. No pixel is decoded. Only reading a path may raise (OSError)."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    pieces = Pieces()
    exif = None
    if data.startswith(SIGNATURE):
        for key, value in png_pieces(data, pieces.problems):
            if key == "eXIf":
                exif = value
            else:
                pieces.add(key, value, "PNG text")
    read_exif(data, exif, pieces)
    return pieces
