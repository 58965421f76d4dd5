"""How far something long is: told to a function that the caller gives."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Told (stage, done, total) before each step; it may raise to cancel."""


def silent(stage: str, done: int, total: int) -> None:
    """The Progress of who wants to hear nothing."""
