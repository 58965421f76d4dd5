"""The lock that lets one maker of indexes in at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from psycopg import Connection, Error

from ._lock_numbers import BUILDER_LOCK
from .errors import Busy

if TYPE_CHECKING:
    from .connection import Library


@contextmanager
def alone(library: Library) -> Iterator[None]:
    """Hold the lock of whoever makes indexes; Busy, a LibraryError, when another process or thread has it.

    On a connection of its own, which lies idle as long as the making takes: a lent one may be ended for that by the server, which lets
    another maker in, and one that a cancel gives back would keep the lock.
    """
    conn, taken = library.connect(), False
    try:
        with library.told():
            taken = conn.execute("SELECT pg_try_advisory_lock(%s)", [BUILDER_LOCK]).fetchone()[0]
            conn.commit()
        if not taken:
            raise Busy("Another process is building an index of this library. Try again when it is done.")
        yield
    finally:
        if taken:
            with suppress(Error):  # the connection was lost, and the lock with it
                conn.execute("SELECT pg_advisory_unlock(%s)", [BUILDER_LOCK])  # now; the server may learn later that it was closed
        conn.close()


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
