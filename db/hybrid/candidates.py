"""Images that may be the best for a question, through the hybrid index; their exact order is for the caller."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psycopg import sql
from psycopg.rows import dict_row

from ..filters import Filter, array_of
from ..words import kind_in_words
from .check import WANTED, sort_of
from .held import Look, held, held_already
from .missed import Told
from .tail import TAIL_MOST

if TYPE_CHECKING:
    from ..connection import Connection
    from ..search.kinds import Direction, State
    from .whole import Scores, WholeVectors

    Near = Callable[[Sequence[Direction]], Sequence[tuple[Direction, Sequence[tuple[int, float]]]]]

LEAST_RECALL = 0.95  # of the check at the making, below which the index is not trusted
_AHEAD = 8  # times as many are ranked as are compared, to tell how many of the best may be among them
_MOST = 20_000  # images that are compared exactly, at some 3 to 8 microseconds a kind
_FEW_ADDED = 200  # images since the index was made that are compared one by one; of more, what is near in one kind is told by its own index
_DEARER = 4  # times as long takes one of these as one of all
_FARTHER, _FARTHEST = 4, 50_000  # of the nearest so many times more are asked whether they pass a filter, until enough do; at the most so many

# In one statement, so that an image which is just taken from the tail into the index is in one of them. `made` tells an index from another
# of the same number: in a library that was restored in place of this one, by dump or with the server's files. One that tells no `candidates`
# was made by a former version, maybe while this one was there already, and is made anew by the next run.
_READY = """
SELECT id, created::text || ' ' || 'hybrid_vectors'::regclass::oid || ' ' || pg_postmaster_start_time() AS made, kinds, encoder_ids, details,
       (SELECT coalesce(max(place), 0) FROM hybrid_vectors WHERE hybrid_id = hybrids.id) AS last, ARRAY(SELECT image_id FROM hybrid_tail LIMIT %s) AS tail
