"""The map that a library estimates token states by: when it is old, what it is fitted on, and which stored texts begin alike."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from psycopg import Connection, sql

from ._generation import bump_generation, one_writer
from .encoders import active_encoders
from .records import StoredEncoder, TextPair
from .token_states import sound_token_states

GROWN = 1.5  # times the texts that there were, from which on it is fitted anew
_BATCH = 32  # texts whose states are read at once
_FAMILIES = ("token_states", "clip_l", "clip_g")
_OF_THESE = "encoder_id = %s AND clip_l_encoder_id = %s AND clip_g_encoder_id = %s"

_HAVE_ALL = """
FROM token_states s
JOIN text_vectors l ON l.text_id = s.text_id AND l.encoder_id = %(clip_l)s
JOIN text_vectors g ON g.text_id = s.text_id AND g.encoder_id = %(clip_g)s
JOIN texts t ON t.id = s.text_id
WHERE s.encoder_id = %(token_states)s AND t.joined <> ''
"""


@dataclass(frozen=True, slots=True)
class Approximation:
    """A fitted map, as `embedders.estimate` made it; `by_text` is None where it knows vectors alone."""

    by_vectors: bytes | None  # None where it is the one that the caller has
    by_text: bytes | None
    details: dict[str, Any]
    version: str = field(default="", compare=False)  # another one for each map, in each database


@dataclass(frozen=True, slots=True)
class Wanted:
    """A fit that the library lacks: by which encoders, and how many texts it could be made on."""

    encoders: dict[str, StoredEncoder]
    texts: int
    like: Mapping[str, Any]  # entries of its details


@dataclass(frozen=True, slots=True)
class Sample:
    """A text that has everything: both vectors [768] and [1280] and its states [tokens, 2048], float16."""

    text: TextPair
    clip_l: np.ndarray
    clip_g: np.ndarray
    states: np.ndarray


def approximation(conn: Connection, with_text: bool = True, like: Mapping[str, Any] = {}, known: str = "") -> Approximation | None:
    """The map of the active encoders whose details have the entries of `like`; None where there is none.

    Up to 64 MB are read, 39 without `with_text`, and nothing of the map whose version is `known`.
    """
    active = active_encoders(conn)
    if not all(family in active for family in _FAMILIES):
        return None
    row = conn.execute(
        f"""
        SELECT CASE WHEN version <> %s THEN by_vectors END, CASE WHEN version <> %s AND %s THEN by_text END, details, version
        FROM (SELECT *, concat_ws('/', current_database(), extract(epoch FROM created), ctid) AS version FROM approximations) a
        WHERE {_OF_THESE} AND details @> %s::jsonb AND length(by_vectors) > 0
        """,
        [known, known, with_text, *(active[family].id for family in _FAMILIES), json.dumps(dict(like))],
        binary=True,
    ).fetchone()
    return Approximation(*row) if row else None


def wanted_approximation(conn: Connection, least: int, like: Mapping[str, Any] = {}) -> Wanted | None:
    """The fit to make now: the first one at `least` texts, then one whenever the texts are half as many more, and where the map's details
    lack the entries of `like`. Costs a count."""
    active = active_encoders(conn)
    if not all(family in active for family in _FAMILIES):
        return None
    ids = {family: active[family].id for family in _FAMILIES}
    texts = conn.execute(f"SELECT count(*) {_HAVE_ALL}", ids).fetchone()[0]
    before = conn.execute(
        f"SELECT texts FROM approximations WHERE {_OF_THESE} AND details @> %s::jsonb", [*ids.values(), json.dumps(dict(like))]
    ).fetchone()
    if texts < least or (before is not None and texts < GROWN * before[0]):
        return None
    return Wanted({family: active[family] for family in _FAMILIES}, texts, like)


def sample_texts(conn: Connection, wanted: Wanted, most: int) -> Iterator[Sample]:
    """So many texts at most that have everything, in an order that means nothing; one whose states are damaged is left out."""
    ids = {family: encoder.id for family, encoder in wanted.encoders.items()}
    chosen = [row[0] for row in conn.execute(f"SELECT t.id {_HAVE_ALL} ORDER BY md5(t.hash), t.id LIMIT %(most)s", {**ids, "most": most})]
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH]
        rows = conn.execute(
            f"SELECT t.id, t.text_g, t.text_l, l.embedding, g.embedding {_HAVE_ALL} AND t.id = ANY(%(ids)s)", {**ids, "ids": batch}, binary=True
        ).fetchall()
        states, _ = sound_token_states(conn, batch, ids["token_states"])  # recall tells of the damage when that text is asked for
        found = {text_id: (TextPair(text_g, text_l), clip_l, clip_g) for text_id, text_g, text_l, clip_l, clip_g in rows}
        for text_id in batch:
            if text_id in found and text_id in states:
                pair, clip_l, clip_g = found[text_id]
                yield Sample(pair, clip_l.to_numpy().astype(np.float16), clip_g.to_numpy().astype(np.float16), states[text_id].states)


def write_approximation(conn: Connection, wanted: Wanted, made: Approximation) -> None:
    """Keep a map in the place of the encoder's former one."""
    one_writer(conn)
    conn.execute("DELETE FROM approximations WHERE encoder_id = %s", [wanted.encoders["token_states"].id])
    conn.execute(
        "INSERT INTO approximations (encoder_id, clip_l_encoder_id, clip_g_encoder_id, texts, by_vectors, by_text, details)"
        " VALUES (%b, %b, %b, %b, %b, %b, %s::jsonb)",
        [*(wanted.encoders[family].id for family in _FAMILIES), wanted.texts, made.by_vectors, made.by_text, json.dumps(made.details)],
    )
    bump_generation(conn)


