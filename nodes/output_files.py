"""Where a node may write: a new file or folder below ComfyUI's output folder, never over another."""

from __future__ import annotations

import errno
from pathlib import Path

from .files import unquoted
from .wording import HALF_A_CHARACTER

LONGEST_NAME = 255  # letters of a file's name, on any system


class PlaceRefused(ValueError):
    """Nothing can be written under this name; the message says what to do."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


def new_place(name: str, suffix: str, widget: str) -> Path:
    """`<output>/<name>_00001_<suffix>` or the next number that is free, with its folder made; `suffix` "" for a folder's name.

    `%year%` and the like in `name` are replaced as Save Image does it; `widget` is where a person wrote it, for messages.

    Raises:
        PlaceRefused: the name is empty, leads out of the output folder, also by a link in it, or can't be a file's.
    """
    import folder_paths

    output = Path(folder_paths.get_output_directory()).resolve()
    asked = f"Write a name below ComfyUI's output folder, such as embeddings/today, into {widget}."
    plain = unquoted(name).replace("\\", "/").removesuffix(suffix)
    leads_up = ".." in Path(plain).parts
    if not leads_up and (not plain.strip("/. ") or plain.endswith("/") or "\0" in plain):
        raise PlaceRefused(f"{widget} is {name[:200]!r}, which names no file. {asked}")
    try:
        outside = Path(plain).is_absolute() or ":" in plain or not (output / plain).resolve().is_relative_to(output)
        if leads_up or outside:
            raise PlaceRefused(f"{widget} is {name[:200]!r}, which is not in ComfyUI's output folder. {asked}")
        folder, stem, number, _, _ = folder_paths.get_save_image_path(plain, str(output))
        place = Path(folder).resolve() / f"{stem}_{number:05}_{suffix}"
        try:
            place.lstat()  # which a name too long fails at, as it would after all the work
        except FileNotFoundError as error:
            if getattr(error, "winerror", 2) != 2 or len(place.name) > LONGEST_NAME:  # Windows finds no path in one that is too long
                raise OSError(errno.ENAMETOOLONG, f"a path of {len(str(place))} letters is too long") from None
    except (OSError, RuntimeError, UnicodeError) as error:  # a name too long, a file where a folder should be, a loop of links
        why = HALF_A_CHARACTER if isinstance(error, UnicodeError) else getattr(error, "strerror", None) or error
        raise PlaceRefused(f"Nothing can be written as {name[:200]!r}: {why}. {asked}") from error
    if not place.is_relative_to(output):
        raise PlaceRefused(f"{widget} is {name[:200]!r}, which is not in ComfyUI's output folder. {asked}")
    return place
