"""Judge whether a PostgreSQL server can hold a library, and prepare its database."""

from __future__ import annotations

from psycopg import Connection, errors, sql

from .errors import LibraryError

_OLDEST_SERVER = 14
_OLDEST_PGVECTOR = (0, 8, 0)  # iterative index scans
_FIXED_PGVECTOR = (0, 8, 4)
_SETTINGS = {
    "hnsw.ef_search": "100",  # pgvector's 40 returns 40 rows where 50 are asked for
    "hnsw.iterative_scan": "strict_order",  # goes on when a join or filter drops rows, in exact order
}


def prepare_database(conn: Connection) -> tuple[str, ...]:
    """Check server and pgvector, installing the extension where it is missing; returns warnings for the person."""
    major = conn.info.server_version // 10000
    if major < _OLDEST_SERVER:
        raise LibraryError(
            f"The PostgreSQL server has version {major}; the library needs {_OLDEST_SERVER} or newer. Upgrade it."
        )
    encoding = conn.execute("SHOW server_encoding").fetchone()[0]
    if encoding != "UTF8":
        raise LibraryError(
            f"The database has the encoding {encoding}. Make one with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE "
            f"template0."
        )
    version = _pgvector(conn) or _install_pgvector(conn)
    number = tuple(int(part) for part in version.split(".")[:3])
    if number < _OLDEST_PGVECTOR:
        raise LibraryError(
            f"The database has pgvector {version}; the library needs 0.8.0 or newer. Install a newer pgvector on the "
            f"server, "
            "then run in this database: ALTER EXTENSION vector UPDATE."
        )
    if number < _FIXED_PGVECTOR:
        return (
            f"The database has pgvector {version}; 0.8.4 fixes faults in its HNSW indexes. Update it on the server.",
        )
    return ()


def keep_settings(conn: Connection) -> None:
    """Set on the database what an index scan over the view needs, for whoever connects, where we may and nobody has."""
    kept = conn.execute(
        "SELECT split_part(setting, '=', 1) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase,"
        " unnest(s.setconfig) setting WHERE d.datname = current_database() AND s.setrole = 0"
    ).fetchall()
    missing = _SETTINGS.keys() - {name for (name,) in kept}
    try:
        with conn.transaction():
            for name in sorted(missing):
                conn.execute(
                    sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                        sql.Identifier(conn.info.dbname), sql.SQL(name), sql.Literal(_SETTINGS[name])
                    )
                )
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction):
        pass  # not ours to set: `set_session` does it for our own connections


def set_session(conn: Connection) -> None:
    """Set what our searches rely on, whatever the database says."""
    conn.execute("SELECT '[1]'::halfvec")  # loads pgvector, so that it checks its settings
    conn.execute(
        "SELECT set_config('hnsw.ef_search', greatest(current_setting('hnsw.ef_search')::integer, 100)::text, false),"
        " set_config('hnsw.iterative_scan', 'strict_order', false),"
        " set_config('plan_cache_mode', 'force_custom_plan', false),"  # a generic plan cannot use a partial index
        " set_config('lock_timeout', '120s', false)"
    )


def _pgvector(conn: Connection) -> str | None:
    row = conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    return row[0] if row else None


def _install_pgvector(conn: Connection) -> str:
    # IF NOT EXISTS alone does not help two processes that do this at once.
    conn.execute("SELECT pg_advisory_xact_lock(hashtext('diffusion_toolkit pgvector'))")
    if conn.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchone() is None:
        raise LibraryError(
            "The PostgreSQL server has no pgvector. Install 0.8.4 or newer on it (package postgresql-NN-pgvector, or "
            "the Docker "
            "image pgvector/pgvector), or use the library that comes with this package by unsetting "
            "DIFFUSION_TOOLKIT_DSN."
        )
    try:
        conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except errors.InsufficientPrivilege:
        raise LibraryError(
            "The PostgreSQL user may not install pgvector. Let an administrator run in this database: CREATE "
            "EXTENSION vector."
        ) from None
    return _pgvector(conn)
