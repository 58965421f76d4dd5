"""Settings of PostgreSQL that a statement needs, on a connection that does other things afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection

USUAL = {"hnsw.ef_search": "100", "enable_sort": "on"}  # what `_server.set_session` leaves


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
