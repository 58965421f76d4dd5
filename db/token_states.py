"""Write and read token states, SDXL's conditioning of a text by one encoder: packed without loss, and verified when read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
from psycopg import Connection
from psycopg.errors import DataCorrupted

from ._generation import bump_generation, one_writer
from ._packing import packed, unpacked
from .encoders import get_encoder
from .errors import DamagedStates, LibraryError
from .records import TokenStates

if TYPE_CHECKING:
    from .connection import Library

SECTION = 77  # tokens
_ENOUGH = 64  # sections, from which on what the table takes tells what a further one will
_TEXT_SHOWN = 60  # characters
_NAMED = 20  # texts in an error


def write_token_states(conn: Connection, encoder_id: int, states: Mapping[int, TokenStates], anew: bool = False) -> None:
    """Store the token states of these texts; a text that has them keeps them, but for `anew`, which mends damaged ones.

    ValueError for another width, and for what is not finite in float16.
    """
    dims = get_encoder(conn, encoder_id).dims
    packed_states = {text_id: _packed(text_id, state, dims) for text_id, state in states.items()}
    one_writer(conn)
    if anew:
        conn.execute("DELETE FROM token_states WHERE encoder_id = %s AND text_id = ANY(%s)", [encoder_id, list(packed_states)])
    known = _known(conn, encoder_id, list(packed_states))
    with conn.cursor().copy("COPY token_states (text_id, encoder_id, tokens, states, checksum) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["int8", "int4", "int4", "bytea", "bytea"])
        for text_id, data in packed_states.items():
            if text_id not in known:
                copy.write_row((text_id, encoder_id, len(states[text_id].states), data, hashlib.sha256(data).digest()))
    bump_generation(conn)


def mend_token_states(library: Library, encoder_id: int, text_id: int, state: TokenStates) -> str:
    """Store a damaged text's states anew. Why that can't be done, as for a user who may only read; "" where it is done.

    On a connection of its own: who asks goes on to encode further texts, which holds up no writer then, and a later text's error undoes nothing.
    """
    try:
        with library.connection() as conn:
            write_token_states(conn, encoder_id, {text_id: state}, anew=True)
    except LibraryError as error:
        return str(error)
    return ""


def token_states(conn: Connection, text_id: int, encoder_id: int) -> TokenStates | None:
    """The token states of a text by this encoder, never by another. DamagedStates when they are not what was stored."""
    return many_token_states(conn, [text_id], encoder_id).get(text_id)


def many_token_states(conn: Connection, text_ids: Sequence[int], encoder_id: int) -> dict[int, TokenStates]:
    """Those of several texts, by text id; a text without any by this encoder is left out. 0.3 MB of memory a section.

    DamagedStates names the first text whose states are not what was stored, or those that the server can't read.
    """
    ids = [int(text_id) for text_id in text_ids]
    try:
        rows = _rows(conn, ids, encoder_id)
    except DataCorrupted as error:  # the server noticed it first
        raise _refused(conn, ids, encoder_id, str(error.diag.message_primary)) from None
    found = {}
    for text_id, tokens, states, pooled, checksum in rows:
        try:
            found[text_id] = _verified(tokens, states, checksum) if checksum is not None else _plain(tokens, states, pooled)
        except ValueError as error:
            raise _damaged(conn, text_id, encoder_id, str(error)) from None
    return found


def sound_token_states(conn: Connection, text_ids: Sequence[int], encoder_id: int) -> tuple[dict[int, TokenStates], dict[int, DamagedStates]]:
    """As `many_token_states`, with each damaged text's error in place of a raised one."""
    try:
        return many_token_states(conn, text_ids, encoder_id), {}
    except DamagedStates:
        pass
    found, damaged = {}, {}
    for text_id in text_ids:
        try:
            found |= many_token_states(conn, [text_id], encoder_id)
        except DamagedStates as error:
            damaged[text_id] = error
    return found, damaged


def token_states_bytes(conn: Connection) -> int:
    """What token states take on disk, dead rows and indexes included."""
    return conn.execute("SELECT pg_total_relation_size('token_states')").fetchone()[0]