FROM hybrids WHERE ready AND details ? 'candidates'
"""
_PASSING = """
SELECT i.id, asked.place FROM unnest(%(nearest)s::bigint[]) WITH ORDINALITY asked(id, place) JOIN images i ON i.id = asked.id
WHERE {} ORDER BY asked.place LIMIT %(compared)s
"""


@dataclass(frozen=True, slots=True)
class Candidates:
    """The image `ids`, or None where the index can't tell, with a `note` for the person.

    `better_exact`: the index misses too much here, and so would the indexes of the single kinds. `told` is what it tells of those.
    """

    ids: list[int] | None
    note: str = ""
    better_exact: bool = False
    told: Told | None = None


def candidates(
    conn: Connection, directions: Sequence[Direction], n: int, near: Near, filter: Filter | None = None, passing: float = 0.0, more: int = 0
) -> Candidates:
    """Candidates for the `n` best images: enough of them that these are there with the recall that the index was checked for, and so many `more`.

    Images written since the index was brought up to date are all among them, and the first that came since it was made. Of what is near in one kind
    short vectors tell a part, of other sorts of pictures than they were fitted on a small one: where more came, or this process has not all
    whole vectors, `near` is asked for images that are near in one of the heaviest directions, with their cosines. `passing` is about how many images
    pass the filter.
    """
    ready = ready_hybrid(conn, conn.state)
    if ready is None:
        return Candidates(None)
    places = {pair: place for place, pair in enumerate(zip(ready["kinds"], ready["encoder_ids"]))}
    lacking = [d.kind for d in directions if (d.kind, d.source.encoder.id) not in places]
    if lacking:
        return Candidates(None, f"The hybrid index is over {_in_words(ready['kinds'])}, without {_in_words(lacking)} as asked for here.")
    sort = sort_of([d.weight for d in directions], [d.kind for d in directions])
    recall, compared = ready["details"]["recalls"][sort], math.ceil(ready["details"]["candidates"][sort] * max(1, n / WANTED)) + more
    if recall < LEAST_RECALL:
        return Candidates(None, f"The hybrid index finds only {recall:.0%} of the best images: their vectors can't be made short.", True)
    if compared > _MOST:
        note = f"For the hybrid index to tell the best {n:,} images surely, {compared:,} would have to be compared, and {_MOST:,} are the most."
        return Candidates(None, note, True)
    if len(ready["tail"]) > TAIL_MOST:
        return Candidates(None, f"More than {TAIL_MOST:,} images are not in the hybrid index yet. Run Index Folder or Build Index.")
    rows = held(conn, ready)
    if not rows.read_on(conn, ready["id"], ready["last"]):
        return Candidates(None, "The hybrid index is too large for this machine's memory.")
    rows.whole.asked(conn, ready)
    if not len(rows):  # another is being made in its place just now
        return Candidates(None)
    if more and compared * _DEARER > (len(rows) if filter is None else passing):
        return Candidates(None, better_exact=True)
    asked = {places[d.kind, d.source.encoder.id]: d for d in directions}
    most = max(d.weight for d in directions)  # of weights by themselves float32 may hold nothing
    query = rows.projection.query({place: (d.vector, d.weight / most) for place, d in asked.items()})
    constants = {place: d.constant / most for place, d in asked.items()}
    heavy = {place: d for place, d in asked.items() if d.shape != "opposite" and 2 * d.weight >= most}
    added = rows.added if filter is None and len(rows.added) <= _FEW_ADDED else rows.added[:0]  # in memory nobody asks whether they pass
    if (whole := rows.whole.unchanged) and len(added) == len(rows.added):
        matrices = rows.projection.matrices  # a kind that is not made short has true scores
        known = {place: _look(whole, d, matrices[place], d.weight / most) for place, d in heavy.items() if matrices[place] is not None}
    else:
        known = {places[d.kind, d.source.encoder.id]: _scores(*zip(*cosines), d.weight / most) for d, cosines in near(list(heavy.values())) if cosines}
    nearest = functools.partial(rows.nearest, query, constants, known)
    found = _foremost(nearest, compared) if filter is None else _passing(conn, nearest, len(rows), filter, passing, compared)
    if found is None:
        return Candidates(None, better_exact=True)
    told = replace(found, scores=found.scores * most, rest=found.rest * most)
    return Candidates(list({*told.ids.tolist(), *added.tolist(), *ready["tail"]}), told=told)


def compare_at_hand(conn: Connection, directions: Sequence[Direction], ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray, bool]:
    """Those of these images, int64 [n], whose vectors this process has as they are stored now, and their cosine similarities [n, directions]; NaN
    where one lacks the kind. None where the index is not over all that is asked for. And whether one of them may have been removed."""
    ready, nothing = ready_hybrid(conn, conn.state), (np.empty(0, np.int64), np.empty((0, len(directions))), False)
    if ready is None or not {(d.kind, d.source.encoder.id) for d in directions} <= set(zip(ready["kinds"], ready["encoder_ids"])):
        return nothing
    rows = held_already(conn, ready)
    whole = rows.whole.vectors if rows and rows.is_read(ready["last"]) else None
    if whole is None:
        return nothing
    compared = whole.compare(directions, np.setdiff1d(ids, ready["tail"]))
    return *compared, conn.state is None or conn.state.generation != whole.generation


def forget_removed(conn: Connection, ids: Sequence[int]) -> None:
    """Leave those of these candidates that are no images any more out of the index in memory, which nobody tells of them."""
    ready = ready_hybrid(conn, conn.state)
    if ready is not None:
        held(conn, ready).forget(set(ids) - existing(conn, ids))


def existing(conn: Connection, ids: Sequence[int]) -> set[int]:
    """Those of these that are images."""
    return {image_id for (image_id,) in conn.execute("SELECT id FROM images WHERE id = ANY(%s::bigint[])", [array_of(ids)])}


def _look(whole: WholeVectors, direction: Direction, matrix: np.ndarray, weight: float) -> Look:
    return Look(whole.looked_at(direction), lambda *rows: _scores(*whole.nearest(direction, matrix, *rows), weight))


def _scores(ids: Sequence[int], cosines: Sequence[float], weight: float) -> Scores:
    return np.array(ids, np.int64), np.array(cosines, np.float32) * np.float32(weight)


def _in_words(kinds: Sequence[str]) -> str:
    return ", ".join(map(kind_in_words, kinds))


def _foremost(nearest: Callable[[int], Scores], compared: int) -> Told:
    """The nearest that are to be `compared`."""
    ids, scores = nearest(_AHEAD * compared)
    scores = scores.astype(float)
    return Told(ids[:compared], scores[:compared], scores[compared:], ids[compared:])


def _passing(conn: Connection, nearest: Callable[[int], Scores], rows: int, filter: Filter, passing: float, compared: int) -> Told | None:
    """The same of those that pass a filter, or all that do. None where they lie too far."""
    reach = math.ceil(1.25 * compared * rows / max(passing, 1))
    statement = sql.SQL(_PASSING).format(filter.condition)
    while True:
        asked = min(reach, _FARTHEST)
        told = _foremost(nearest, asked)
        found = conn.execute(statement, {**filter.parameters, "nearest": array_of(told.ids), "compared": compared}).fetchall()
        places = np.array([place - 1 for _, place in found], np.int64)
        if len(found) == compared or len(told.ids) < asked:  # then there are no more: some of the rows may lack what is asked for
            seen = int(places[-1]) + 1 if len(found) == compared else len(told.ids)
            rest = np.concatenate([told.scores[seen:], told.rest])[:: max(1, seen // compared)]  # of which about as many pass
            return Told(told.ids[places], told.scores[places], rest, told.following[:0])
        if asked == _FARTHEST:
            return None
        reach *= _FARTHER


def ready_hybrid(conn: Connection, state: State | None = None) -> dict[str, Any] | None:
    """The index that searches use. It is remembered with the library's `state`, where a search has just asked for it."""
    kept_with, row = conn.hybrid
    if state is None or kept_with is not state:
        with conn.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_READY, [TAIL_MOST + 1]).fetchone()
        conn.hybrid = (state, row)
    return row
