"""A server that can't read some of what it keeps."""

from __future__ import annotations

from psycopg import Connection


def let_the_server_refuse(conn: Connection, *text_ids: int) -> None:
    """Reading these texts' states is an error of the server's, as where a page of the table is broken."""
    conn.execute("CREATE FUNCTION broken() RETURNS bytea LANGUAGE plpgsql STABLE AS $$ BEGIN RAISE data_corrupted USING MESSAGE = 'missing chunk'; END $$")
    conn.execute("ALTER TABLE token_states RENAME TO kept")
    conn.execute(f"""CREATE VIEW token_states AS SELECT text_id, encoder_id, tokens,
        CASE WHEN text_id IN ({", ".join(map(str, text_ids))}) THEN broken() ELSE states END AS states, pooled, checksum FROM kept""")