def section_bytes(conn: Connection) -> int | None:
    """What a section of 77 tokens takes on disk in this library; None while there are too few to tell.

    How far states can be packed depends on the encoder's weights.
    """
    tokens = conn.execute("SELECT sum(tokens) FROM token_states").fetchone()[0] or 0
    return token_states_bytes(conn) * SECTION // tokens if tokens >= _ENOUGH * SECTION else None


def _packed(text_id: int, state: TokenStates, dims: int) -> bytes:
    if state.states.ndim != 2 or state.states.shape[1] != dims or state.pooled.ndim != 1:
        raise ValueError(f"token states of text {text_id}: expected [tokens, {dims}] and [n], got {state.states.shape}, {state.pooled.shape}")
    with np.errstate(over="ignore"):
        halves = [part.astype(np.float16) for part in (state.states, state.pooled)]
    if not all(np.isfinite(part).all() for part in halves):
        raise ValueError(f"token states of text {text_id} are not finite, or beyond float16's 65504")
    return packed(*halves)


def _verified(tokens: int, data: bytes, checksum: bytes) -> TokenStates:
    if hashlib.sha256(data).digest() != checksum:
        raise ValueError("their checksum does not match")
    states, pooled = unpacked(data)
    if len(states) != tokens:
        raise ValueError(f"they hold {len(states)} tokens, and should hold {tokens}")
    return TokenStates(states, pooled)


def _plain(tokens: int, states: bytes, pooled: bytes | None) -> TokenStates:
    """As the first versions stored them, with nothing to verify them by but their size and that they are numbers."""
    halves = np.frombuffer(states, "<f2").reshape(tokens, -1), np.frombuffer(pooled or b"", "<f2")
    if not all(half.size and np.isfinite(half).all() for half in halves):
        raise ValueError("there are no numbers in them, or such as are not finite")
    return TokenStates(*halves)


def _rows(conn: Connection, ids: list[int], encoder_id: int) -> list[tuple]:
    """In a savepoint, so that a caller's transaction outlives what the server can't read."""
    with nullcontext() if conn.autocommit else conn.transaction():
        return conn.execute(
            "SELECT text_id, tokens, states, pooled, checksum FROM token_states WHERE encoder_id = %s AND text_id = ANY(%s)",
            [encoder_id, ids],
            binary=True,
        ).fetchall()


def _refused(conn: Connection, ids: list[int], encoder_id: int, reason: str) -> DamagedStates:
    """Names the texts that can't be read, of those that were asked for, and lets nothing else be forgotten."""
    refused = []
    for text_id in ids:
        try:
            _rows(conn, [text_id], encoder_id)
        except DataCorrupted:
            refused.append(str(text_id))
    more = f" and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
    return DamagedStates(
        f"The PostgreSQL server can't read the stored token states of text {', '.join(refused[:_NAMED])}{more}: {reason}. Look at its disk, then let it "
        "forget them and queue Index Folder again: DELETE FROM token_states WHERE "
        f"encoder_id = {encoder_id} AND text_id = ANY('{{{','.join(refused[:_NAMED])}}}');"
    )


def _damaged(conn: Connection, text_id: int, encoder_id: int, reason: str) -> DamagedStates:
    encoder = get_encoder(conn, encoder_id)
    text = conn.execute("SELECT joined FROM texts WHERE id = %s", [text_id]).fetchone()[0]
    shown = text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}..."
    return DamagedStates(
        f"The stored token states of the text {shown!r} (text {text_id}) are damaged: {reason}. Connect the CLIP that made them, "
        f"{encoder.told}, to Diffusion Toolkit Loader: it encodes the text and stores it anew. If it happens "
        "again, look at the disk of the PostgreSQL server."
    )


def _known(conn: Connection, encoder_id: int, text_ids: Sequence[int]) -> set[int]:
    rows = conn.execute("SELECT text_id FROM token_states WHERE encoder_id = %s AND text_id = ANY(%s)", [encoder_id, list(text_ids)])
    return {row[0] for row in rows}
