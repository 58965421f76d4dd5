"""Make what files carry storable: PostgreSQL refuses NUL characters, lone surrogates and NaN in JSON."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_JSON_BYTES = 4 * 2**20  # brackets and commas alone take some thirty times as much memory, once read


def clean_text(text: str) -> str:
    """`text` without NUL characters, lone surrogates as '?'."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def clean_json(value: Any) -> str:
    """`value` as JSON text that jsonb accepts: NaN and infinities become null. ValueError when it nests too deep."""
    try:
        return json.dumps(_clean(value), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("JSON nests too deep") from None


def json_or_none(raw: bytes) -> str | None:
    """The JSON in a file's chunk, cleaned for jsonb; None where the chunk is something else, or too long to be taken apart."""
    if len(raw) > MAX_JSON_BYTES:
        return None
    try:
        return clean_json(json.loads(raw.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return None


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
