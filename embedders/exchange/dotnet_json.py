"""The JSON of one image that DiffusionToolkit writes: `ImageId, ClipL, ClipG, ImageEmbedding, Width, Height, Timestamp`.

Its writer is .NET's System.Text.Json: property names as they are, indented by two, a vector that is missing as null, numbers in
the shortest form that gives the same float32 again, the time in UTC with up to seven places of a second. It names no encoder.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from .records import VECTORS, Embeddings, ExchangeError, checked_vector
from .whole_file import whole_file

FIELDS = {"ClipL": "clip_l", "ClipG": "clip_g", "ImageEmbedding": "image"}
_LARGEST_ID = 2**31 - 1  # an int of .NET
_LARGEST_FILE = 4 << 20  # a real one takes some 50 kB
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?")
_UNPROJECTED = 1280  # what DiffusionToolkit's own CLIP-ViT-H gives: its vision tower before the projection


def json_name(image_id: int) -> str:
    """The file's name, by which DiffusionToolkit finds it again."""
    return f"image_{image_id}_embeddings.json"


def write_json(folder: Path, record: Embeddings, width: int, height: int, time: datetime) -> Path:
    """Write one image into `folder` under its name; ExchangeError for an id that DiffusionToolkit can't hold."""
    if record.image_id > _LARGEST_ID:
        raise ExchangeError(f"DiffusionToolkit's JSON holds ids up to {_LARGEST_ID}, and this one is {record.image_id}. Export to safetensors.")
    utc = time.astimezone(timezone.utc)
    content = {
        "ImageId": record.image_id,
        **{name: _shortest(record.vectors.get(kind)) for name, kind in FIELDS.items()},
        "Width": width,
        "Height": height,
        "Timestamp": f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond:06}0Z",
    }
    path = folder / json_name(record.image_id)
    with whole_file(path) as file:
        file.write(json.dumps(content, indent=2).encode())
    return path


def read_json(path: Path) -> tuple[Embeddings, list[str]]:
    """One image, and what was left out of it and why.

    Raises:
        ExchangeError: it is no such file, or has wrong numbers in it.
    """
    content = _parsed(path)
    image_id = _whole_number(content, "ImageId", path)
    vectors, notes = {}, []
    for name, kind in FIELDS.items():
        given = content.get(name)
        if given is None:
            continue
        numbers = _vector(given, f"{name} of {path.name}")
        if kind == "image" and len(numbers) == _UNPROJECTED:
            notes.append(
                f"image {image_id}: ImageEmbedding has {_UNPROJECTED} numbers, which is CLIP-ViT-H before its projection; image vectors "
                "here have 1024. It is left out"
            )
            continue
        vectors[kind] = checked_vector(numbers, VECTORS[kind][1], f"{name} of {path.name}")
    if not vectors and not notes:
        raise ExchangeError(f"{path.name} has neither ClipL nor ClipG nor ImageEmbedding: DiffusionToolkit made no vectors of image {image_id}.")
    about = {
        "width": _whole_number(content, "Width", path), "height": _whole_number(content, "Height", path),
        "timestamp": _time(content.get("Timestamp"), path),
    }  # fmt: skip
    return Embeddings(image_id, vectors, about=about), notes


def _shortest(vector: np.ndarray | None) -> list[float] | None:
    """Numbers whose text is the shortest that gives the same float32 again."""
    return None if vector is None else [float(number) for number in np.asarray(vector, np.float32).astype(str)]


def _parsed(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise ExchangeError(f"{path.name} has a number that is {constant}: it is damaged. Export the image again.")

    with path.open("rb") as file:
        raw = file.read(_LARGEST_FILE + 1)
    if len(raw) > _LARGEST_FILE:
        raise ExchangeError(f"{path.name} is larger than {_LARGEST_FILE >> 20} MiB, so it is no file of one image's vectors.")
    try:
        content = json.loads(raw.decode("utf-8-sig"), parse_constant=refuse)
    except ExchangeError:
        raise
    except (ValueError, RecursionError) as error:  # also of text that is not UTF-8
        raise ExchangeError(f"{path.name} is no JSON ({type(error).__name__}: {str(error)[:200]}). Export the image again.") from error
    if not isinstance(content, dict) or "ImageId" not in content:
        raise ExchangeError(f"{path.name} is not of DiffusionToolkit: it has no ImageId. Its files are named image_12_embeddings.json.")
    return content


def _vector(given: Any, where: str) -> np.ndarray:
    if not isinstance(given, list):
        raise ExchangeError(f"{where} is no list of numbers.")
    for place, number in enumerate(given):
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise ExchangeError(f"{where} has {str(number)[:40]!r} at place {place}, which is no number.")
    try:
        with np.errstate(over="ignore"):
            return np.array(given, np.float64).astype(np.float32)
    except OverflowError as error:
        raise ExchangeError(f"{where} has a number that is too large to compute with.") from error


def _whole_number(content: dict[str, Any], name: str, path: Path) -> int:
    value = content.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise ExchangeError(f"{name} of {path.name} is {str(value)[:40]!r} where a whole number is needed.")
    return value


def _time(given: Any, path: Path) -> str:
    """As the file has it, once it is known to be a time."""
    found = _TIME.fullmatch(given) if isinstance(given, str) else None
    try:
        datetime.fromisoformat(found[1] if found else "")
    except ValueError as error:
        raise ExchangeError(f"Timestamp of {path.name} is {str(given)[:40]!r}, which is no time such as 2026-11-21T11:30:00Z.") from error
    return given
