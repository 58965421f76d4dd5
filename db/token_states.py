"""Write and read token states: SDXL's conditioning of a text, by one encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from psycopg import Connection

from ._generation import bump_generation, one_writer
from .encoders import get_encoder
from .records import TokenStates


def write_token_states(conn: Connection, encoder_id: int, states: Mapping[int, TokenStates]) -> None:
    """Store the token states of these texts; a text that has them keeps them. ValueError for another width."""
    dims = get_encoder(conn, encoder_id).dims
    for text_id, state in states.items():
        if state.states.ndim != 2 or state.states.shape[1] != dims or state.pooled.ndim != 1:
            raise ValueError(
                f"token states of text {text_id}: expected [tokens, {dims}] and [n], got {state.states.shape}, "
                f"{state.pooled.shape}"
            )
    one_writer(conn)
    known = _known(conn, encoder_id, list(states))
    with conn.cursor().copy(
        "COPY token_states (text_id, encoder_id, tokens, states, pooled) FROM STDIN (FORMAT BINARY)"
    ) as copy:
        copy.set_types(["int8", "int4", "int4", "bytea", "bytea"])
        for text_id, state in states.items():
            if text_id not in known:
                states_bytes, pooled_bytes = state.states.astype("<f2").tobytes(), state.pooled.astype("<f2").tobytes()
                copy.write_row((text_id, encoder_id, len(state.states), states_bytes, pooled_bytes))
    bump_generation(conn)


def token_states(conn: Connection, text_id: int, encoder_id: int) -> TokenStates | None:
    """The token states of a text by this encoder, never by another."""
    return many_token_states(conn, [text_id], encoder_id).get(text_id)


def many_token_states(conn: Connection, text_ids: Sequence[int], encoder_id: int) -> dict[int, TokenStates]:
    """Those of several texts, by text id; a text without any by this encoder is left out. About 0.3 MB of memory a section each."""
    rows = conn.execute(
        "SELECT text_id, tokens, states, pooled FROM token_states WHERE encoder_id = %s AND text_id = ANY(%s)",
        [encoder_id, [int(text_id) for text_id in text_ids]],
        binary=True,
    )
    return {
        text_id: TokenStates(
            np.frombuffer(states, "<f2").reshape(tokens, -1).astype(np.float16), np.frombuffer(pooled, "<f2").astype(np.float16)
        )
        for text_id, tokens, states, pooled in rows
    }


def token_states_bytes(conn: Connection) -> int:
    """What token states take on disk, dead rows and indexes included."""
    return conn.execute("SELECT pg_total_relation_size('token_states')").fetchone()[0]


def _known(conn: Connection, encoder_id: int, text_ids: Sequence[int]) -> set[int]:
    rows = conn.execute("SELECT text_id FROM token_states WHERE encoder_id = %s AND text_id = ANY(%s)", [encoder_id, [int(id_) for id_ in text_ids]])
    return {row[0] for row in rows}
