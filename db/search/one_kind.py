"""The images nearest to one direction: through the encoder's index, or by comparing with every vector."""

from __future__ import annotations

import functools

from pgvector import HalfVector
from psycopg import Connection, sql
from psycopg.pq import TransactionStatus

from .._index_sql import searched_rows
from .._session import set_now
from ..filters import Filter
from ..hybrid.check import WANTED
from ..question import FAMILIES, TEXT_COLUMNS
from .kinds import Direction

Scored = list[tuple[int, float]]
"""(image id, score), best first, equals by id."""

# In both, the inner scan may be ordered by the distance alone. The order is made exact outside it (the index compares
# normalised float16, or single bits), equals by id; WITH TIES lets all equals of the last one out, so that the cut among
# them is by id. A text brings its first images along, at most as many as are wanted.
_BY_TEXT = """
WITH nearest AS MATERIALIZED (
    SELECT image.id, v.embedding <=> %(query)s AS distance
    FROM text_vectors v CROSS JOIN LATERAL (
        SELECT i.id FROM images i WHERE i.{text_id} = v.text_id AND {condition} ORDER BY i.id LIMIT %(n)s
    ) image
    WHERE {rows}
    ORDER BY {order}
    {cut}
)
SELECT id, 1 - distance
FROM nearest
ORDER BY distance, id
LIMIT %(n)s
"""
_BY_IMAGE = """
WITH nearest AS MATERIALIZED (
    SELECT v.image_id, v.embedding <=> %(query)s AS distance
    FROM image_vectors v
    WHERE {rows} AND {exists}
    ORDER BY {order}
    {cut}
)
SELECT image_id, 1 - distance
FROM nearest
ORDER BY distance, image_id
LIMIT %(n)s
"""
# Compared with all, a text is to have an image, and its images come last: to sort texts with their vectors would take room on disk.
_BY_TEXT_EXACTLY = """
WITH nearest AS MATERIALIZED (
    SELECT v.text_id, v.embedding <=> %(query)s AS distance
    FROM text_vectors v
    WHERE {rows} AND EXISTS (SELECT FROM images i WHERE i.{text_id} = v.text_id AND {condition})
    ORDER BY {order}
    {cut}
)
SELECT i.id, 1 - distance
FROM nearest CROSS JOIN LATERAL (
    SELECT i.id FROM images i WHERE i.{text_id} = nearest.text_id AND {condition} ORDER BY i.id LIMIT %(n)s
) i
ORDER BY distance, i.id
LIMIT %(n)s
"""
# An index is over the vector cast to its size; the bare column is one that no index can order by.
_ORDERS = {
    None: "v.embedding <=> %(query)s",
    "hnsw": "v.embedding::halfvec({dims}) <=> %(query)s",
    "ivfflat": "v.embedding::halfvec({dims}) <=> %(query)s",
    "binary": "binary_quantize(v.embedding::halfvec({dims}))::bit({dims}) <~> binary_quantize(%(query)s::halfvec({dims}))",
}
CONDITION = "\0"  # stands for the filter's in a statement; no SQL has it
_EF_MOST = 1000  # that pgvector takes
_BY_BITS = 20  # times as many candidates as are wanted, where an index knows no more of a number than its sign
_SHARE_PROBED = 8  # one of so many lists of an IVFFlat index
NEAREST = 10  # that tell how near a question lies
_NARROW, _NARROW_EF, _EQUALS_MOST = 16, 32, 5000  # images that are near in one kind of several, and with their equals at most


def nearest_by_index(conn: Connection, direction: Direction, n: int, filter: Filter | None = None, farther: int = 1) -> Scored:
    """The `n` images nearest by the index of the direction's encoder, which may miss some; filtered as the scan goes.

    A graph is searched so many times `farther` than its trial called for.
    """
    settings = _settings(direction, n, farther)
    if filter is None:
        set_now(conn, settings)
        return _run(conn, direction, n, filter, direction.source.index)
    # Without sorting there is one plan, the one that we say: a wrong estimate could take another.
    set_now(conn, {**settings, "enable_sort": "off"})
    try:
        return _run(conn, direction, n, filter, direction.source.index)
    finally:
        if conn.info.transaction_status != TransactionStatus.INERROR:
            set_now(conn, {"enable_sort": "on"})


