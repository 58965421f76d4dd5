"""The files that a root is known to have: streamed to whoever looks through it, and marked when they are gone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from psycopg import Connection
from psycopg.rows import args_row

from ._generation import bump_generation, one_writer

COPIES = 100  # files of one image, beyond as many as are asked about: ten thousand copies are not all looked at for one more
PART = 5000  # files that are fetched at once

_FILES = """
SELECT path, file_size, mtime_ns, sidecar_mtime_ns, missing IS NOT NULL
FROM paths WHERE root_id = %(root)s AND path ^@ %(under)s
"""
_PAGE = """
SELECT path, file_size, mtime_ns, sidecar_mtime_ns, missing IS NOT NULL FROM paths WHERE root_id = %s AND path > %s ORDER BY path LIMIT %s
"""
# Whether an image lies elsewhere is asked of the library as it was before, so that these files themselves do not count.
_MARK = """
WITH marked AS (
    UPDATE paths SET missing = now() WHERE root_id = %(root)s AND path = ANY(%(paths)s) AND missing IS NULL RETURNING image_id
)
SELECT count(*), count(*) FILTER (WHERE EXISTS (
    SELECT FROM paths p
    WHERE p.image_id = marked.image_id AND p.missing IS NULL AND NOT (p.root_id = %(root)s AND p.path = ANY(%(paths)s))
))
FROM marked
"""
_UNMARKED = "SELECT count(*) FROM paths WHERE root_id = %s AND path = ANY(%s) AND missing IS NULL"
_UNMARK = "UPDATE paths SET missing = NULL WHERE root_id = %s AND path = ANY(%s) AND missing IS NOT NULL"
# Backwards through the index over them: what was written longest ago is likeliest to be gone.
_OTHER_FILES = """
SELECT f.* FROM unnest(%(images)s::bigint[]) i (id) CROSS JOIN LATERAL (
    SELECT p.image_id, p.root_id, r.path AS root, p.path, p.seen FROM paths p JOIN roots r ON r.id = p.root_id
    WHERE p.image_id = i.id AND p.missing IS NULL AND NOT (p.root_id = %(root)s AND p.path = ANY(%(paths)s))
    ORDER BY p.seen, p.root_id DESC, p.path DESC LIMIT %(most)s
) f
"""
_MARK_OTHERS = """
UPDATE paths p SET missing = now()
FROM unnest(%s::integer[], %s::text[], %s::timestamptz[]) AS gone (root_id, path, seen)
WHERE p.root_id = gone.root_id AND p.path = gone.path AND p.seen = gone.seen AND p.missing IS NULL
"""


class FileOfRoot(NamedTuple):
    """A file as it was when last indexed; `missing`: it is marked as gone since."""

    path: str
    size: int
    mtime_ns: int
    sidecar_mtime_ns: int
    missing: bool


def beginning(under: str) -> str:
    """With what the path of each file below the folder `under` begins; "" is the whole root."""
    folder = under.strip("/")
    return f"{folder}/" if folder else ""


@dataclass(frozen=True, slots=True)
class OtherFile:
    """A further file of an image, where it was last seen; `root` is absolute, `path` relative to it."""

    image_id: int
    root_id: int
    root: str
    path: str
    seen: datetime


def files_of_root(conn: Connection, root_id: int, under: str = "") -> Iterator[list[FileOfRoot]]:
    """The files below the folder `under`, some thousands at a time: neither side holds all of them."""
    with conn.cursor("files_of_root", binary=True, row_factory=args_row(FileOfRoot)) as cursor:
        cursor.execute(_FILES, {"root": root_id, "under": beginning(under)})
        while rows := cursor.fetchmany(PART):
            yield rows


def known_roots(conn: Connection) -> list[tuple[int, str, str, int]]:
    """(id, name, absolute path, files known there) of each root, by name."""
    return conn.execute(
        "SELECT r.id, r.name, r.path, (SELECT count(*) FROM paths p WHERE p.root_id = r.id) FROM roots r ORDER BY r.name, r.path"
    ).fetchall()


def page_of_files(conn: Connection, root_id: int, after: str = "") -> list[FileOfRoot]:
    """The first files of a root, by path, that come after this one: for who takes long over each."""
    return [FileOfRoot(*row) for row in conn.execute(_PAGE, [root_id, after, PART])]


def mark_missing(conn: Connection, root_id: int, paths: Sequence[str]) -> tuple[int, int]:
    """Note that these files are gone; (how many were not marked yet, how many of those are of images that lie under another path).

    Nothing else changes: they may come back. One of an image that lies elsewhere was moved, or was a copy.
    """
    one_writer(conn)
    marked, moved = conn.execute(_MARK, {"root": root_id, "paths": list(paths)}).fetchone()
    if marked:
        bump_generation(conn)
    return marked, moved


def count_unmarked(conn: Connection, root_id: int, paths: Sequence[str]) -> int:
    """How many of these files nobody has found to be gone by now."""
    return conn.execute(_UNMARKED, [root_id, list(paths)]).fetchone()[0]


def unmark_missing(conn: Connection, root_id: int, paths: Sequence[str]) -> int:
    """Note that these files are there again; how many were marked."""
    one_writer(conn)
    unmarked = conn.execute(_UNMARK, [root_id, list(paths)]).rowcount
    if unmarked:
        bump_generation(conn)
    return unmarked


def other_files(conn: Connection, root_id: int, paths: Sequence[str], image_ids: Collection[int]) -> list[OtherFile]:
    """Where these images lie beside these paths of a root, as far as nobody found them to be gone; of many copies the longest unseen."""
    values = {"images": list(image_ids), "root": root_id, "paths": list(paths), "most": COPIES + len(paths)}
    return [OtherFile(*row) for row in conn.execute(_OTHER_FILES, values)]


def mark_others(conn: Connection, gone: Sequence[OtherFile]) -> int:
    """Note that these are gone, but for those that a run has written since they were asked for; how many were not marked yet."""
    one_writer(conn)
    marked = conn.execute(_MARK_OTHERS, [[getattr(file, name) for file in gone] for name in ("root_id", "path", "seen")]).rowcount
    if marked:
        bump_generation(conn)
    return marked
