"""Rows of fixed size in PostgreSQL's binary COPY format, whole arrays of them at once: each field follows its length, all is big-endian."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from psycopg import Connection, sql

BIGINT, INTEGER = np.dtype(">i8"), np.dtype(">i4")
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # as PostgreSQL itself writes it: no flags, no extension
_TRAILER = b"\xff\xff"
_BATCH = 65536  # rows of a few numbers in memory at once


def halfvec(dims: int) -> np.dtype:
    """How a halfvec is sent (pgvector's halfvec_recv): its dimension, 16 unused bits, and the `numbers`."""
    return np.dtype([("dims", ">u2"), ("unused", ">u2"), ("numbers", ">f2", (dims,))])


def add_rows(conn: Connection, table: str, columns: Mapping[str, np.ndarray]) -> None:
    """Add rows to a table: int64 [n] goes into a bigint, int32 into an integer, bool into a boolean, float16 [n, dims] into a halfvec."""
    types = {name: halfvec(values.shape[1]) if values.ndim > 1 else values.dtype.newbyteorder(">") for name, values in columns.items()}
    row = _row(types)
    rows = np.zeros(len(next(iter(columns.values()))), row)
    rows["fields"] = len(columns)
    for name, values in columns.items():
        rows[f"{name}_size"] = row[name].itemsize
        if values.ndim > 1:
            rows[name]["dims"], rows[name]["numbers"] = values.shape[1], values
        else:
            rows[name] = values
    with conn.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(_HEADER + rows.tobytes() + _TRAILER)


def read_rows(
    conn: Connection, query: sql.Composable, parameters: Mapping[str, Any], columns: Mapping[str, np.dtype], batch: int = _BATCH
) -> Iterator[np.ndarray]:
    """What `query` gives, NULL nowhere, as arrays with these `columns`, `batch` rows at a time, however the driver cuts the stream.

    The connection can't be used for anything else before the last one.
    """
    row = _row(columns)
    whole = batch * row.itemsize
    with conn.cursor().copy(sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query), parameters) as copy:
        pending, size, start = [], 0, len(_HEADER)
        for data in copy:
            pending.append(data)
            size += len(data)
            if size - start >= whole + len(_TRAILER):
                joined = b"".join(pending)
                yield np.frombuffer(joined, row, batch, start)
                pending, size, start = [joined[start + whole :]], size - start - whole, 0
        joined = b"".join(pending)
        if size - start > len(_TRAILER):
            yield np.frombuffer(joined, row, (size - start - len(_TRAILER)) // row.itemsize, start)


def read_whole(conn: Connection, query: sql.Composable, parameters: Mapping[str, Any], columns: Mapping[str, np.dtype]) -> np.ndarray:
    """All of `read_rows` at once."""
    return np.concatenate([np.empty(0, _row(columns)), *read_rows(conn, query, parameters, columns)])


def _row(columns: Mapping[str, np.dtype]) -> np.dtype:
    fields = [field for name, kind in columns.items() for field in ((f"{name}_size", INTEGER), (name, kind))]
    return np.dtype([("fields", ">i2"), *fields])
