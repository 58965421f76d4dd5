"""By which hash the library knows contents: blake3; sha256 of those that an older version has read, until a file of theirs is read again."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from psycopg import Connection

from ._generation import bump_generation, one_writer

_SIZES = "SELECT DISTINCT p.file_size FROM paths p JOIN images i ON i.id = p.image_id WHERE i.hashed_by = 'sha256'"
_WITHOUT_FILES = """
SELECT EXISTS (
    SELECT FROM images i WHERE i.hashed_by = 'sha256' AND NOT EXISTS (SELECT FROM paths p WHERE p.image_id = i.id)
)
"""
_RENEW = """
UPDATE images SET hash = new.hash, hashed_by = 'blake3'
FROM unnest(%s::bytea[], %s::bytea[]) AS new (older, hash)
WHERE images.hash = new.older AND images.hashed_by = 'sha256' AND NOT EXISTS (SELECT FROM images i WHERE i.hash = new.hash)
"""


def known_contents(conn: Connection) -> np.ndarray:
    """The first 8 bytes of the hash of each image, as sorted int64: a million take 8 MB, and one value of one row to fetch."""
    with conn.cursor(binary=True) as cursor:
        (found,) = cursor.execute("SELECT string_agg(substr(hash, 1, 8), '') FROM images").fetchone()
    return np.sort(np.frombuffer(found or b"", ">i8").astype(np.int64))


def older_sizes(conn: Connection) -> list[int] | None:
    """The sizes of files whose images are still known by sha256: a file of another size is none of these.

    None when any size may be, since such an image has no file that the library knows: its file was changed, or forgotten.
    """
    if conn.execute("SELECT NOT EXISTS (SELECT FROM images WHERE hashed_by = 'sha256')").fetchone()[0]:
        return []  # most libraries; the index of what is left tells it at once
    if conn.execute(_WITHOUT_FILES).fetchone()[0]:
        return None
    return [size for (size,) in conn.execute(_SIZES)]


def renew_hashes(conn: Connection, hashes: Mapping[bytes, bytes]) -> None:
    """From now on know the images of these sha256 by the blake3 that is given for each; what is not known stays so."""
    if not hashes or not conn.execute(
        "SELECT EXISTS (SELECT FROM images WHERE hash = ANY(%s) AND hashed_by = 'sha256')", [list(hashes)]
    ).fetchone()[0]:
        return
    one_writer(conn)
    if conn.execute(_RENEW, [list(hashes), list(hashes.values())]).rowcount:
        bump_generation(conn)