def lies_far(direction: Direction, found: Scored, filtered: bool) -> bool:
    """Whether those that the direction's graph `found` are farther than nearly all stored vectors are from one another.

    Then it may have missed many: what a person types in a few words lies between long prompts, where a graph has hardly a way.
    Of those that pass a filter it is not known how many are nearer and don't: there the nearest tells, not the tenth.
    """
    if direction.source.reached is None or direction.shape not in ("near", "far") or not found:
        return False
    scores = sorted({score for _, score in found}, reverse=True)  # the images of a text have one vector
    telling = scores[min(1 if filtered else NEAREST, len(scores)) - 1]
    return (telling - direction.constant) / direction.weight < direction.source.reached


def nearest_narrowly(conn: Connection, direction: Direction) -> list[tuple[int, float]]:
    """(image id, cosine) of the few images nearest by the direction's own index, with all that equal the last. One may be missed now and then."""
    index = direction.source.index
    set_now(conn, {"hnsw.ef_search": str(_NARROW_EF)} if index == "hnsw" else _settings(direction, _NARROW))
    own = {"query": HalfVector(direction.vector), "n": _EQUALS_MOST, "candidates": _candidates(index, _NARROW)}
    return conn.execute(statement(direction, None, index), own, binary=True).fetchall()


def how(direction: Direction, n: int) -> str:
    """What `nearest_by_index` does, in words."""
    if direction.source.index == "ivfflat":
        return f"IVFFlat index, {_probes(direction)} of {direction.source.lists} lists probed"
    if direction.source.index == "binary":
        return f"index of single bits, {_candidates('binary', n):,} candidates compared exactly"
    return "index"


def nearest_exactly(conn: Connection, direction: Direction, n: int, filter: Filter | None = None) -> Scored:
    """The `n` images nearest of all, by comparing with every vector of the kind."""
    return _run(conn, direction, n, filter, None)


def statement(direction: Direction, filter: Filter | None, index: str | None) -> str:
    """The search for one direction, of the parameters `query`, `n` and `candidates` and the filter's own."""
    encoder = direction.source.encoder
    text = _statement(direction.kind, encoder.id, encoder.dims, index, filter is not None)
    return text if filter is None else text.replace(CONDITION, f"({filter.condition.as_string()})")


def _settings(direction: Direction, n: int, farther: int = 1) -> dict[str, str]:
    if direction.source.index == "ivfflat":
        return {"ivfflat.probes": str(_probes(direction))}
    effort = direction.source.effort(direction.shape) or _EF_MOST
    # With less than is asked for, pgvector silently returns less; of more than the 50 that it was tried with, as many times more.
    ef = max(effort, 2 * _candidates(direction.source.index, n), effort * n // WANTED)
    if direction.kind in ("prompt", "negative"):
        ef = ef * 3 // 2  # one index holds both, and of some rows it is the other that was near
    return {"hnsw.ef_search": str(min(_EF_MOST, farther * ef))}


def _probes(direction: Direction) -> int:
    return min(direction.source.lists, max(10, direction.source.lists // _SHARE_PROBED))


def _candidates(index: str | None, n: int) -> int:
    return max(n, min(_EF_MOST, _BY_BITS * n)) if index == "binary" else n


@functools.lru_cache(maxsize=64)
def _statement(kind: str, encoder_id: int, dims: int, index: str | None, filtered: bool) -> str:
    """The statement, with CONDITION in place of the filter's: to put it together takes a tenth of the time that it runs."""
    condition = sql.SQL(CONDITION if filtered else "true")
    names = {
        "rows": searched_rows(FAMILIES[kind], encoder_id),
        "order": sql.SQL(_ORDERS[index]).format(dims=sql.Literal(dims)),
        # The bits of many rows differ from the query's in the same number of places.
        "cut": sql.SQL("LIMIT %(candidates)s" if index == "binary" else "FETCH FIRST %(candidates)s ROWS WITH TIES"),
    }
    if kind == "image":
        exists = sql.SQL("EXISTS (SELECT FROM images i WHERE i.id = v.image_id AND {})").format(condition)
        return sql.SQL(_BY_IMAGE).format(exists=exists if filtered else condition, **names).as_string()
    names |= {"condition": condition, "text_id": sql.Identifier(TEXT_COLUMNS[kind])}
    return sql.SQL(_BY_TEXT if index else _BY_TEXT_EXACTLY).format(**names).as_string()


def _run(conn: Connection, direction: Direction, n: int, filter: Filter | None, index: str | None) -> Scored:
    own = {"query": HalfVector(direction.vector), "n": n, "candidates": _candidates(index, n)}
    rows = conn.execute(statement(direction, filter, index), {**(filter.parameters if filter else {}), **own}, binary=True).fetchall()
    return [(image_id, direction.weight * cosine + direction.constant) for image_id, cosine in rows]
