"""How another process, or another machine, reaches the database of an open library."""

from __future__ import annotations

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .connection import Library


def connection_string(library: Library) -> str:
    """A secret: it is for the library's own workers, never for a log, a message or a file."""
    with library.connection() as conn:
        secret = {"password": conn.info.password} if conn.info.password else {}
        return make_conninfo(**conn.info.get_parameters(), **secret)


def is_this_machine(conninfo: str) -> bool:
    """Whether it leads to a server that only this machine reaches."""
    told = conninfo_to_dict(conninfo)
    host = str(told.get("host") or told.get("hostaddr") or "")
    return host in ("", "localhost", "::1") or host.startswith(("127.", "/", "@"))
