"""Compare chosen images exactly, with several vectors at once: what every index's candidates go through in the end."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pgvector import HalfVector
from psycopg import Connection, sql

from .._index_sql import key_of
from ..filters import EVERYTHING, Filter, array_of
from ..hybrid.candidates import compare_at_hand
from ..question import Part
from .kinds import Direction, Source, direction_of, sources_of, state_of
from .one_kind import CONDITION, Scored, nearest_exactly

# A subselect a cell: whatever PostgreSQL thinks of the number of ids, each is one probe of a primary key, never a scan.
_CELL = "(SELECT 1 - (v.embedding <=> {query}) FROM {table} v WHERE v.encoder_id = {encoder} AND v.{key} = i.{id})"
_TABLE = "SELECT i.id, {cells} FROM images i WHERE i.id = ANY(%(ids)s::bigint[])"

# What is chosen is compared when it is not too much; the first column tells how much, in a row of its own where nothing is left.
_AMONG = """
WITH chosen AS MATERIALIZED ({chosen}),
total AS (SELECT count(*) AS count FROM chosen),
compared AS (SELECT i.id, {cells} FROM chosen i WHERE (SELECT count FROM total) <= %(most)s OFFSET 0),
best AS (SELECT id, {score} AS score, {names} FROM compared cosine WHERE {present} ORDER BY score DESC, id LIMIT %(n)s)
SELECT total.count, best.* FROM total LEFT JOIN best ON true ORDER BY best.score DESC, best.id
"""
_BY_FILTER = "SELECT i.id, i.prompt_id, i.negative_id FROM images i WHERE ({condition}) LIMIT %(most)s + 1"
# The cosines of a kind are taken once a text, not once an image; OFFSET 0 keeps the vectors out of the joins' hash tables.
_ALL = """
SELECT i.id, {score} AS score
FROM images i {joins}
WHERE {present} AND ({condition})
ORDER BY score DESC, i.id
LIMIT %(n)s
"""
_JOIN = """
LEFT JOIN (SELECT v.{key} AS key, 1 - (v.embedding <=> {query}) AS cosine FROM {table} v WHERE {rows} OFFSET 0)
{alias} ON {alias}.key = i.{id}
"""


def exact_cosines(conn: Connection, parts: Sequence[Part], ids: Sequence[int]) -> np.ndarray:
    """Cosine similarities [len(ids), len(parts)] of these images with the parts' vectors; NaN where an image lacks the kind.

    By the vectors as they are stored, through no index. LibraryError as in `search`.
    """
    return cosines_of(conn, [direction_of(*pair) for pair in zip(parts, sources_of(state_of(conn), parts))], ids)


def cosines_of(conn: Connection, directions: Sequence[Direction], ids: Sequence[int]) -> np.ndarray:
    """Cosine similarities [len(ids), len(directions)], as `exact_cosines` gives them."""
    known, cosines, _ = compare_at_hand(conn, directions, ids)
    by_id = dict(zip(known.tolist(), cosines.tolist()))
    others = [image_id for image_id in ids if image_id not in by_id]
    if others:
        text = _table(tuple((direction.kind, direction.source) for direction in directions))
        rows = conn.execute(text, {**_queries(directions), "ids": array_of(others)}, binary=True)
        by_id |= {row[0]: row[1:] for row in rows}
    empty = (None,) * len(directions)
    return np.array([by_id.get(image_id, empty) for image_id in ids], float).reshape(len(ids), len(directions))  # None becomes NaN


@functools.lru_cache(maxsize=64)
def _table(kinds: tuple[tuple[str, Source], ...]) -> str:
    return sql.SQL(_TABLE).format(cells=sql.SQL(", ").join(_cells(kinds))).as_string()


def scored(directions: Sequence[Direction], ids: Sequence[int], cosines: np.ndarray) -> Scored:
    """The images that have at least one of the kinds, best first, by their `cosines` [len(ids), len(directions)]."""
    weights = np.array([direction.weight for direction in directions])
    constants = np.array([direction.constant for direction in directions])
    present = ~np.isnan(cosines)
    scores = np.where(present, cosines * weights + constants, 0.0).sum(axis=1)
    known = np.flatnonzero(present.any(axis=1))
    numbers = np.asarray(ids, np.int64)[known]
    order = np.lexsort((numbers, -scores[known]))
    return list(zip(numbers[order].tolist(), scores[known][order].tolist()))


def nearest_among(
    conn: Connection, directions: Sequence[Direction], n: int, filter: Filter, most: int
) -> tuple[int, Scored, dict[int, list[float]]] | None:
    """The best `n` of all images that pass `filter`; None when those are more than `most`.

    Returns how many pass, and the cosines of the best with each direction, NaN where an image lacks the kind.
    """
    chosen = sql.SQL(_BY_FILTER).format(condition=filter.condition).as_string(conn)
    text = _among(tuple((direction.kind, direction.source) for direction in directions)).replace(CONDITION, chosen)
    weights = {f"{what}_{place}": getattr(direction, what) for place, direction in enumerate(directions) for what in ("weight", "constant")}
    rows = conn.execute(text, {**filter.parameters, **_queries(directions), **weights, "n": n, "most": most}, binary=True).fetchall()
    count = rows[0][0]
    found = [row for row in rows if row[1] is not None]
    cosines = {row[1]: [math.nan if cosine is None else cosine for cosine in row[3:]] for row in found}
    return None if count > most else (count, [(row[1], row[2]) for row in found], cosines)


@functools.lru_cache(maxsize=64)
def _among(kinds: tuple[tuple[str, Source], ...]) -> str:
    """The statement, with CONDITION in place of what is chosen."""
    names = [_name(place) for place in range(len(kinds))]
    cells = [sql.SQL("{} AS {}").format(cell, name) for cell, name in zip(_cells(kinds), names)]
    asked = [(sql.Placeholder(f"weight_{place}"), sql.Placeholder(f"constant_{place}")) for place in range(len(kinds))]
    return (
        sql.SQL(_AMONG)
        .format(
            chosen=sql.SQL(CONDITION),
            cells=sql.SQL(", ").join(cells),
            score=_score(asked, names),
            names=sql.SQL(", ").join(names),
            present=_any_present(names),
        )
        .as_string()
    )


def nearest_of_all(conn: Connection, directions: Sequence[Direction], n: int, filter: Filter | None) -> Scored:
    """The best `n` images of these kinds together, by comparing with every vector of them."""
    if len(directions) == 1:
        return nearest_exactly(conn, directions[0], n, filter)
    chosen = filter or EVERYTHING
    names = [sql.SQL("{}.cosine").format(_name(place)) for place in range(len(directions))]
    joins = [
        sql.SQL(_JOIN).format(alias=_name(place), query=sql.Placeholder(f"query_{place}"), **key_of(direction.kind, direction.source.encoder))
        for place, direction in enumerate(directions)
    ]
    return conn.execute(
        sql.SQL(_ALL).format(
            score=_score([(direction.weight, direction.constant) for direction in directions], names),
            joins=sql.SQL("").join(joins),
            present=_any_present(names),
            condition=chosen.condition,
        ),
        {**chosen.parameters, **_queries(directions), "n": n},
    ).fetchall()


def _cells(kinds: Sequence[tuple[str, Source]]) -> list[sql.Composed]:
    return [
        sql.SQL(_CELL).format(query=sql.Placeholder(f"query_{place}"), **key_of(kind, source.encoder))
        for place, (kind, source) in enumerate(kinds)
    ]


def _queries(directions: Sequence[Direction]) -> dict[str, HalfVector]:
    return {f"query_{place}": HalfVector(direction.vector) for place, direction in enumerate(directions)}


def _score(asked: Sequence[tuple[Any, Any]], cosines: Sequence[sql.Composable]) -> sql.Composed:
    """The sum of weight x cosine + constant; `asked` are these two, as numbers or as placeholders."""
    terms = [
        sql.SQL("coalesce({} * {}::float8 + {}::float8, 0)").format(cosine, weight, constant)
        for cosine, (weight, constant) in zip(cosines, asked)
    ]
    return sql.SQL(" + ").join(terms)


def _any_present(cosines: Sequence[sql.Composable]) -> sql.Composed:
    return sql.SQL("num_nonnulls({}) > 0").format(sql.SQL(", ").join(cosines))


def _name(place: int) -> sql.Identifier:
    return sql.Identifier(f"cosine_{place}")
