"""Whether a place lies in one of the folders that may be read. No other computer is asked, and nothing is opened."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path


def resolved(place: Path, roots: Collection[Path]) -> Path | None:
    """With every link followed, so that `contained` means something; None for a loop of links, for what can be no path (a NUL in it),
    and for what is never asked for: a place on another computer, where none of the roots is."""
    from ..embedders.folders.scan import on_another_host

    if on_another_host(str(place), roots):
        return None
    try:
        return place.resolve()
    except (OSError, RuntimeError, ValueError):
        return None


def contained(place: Path | None, roots: Collection[Path]) -> bool:
    return place is not None and any(place.is_relative_to(root) for root in roots)
