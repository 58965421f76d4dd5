"""What the planner knows of a library that is new to its server, or was filled just now: nothing, until autovacuum comes by."""

from __future__ import annotations

from contextlib import suppress

from psycopg import Connection, Error, sql

LARGE = 1 << 20  # bytes of a table; of a smaller one no plan is slow
_TABLES = ["images", "paths", "texts", "image_vectors", "text_vectors"]
# Without statistics, as a restored dump is. (pg_class.reltuples is known there, by the making of its indexes.)
_UNKNOWN = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY(SELECT to_regclass(name) FROM unnest(%s::text[]) name) AND pg_relation_size(c.oid) > %s
  AND NOT EXISTS (SELECT FROM pg_stats s WHERE s.schemaname = n.nspname AND s.tablename = c.relname)
"""


def analyse_unknown(conn: Connection) -> None:
    """Tell the planner of the tables that it knows nothing of: a tenth of a second or two each.

    Without, a list of 100,000 images by -root:output took two minutes. Whoever has a table locked, as to make an index, isn't waited for;
    PostgreSQL passes over tables that aren't ours. What can't be analysed, as on a standby, a full disk or in too short a time, stays as it
    is: searches are right without.
    """
    for (table,) in conn.execute(_UNKNOWN, [_TABLES, LARGE]).fetchall():
        with suppress(Error), conn.transaction():
            conn.execute(sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(sql.Identifier(table)))