def write_attempt(conn: Connection, wanted: Wanted) -> None:
    """Remember that too few texts could be used for a fit, so that the next one waits until there are more. A map that serves is kept."""
    one_writer(conn)
    ids, like = [wanted.encoders[family].id for family in _FAMILIES], json.dumps(dict(wanted.like))
    conn.execute(f"DELETE FROM approximations WHERE encoder_id = %s AND NOT ({_OF_THESE} AND details @> %s::jsonb)", [ids[0], *ids, like])
    conn.execute(
        "INSERT INTO approximations (encoder_id, clip_l_encoder_id, clip_g_encoder_id, texts, by_vectors, details) VALUES (%s, %s, %s, %s, '', %s::jsonb)"
        " ON CONFLICT (encoder_id) DO UPDATE SET texts = excluded.texts",
        [*ids, wanted.texts, like],
    )


def texts_that_begin_alike(conn: Connection, encoder_id: int, text: str, side: str) -> list[tuple[int, TextPair]]:
    """Up to two texts with states by this encoder that have the most of their beginning in common with `text`: in the order of
    their bytes, no other text has more than the neighbours. `side` is text_g or text_l. Reads all texts, 0.1 s of 200,000."""
    column = sql.Identifier(side)
    statement = sql.SQL("""
        (SELECT t.id, t.text_g, t.text_l FROM texts t WHERE t.{0} COLLATE "C" <= %(text)s
           AND EXISTS (SELECT FROM token_states s WHERE s.encoder_id = %(encoder)s AND s.text_id = t.id)
         ORDER BY t.{0} COLLATE "C" DESC LIMIT 1)
        UNION ALL
        (SELECT t.id, t.text_g, t.text_l FROM texts t WHERE t.{0} COLLATE "C" > %(text)s
           AND EXISTS (SELECT FROM token_states s WHERE s.encoder_id = %(encoder)s AND s.text_id = t.id)
         ORDER BY t.{0} COLLATE "C" LIMIT 1)
    """).format(column)
    rows = conn.execute(statement, {"text": text, "encoder": encoder_id}).fetchall()
    return [(text_id, TextPair(text_g, text_l)) for text_id, text_g, text_l in rows]
