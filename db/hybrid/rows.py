"""Read the vectors of several kinds, image by image, and write the rows of the hybrid index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import Connection

from .._copy_binary import add_rows
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
        chosen = Filter.of_ids(batch)
        vectors = [np.full((len(batch), size), np.nan, np.float32) for size in kinds.sizes]
        for of_kind, name, encoder in zip(vectors, kinds.names, kinds.encoders):
            for found, units in stream_vectors(conn, name, encoder, chosen):
                of_kind[np.searchsorted(batch, found)] = units
        present = ~np.all([np.isnan(of_kind[:, 0]) for of_kind in vectors], axis=0)
        yield batch[present], [of_kind[present] for of_kind in vectors]


def write_rows(conn: Connection, hybrid_id: int, ids: np.ndarray, rows: np.ndarray) -> None:
    """Store rows [n, dims] float16 of these images, which must have none there."""
    hybrid_ids = np.full(len(ids), hybrid_id, np.int32)
    add_rows(conn, "hybrid_vectors", {"image_id": ids, "hybrid_id": hybrid_ids, "embedding": rows})
