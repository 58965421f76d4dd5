"""The vector indexes of a library: how they are made, with progress, and what they are."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from psycopg import Connection, sql

from ._generation import bump_generation, one_writer
from .connection import Library
from .encoders import EF_CONSTRUCTION, TABLES, M, get_encoder
from .errors import LibraryError
from .records import StoredEncoder

METHODS = ("hnsw", "ivfflat", "binary", "none")
Progress = Callable[[str, int, int], None]
_POLL_SECONDS = 0.5


def index_name(encoder: StoredEncoder, method: str) -> str:
    """An encoder's index by this method; search knows it by its name."""
    return f"{TABLES[encoder.family]}_{method}_{encoder.id}"


def indexes_of(conn: Connection, encoder: StoredEncoder) -> list[str]:
    """The methods of the encoder's indexes that can be used, mostly one."""
    rows = conn.execute(
        "SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indisvalid AND x.indrelid = to_regclass(%s)",
        [TABLES[encoder.family]],
    )
    there = {row[0] for row in rows}
    return [method for method in METHODS if index_name(encoder, method) in there]


def set_index(
    library: Library,
    encoder_id: int,
    method: str,
    m: int = M,
    ef_construction: int = EF_CONSTRUCTION,
    progress: Progress | None = None,
) -> None:
    """Make this the index over an encoder's vectors, in place of what it has; made anew when it is of this method already.

    'hnsw': the best of them. 'ivfflat': smaller and soon made, for a filled library only: its lists, sqrt(rows) of them, are
    drawn from what is there. 'binary': HNSW over the signs alone, a sixteenth of the size, for libraries beyond memory.
    'none': every search compares with every vector. While it is made, whoever writes vectors of the kind waits.
    """
    if method not in METHODS:
        raise LibraryError(f"There is no index method {method!r}. Choose one of: {', '.join(METHODS)}.")
    check_graph(m, ef_construction)
    with library.connection() as conn:
        encoder = get_encoder(conn, encoder_id)
        table = TABLES[encoder.family]
        rows = conn.execute(sql.SQL("SELECT count(*) FROM {} WHERE encoder_id = %s").format(sql.Identifier(table)), [encoder_id]).fetchone()[0]
    if method == "ivfflat" and not rows:
        raise LibraryError(f"The library has no vectors by {encoder.name} yet, from which an IVFFlat index draws its lists. Index a folder first.")
    new = index_name(encoder, f"new_{method}")
    if method != "none":
        with library.connection() as conn:
            conn.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(new)))  # of a run that was broken off
        statement = create_statement(encoder, method, new, m, ef_construction, rows)
        build_index(library, table, statement, f"Indexing {encoder.name}", progress or (lambda stage, done, total: None))
    with library.connection() as conn:
        one_writer(conn)
        for old in METHODS:
            conn.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(index_name(encoder, old))))
        if method != "none":
            conn.execute(sql.SQL("ALTER INDEX {} RENAME TO {}").format(sql.Identifier(new), sql.Identifier(index_name(encoder, method))))
            conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
        bump_generation(conn)


def check_graph(m: int, ef_construction: int) -> None:
    """LibraryError for what HNSW can't be made with."""
    if not (2 <= m <= 100 and 4 <= ef_construction <= 1000 and ef_construction >= 2 * m):
        raise LibraryError(
            f"An HNSW index can't have m {m} with ef_construction {ef_construction}. Choose m from 2 to 100, and ef_construction from "
            f"twice m to 1000."
        )


def create_statement(encoder: StoredEncoder, method: str, name: str, m: int, ef_construction: int, rows: int) -> sql.Composed:
    """CREATE INDEX over the encoder's vectors; searches order by the same expressions."""
    vector, options = {
        "hnsw": ("(embedding::halfvec({dims})) halfvec_cosine_ops", "m = {m}, ef_construction = {ef}"),
        "ivfflat": ("(embedding::halfvec({dims})) halfvec_cosine_ops", "lists = {lists}"),
        "binary": ("(binary_quantize(embedding::halfvec({dims}))::bit({dims})) bit_hamming_ops", "m = {m}, ef_construction = {ef}"),
    }[method]
    numbers = {"dims": encoder.dims, "m": m, "ef": ef_construction, "lists": max(1, math.isqrt(rows))}
    return sql.SQL(f"CREATE INDEX {{name}} ON {{table}} USING {{method}} ({vector}) WITH ({options}) WHERE encoder_id = {{id}}").format(
        name=sql.Identifier(name),
        table=sql.Identifier(TABLES[encoder.family]),
        method=sql.SQL("ivfflat" if method == "ivfflat" else "hnsw"),
        id=sql.Literal(encoder.id),
        **{key: sql.Literal(number) for key, number in numbers.items()},
    )


def build_index(library: Library, table: str, statement: sql.Composable, stage: str, progress: Progress) -> None:
    """Run this CREATE INDEX on `table`, telling `progress` how far PostgreSQL is; cancelled when `progress` raises.

    It is made in a thread, on a connection of its own, since PostgreSQL answers nothing else meanwhile.
    """
    with library.connection() as conn, library.connection() as watcher:
        watcher.autocommit = True
        failed: list[BaseException] = []

        def make() -> None:
            try:
                conn.execute("SELECT set_config('lock_timeout', '600s', true)")
                conn.execute(statement)
            except BaseException as error:  # raised again in the thread that waits
                failed.append(error)

        thread = threading.Thread(target=make, name="diffusion-toolkit-index")
        thread.start()
        try:
            while thread.is_alive():
                progress(stage, *_how_far(watcher, conn.info.backend_pid))
                thread.join(_POLL_SECONDS)
        except BaseException:
            conn.cancel()
            raise
        finally:
            thread.join()
            watcher.autocommit = False
        if failed:
            raise failed[0]


def _how_far(watcher: Connection, backend: int) -> tuple[int, int]:
    row = watcher.execute(
        "SELECT tuples_done, tuples_total, blocks_done, blocks_total FROM pg_stat_progress_create_index WHERE pid = %s", [backend]
    ).fetchone()
    if row is None:
        return 0, 1
    tuples, of_tuples, blocks, of_blocks = row
    return (blocks, of_blocks) if of_blocks else (tuples, max(of_tuples, 1))
