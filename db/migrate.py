"""Bring a database to the schema of this code by numbered SQL files, each applied once and never edited."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from psycopg import Connection, errors

from ._lock_numbers import MIGRATION_LOCK
from ._trouble import VARIABLE, placed
from .encoders import active_encoders
from .errors import LibraryError
from .view import create_view

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(conn: Connection, folder: Path = MIGRATIONS, place: str = VARIABLE) -> None:
    """Apply what is missing, all or nothing, in the caller's transaction; two processes take turns.

    LibraryError when the database was made by newer code, or holds another program's tables, or a shipped migration was edited. `place` is
    where a person set the connection string.
    """
    shipped = {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob("[0-9]*.sql"))}
    if not _missing(conn, shipped):
        return  # so that a library which is being migrated or is read-only elsewhere opens at once
    try:
        _apply(conn, shipped, place)
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction):
        conn.rollback()
        if not _is_ours(conn):
            raise
        raise LibraryError(
            "The library was made by an older Diffusion Toolkit and must be brought up to date, which this PostgreSQL user, or a "
            "server that is read-only, can't. Open it once as the user who owns its tables."
        ) from None


def _apply(conn: Connection, shipped: dict[str, str], place: str) -> None:
    conn.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
    missing = _missing(conn, shipped)  # again, now that nobody else is at it
    if not missing:
        return
    new = [table for name in missing for table in re.findall(r"^CREATE TABLE (\w+)", shipped[name], re.MULTILINE)]
    _refuse_foreign(conn, new if _is_ours(conn) else ["migrations", "image", *new], place)
    conn.execute(
        "CREATE TABLE IF NOT EXISTS migrations"
        " (name text PRIMARY KEY, sha256 text NOT NULL, applied timestamptz NOT NULL DEFAULT now())"
    )
    conn.execute("DROP VIEW IF EXISTS image")  # a view stands in the way of altering its tables
    for name in missing:
        conn.execute(shipped[name])
        conn.execute("INSERT INTO migrations (name, sha256) VALUES (%s, %s)", [name, _sha256(shipped[name])])
    create_view(conn, active_encoders(conn))


def _is_ours(conn: Connection) -> bool:
    """Whether the table `migrations` is there, and is ours rather than another program's."""
    column = "SELECT FROM pg_attribute WHERE attrelid = to_regclass('migrations') AND attname = 'sha256'"
    return conn.execute(column).fetchone() is not None


def _refuse_foreign(conn: Connection, names: list[str], place: str) -> None:
    """A library is a database of its own: nothing of another program, that has one of these names, is replaced or mixed with."""
    taken = [name for name in names if conn.execute("SELECT to_regclass(%s)", [name]).fetchone()[0] is not None]
    if taken:
        raise LibraryError(
            f"The database already holds {', '.join(taken)} of another program. Give the library a database of its own (CREATE DATABASE ...)"
            + placed(" and name that one in {place}.", place)
        )


def _missing(conn: Connection, shipped: dict[str, str]) -> list[str]:
    """Names of shipped migrations that the database lacks, in order."""
    if not _is_ours(conn):
        return list(shipped)
    applied = dict(conn.execute("SELECT name, sha256 FROM migrations").fetchall())
    newer = sorted(applied.keys() - shipped.keys())
    if newer:
        raise LibraryError(
            f"The library was last used by a newer Diffusion Toolkit (it has the migration {newer[-1]}). "
            "Update this package, or choose another library."
        )
    for name, sha256 in applied.items():
        if sha256 != _sha256(shipped[name]):
            raise LibraryError(
                f"The file db/migrations/{name} is not the one this library was made with. "
                "Reinstall the package: shipped migrations are never edited."
            )
    return [name for name in shipped if name not in applied]


def _sha256(text: str) -> str:
    """Of the text with plain newlines, since git may check the file out with Windows ones."""
    return hashlib.sha256(text.encode()).hexdigest()
