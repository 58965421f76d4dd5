"""The lock that lets one maker of indexes in at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from psycopg import Connection

from .errors import LibraryError

if TYPE_CHECKING:
    from .connection import Library

BUILDER_LOCK = 4_703_003  # advisory lock, this package's own number


class Busy(LibraryError):
    """Another process or thread makes an index."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


@contextmanager
def alone(library: Library) -> Iterator[None]:
    """Hold the lock of whoever makes indexes; Busy, a LibraryError, when another process or thread has it."""
    with library.connection() as conn:
        if not conn.execute("SELECT pg_try_advisory_lock(%s)", [BUILDER_LOCK]).fetchone()[0]:
            raise Busy("Another process is building an index of this library. Try again when it is done.")
        conn.commit()
        try:
            yield
        finally:
            if not conn.closed:
                conn.rollback()
                conn.execute("SELECT pg_advisory_unlock(%s)", [BUILDER_LOCK])


def wait_for_builder(conn: Connection) -> None:
    """Wait, however long it takes, until no index is being made; none is begun before this transaction ends."""
    kept = conn.execute("SHOW lock_timeout").fetchone()[0]
    conn.execute("SELECT set_config('lock_timeout', '0', true)")
    conn.execute("SELECT pg_advisory_xact_lock_shared(%s)", [BUILDER_LOCK])
    conn.execute("SELECT set_config('lock_timeout', %s, true)", [kept])


def being_built(conn: Connection) -> bool:
    """Whether somebody makes an index of this library at the moment."""
    return conn.execute(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' AND objsubid = 1"
        " AND classid = 0 AND objid = %s AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))",
        [BUILDER_LOCK],
    ).fetchone()[0]
