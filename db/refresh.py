"""What is done after much was written, so that searches stay fast and sure."""

from __future__ import annotations

from collections.abc import Callable

from .connection import Library
from .errors import LibraryError
from .hybrid.tail import refresh_hybrid
from .search import forget_samples


def refresh_search(library: Library, progress: Callable[[str, int, int], None] | None = None) -> str:
    """Bring the hybrid index and the samples up to date; a line for the person, "" where there was nothing to do.

    A library that can't have its index brought up to date is searched as it is: what is not in it is compared one by one.
    """
    forget_samples()
    try:
        return refresh_hybrid(library, progress)
    except LibraryError as error:
        return f"The hybrid index was not brought up to date: {error}"
