"""Images that may be the best for a question of several kinds, through the hybrid index; their exact order is for the caller."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from pgvector import HalfVector
from psycopg import sql
from psycopg.rows import dict_row

from .._session import set_now
from ..filters import EVERYTHING, Filter
from .check import WANTED, mix_of
from .projection import Projection
from .tail import TAIL_MOST

if TYPE_CHECKING:
    from ..connection import Connection
    from ..search.kinds import Direction, State

LEAST_RECALL = 0.95  # of the check after the build, below which the index is not trusted
MOST_EFFORT = 1000  # hnsw.ef_search takes no more
_KEPT = 4  # projections of some 8 MB

# One that was made before its check told how many are to be compared is made anew by the next run, and not searched before.
_READY = "SELECT id, created::text AS created, kinds, encoder_ids, details FROM hybrids WHERE ready AND details ? 'compared'"
_IN_ORDER = """
SELECT h.image_id FROM hybrid_vectors h
WHERE h.hybrid_id = {hybrid} AND {condition}
ORDER BY h.embedding::halfvec({dims}) <#> %(query)s
LIMIT %(compared)s
"""
_NEAREST = f"""
({_IN_ORDER})
UNION
(SELECT t.image_id FROM hybrid_tail t WHERE {{condition_of_tail}} LIMIT %(tail)s)
"""
_BESIDE = "SELECT count(*) FROM (SELECT FROM hybrid_tail LIMIT %s) noted"
_OF_IMAGES = "SELECT i.id, i.prompt_id, i.negative_id FROM ({nearest}) found JOIN images i ON i.id = found.image_id"

_projections: OrderedDict[tuple, Projection] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Candidates:
    """A statement that gives the images (id, prompt_id, negative_id), or None where the index can't tell.

    `method` and `note` are for the person, `method` lacks the `count` of the images. `better_exact`: the index misses too much here,
    and so would the indexes of the single kinds.
    """

    statement: str | None
    parameters: dict[str, Any] = field(default_factory=dict)
    method: str = ""
    note: str = ""
    better_exact: bool = False


def candidates(conn: Connection, directions: Sequence[Direction], n: int, filter: Filter | None = None) -> Candidates:
    """Candidates for the `n` best images: enough of them that these are there with the recall that the index was checked for.

    Images written after the index was made are all among them. With a filter there may be fewer than `n`, although more pass it.
    """
    filter = filter or EVERYTHING
    mix = mix_of([direction.weight for direction in directions])
    ready = ready_hybrid(conn, n, mix, conn.state)
    if ready is None:
        return Candidates(None)
    places = {pair: place for place, pair in enumerate(zip(ready["kinds"], ready["encoder_ids"]))}
    lacking = [d.kind for d in directions if (d.kind, d.source.encoder.id) not in places]
    if lacking:
        return Candidates(
            None, note=f"The hybrid index is over {', '.join(ready['kinds'])}, without {' and '.join(lacking)} as asked for here."
        )
    recall = ready["details"]["recalls"][mix]
    if recall < LEAST_RECALL:
        return Candidates(
            None, note=f"The hybrid index finds only {recall:.0%} of the best images, since they lie in no clusters.", better_exact=True
        )
    if ready["effort"] > MOST_EFFORT:
        return Candidates(
            None,
            note=f"The best {n:,} images are more than the hybrid index can tell surely: it would take {ready['effort']:,} candidates "
            f"of it, and {MOST_EFFORT:,} are the most.",
            better_exact=True,
        )
    if conn.execute(_BESIDE, [TAIL_MOST + 1]).fetchone()[0] > TAIL_MOST:
        return Candidates(
            None, note=f"More than {TAIL_MOST:,} images are not in the hybrid index yet. Run Index Folder or Build Index."
        )
    projection = projection_of(conn, ready)
    query = projection.query({places[d.kind, d.source.encoder.id]: (d.vector, d.weight, d.constant) for d in directions})
    set_now(conn, {"hnsw.ef_search": str(ready["effort"])})
    how = ", filtered as it goes" if filter else ""
    compared = ready["effort"] if filter else ready["compared"]  # filtered, the graph is followed until so many pass
    return Candidates(
        _OF_IMAGES.format(nearest=statement(ready["id"], len(query), filter).as_string(conn)),
        {**filter.parameters, "query": HalfVector(query), "compared": compared, "tail": TAIL_MOST + 1},
        f"hybrid index{how}, {{count:,}} candidates compared exactly",
    )


def in_order(conn: Connection, hybrid_id: int, query: np.ndarray, n: int) -> np.ndarray:
    """Image ids [n], the nearest by the index to a `query` [dims] first. hnsw.ef_search is the caller's."""
    asked = sql.SQL(_IN_ORDER).format(hybrid=sql.Literal(hybrid_id), dims=sql.Literal(len(query)), condition=sql.SQL("true"))
    return np.array([row[0] for row in conn.execute(asked, {"query": HalfVector(query), "compared": n})], np.int64)


def statement(hybrid_id: int, dims: int, filter: Filter = EVERYTHING) -> sql.Composed:
    """The search, of the parameters `query`, `compared` and `tail` and the filter's own."""
    passes = "EXISTS (SELECT FROM images i WHERE i.id = {}.image_id AND ({}))"
    of = [sql.SQL(passes).format(sql.SQL(table), filter.condition) if filter else sql.SQL("true") for table in ("h", "t")]
    return sql.SQL(_NEAREST).format(hybrid=sql.Literal(hybrid_id), dims=sql.Literal(dims), condition=of[0], condition_of_tail=of[1])


def ready_hybrid(conn: Connection, n: int, mix: str = "even", state: State | None = None) -> dict[str, Any] | None:
    """The index that searches use, and for `n` images with such a mix of weights the `effort`, its hnsw.ef_search, and how many
    of what is found so are `compared` exactly.

    The check at the build says how many the best 50 take (check.WANTED); of more, as many times more are safe. What was read is
    remembered with the library's `state`, where a search has just asked for it.
    """
    kept_with, row = conn.hybrid
    if state is None or kept_with is not state:
        with conn.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(_READY).fetchone()
        conn.hybrid = (state, row)
    if row is None:
        return None
    details, times = row["details"], max(1, n / WANTED)
    effort = max(2 * n, math.ceil(details["efforts"][mix] * times))
    return {**row, "effort": effort, "compared": min(effort, math.ceil(details["compared"][mix] * times))}


def projection_of(conn: Connection, ready: dict[str, Any]) -> Projection:
    """That of the index that `ready_hybrid` gave, kept in memory: its time of making tells it from another database's of the same id."""
    key = (conn.info.host, conn.info.port, conn.info.dbname, ready["id"], ready["created"])
    with _lock:
        if key in _projections:
            _projections.move_to_end(key)
            return _projections[key]
    data = conn.execute("SELECT projection FROM hybrids WHERE id = %s", [ready["id"]], binary=True).fetchone()[0]
    projection = Projection.from_bytes(data, ready["details"]["sizes"], ready["details"]["kept"])
    with _lock:
        _projections[key] = projection
        while len(_projections) > _KEPT:
            _projections.popitem(last=False)
    return projection
