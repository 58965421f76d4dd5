"""Counts and long lists in words, for what nodes and the command tell; without ComfyUI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..db import GoingImage

HALF_A_CHARACTER = "a character in it is not whole, as where an emoji was cut in two"


def some(n: int, what: str) -> str:
    """1 image, 2 images."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def first_of(names: Sequence[str], most: int) -> str:
    """`a, b and 3 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def first_lines(lines: Sequence[str], most: int) -> list[str]:
    """The same, a line each."""
    return [*lines[:most], *([f"and {len(lines) - most:,} more"] if len(lines) > most else [])]


def program(path: str) -> str:
    """A program as a command begins with it: in quotes only where it must be, since PowerShell takes those for a text to print."""
    return path if re.fullmatch(r"[\w.:\\/-]+", path) else f'"{path}"'


def given(image: GoingImage) -> str:
    """What a person gave it, in brackets after its name; "" where it is nothing."""
    told = [] if image.rating is None else ["rejected" if image.rating == -1 else some(image.rating, "star")]
    told += [f"{'label' if len(image.labels) == 1 else 'labels'} {', '.join(image.labels)}"] if image.labels else []
    told += [f"namespace {image.namespace}"] if image.namespace else []
    return f"  [{'; '.join(told)}]" if told else ""
