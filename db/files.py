"""The files that a root is known to have: streamed to whoever looks through it, and marked when they are gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psycopg import Connection

PART = 5000  # files that are fetched at once

_FILES = """
SELECT path, file_size, mtime_ns, sidecar_mtime_ns, missing IS NOT NULL
FROM paths WHERE root_id = %(root)s AND path ^@ %(under)s
"""
_PAGE = """
SELECT path, file_size, mtime_ns, sidecar_mtime_ns, missing IS NOT NULL FROM paths WHERE root_id = %s AND path > %s ORDER BY path LIMIT %s
"""
_MARK = "UPDATE paths SET missing = {} WHERE root_id = %s AND path = ANY(%s) AND missing IS {} NULL"
_WITH_ANOTHER = """
SELECT count(*) FROM paths g WHERE g.root_id = %s AND g.path = ANY(%s)
  AND EXISTS (SELECT FROM paths p WHERE p.image_id = g.image_id AND p.missing IS NULL)
"""


def files_of_root(conn: Connection, root_id: int, under: str = "") -> Iterator[list[tuple[str, int, int, int, bool]]]:
    """(path, size, mtime_ns, sidecar_mtime_ns, whether it is marked as missing) of the files below the folder `under`, as they
    were when last indexed, some thousands at a time: neither side holds all of them."""
    folder = under.strip("/")
    with conn.cursor("files_of_root", binary=True) as cursor:
        cursor.execute(_FILES, {"root": root_id, "under": f"{folder}/" if folder else ""})
        while rows := cursor.fetchmany(PART):
            yield rows


def known_roots(conn: Connection) -> list[tuple[int, str, str, int]]:
    """(id, name, absolute path, files known there) of each root, by name."""
    return conn.execute(
        "SELECT r.id, r.name, r.path, (SELECT count(*) FROM paths p WHERE p.root_id = r.id) FROM roots r ORDER BY r.name, r.path"
    ).fetchall()


def page_of_files(conn: Connection, root_id: int, after: str = "") -> list[tuple[str, int, int, int, bool]]:
    """As `files_of_root`, the first of those whose path comes after this one: for who takes long over each."""
    return conn.execute(_PAGE, [root_id, after, PART]).fetchall()


def mark_missing(conn: Connection, root_id: int, paths: Sequence[str]) -> int:
    """Note that these files are gone; how many were not marked yet. Nothing else changes: they may come back."""
    return conn.execute(_MARK.format("now()", ""), [root_id, list(paths)]).rowcount


def with_another_file(conn: Connection, root_id: int, paths: Sequence[str]) -> int:
    """How many of these files are of images that lie under another path as well: such a file was moved, or was a copy."""
    return conn.execute(_WITH_ANOTHER, [root_id, list(paths)]).fetchone()[0]


def unmark_missing(conn: Connection, root_id: int, paths: Sequence[str]) -> int:
    """Note that these files are there again; how many were marked."""
    return conn.execute(_MARK.format("NULL", "NOT"), [root_id, list(paths)]).rowcount
