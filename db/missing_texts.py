"""Texts that an encoder has not seen: which they are, as numbers, and the texts themselves a batch at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from psycopg import Connection, sql

from ._copy_binary import BIGINT, INTEGER, read_whole
from ._index_sql import place_of
from .encoders import get_encoder
from .files import beginning
from .records import TextPair

FEW = 1000
# Whether any lack is asked first: which texts are used below a folder takes a hundred times as long, and mostly none are new.
_SOME = "SELECT t.id FROM texts t WHERE NOT EXISTS (SELECT FROM {table} v WHERE v.encoder_id = %s AND v.text_id = t.id) LIMIT %s"
_LACKING = """
SELECT t.id, greatest(length(t.text_g), length(t.text_l))
FROM texts t
WHERE {used}
  AND NOT EXISTS (SELECT FROM {table} v WHERE v.encoder_id = %(encoder)s AND v.text_id = t.id)
"""
_USED = """
t.id IN (
    SELECT used.id FROM paths p JOIN images i ON i.id = p.image_id
    CROSS JOIN LATERAL (VALUES (i.prompt_id), (i.negative_id)) used (id)
    WHERE p.root_id = %(root)s AND p.path ^@ %(under)s
    UNION ALL SELECT id FROM texts WHERE hash = %(empty)s
)
"""
_FEW_USED = """
t.id = ANY(%(few)s) AND (
    t.hash = %(empty)s
    OR EXISTS (SELECT FROM images i JOIN paths p ON p.image_id = i.id
               WHERE i.prompt_id = t.id AND p.root_id = %(root)s AND p.path ^@ %(under)s)
    OR EXISTS (SELECT FROM images i JOIN paths p ON p.image_id = i.id
               WHERE i.negative_id = t.id AND p.root_id = %(root)s AND p.path ^@ %(under)s)
)
"""
_HOW_MANY = """
SELECT count(*) FROM texts t
WHERE greatest(length(t.text_g), length(t.text_l)) <= %s
  AND NOT EXISTS (SELECT FROM {table} v WHERE v.encoder_id = %s AND v.text_id = t.id)
"""
_STILL_LACKING = "SELECT t.id, t.text_g, t.text_l FROM texts t WHERE t.id = ANY(%s) AND ({lacking}) ORDER BY t.id"
_ONE_LACKING = "NOT EXISTS (SELECT FROM {table} v WHERE v.encoder_id = %s AND v.text_id = t.id)"


def texts_lacking(conn: Connection, encoder_id: int, root_id: int, under: str) -> tuple[np.ndarray, np.ndarray]:
    """(ids int64 [n], characters int32 [n]) of the prompts and negatives of images below `under` that the encoder has not seen.

    They are ordered by length, then id; of a text whose halves differ, the longer counts. A million take 12 MB, where the texts
    themselves would take hundreds. The empty text is among them once it is recorded: an image without a negative was sampled against
    it. For an encoder of the family 'token_states': those without token states.
    """
    table = _table(conn, encoder_id)
    few = [id_ for (id_,) in conn.execute(sql.SQL(_SOME).format(table=table), [encoder_id, FEW + 1])]
    if not few:
        return np.empty(0, np.int64), np.empty(0, np.int32)
    lacking = sql.SQL(_LACKING).format(table=table, used=sql.SQL(_USED if len(few) > FEW else _FEW_USED))
    values = {"root": root_id, "under": beginning(under), "encoder": encoder_id, "empty": TextPair("", "").hash, "few": few}
    rows = read_whole(conn, lacking, values, {"id": BIGINT, "length": INTEGER})
    ids, lengths = rows["id"].astype(np.int64), rows["length"].astype(np.int32)
    order = np.lexsort((ids, lengths))
    return ids[order], lengths[order]


def count_lacking(conn: Connection, encoder_id: int, longest: int) -> int:
    """How many texts of the whole library, of at most so many characters, the encoder has not seen.

    It takes a tenth of the time that it takes to say which, below a folder.
    """
    return conn.execute(sql.SQL(_HOW_MANY).format(table=_table(conn, encoder_id)), [longest, encoder_id]).fetchone()[0]


def texts_still_lacking(conn: Connection, encoder_ids: Sequence[int], text_ids: Collection[int]) -> list[tuple[int, TextPair]]:
    """(id, text) of these texts that at least one of the encoders has not seen by now: another run may be at the same ones."""
    lacking = [sql.SQL(_ONE_LACKING).format(table=_table(conn, one)) for one in encoder_ids]
    statement = sql.SQL(_STILL_LACKING).format(lacking=sql.SQL(" OR ").join(lacking))
    rows = conn.execute(statement, [list(text_ids), *encoder_ids])
    return [(text_id, TextPair(text_g, text_l)) for text_id, text_g, text_l in rows]


def _table(conn: Connection, encoder_id: int) -> sql.Identifier:
    return place_of(get_encoder(conn, encoder_id))["table"]
