"""Remove from a library what is gone from the disk: files that are marked as missing, and images that have no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import Connection

from ._generation import bump_generation, one_writer
from .claims import running
from .connection import Library
from .errors import LibraryError
from .files import mark_missing, unmark_missing

AT_ONCE = 1000

_GONE = """
WITH gone AS (SELECT image_id FROM paths WHERE missing IS NOT NULL AND root_id = ANY(%(roots)s)),
     lost AS (SELECT DISTINCT g.image_id FROM gone g
              WHERE NOT EXISTS (SELECT FROM paths p WHERE p.image_id = g.image_id AND (p.missing IS NULL OR p.root_id <> ALL(%(roots)s))))
SELECT (SELECT count(*) FROM gone), (SELECT count(DISTINCT image_id) FROM gone), count(*),
       count(*) FILTER (WHERE i.labels <> '{}' OR i.namespace <> '' OR i.rating IS NOT NULL)
FROM lost JOIN images i ON i.id = lost.image_id
"""
_NAMED = "SELECT path FROM paths WHERE root_id = %s AND missing IS NOT NULL AND path > %s ORDER BY path LIMIT %s"


@dataclass(frozen=True, slots=True)
class Gone:
    """What there is to remove."""

    files: int
    images_of_them: int
    images: int  # that have no other file
    given: int  # of these, the ones that a person gave a label, a namespace or a rating


def refuse_beside_a_run(conn: Connection) -> None:
    """LibraryError while somebody indexes: a run counts on the images that it has found to stay."""
    if who := running(conn):
        raise LibraryError(f"{', '.join(who)} is indexing into this library. Queue again when it is done.")


def mark_all(conn: Connection, root_id: int, gone: Sequence[str], there: Sequence[str]) -> None:
    """Mark what is gone and unmark what is there, of one root."""
    for start in range(0, len(gone), AT_ONCE):
        mark_missing(conn, root_id, gone[start : start + AT_ONCE])
    for start in range(0, len(there), AT_ONCE):
        unmark_missing(conn, root_id, there[start : start + AT_ONCE])


def count_gone(conn: Connection, root_ids: Sequence[int]) -> Gone:
    """Of the files of these roots that are marked."""
    return Gone(*conn.execute(_GONE, {"roots": list(root_ids)}).fetchone())


def missing_paths(conn: Connection, root_id: int, after: str = "", most: int = AT_ONCE) -> list[str]:
    """Paths of this root that are marked, in the order of the alphabet."""
    return [path for (path,) in conn.execute(_NAMED, [root_id, after, most])]


def remove_missing(
    library: Library, root_id: int, still_gone: Callable[[list[str]], list[str]], progress: Callable[[int], None]
) -> tuple[int, int]:
    """Remove the marked files of a root, and the images that have no other; (files, images) removed.

    `still_gone` is asked of each lot just before, and tells which of them are; it may raise. The rest is unmarked.
    """
    files = images = 0
    while True:
        progress(files)
        with library.connection() as conn:
            one_writer(conn)
            refuse_beside_a_run(conn)
            paths = missing_paths(conn, root_id)
            if not paths:
                return files, images
            gone = still_gone(paths)
            unmark_missing(conn, root_id, sorted(set(paths) - set(gone)))
            of = conn.execute("DELETE FROM paths WHERE root_id = %s AND path = ANY(%s) RETURNING image_id", [root_id, gone]).fetchall()
            removed = conn.execute(
                "DELETE FROM images i WHERE id = ANY(%s) AND NOT EXISTS (SELECT FROM paths p WHERE p.image_id = i.id)",
                [[image_id for (image_id,) in of]],
            ).rowcount
            bump_generation(conn)
        files, images = files + len(of), images + removed
