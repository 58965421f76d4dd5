"""The encoders a library knows, each with its own vector index, and which of them are active."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import Connection
from psycopg.rows import class_row

from ._builder_lock import wait_for_builder
from ._clean import clean_json, clean_text
from ._generation import bump_generation, one_writer
from ._index_sql import TABLES, create_statement, index_name
from .errors import LibraryError
from .records import Encoder, StoredEncoder, told_encoder
from .view import create_view
from .words import CONNECT, kind_in_words

_COLUMNS = "id, family, fingerprint, name, dims, details, active"


def ensure_encoder(conn: Connection, encoder: Encoder) -> int:
    """The id of this family and fingerprint, recorded with its HNSW index when new; details that are new are added.

    Making an index waits for writers and for whoever makes another, and holds them up until the commit: give it a transaction of its own.
    """
    known = find_encoder(conn, encoder.family, encoder.fingerprint)
    if known is None:
        wait_for_builder(conn)  # before the writers' lock, so that nobody else waits meanwhile
        one_writer(conn)
        known = find_encoder(conn, encoder.family, encoder.fingerprint) or _add(conn, encoder)
    if known.dims != encoder.dims:
        raise ValueError(f"encoder {encoder.name!r} makes {encoder.dims} dimensions, but is recorded with {known.dims}")
    if not encoder.details.items() <= known.details.items():  # recorded by a version that told less of it
        one_writer(conn)
        conn.execute("UPDATE encoders SET details = details || %s::jsonb WHERE id = %s", [clean_json(encoder.details), known.id])
        bump_generation(conn)
    return known.id


def find_encoder(conn: Connection, family: str, fingerprint: str) -> StoredEncoder | None:
    """The encoder of this family and fingerprint."""
    return _one(conn, "family = %s AND fingerprint = %s", [family, fingerprint])


def find_encoder_with(conn: Connection, family: str, details: Mapping[str, Any]) -> StoredEncoder | None:
    """An encoder of this family whose details have these entries; the active one before others."""
    return _one(conn, "family = %s AND details @> %s::jsonb ORDER BY active DESC, id LIMIT 1", [family, clean_json(dict(details))])


def encoder_with_states(conn: Connection, text_id: int) -> StoredEncoder | None:
    """Of the encoders by which a text has token states the one recorded last."""
    return _one(conn, "id IN (SELECT encoder_id FROM token_states WHERE text_id = %s) ORDER BY id DESC LIMIT 1", [text_id])


def active_encoder(conn: Connection, family: str) -> StoredEncoder | None:
    """The encoder that searches and the view use."""
    return _one(conn, "family = %s AND active", [family])


def active_encoders(conn: Connection) -> dict[str, StoredEncoder]:
    """The active encoders by family."""
    with conn.cursor(row_factory=class_row(StoredEncoder)) as cursor:
        return {row.family: row for row in cursor.execute(f"SELECT {_COLUMNS} FROM encoders WHERE active")}


def all_encoders(conn: Connection) -> list[StoredEncoder]:
    """Every encoder, the active ones first."""
    with conn.cursor(row_factory=class_row(StoredEncoder)) as cursor:
        return cursor.execute(f"SELECT {_COLUMNS} FROM encoders ORDER BY active DESC, family, id").fetchall()


def get_encoder(conn: Connection, encoder_id: int) -> StoredEncoder:
    """The encoder of this id; LibraryError when there is none."""
    encoder = _one(conn, "id = %s", [encoder_id])
    if encoder is None:
        raise LibraryError(
            f"The library has no encoder {encoder_id}. Index the folder again, with the same models connected."
        )
    return encoder


def require_encoder(conn: Connection, family: str, fingerprint: str, name: str) -> StoredEncoder:
    """The encoder of this fingerprint; LibraryError when the library has nothing by it. `name` is for the person."""
    encoder = find_encoder(conn, family, fingerprint)
    if encoder is None:
        raise LibraryError(nothing_by(active_encoder(conn, family), family, fingerprint, name))
    return encoder


def no_vectors(family: str) -> str:
    """What to tell a person where the library has no vectors of this family at all."""
    return f"The library has no {kind_in_words(family)} vectors yet. First index a folder with {CONNECT[family]} connected to Index Folder."


def nothing_by(active: StoredEncoder | None, family: str, fingerprint: str, name: str) -> str:
    """What to tell a person whose model has made nothing in the library, where `active` is the one that has."""
    if active is None:
        return no_vectors(family)
    alike = ", of the same name and with other weights" if active.name == name else ""
    return (
        f"The library was indexed by another model: {active.told}; this one is {told_encoder(name, fingerprint)}{alike}. "
        "Connect that model here, or index a folder with this one connected to Index Folder."
    )


def activate_encoders(conn: Connection, ids: Sequence[int]) -> list[StoredEncoder]:
    """Make these the active ones of their families, at most one each; those that they replace. Other families keep theirs.

    Nothing happens when they are: the view is only made anew when it must.
    """
    one_writer(conn)
    encoders = [get_encoder(conn, encoder_id) for encoder_id in set(ids)]
    families = [encoder.family for encoder in encoders]
    if len(set(families)) != len(families):
        raise ValueError(f"two encoders of one family cannot both be active: {families}")
    if all(encoder.active for encoder in encoders):
        return []
    replaced = [encoder for family, encoder in active_encoders(conn).items() if family in families and encoder.id not in ids]
    conn.execute("UPDATE encoders SET active = false WHERE active AND family = ANY(%s)", [families])
    conn.execute("UPDATE encoders SET active = true WHERE id = ANY(%s)", [[encoder.id for encoder in encoders]])
    create_view(conn, active_encoders(conn))
    bump_generation(conn)
    return replaced


def _one(conn: Connection, condition: str, parameters: list) -> StoredEncoder | None:
    with conn.cursor(row_factory=class_row(StoredEncoder)) as cursor:
        return cursor.execute(f"SELECT {_COLUMNS} FROM encoders WHERE {condition}", parameters).fetchone()


def _add(conn: Connection, encoder: Encoder) -> StoredEncoder:
    added = conn.execute(
        "INSERT INTO encoders (family, fingerprint, name, dims, details) VALUES (%s, %s, %s, %s, %s::jsonb) RETURNING "
        "id",
        [encoder.family, encoder.fingerprint, clean_text(encoder.name), encoder.dims, clean_json(encoder.details)],
    ).fetchone()[0]
    known = get_encoder(conn, added)
    if TABLES[encoder.family] != "token_states":
        conn.execute(create_statement(known, "hnsw", index_name(known, "hnsw")))
    bump_generation(conn)  # searches remember encoders and indexes as long as nothing is written
    return known
