"""Read much of a library at once: columns of numbers and vectors by COPY BINARY, a batch in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from psycopg import Connection, sql

from ._copy_binary import BIGINT, halfvec, read_rows, read_whole
from ._index_sql import key_of, place_of, searched_rows
from .filters import EVERYTHING, Filter

if TYPE_CHECKING:
    from .records import StoredEncoder

BATCH = 4096  # vectors in memory at once: 8 MB of 1024 dimensions, 16 as float32


def read_ids(conn: Connection, condition: str, filter: Filter | None = None) -> np.ndarray:
    """The ids, int64 [n], of those `images i` of which an SQL condition holds, in order."""
    return read_column(conn, "i.id", condition, filter)[0]


def read_column(conn: Connection, column: str, condition: str, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(ids, a bigint column) of these images, int64 [n] each, by id."""
    chosen = filter or EVERYTHING
    query = sql.SQL(f"SELECT i.id, {column} FROM images i WHERE {condition} AND ({{}}) ORDER BY i.id").format(chosen.condition)
    rows = read_whole(conn, query, chosen.parameters, {"id": BIGINT, "value": BIGINT})
    return rows["id"].astype(np.int64), rows["value"].astype(np.int64)


def count_vectors(conn: Connection, kind: str, encoder: StoredEncoder, filter: Filter | None = None) -> int:
    """How many images `stream_vectors` gives."""
    chosen = filter or EVERYTHING
    statement = sql.SQL("SELECT count(*) FROM {} WHERE {}").format(_source(kind, encoder), chosen.condition)
    return conn.execute(statement, chosen.parameters).fetchone()[0]


def stream_vectors(conn: Connection, kind: str, encoder: StoredEncoder, filter: Filter | None = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(image ids int64 [n], unit vectors float32 [n, dims]) of all images that have this kind, by id, BATCH at a time.

    The connection can't be used for anything else before the last one.
    """
    chosen = filter or EVERYTHING
    query = sql.SQL("SELECT i.id, v.embedding FROM {} WHERE {} ORDER BY i.id").format(_source(kind, encoder), chosen.condition)
    for rows in read_rows(conn, query, chosen.parameters, {"id": BIGINT, "vector": halfvec(encoder.dims)}, BATCH):
        yield rows["id"].astype(np.int64), unit_rows(rows["vector"]["numbers"].astype(np.float32))


def vectors_of(conn: Connection, kind: str, encoder: StoredEncoder, ids: Iterable[int]) -> dict[int, np.ndarray]:
    """Unit vectors float32 [dims] of those of these images that have this kind, by id, in its order."""
    streamed = stream_vectors(conn, kind, encoder, Filter.of_ids(ids))
    return {int(image_id): vector for some, vectors in streamed for image_id, vector in zip(some, vectors)}


def stream_encoder(conn: Connection, encoder: StoredEncoder) -> Iterator[np.ndarray]:
    """Unit vectors float32 [n, dims] of all by an encoder that searches look at, in any order, but for damaged ones."""
    query = sql.SQL("SELECT embedding FROM {table} WHERE {rows}").format(rows=searched_rows(encoder.family, encoder.id), **place_of(encoder))
    for rows in read_rows(conn, query, {}, {"vector": halfvec(encoder.dims)}, BATCH):
        yield sound_rows(rows["vector"]["numbers"].astype(np.float32))


def sound_rows(vectors: np.ndarray) -> np.ndarray:
    """Those of `vectors` [n, dims] that have a direction, at length 1 each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        vectors = unit_rows(vectors)
    return vectors[np.isfinite(vectors).all(axis=1)]


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """`vectors` [n, dims] at length 1 each."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _source(kind: str, encoder: StoredEncoder) -> sql.Composed:
    """`images i` joined with the vectors `v` of a kind."""
    return sql.SQL("images i JOIN {table} v ON v.{key} = i.{id} AND v.encoder_id = {encoder}").format(**key_of(kind, encoder))
