"""Settings of PostgreSQL: those that all our searches rely on, and those that one statement needs on a connection that does other things afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from psycopg import errors, sql

from ._lock_numbers import SETTINGS_LOCK

if TYPE_CHECKING:
    from .connection import Connection

_SETTINGS = {
    "hnsw.ef_search": "100",  # pgvector's 40 returns 40 rows where 50 are asked for
    "hnsw.iterative_scan": "strict_order",  # goes on when a join or filter drops rows, in exact order
}
USUAL = {"hnsw.ef_search": "100", "enable_sort": "on"}  # what `set_session` leaves


def keep_settings(conn: Connection) -> None:
    """Set on the database what an index scan over the view needs, for whoever connects, where we may and nobody has."""
    if not _not_kept(conn):
        return
    conn.execute("SELECT pg_advisory_xact_lock(%s)", [SETTINGS_LOCK])  # of two that set them at once PostgreSQL refuses one
    try:
        with conn.transaction():
            for name in sorted(_not_kept(conn)):
                conn.execute(
                    sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                        sql.Identifier(conn.info.dbname), sql.SQL(name), sql.Literal(_SETTINGS[name])
                    )
                )
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction):
        pass  # not ours to set: `set_session` does it for our own connections


def _not_kept(conn: Connection) -> set[str]:
    kept = conn.execute(
        "SELECT split_part(setting, '=', 1) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase,"
        " unnest(s.setconfig) setting WHERE d.datname = current_database() AND s.setrole = 0"
    )
    return _SETTINGS.keys() - {name for (name,) in kept}


def set_session(conn: Connection) -> None:
    """Set what our searches rely on, whatever the database says."""
    conn.execute("SELECT '[1]'::halfvec")  # loads pgvector, so that it checks its settings
    conn.execute(
        "SELECT set_config('hnsw.ef_search', greatest(current_setting('hnsw.ef_search')::integer, 100)::text, false),"
        " set_config('hnsw.iterative_scan', 'relaxed_order', false),"  # finds more than strict; we sort by ourselves
        " set_config('ivfflat.iterative_scan', 'relaxed_order', false),"
        " set_config('random_page_cost', '1.1', false),"  # at 4 a scan of the table is chosen over the index
        " set_config('jit', 'off', false),"  # it takes longer to compile a scan of vectors than to do it
        " set_config('enable_memoize', 'off', false),"  # it makes room for every row of an index of which 50 are read: 1.6 ms
        " set_config('plan_cache_mode', 'force_custom_plan', false),"  # a generic plan cannot use a partial index
        " set_config('lock_timeout', '120s', false)"
    )


def set_now(conn: Connection, settings: Mapping[str, str]) -> None:
    """Set these for what comes next: till the end of the transaction, or on a connection without one till they are set again.

    What is so already costs no round trip on a connection without one; what a transaction has set meanwhile is not known.
    """
    alone, known = conn.autocommit, conn.settings
    new = {name: value for name, value in settings.items() if not alone or known.get(name) != value}
    if new:
        cells = ", ".join(["set_config(%s, %s, %s)"] * len(new))
        conn.execute(f"SELECT {cells}", [word for name, value in new.items() for word in (name, value, not alone)])
    if alone:
        conn.settings = {**known, **new}
