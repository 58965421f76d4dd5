"""The picture of a stored image: its pixels for the graph, and what the front end draws on a node."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io, ui

from .host import log, readable_file
from .stored_images import image_line, path_of

if TYPE_CHECKING:
    import torch

    from ..db import Member, StoredImage

SHOWN_BY_BROWSERS = frozenset((".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".gif", ".bmp"))  # as an image

LEAST_ROOM = 8 * 10**9  # bytes: half of a machine of 16 GB, the least for SDXL


def most_bytes() -> int:
    """What the pictures that a node gives may take: half of the machine's memory, 8 GB at least, since ComfyUI keeps them until the next run; what is free changes."""
    from ..db import machine_memory

    return max(LEAST_ROOM, machine_memory() // 2)


def bytes_of(images: Collection[StoredImage | Member]) -> int:
    """What their pictures take as IMAGE: three float32 a pixel."""
    return sum(image.width * image.height * 12 for image in images)


def check_memory(images: Collection[StoredImage], widget: str, asked: int) -> None:
    """ValueError where these pictures would take more memory than a node should; `widget`, which gave `asked`, is what to lower."""
    if (takes := bytes_of(images)) > (most := most_bytes()):
        raise ValueError(
            f"The pictures of {len(images):,} images would take {takes / 1e9:.1f} GB of memory, and {most / 1e9:.1f} GB are the most "
            f"on this machine. Lower {widget} to about {max(int(asked * most / takes), 1):,}."
        )


def picture_of(image: StoredImage, file: Path | None, note: str) -> tuple[torch.Tensor, str]:
    """The picture, [1, H, W, 3] in 0..1, and what is to be said of it."""
    import numpy as np
    import torch

    from ..embedders.pictures.decode import ImageError, decode

    if file is not None:
        try:
            pixels = np.require(decode(file).pixels, requirements="W")  # Pillow's arrays are read-only: torch warns of them
            return torch.from_numpy(pixels).float().div(255.0).unsqueeze(0), ""
        except (ImageError, OSError) as error:
            note = f"the file can't be read: {error}"
    log.warning("Image %d: %s (%s)", image.id, note, path_of(image, file) or "no path")
    return torch.full((1, image.height, image.width, 3), 0.5), note


def drawn(picture: torch.Tensor, file: Path | None) -> dict[str, str]:
    """What the front end needs to draw the picture on the node: the file itself where it is one and ComfyUI serves it, else a PNG."""
    import folder_paths

    if file is not None and file.suffix.lower() in SHOWN_BY_BROWSERS:
        for kind in ("output", "input"):
            folder = Path(folder_paths.get_directory_by_type(kind)).resolve()
            if file.is_relative_to(folder):
                inside = file.relative_to(folder)
                subfolder = "" if inside.parent == Path(".") else inside.parent.as_posix()
                return {"filename": inside.name, "subfolder": subfolder, "type": kind}
    return ui.ImageSaveHelper.save_images(picture, "hit", io.FolderType.temp, None)[0]


def shown_picture(image: StoredImage) -> tuple[dict[str, str], str]:
    """One stored image for a node that shows it: what the front end draws, and a line on it."""
    file, note = readable_file(image)
    picture, note = picture_of(image, file, note)
    return drawn(picture, file), image_line(image, note)
