"""Make what files carry storable: PostgreSQL refuses NUL characters, lone surrogates and NaN in JSON."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

MAX_JSON_BYTES = 4 * 2**20  # brackets and commas alone take some thirty times as much memory, once read
MAX_DEPTH = 400  # levels of JSON; Python gives up at some 500, PostgreSQL at some thousands
_BOXES = (dict, list, tuple)


def clean_text(text: str) -> str:
    """`text` without NUL characters, lone surrogates as '?'."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def clean_json(value: Any) -> str:
    """`value` as JSON text that jsonb accepts: NaN and infinities become null. ValueError when it nests too deep."""
    if _nests_deeper(value, MAX_DEPTH):
        raise ValueError("JSON nests too deep")
    with suppress(ValueError):
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
        if "\\u0000" not in text:
            return text  # as nearly all are; to take each apart took five times as long
    return json.dumps(_clean(value), ensure_ascii=False, allow_nan=False)


def json_or_none(raw: bytes) -> str | None:
    """The JSON in a file's chunk, cleaned for jsonb; None where the chunk is something else, or too long to be taken apart."""
    if len(raw) > MAX_JSON_BYTES:
        return None
    try:
        return clean_json(json.loads(raw.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return None


def _nests_deeper(value: Any, levels: int) -> bool:
    level = [value] if isinstance(value, _BOXES) else []
    for _ in range(levels):
        if not level:
            return False
        boxes = [box.values() if isinstance(box, dict) else box for box in level]
        level = [item for box in boxes for item in box if isinstance(item, _BOXES)]
    return bool(level)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {clean_text(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value
