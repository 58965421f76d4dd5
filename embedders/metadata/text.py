"""Texts and numbers as files hold them, made fit for use."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..graph import Text

_ANSI = {code: char for code in range(0x80, 0xA0) if (char := bytes([code]).decode("cp1252", "ignore"))}


def join(texts: Sequence[Text]) -> tuple[Text | None, bool]:
    """One pair from all, and whether more than one text that is not empty made it."""
    pairs = [((one := clean(g) or ""), one if l is g else clean(l) or "") for g, l in texts]
    distinct = list(dict.fromkeys(pair for pair in pairs if pair[0].strip() or pair[1].strip()))
    if len(distinct) < 2:
        return (distinct or pairs or [None])[0], False
    halves = ["\n".join(dict.fromkeys(pair[half] for pair in distinct if pair[half].strip())) for half in (0, 1)]
    return (halves[0], halves[1]), True


def decode(value: bytes) -> str:
    """UTF-8 where it is, else Latin-1, which tEXt is by its standard but not always in fact, with the quotation marks and dashes that
    Windows' "ANSI" (cp1252) has in the place of control characters: so Notepad saved captions until 2019."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1").translate(_ANSI)


def clean(text: Any) -> str | None:
    """A text that UTF-8 and PostgreSQL take: no NUL, no lone surrogate."""
    if not isinstance(text, str):
        return None
    text = text.replace("\0", "")
    return text if text.isascii() else re.sub("[\ud800-\udfff]", "\ufffd", text)


def number(value: Any, kind: Callable[[Any], Any]) -> Any:
    """`value` as `kind` makes it, None when that is no finite number. Long digits would take Python minutes."""
    if isinstance(value, str) and len(value) > 100:
        return None
    try:
        found = kind(value)
        return found if math.isfinite(found) else None
    except (ValueError, TypeError, OverflowError):
        return None


def whole(value: Any, limit: int) -> int | None:
    """A whole number from 0 up to but not including `limit`, else None. "20.0" is whole, 20.5 is not."""
    if isinstance(value, bool):
        return None
    found = number(value, int) if not isinstance(value, float) else None
    if found is None:
        real = number(value, float)
        found = int(real) if real is not None and real.is_integer() else None
    return found if found is not None and 0 <= found < limit else None
