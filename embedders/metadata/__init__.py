"""Read what an image file says of its making: prompts, settings, and the original text it was kept in.

`containers` finds the pieces of text in a file, `comfyui` and `generators` know what they mean, `interpret` chooses.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .containers import open_source, read_pieces
from .containers.pixels import decoded_pixels
from .containers.source import Source
from .containers.stealth import may_hide, read_stealth
from .interpret import interpret
from .records import READER_VERSION, ImageMetadata, NodeDefinitions, Pieces

if TYPE_CHECKING:
    import numpy as np

__all__ = ["READER_VERSION", "ImageMetadata", "NodeDefinitions", "Pieces", "interpret", "read_metadata"]


def read_metadata(
    source: bytes | Path | Source,
    *,
    path: Path | None = None,
    pixels: np.ndarray | None = None,
    definitions: NodeDefinitions = {},
) -> ImageMetadata:
    """Read an image file, given as its content, its path, or as it was opened.

    `path` is where a content lies, for its name and the texts beside it. `pixels` are the image's where the caller has
    decoded it, uint8 [height, width, 3 or 4] as the file stores them: text hidden in them is looked for when nothing
    else was found. Without them they are decoded only then, and only of an image that may hide a text. `definitions` are
    those of the ComfyUI that runs; they are needed only for files that hold nothing but a workflow as the front end
    saves it. Malformed metadata gives None in the fields it should have filled and a `problem`; only reading a path
    may raise (OSError).
    """
    if isinstance(source, Path):
        path = source
    opened = source if isinstance(source, Source) else open_source(source)
    name = path.name if path else None
    try:
        pieces = read_pieces(opened, path)
        if pixels is not None:
            pieces.size = (pixels.shape[1], pixels.shape[0])
        found = interpret(pieces, name=name, definitions=definitions)
        if found.prompt is not None or found.negative is not None or found.generator is not None:
            return found
        if pixels is None and may_hide(opened):
            pixels = decoded_pixels(opened.read(0, opened.size))
        if pixels is not None and read_stealth(pixels, pieces):
            return interpret(pieces, name=name, definitions=definitions)
        return found
    finally:
        if opened is not source:
            opened.close()
