"""The perceptual hashes of images, signed 64-bit numbers: written where a picture is decoded anyway, read all at once."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from psycopg import Connection

from ._generation import bump_generation, one_writer
from .filters import Filter
from .stream import read_column, read_ids


def write_phashes(conn: Connection, phashes: Mapping[int, int]) -> None:
    """Store the hashes by image id; an image that has the same one is not touched."""
    if not phashes:
        return
    one_writer(conn)
    changed = conn.execute(
        "UPDATE images SET phash = new.phash FROM unnest(%s::bigint[], %s::bigint[]) new (id, phash)"
        " WHERE images.id = new.id AND images.phash IS DISTINCT FROM new.phash",
        [list(phashes), list(phashes.values())],
    )
    if changed.rowcount:
        bump_generation(conn)


def images_without_phash(conn: Connection, filter: Filter | None = None) -> list[int]:
    """The ids of the images whose pictures were not decoded for it yet."""
    return read_ids(conn, "i.phash IS NULL", filter).tolist()


def read_phashes(conn: Connection, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(image ids, hashes) as int64 [n] each, by id."""
    return read_column(conn, "i.phash", "i.phash IS NOT NULL", filter)
