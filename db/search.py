"""Find the images nearest to a vector, through the encoder's own HNSW index."""

from __future__ import annotations

import numpy as np
from psycopg import Connection, sql

from .encoders import CONNECT, active_encoder, get_encoder
from .errors import LibraryError
from .question import Answer, Question
from .records import Hit, StoredEncoder
from .vectors import as_halfvecs

TEXT_KINDS = {  # kind of vector: the family of its encoder, and which text of an image it is made of
    "prompt": ("text", "prompt_id"),
    "negative": ("text", "negative_id"),
    "clip_l": ("clip_l", "prompt_id"),
    "clip_g": ("clip_g", "prompt_id"),
}

# In both, the index scan may be ordered by the distance alone. The order is made exact outside it (the index compares
# normalised float16), equals by id; WITH TIES lets all equals of the last one out, so that the cut among them is by id.
_BY_TEXT = """
WITH nearest AS MATERIALIZED (
    SELECT v.text_id, v.embedding::halfvec({dims}) <=> %(query)s::halfvec({dims}) AS distance
    FROM text_vectors v
    WHERE v.encoder_id = {encoder} AND EXISTS (SELECT FROM images WHERE images.{text_id} = v.text_id)
    ORDER BY v.embedding::halfvec({dims}) <=> %(query)s::halfvec({dims})
    FETCH FIRST %(k)s ROWS WITH TIES
)
SELECT image.id, 1 - distance
FROM nearest
CROSS JOIN LATERAL (SELECT id FROM images WHERE images.{text_id} = nearest.text_id ORDER BY id LIMIT %(k)s) image
WHERE 1 - distance >= %(min_score)s
ORDER BY distance, image.id
LIMIT %(k)s
"""
_BY_IMAGE = """
WITH nearest AS MATERIALIZED (
    SELECT v.image_id, v.embedding::halfvec({dims}) <=> %(query)s::halfvec({dims}) AS distance
    FROM image_vectors v
    WHERE v.encoder_id = {encoder}
    ORDER BY v.embedding::halfvec({dims}) <=> %(query)s::halfvec({dims})
    FETCH FIRST %(k)s ROWS WITH TIES
)
SELECT image_id, 1 - distance
FROM nearest
WHERE 1 - distance >= %(min_score)s
ORDER BY distance, image_id
LIMIT %(k)s
"""


def search(conn: Connection, question: Question) -> Answer:
    """The images that answer `question`. LibraryError where an encoder has nothing here, or makes other dimensions."""
    [part] = question.parts
    if part.kind == "image":
        hits = search_by_image(conn, part.vector, question.k, question.lowest_score or -1.0, part.encoder_id)
    else:
        hits = search_by_text(conn, part.kind, part.vector, question.k, question.lowest_score or -1.0, part.encoder_id)
    return Answer(hits, "index")


def search_by_text(
    conn: Connection, kind: str, query: np.ndarray, k: int, min_score: float = -1.0, encoder_id: int | None = None
) -> list[Hit]:
    """The `k` images whose text of `kind` ('prompt', 'negative', 'clip_l', 'clip_g') is nearest to `query` [dims].

    Best first, equals by image id; only hits of at least `min_score` (cosine similarity). `encoder_id` is the encoder
    that made the query, the active one of the kind when not given: vectors of two encoders are never compared.
    LibraryError when that encoder has nothing here, or makes other dimensions.
    """
    encoder = _encoder(conn, TEXT_KINDS[kind][0], encoder_id)
    return _search(conn, statement_by_text(kind, encoder), encoder, query, k, min_score)


def search_by_image(
    conn: Connection, query: np.ndarray, k: int, min_score: float = -1.0, encoder_id: int | None = None
) -> list[Hit]:
    """The `k` images nearest to the image vector `query` [dims]; the rest as in `search_by_text`."""
    encoder = _encoder(conn, "image", encoder_id)
    return _search(conn, statement_by_image(encoder), encoder, query, k, min_score)


def statement_by_text(kind: str, encoder: StoredEncoder) -> sql.Composed:
    """The search by a text's vector, of the parameters `query`, `k` and `min_score`."""
    return sql.SQL(_BY_TEXT).format(
        dims=sql.Literal(encoder.dims), encoder=sql.Literal(encoder.id), text_id=sql.Identifier(TEXT_KINDS[kind][1])
    )


def statement_by_image(encoder: StoredEncoder) -> sql.Composed:
    """The search by an image's vector, of the same parameters."""
    return sql.SQL(_BY_IMAGE).format(dims=sql.Literal(encoder.dims), encoder=sql.Literal(encoder.id))


def _encoder(conn: Connection, family: str, encoder_id: int | None) -> StoredEncoder:
    encoder = active_encoder(conn, family) if encoder_id is None else get_encoder(conn, encoder_id)
    if encoder is None:
        raise LibraryError(
            f"The library has no vectors of this kind yet. Index a folder with {CONNECT[family]} connected first."
        )
    if encoder.family != family:
        raise ValueError(f"encoder {encoder.id} is of family {encoder.family!r}, not {family!r}")
    return encoder


def _search(
    conn: Connection, statement: sql.Composed, encoder: StoredEncoder, query: np.ndarray, k: int, min_score: float
) -> list[Hit]:
    if query.shape != (encoder.dims,):
        raise LibraryError(
            f"The query has the shape {list(query.shape)}, the library's vectors {encoder.dims} dimensions (by "
            f"{encoder.name}). Connect that model, or index the folder again with {CONNECT[encoder.family]} of the "
            f"new one."
        )
    half = as_halfvecs(query[None], encoder.dims)[0]
    rows = conn.execute(statement, {"query": half.astype(np.float32), "k": k, "min_score": min_score})
    return [Hit(image_id, score, rank) for rank, (image_id, score) in enumerate(rows, start=1)]
