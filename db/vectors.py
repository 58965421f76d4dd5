"""Write and read vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from psycopg import Connection

from ._copy_binary import add_rows
from ._generation import bump_generation, one_writer
from ._index_sql import OF_PROMPTS
from .encoders import get_encoder
from .hybrid.tail import note_images, note_texts

_PROMPTS = "SELECT id FROM unnest(%s::bigint[]) text (id) WHERE EXISTS (SELECT FROM images WHERE prompt_id = text.id)"


def write_text_vectors(conn: Connection, encoder_id: int, ids: Sequence[int], vectors: np.ndarray) -> None:
    """Store vectors [n, dims] of these texts; a text that has one keeps it, since the encoder alone decides it.

    ValueError for another shape, and for vectors that no cosine is defined for: zero, not finite, or beyond float16.
    """
    _write(conn, "text_vectors", "text_id", encoder_id, ids, vectors)


def write_image_vectors(conn: Connection, encoder_id: int, ids: Sequence[int], vectors: np.ndarray) -> None:
    """Store vectors [n, dims] of these images, as `write_text_vectors` does."""
    _write(conn, "image_vectors", "image_id", encoder_id, ids, vectors)


def text_vector(conn: Connection, text_id: int, encoder_id: int) -> np.ndarray | None:
    """The stored vector [dims] float32 of a text."""
    return _read(conn, "text_vectors", "text_id", text_id, encoder_id)


def image_vector(conn: Connection, image_id: int, encoder_id: int) -> np.ndarray | None:
    """The stored vector [dims] float32 of an image."""
    return _read(conn, "image_vectors", "image_id", image_id, encoder_id)


def count_searched(conn: Connection, encoder_id: int, text_ids: np.ndarray) -> int:
    """Of how many of these texts the encoder's vector, once it is there, is one that searches look at and indexes hold."""
    if get_encoder(conn, encoder_id).family not in OF_PROMPTS:
        return len(text_ids)
    return int(_are_prompts(conn, text_ids.tolist()).sum())


def as_halfvecs(vectors: np.ndarray, dims: int) -> np.ndarray:
    """`vectors` [n, dims] as finite float16 of nonzero length; ValueError otherwise."""
    if vectors.ndim != 2 or vectors.shape[1] != dims:
        raise ValueError(f"expected vectors of shape [n, {dims}], got {list(vectors.shape)}")
    with np.errstate(over="ignore"):
        halves = vectors.astype(np.float16)
    good = np.isfinite(halves).all(axis=1) & halves.any(axis=1)
    if not good.all():
        raise ValueError(f"vectors {np.flatnonzero(~good).tolist()} are zero, not finite or beyond float16's 65504")
    return halves


def _write(conn: Connection, table: str, key: str, encoder_id: int, ids: Sequence[int], vectors: np.ndarray) -> None:
    if len(ids) != len(vectors):
        raise ValueError(f"{len(ids)} ids for {len(vectors)} vectors")
    if not len(ids):
        return
    encoder = get_encoder(conn, encoder_id)
    halves = as_halfvecs(np.asarray(vectors), encoder.dims)
    one_writer(conn)
    known = _known(conn, table, key, encoder_id, ids)
    new = {item: row for row, item in enumerate(ids) if item not in known}
    if new:
        searched = _are_prompts(conn, list(new)) if encoder.family in OF_PROMPTS else None
        columns = {key: np.array(list(new), np.int64), "encoder_id": np.full(len(new), encoder_id, np.int32)}
        columns["embedding"] = halves[list(new.values())]
        add_rows(conn, table, columns if searched is None else {**columns, "searched": searched})
        if key == "image_id":
            note_images(conn, list(new))
        else:
            note_texts(conn, encoder_id, list(new))
        bump_generation(conn)


def _are_prompts(conn: Connection, ids: Sequence[int]) -> np.ndarray:
    """Whether each of these texts is the prompt of an image [n]. No other writer makes it one meanwhile; later the database lets it in."""
    found = conn.execute(_PROMPTS, [list(ids)]).fetchall()
    return np.isin(ids, [row[0] for row in found])


def _known(conn: Connection, table: str, key: str, encoder_id: int, ids: Sequence[int]) -> set[int]:
    rows = conn.execute(
        f"SELECT {key} FROM {table} WHERE encoder_id = %s AND {key} = ANY(%s)",
        [encoder_id, [int(item) for item in ids]],
    )
    return {row[0] for row in rows}


def _read(conn: Connection, table: str, key: str, item: int, encoder_id: int) -> np.ndarray | None:
    row = conn.execute(
        f"SELECT embedding FROM {table} WHERE {key} = %s AND encoder_id = %s", [item, encoder_id], binary=True
    ).fetchone()
    return None if row is None else row[0].to_numpy().astype(np.float32)
