"""The library's generation, which grows with every write, and the lock that lets one writer in at a time."""

from __future__ import annotations

from psycopg import Connection

from ._lock_numbers import WRITER_LOCK


def generation(conn: Connection) -> str:
    """Tells a search node whether its last result is still good: another one after each write, and in each library."""
    return conn.execute("SELECT extract(epoch FROM created) || '/' || generation FROM library").fetchone()[0]


def bump_generation(conn: Connection) -> None:
    """Let every search run again. The write functions do it themselves."""
    conn.execute("UPDATE library SET generation = generation + 1")


def one_writer(conn: Connection) -> None:
    """Wait until no other transaction writes; ours is the writer until it ends.

    Writers meet in the same texts, in the generation row and in index builds, in an order that callers choose. One lock
    taken before any of these makes deadlocks impossible. So: no model work inside a transaction that writes.
    """
    conn.execute("SELECT pg_advisory_xact_lock(%s)", [WRITER_LOCK])
