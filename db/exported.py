"""Read all vectors of many images at once, with the texts that they are of: what an export takes, some images at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from psycopg import Connection

from .records import StoredEncoder, TextPair

# An image whose negative prompt is not known was sampled against the empty text: its states and style are that text's.
_VECTORS = """
SELECT i.id, i.prompt_id, p.text_g, p.text_l, i.negative_id, n.text_g, n.text_l, coalesce(i.negative_id, empty.id),
  (SELECT embedding FROM text_vectors v WHERE v.encoder_id = %(text)s AND v.text_id = i.prompt_id),
  (SELECT embedding FROM text_vectors v WHERE v.encoder_id = %(text)s AND v.text_id = i.negative_id),
  (SELECT embedding FROM image_vectors v WHERE v.encoder_id = %(image)s AND v.image_id = i.id),
  (SELECT embedding FROM text_vectors v WHERE v.encoder_id = %(clip_l)s AND v.text_id = i.prompt_id),
  (SELECT embedding FROM text_vectors v WHERE v.encoder_id = %(clip_g)s AND v.text_id = i.prompt_id),
  (SELECT embedding FROM text_vectors v WHERE v.encoder_id = %(clip_l)s AND v.text_id = coalesce(i.negative_id, empty.id)),
  (SELECT embedding FROM text_vectors v WHERE v.encoder_id = %(clip_g)s AND v.text_id = coalesce(i.negative_id, empty.id))
FROM images i
LEFT JOIN texts p ON p.id = i.prompt_id
LEFT JOIN texts n ON n.id = i.negative_id
LEFT JOIN texts empty ON empty.hash = %(empty)s
WHERE i.id = ANY(%(ids)s)
"""
_NAMES = ("prompt", "negative", "image", "clip_l", "clip_g", "negative_clip_l", "negative_clip_g")
_FAMILIES = ("text", "image", "clip_l", "clip_g")


@dataclass(frozen=True, slots=True)
class StoredVectors:
    """What some encoders made of an image and its texts.

    `vectors` by name: the five kinds, and `negative_clip_l` and `negative_clip_g`; those that there are. `negative_side` is the text
    whose token states are the image's negative: the empty text where no negative prompt is known.
    """

    image_id: int
    prompt_id: int | None
    prompt: TextPair | None
    negative: TextPair | None
    negative_side: int | None
    vectors: dict[str, np.ndarray] = field(default_factory=dict)  # [dims] float32 each


def stored_vectors(conn: Connection, ids: Sequence[int], encoders: Mapping[str, StoredEncoder]) -> list[StoredVectors]:
    """Those of the images `ids` by `encoders` (by family), aligned with the ids; an id that does not exist is left out."""
    parameters = {family: encoders[family].id if family in encoders else None for family in _FAMILIES}
    rows = conn.execute(_VECTORS, {**parameters, "ids": list(ids), "empty": TextPair("", "").hash}, binary=True)
    found = {}
    for image_id, prompt_id, prompt_g, prompt_l, negative_id, negative_g, negative_l, side, *vectors in rows:
        found[image_id] = StoredVectors(
            image_id,
            prompt_id,
            TextPair(prompt_g, prompt_l) if prompt_id is not None else None,
            TextPair(negative_g, negative_l) if negative_id is not None else None,
            side,
            {name: vector.to_numpy().astype(np.float32) for name, vector in zip(_NAMES, vectors) if vector is not None},
        )
    return [found[image_id] for image_id in ids if image_id in found]


def typical_length(conn: Connection, encoder_id: int) -> float | None:
    """The mean length of a text encoder's vectors, of a thousand of them; None where there are none."""
    return conn.execute(
        "SELECT avg(l2_norm(embedding)) FROM (SELECT embedding FROM text_vectors WHERE encoder_id = %s LIMIT 1000) sample", [encoder_id]
    ).fetchone()[0]


def keep_still(conn: Connection) -> None:
    """Let this transaction see the library as it is now, and write nothing. To be called first in it."""
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
