"""Write and read vectors, in PostgreSQL's binary COPY format."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from psycopg import Connection

from ._generation import bump_generation, one_writer
from ._index_sql import OF_PROMPTS
from .encoders import get_encoder
from .hybrid.tail import note_images, note_texts

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
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
        columns = f"{key}, encoder_id, embedding" + ", searched" * (searched is not None)
        with conn.cursor().copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(_HEADER + _rows(list(new), encoder_id, halves[list(new.values())], searched) + _TRAILER)
        if key == "image_id":
            note_images(conn, list(new))
        else:
            note_texts(conn, encoder_id, list(new))
        bump_generation(conn)


def _rows(ids: Sequence[int], encoder_id: int, halves: np.ndarray, searched: np.ndarray | None) -> bytes:
    """Rows (bigint, integer, halfvec, and boolean where `searched` is given) as COPY BINARY has them, for the whole batch at once.

    Each field follows its length; a halfvec is its dimension, 16 unused bits and big-endian float16
    (pgvector's halfvec_recv).
    """
    dims = halves.shape[1]
    row = np.dtype(
        [("fields", ">i2"), ("id_size", ">i4"), ("id", ">i8"), ("encoder_size", ">i4"), ("encoder", ">i4")]
        + [("vector_size", ">i4"), ("dims", ">u2"), ("unused", ">u2"), ("vector", ">f2", (dims,))]
        + [("searched_size", ">i4"), ("searched", "u1")] * (searched is not None)
    )
    rows = np.zeros(len(ids), row)
    rows["fields"], rows["id_size"], rows["encoder_size"], rows["vector_size"] = 3, 8, 4, 4 + 2 * dims
    rows["id"], rows["encoder"], rows["dims"], rows["vector"] = ids, encoder_id, dims, halves
    if searched is not None:
        rows["fields"], rows["searched_size"], rows["searched"] = 4, 1, searched
    return rows.tobytes()


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
