"""Counts and long lists in words, for what nodes and the command tell; without ComfyUI."""

from __future__ import annotations

from collections.abc import Sequence


def some(n: int, what: str) -> str:
    """1 image, 2 images."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def first_of(names: Sequence[str], most: int) -> str:
    """`a, b and 3 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def first_lines(lines: Sequence[str], most: int) -> list[str]:
    """The same, a line each."""
    return [*lines[:most], *([f"and {len(lines) - most:,} more"] if len(lines) > most else [])]
