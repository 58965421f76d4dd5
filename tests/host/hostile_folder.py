"""A folder of sound pictures with hostile files among them, of which no picture can be made."""

from __future__ import annotations

import io
import itertools
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .hostile_files import hostile_files

STILL_PICTURES = ("mutated-", "png-")  # mostly: what is wrong with them is elsewhere than in the pixels, and they are indexed
SUFFIXES = {".png", ".jpg", ".webp", ".gif", ".avif", ".tiff", ".bmp", ".exr", ".mp4", ".mkv", ".webm"}


def write_hostile_folder(folder: Path, good: int, hostile: int, among: int | None = None) -> tuple[set[str], set[str]]:
    """The paths of the good files and of the hostile ones: taken evenly from all, or the first `among`, that Pillow makes no
    picture of either."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"good-{number:04}.png" for number in range(good)]
    for name in names:
        info = PngInfo()
        info.add_text("parameters", f"a cat, {name}\nSteps: 20, Seed: 1, Size: 32x32")
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / name, pnginfo=info)
    files = itertools.islice(hostile_files(), among)
    claimed = ((name, content) for name, content in files if Path(name).suffix in SUFFIXES and not name.startswith(STILL_PICTURES))
    bad = [(name, content) for name, content in claimed if not _is_picture(name, content)]
    step = len(bad) / hostile
    chosen = [bad[int(number * step)] for number in range(hostile)]
    for name, content in chosen:
        (folder / name).write_bytes(content)
    found = {path.name for path in folder.iterdir()}
    assert len(found) == good + hostile, "two files of one name"
    return set(names), found - set(names)


def _is_picture(name: str, content: bytes) -> bool:
    if Path(name).suffix in (".mp4", ".mkv", ".webm", ".exr"):  # Pillow knows none of them; most hold no frame at all
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                image.load()
    except Exception:  # noqa: BLE001 - whatever a trap makes Pillow raise
        return False
    return True
