"""Choose how the best images for a question are found, and say in words how it was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection

from ..errors import LibraryError
from ..filters import Filter
from .kinds import Direction
from .one_kind import Scored, nearest_by_index, nearest_exactly

EXACT_BELOW = 10_000  # rows of a kind that are compared one by one in some milliseconds, and then none is missed
_FIRST_REACH = 50


@dataclass(frozen=True, slots=True)
class Found:
    """The best images by score, and how they were found."""

    scored: Scored
    method: str
    note: str = ""


def reach_of(needed: int) -> int:
    """How many images are found for the `needed` ones: 50, 100, 200, ..., so that the pages of one reach are cut from one list."""
    reach = _FIRST_REACH
    while reach < needed:
        reach *= 2
    return reach


def best(conn: Connection, directions: Sequence[Direction], needed: int, filter: Filter | None, exact: bool) -> Found:
    """At least the `needed` best images for these directions, where the library has so many."""
    if len(directions) > 1:
        raise LibraryError("Searching by several kinds at once is not there yet.")
    [direction] = directions
    n = reach_of(needed)
    if not exact and direction.source.index is not None and direction.source.rows >= EXACT_BELOW:
        scored = nearest_by_index(conn, direction, n, filter)
        if len(scored) >= needed:
            return Found(scored, "index" if filter is None else "index, filtered as it goes")
    return Found(nearest_exactly(conn, direction, n, filter), "exact")
