"""Choose how the best images for a question are found, and say in words how it was done."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from .._index_sql import count_rows, other_owner
from ..filters import Filter, all_of
from ..hybrid.candidates import Candidates, candidates, compare_at_hand, existing, forget_removed
from ..hybrid.check import sort_of
from .cosines import cosines_of, nearest_among, nearest_of_all, scored
from .kinds import SHAPES, Direction
from .one_kind import Scored, how, lies_far, nearest_by_index, nearest_narrowly

if TYPE_CHECKING:
    from ..connection import Connection

EXACT_BELOW = 10_000  # rows of a kind that are compared one by one in some milliseconds, and then none is missed
_SEVERAL = 2  # times as many where several kinds are asked for: their indexes have to look far
FIRST_REACH = 25
_ESTIMATES_KEPT = 100
# What things take, in microseconds measured at 100,000 rows of 1024 dimensions: to compare with a row of a scan, with a
# row that is probed by its id, and to follow an index to one row more.
_SCANNED, _PROBED, _FOLLOWED = 0.9, 2.0, 12.0
_EACH_KIND = 800  # candidates of a kind, of which 50 are wanted: recall .996 where 100 gave .931
_ASKED_ALONE = 2  # kinds whose own indexes are asked beside the one over several: each takes a millisecond, and a third finds hardly more
_FARTHER = 4  # times as far is a graph searched for what lies far from all: recall .98 and more of typed words where once found .85
_MOST_FOLLOWED = 8_000  # pgvector gives up after 20,000 tuples (hnsw.max_scan_tuples)


@dataclass(frozen=True, slots=True)
class Best:
    """The best images by score, and how they were found; the `cosines` of each with the directions, where they are known.

    `whole`: there are no more of them. An index that gave few may have given up.
    """

    scored: Scored
    method: str
    note: str = ""
    cosines: dict[int, list[float]] = field(default_factory=dict)
    whole: bool = False


def reach_of(needed: int) -> int:
    """How many images are found for the `needed` ones: 25, 50, 100, ..., so that the pages of one reach are cut from one list."""
    reach = FIRST_REACH
    while reach < needed:
        reach *= 2
    return reach


def enough(kinds: int = 1) -> int:
    """The rows from which on a search for so many kinds uses an index; none over fewer is tried, or found wanting."""
    return EXACT_BELOW if kinds == 1 else EXACT_BELOW * _SEVERAL


def best(conn: Connection, directions: Sequence[Direction], needed: int, filter: Filter | None, exact: bool) -> Best:
    """At least the `needed` best images for these directions, where the library has so many."""
    filter = filter or None  # one that lets everything pass is none
    n = reach_of(needed)
    rows = max(direction.source.rows for direction in directions)
    indexed = not exact and rows >= enough(len(directions)) and n * _FOLLOWED < rows * _SCANNED and n <= _MOST_FOLLOWED
    note, passing, few = "", 0.0, rows * _SCANNED / _PROBED
    if filter is not None:
        passing = _estimate(conn, filter)
        among = _all_that_pass(conn, directions, n, filter, passing, _fewest_to_follow(n, rows) if indexed else few)
        if among is not None:
            return among
    if indexed:
        found = _by_index(conn, directions, n, filter, passing)
        if len(found.scored) >= needed:
            return found
        note = found.note
        among = _all_that_pass(conn, directions, n, filter, passing, few) if filter is not None else None
        if among is not None:
            return replace(among, note=note)
    everything = nearest_of_all(conn, directions, n, filter)
    return Best(everything, "exact", note, whole=len(everything) < n)


def _all_that_pass(conn: Connection, directions: Sequence[Direction], n: int, filter: Filter, passing: float, few: float) -> Best | None:
    """By comparing with all images that pass the filter; None where those are more than a few, as `passing`, their estimate, tells first."""
    among = nearest_among(conn, directions, n, filter, int(few)) if passing <= 3 * few else None
    if among is None:
        return None
    count, found, cosines = among
    return Best(found, f"exact over {count:,} filtered image{'s' * (count != 1)}", "", cosines, whole=len(found) < n)


def _missed(conn: Connection, direction: Direction) -> str:
    """Why an index was left out, for a person; "" where the vectors are so few that it is no loss."""
    source = direction.source
    if count_rows(conn, source.encoder, enough()) < enough():
        return ""  # `rows` is of all that share the table, and of those that are gone
    if source.efforts is None:
        owner = other_owner(conn, source.index_name)
        who = "The next run of Index Folder"
        if owner:
            who = f"Index Folder or Build Index, run as the PostgreSQL user {owner}, whose index it is, or as a member of it,"
        return f"Compared with all: the index was not tried with such a question yet. {who} tries it."
    if direction.shape == "near":
        return "Compared with all: the index misses too many of this library's. Library Status says what may help."
    return f"Compared with all: of what is asked for here ({SHAPES[direction.shape]}), this library's index misses too many."


def _fewest_to_follow(n: int, rows: int) -> float:
    """How many images may pass a filter so that comparing with each of them is faster than following an index.

    Of `rows` a share s passes: s * rows are probed, or n / s are followed until n have passed. Both take the same time at
    s = sqrt(n / rows * followed / probed): 5 % of 100,000 rows for n = 50.
    """
    return math.sqrt(n * rows * _FOLLOWED / _PROBED)


def _estimate(conn: Connection, filter: Filter) -> float:
    """How many images PostgreSQL expects to pass; remembered for a connection's next pages and weights, until somebody writes.

    Its statistics may be out of date, then the choice is not the fastest one.
    """
    statement = f"EXPLAIN (FORMAT JSON) SELECT FROM images i WHERE {filter.condition.as_string()}"
    key = (statement, repr(filter.parameters))
    if key not in conn.estimates:
        kept = conn.estimates if len(conn.estimates) < _ESTIMATES_KEPT else {}
        conn.estimates = {**kept, key: conn.execute(statement, filter.parameters).fetchone()[0][0]["Plan"]["Plan Rows"]}
    return conn.estimates[key]


def _by_index(conn: Connection, directions: Sequence[Direction], n: int, filter: Filter | None, passing: float) -> Best:
    """By the index that suits; none are found where comparing with all is better, and `note` says why if there is more to say."""
    main = max(directions, key=lambda one: one.weight)
    filtered = ", filtered as it goes" if filter is not None else ""
    if len(directions) == 1 and main.index is None:
        return Best([], "")
    if len(directions) == 1 and not main.is_missed:
        found = nearest_by_index(conn, main, n, filter)
        if lies_far(main, found, filter is not None):
            found = nearest_by_index(conn, main, n, filter, _FARTHER)
        return Best(found, how(main, n) + filtered)
    found, hybrid = _by_hybrid(conn, directions, n, filter, passing)
    if found is not None:
        return found
    if main.is_missed and sort_of([one.weight for one in directions], [one.kind for one in directions]) not in ("several", "two"):
        return Best([], "", _missed(conn, main))  # hardly more than this kind decides
    if hybrid.better_exact or any(direction.source.index is None for direction in directions):
        return Best([], "", hybrid.note)
    return replace(_by_each_kind(conn, directions, n, filter), note=hybrid.note)


def _by_hybrid(
    conn: Connection, directions: Sequence[Direction], n: int, filter: Filter | None, passing: float
) -> tuple[Best | None, Candidates]:
    """By the hybrid index, of ever more candidates until hardly any of the best can be among the others."""
    near, more, forgot = functools.partial(_near_in_one, conn), 0, filter is not None
    while (hybrid := candidates(conn, directions, n, near, filter, passing, more)).ids is not None:
        count, found, cosines = _compared(conn, directions, n, filter, hybrid.ids)
        if count < len(hybrid.ids) and not forgot:
            forget_removed(conn, hybrid.ids)
            forgot = True
            continue
        needed = hybrid.told.more_needed(found, n)
        if 0 < 2 * needed < len(hybrid.told.following):  # else farther ones may be needed too
            others = np.setdiff1d(hybrid.told.following[:needed], hybrid.ids)
            more_count, more_found, more_cosines = _compared(conn, directions, n, filter, others)
            count, found, cosines, needed = count + more_count, _by_score([*found, *more_found]), cosines | more_cosines, 0
        if not needed:
            filtered = ", filtered as it goes" if filter is not None else ""
            return Best(found[:n], f"hybrid index{filtered}, {count:,} candidates compared exactly", "", cosines), hybrid
        more += max(needed, count // 4)
    return None, hybrid


def _near_in_one(conn: Connection, directions: Sequence[Direction]) -> list[tuple[Direction, list[tuple[int, float]]]]:
    """The images nearest in one kind alone, with their cosines: of the kinds that count most, where their own indexes tell them."""
    telling = [one for one in directions if one.index is not None and not one.is_missed]
    return [(one, nearest_narrowly(conn, one)) for one in sorted(telling, key=lambda one: -one.weight)[:_ASKED_ALONE]]


def _compared(
    conn: Connection, directions: Sequence[Direction], n: int, filter: Filter | None, ids: Sequence[int]
) -> tuple[int, Scored, dict[int, list[float]]]:
    """As `nearest_among`, of those of these candidates that there are and that pass the filter: all, and the cosines of `n` of them at least."""
    known, table, unsure = compare_at_hand(conn, directions, ids)
    others = np.setdiff1d(ids, known) if len(known) < len(ids) else known[:0]
    chosen, rest = all_of([Filter.of_ids(others), filter]), len(others)
    count, found, cosines = nearest_among(conn, directions, rest, chosen, rest) if rest else (0, [], {})
    places, best, gone = dict(zip(known.tolist(), range(len(known)))), scored(directions, known, table), set()
    if unsure and len(existing(conn, [image_id for image_id, _ in best[:n]])) < len(best[:n]):
        gone = places.keys() - existing(conn, known)
    best = [row for row in best if row[0] not in gone]
    cosines |= {image_id: table[places[image_id]].tolist() for image_id, _ in best[:n]}
    return count + len(known) - len(gone), _by_score([*found, *best]), cosines


def _by_score(found: Scored) -> Scored:
    return sorted(found, key=lambda row: (-row[1], row[0]))


def _by_each_kind(conn: Connection, directions: Sequence[Direction], n: int, filter: Filter | None) -> Best:
    """The best of the candidates that the indexes of the kinds give, one by one: good in all kinds, best in none may be missed."""
    k = max(_EACH_KIND, 2 * n)
    ids = set()
    for direction in directions:
        by_index = direction.index is not None and not direction.is_missed
        nearest = nearest_by_index(conn, direction, k, filter) if by_index else nearest_of_all(conn, [direction], k, filter)
        ids.update(image_id for image_id, _ in nearest)
    cosines = cosines_of(conn, directions, sorted(ids))
    found = scored(directions, sorted(ids), cosines)
    return Best(found, "candidates of each kind, compared exactly", "", dict(zip(sorted(ids), cosines.tolist())))
