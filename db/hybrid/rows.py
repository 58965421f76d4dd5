"""Read the vectors of several kinds, image by image, and write the rows of the hybrid index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import Connection, sql

from ..filters import Filter
from ..records import StoredEncoder
from ..stream import stream_vectors

BATCH = 2048  # images in memory at once: 42 MB of five kinds as float32


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds of an index, in its order, each with the encoder whose vectors are in it."""

    names: tuple[str, ...]
    encoders: tuple[StoredEncoder, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(encoder.dims for encoder in self.encoders)


def read_images(conn: Connection, kinds: Kinds, ids: Sequence[int] | None = None) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """(image ids [n], unit vectors [n, size] by kind, NaN where an image lacks one), of these images or of all, in batches.

    An image that has none of the kinds is left out.
    """
    if ids is None:
        ids = [row[0] for row in conn.execute("SELECT id FROM images ORDER BY id")]
    for start in range(0, len(ids), BATCH):
        batch = np.array(sorted(ids[start : start + BATCH]), np.int64)
        chosen = Filter(sql.SQL("i.id = ANY(%(hybrid_ids)s)"), {"hybrid_ids": batch.tolist()})
        vectors = [np.full((len(batch), size), np.nan, np.float32) for size in kinds.sizes]
        for of_kind, name, encoder in zip(vectors, kinds.names, kinds.encoders):
            for found, units in stream_vectors(conn, name, encoder, chosen):
                of_kind[np.searchsorted(batch, found)] = units
        present = ~np.all([np.isnan(of_kind[:, 0]) for of_kind in vectors], axis=0)
        yield batch[present], [of_kind[present] for of_kind in vectors]


def write_rows(conn: Connection, hybrid_id: int, ids: np.ndarray, rows: np.ndarray) -> None:
    """Store rows [n, dims] float16 of these images, which must have none there."""
    dims = rows.shape[1]
    layout = np.dtype(  # a row of COPY BINARY: each field after its length; see vectors._rows
        [("fields", ">i2"), ("id_size", ">i4"), ("id", ">i8"), ("hybrid_size", ">i4"), ("hybrid", ">i4")]
        + [("vector_size", ">i4"), ("dims", ">u2"), ("unused", ">u2"), ("vector", ">f2", (dims,))]
    )
    packed = np.zeros(len(ids), layout)
    packed["fields"], packed["id_size"], packed["hybrid_size"], packed["vector_size"] = 3, 8, 4, 4 + 2 * dims
    packed["id"], packed["hybrid"], packed["dims"], packed["vector"] = ids, hybrid_id, dims, rows
    with conn.cursor().copy("COPY hybrid_vectors (image_id, hybrid_id, embedding) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8) + packed.tobytes() + b"\xff\xff")
