"""Read what an image file says of its making: prompts, settings, and the original text it was kept in.

`containers` finds the pieces of text in a file, `comfyui` and `generators` know what they mean, `interpret` chooses.
"""

from __future__ import annotations

from pathlib import Path

from .containers import open_image, read_pieces
from .interpret import interpret
from .records import READER_VERSION, ImageMetadata, NodeDefinitions, Pieces

__all__ = ["READER_VERSION", "ImageMetadata", "NodeDefinitions", "Pieces", "interpret", "open_image", "read_metadata"]


def read_metadata(
    source: bytes | Path, *, path: Path | None = None, definitions: NodeDefinitions = {}
) -> ImageMetadata:
    """Read an image file, given as its content or its path. No pixel is decoded.

    `path` is where a content lies, for its name. `definitions` are those of the ComfyUI that runs; they are
    needed only for files that hold nothing but a workflow as the front end saves it. Malformed metadata gives None in
    the fields it should have filled and a `problem`; only reading a path may raise (OSError).
    """
    path = source if isinstance(source, Path) else path
    return interpret(read_pieces(source), name=path.name if path else None, definitions=definitions)
