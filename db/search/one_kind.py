"""The images nearest to one direction: through the encoder's index, or by comparing with every vector."""

from __future__ import annotations

import functools

from pgvector import HalfVector
from psycopg import Connection, sql

from ..filters import Filter
from .kinds import TEXT_KINDS, Direction

Scored = list[tuple[int, float]]
"""(image id, score), best first, equals by id."""

# In both, the inner scan may be ordered by the distance alone. The order is made exact outside it (the index compares
# normalised float16), equals by id; WITH TIES lets all equals of the last one out, so that the cut among them is by id.
_BY_TEXT = """
WITH nearest AS MATERIALIZED (
    SELECT v.text_id, {vector} <=> %(query)s AS distance
    FROM text_vectors v
    WHERE v.encoder_id = {encoder} AND EXISTS (SELECT FROM images i WHERE i.{text_id} = v.text_id AND {condition})
    ORDER BY {vector} <=> %(query)s
    FETCH FIRST %(n)s ROWS WITH TIES
)
SELECT image.id, 1 - distance
FROM nearest
CROSS JOIN LATERAL (
    SELECT i.id FROM images i WHERE i.{text_id} = nearest.text_id AND {condition} ORDER BY i.id LIMIT %(n)s
) image
ORDER BY distance, image.id
LIMIT %(n)s
"""
_BY_IMAGE = """
WITH nearest AS MATERIALIZED (
    SELECT v.image_id, {vector} <=> %(query)s AS distance
    FROM image_vectors v
    WHERE v.encoder_id = {encoder} AND {exists}
    ORDER BY {vector} <=> %(query)s
    FETCH FIRST %(n)s ROWS WITH TIES
)
SELECT image_id, 1 - distance
FROM nearest
ORDER BY distance, image_id
LIMIT %(n)s
"""
_EF_KEPT = 100  # what a session has already
_EF_MOST = 1000  # that pgvector takes


def nearest_by_index(conn: Connection, direction: Direction, n: int, filter: Filter | None = None) -> Scored:
    """The `n` images nearest by the index of the direction's encoder, which may miss some; filtered as the scan goes."""
    ef = max(_EF_KEPT, 2 * n)  # with less than `n`, pgvector would silently return less
    if direction.kind in ("prompt", "negative"):
        ef = ef * 3 // 2  # one index holds both, and of some rows it is the other that was near
    ef = min(_EF_MOST, ef)
    if ef > _EF_KEPT or filter is not None:
        # Without sorting there is one plan, the one that we say. Else a wrong estimate of the filter could take another.
        conn.execute(
            "SELECT set_config('hnsw.ef_search', %s, true), set_config('enable_sort', %s, true)",
            [str(ef), "off" if filter is not None else "on"],
        )
    found = _run(conn, direction, n, filter, indexed=True)
    if filter is not None:
        conn.execute("SELECT set_config('enable_sort', 'on', true)")
    return found


def nearest_exactly(conn: Connection, direction: Direction, n: int, filter: Filter | None = None) -> Scored:
    """The `n` images nearest of all, by comparing with every vector of the kind."""
    return _run(conn, direction, n, filter, indexed=False)


def statement(direction: Direction, filter: Filter | None, indexed: bool) -> sql.Composed:
    """The search for one direction, of the parameters `query` and `n` and the filter's own."""
    encoder = direction.source.encoder
    return _statement(direction.kind, encoder.id, encoder.dims, indexed, filter)


def _statement(kind: str, encoder_id: int, dims: int, indexed: bool, filter: Filter | None) -> sql.Composed:
    # An index is over the vector cast to its size; the bare column is one that no index can order by.
    vector = sql.SQL("v.embedding::halfvec({})").format(sql.Literal(dims)) if indexed else sql.SQL("v.embedding")
    condition = sql.SQL("({})").format(filter.condition) if filter else sql.SQL("true")
    if kind == "image":
        exists = sql.SQL("EXISTS (SELECT FROM images i WHERE i.id = v.image_id AND {})").format(condition)
        return sql.SQL(_BY_IMAGE).format(
            vector=vector, encoder=sql.Literal(encoder_id), exists=exists if filter else sql.SQL("true")
        )
    text_id = sql.Identifier(TEXT_KINDS[kind][1])
    return sql.SQL(_BY_TEXT).format(vector=vector, encoder=sql.Literal(encoder_id), condition=condition, text_id=text_id)


@functools.lru_cache(maxsize=64)
def _text(kind: str, encoder_id: int, dims: int, indexed: bool) -> str:
    """The statement without a filter: to put it together takes a tenth of the time that it runs."""
    return _statement(kind, encoder_id, dims, indexed, None).as_string()


def _run(conn: Connection, direction: Direction, n: int, filter: Filter | None, indexed: bool) -> Scored:
    parameters = {**(filter.parameters if filter else {}), "query": HalfVector(direction.vector), "n": n}
    encoder = direction.source.encoder
    text = statement(direction, filter, indexed) if filter else _text(direction.kind, encoder.id, encoder.dims, indexed)
    rows = conn.execute(text, parameters, binary=True)
    return [(image_id, direction.weight * cosine + direction.constant) for image_id, cosine in rows]
