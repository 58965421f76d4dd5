"""What is done after much was written, so that searches stay fast and sure."""

from __future__ import annotations

from contextlib import suppress

from .._statistics import analyse_unknown
from ..connection import Library
from ..errors import LibraryError
from ..hybrid.refresh import refresh_hybrid
from ..progress import Progress, silent
from ..search import forget_samples
from .bulk import make_postponed
from .effort import try_grown


def refresh_search(library: Library, progress: Progress = silent) -> str:
    """Bring indexes and samples up to date; a line for the person, "" where there was nothing to do.

    A library that can't have its indexes brought up to date is searched as it is: what is in none is compared one by one.
    """
    forget_samples()
    with suppress(LibraryError), library.connection() as conn:
        analyse_unknown(conn)
    said = []
    try:
        made = make_postponed(library, progress)
        said += [f"{made} vector index{'es' * (made > 1)} made"] if made else []
    except LibraryError as error:
        said.append(f"The vector indexes were not made: {error}")
    try:
        tried = try_grown(library, progress)
        said += [f"{tried} vector index{'es' * (tried > 1)} tried"] if tried else []
    except LibraryError as error:
        said.append(f"The vector indexes were not tried: {error}")
    try:
        said += filter(None, [refresh_hybrid(library, progress)])
    except LibraryError as error:
        said.append(f"The hybrid index was not brought up to date: {error}")
    return "; ".join(said)
