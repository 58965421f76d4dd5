"""Values as numbers and moments, with the ranges that they stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

MAX_NUMBER = 10**20  # what `images.seed` can hold
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
AGES = {"h": 1 / 24, "d": 1, "w": 7, "mo": 30.44, "y": 365.25}
_NUMBER = re.compile(r"[-+]?(?:\d{1,24}(?:\.\d{0,24})?|\.\d{1,24})", re.ASCII)
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T_](\d{1,2}):(\d\d)(?::(\d\d))?)?)?)?", re.ASCII)


class Wrong(ValueError):
    """A value that a field can't take; the message says what it takes."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `low` on, up to `high`; None is open. The upper end belongs to it unless `below`."""

    low: Any
    high: Any
    below: bool = False


def is_empty(span: Span) -> bool:
    """Whether nothing lies in a span that is open at no end."""
    return bool(span.low > span.high or (span.below and span.low == span.high))


def compared(operator: str, span: Span) -> Span:
    """What stands in the given relation to one value, which may itself be a span: a day is one."""
    if operator == "<":
        return Span(None, span.low, below=True)
    if operator == "<=":
        return Span(None, span.high, span.below)
    return Span(span.low, None)  # '>=': the caller makes '>' of it


def filled(text: str) -> str:
    """A text that has something in it."""
    if not text.strip():
        raise Wrong("it is empty")
    return text


def whole(text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"[-+]?\d{1,24}", text, re.ASCII) or abs(int(text)) >= MAX_NUMBER:
        raise Wrong(f"{text!r} is no whole number that it can have")
    return int(text)


def real(text: str) -> float:
    """A number, with a point before its fraction."""
    if not _NUMBER.fullmatch(text) or abs(float(text)) >= MAX_NUMBER:
        raise Wrong(f"{text!r} is no number (such as 7 or 3.5)")
    return float(text)


def size_in_bytes(text: str) -> int:
    """Bytes, such as 500kB or 2.5MB."""
    number, unit = re.fullmatch(r"(.*?)([a-z]*)", text.lower(), re.DOTALL).groups()  # type: ignore[union-attr]
    if unit not in (*UNITS, "b"):
        raise Wrong(f"{text!r} is no size (such as 500kB or 2.5MB)")
    return round(real(number) * UNITS.get(unit, 1))


def one_unit(low: str, high: str) -> None:
    """Refuse a range such as 1..5MB or 1MB..5, of which one end would be bytes. Not 500000..1MB, which can only be meant so."""
    low_unit, high_unit = (end.lstrip("+-.0123456789") for end in (low, high))
    factor = UNITS.get((low_unit or high_unit).lower(), 1)
    if factor == 1 or not low or not high or bool(low_unit) == bool(high_unit):
        return
    if high_unit and 0 < real(low) * factor <= size_in_bytes(high):
        raise Wrong(f"{low} would be bytes: write {low}{high_unit}, or {low}b")
    if low_unit and 0 < real(high) < size_in_bytes(low):
        raise Wrong(f"{high} would be bytes: write {high}{low_unit}")


def ratio(text: str) -> float:
    """Width by height, such as 16:9 or 1.5."""
    width, colon, height = text.partition(":")
    try:
        parts = [real(part) for part in ((width, height) if colon else (width,))]
    except Wrong:
        parts = [0.0]
    if min(parts) <= 0 or max(parts) > 10**6:
        raise Wrong(f"{text!r} is no aspect")
    return parts[0] / parts[1] if colon else parts[0]


def size(text: str) -> tuple[int, int]:
    """Width and height, such as 1024x1024."""
    found = re.fullmatch(r"(\d{1,9})[xX\u00d7](\d{1,9})", text, re.ASCII)
    if not found:
        raise Wrong(f"{text!r} is no size in pixels (such as 1024x1024)")
    return int(found[1]), int(found[2])


def moment(text: str) -> Span:
    """The year, month, day or minute that a date names, in this computer's own time."""
    today = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
    days = {"today": 0, "yesterday": 1}
    if text.lower() in days:
        start = today - timedelta(days=days[text.lower()])
        return _span(start, start + timedelta(days=1))
    found = _DATE.fullmatch(text)
    wrong = Wrong(f"{text!r} is no date (such as 2025, 2025-03, 2025-03-14, 2025-03-14T18:30, today or yesterday)")
    if not found or not 1800 < int(found[1]) < 8999:
        raise wrong
    year, month, day, hour, minute, second = (int(part) if part is not None else None for part in found.groups())
    try:
        start = datetime(year, 1 if month is None else month, 1 if day is None else day, hour or 0, minute or 0, second or 0)
    except ValueError:
        raise wrong from None
    if month is None:
        return _span(start, start.replace(year=year + 1))
    if day is None:
        return _span(start, (start + timedelta(days=31)).replace(day=1))
    return _span(start, start + (timedelta(days=1) if hour is None else timedelta(minutes=1) if second is None else timedelta(seconds=1)))


def age(text: str) -> timedelta:
    """How long ago: 12h, 7d, 2w, 3mo, 1y."""
    found = re.fullmatch(r"(\d{1,5})\s*(h|d|w|mo|y)[a-z]*", text.lower(), re.ASCII)
    if not found:
        raise Wrong(f"{text!r} is no age (such as 12h, 7d, 2w, 3mo or 1y)")
    return timedelta(days=min(int(found[1]) * AGES[found[2]], 365_000))


def _span(start: datetime, end: datetime) -> Span:
    return Span(_local(start), _local(end), below=True)


def _local(naive: datetime) -> datetime:
    try:
        return naive.astimezone()
    except (OSError, OverflowError, ValueError):  # Windows knows no local time before 1970
        return naive.replace(tzinfo=timezone.utc)
