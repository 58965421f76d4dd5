"""The vector indexes of a library: how they are made, with progress, and what they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from psycopg import Connection, sql

from ._builders import alone
from ._generation import bump_generation, one_writer
from ._index_sql import EF_CONSTRUCTION, TABLES, M, create_statement, index_name
from .connection import Library
from .encoders import get_encoder
from .errors import LibraryError
from .records import StoredEncoder

METHODS = ("hnsw", "ivfflat", "binary", "none")
Progress = Callable[[str, int, int], None]
_POLL_SECONDS = 0.5


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
    'none': every search compares with every vector. LibraryError while another process makes an index.

    Nobody waits for it. It is made and dropped CONCURRENTLY, and takes its place by its name, which no search holds a lock
    against; so it is this that waits, for whoever has read the vectors for minutes.
    """
    if method not in METHODS:
        raise LibraryError(f"There is no index method {method!r}. Choose one of: {', '.join(METHODS)}.")
    check_graph(m, ef_construction)
    tell = progress or (lambda stage, done, total: None)
    with alone(library):
        with library.connection() as conn:
            encoder = get_encoder(conn, encoder_id)
            table = sql.Identifier(TABLES[encoder.family])
            rows = conn.execute(sql.SQL("SELECT count(*) FROM {} WHERE encoder_id = %s").format(table), [encoder_id]).fetchone()[0]
        if method == "ivfflat" and not rows:
            raise LibraryError(f"The library has no vectors by {encoder.name} yet, from which an IVFFlat index draws its lists. Index a folder first.")
        _drop(library, [index_name(encoder, f"{of}_{old}") for of in ("new", "former") for old in METHODS], tell)  # of runs that were broken off
        new = index_name(encoder, f"new_{method}")
        if method != "none":
            try:
                statement = create_statement(encoder, method, new, m, ef_construction, rows, concurrently=True)
                build_index(library, statement, f"Indexing {encoder.name}", tell)
            except BaseException:
                with suppress(LibraryError):  # the next run drops it
                    _drop(library, [new], lambda stage, done, total: None, "5s")
                raise
        with library.connection() as conn:
            conn.execute(sql.SQL("ANALYZE {}").format(table))
        formers = _take_place(library, encoder, method, new)
        _drop(library, formers, tell)


def _take_place(library: Library, encoder: StoredEncoder, method: str, new: str) -> list[str]:
    """Give the index `new` the name by which searches know it; returns the names that those before it have now."""
    rename = sql.SQL("ALTER INDEX {} RENAME TO {}")
    formers = []
    with library.connection() as conn:
        one_writer(conn)
        for old in METHODS:
            name, former = index_name(encoder, old), index_name(encoder, f"former_{old}")
            if conn.execute("SELECT to_regclass(%s)", [name]).fetchone()[0]:
                conn.execute(rename.format(sql.Identifier(name), sql.Identifier(former)))
                formers.append(former)
        if method != "none":
            conn.execute(rename.format(sql.Identifier(new), sql.Identifier(index_name(encoder, method))))
        bump_generation(conn)
    return formers


def _drop(library: Library, names: Sequence[str], progress: Progress, lock_timeout: str = "0") -> None:
    for name in names:
        with library.connection() as conn:
            there = conn.execute("SELECT to_regclass(%s)", [name]).fetchone()[0]
        if there:
            statement = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name))
            build_index(library, statement, "Removing the former index", progress, lock_timeout)


def check_graph(m: int, ef_construction: int) -> None:
    """LibraryError for what HNSW can't be made with."""
    if not (2 <= m <= 100 and 4 <= ef_construction <= 1000 and ef_construction >= 2 * m):
        raise LibraryError(
            f"An HNSW index can't have m {m} with ef_construction {ef_construction}. Choose m from 2 to 100, and ef_construction from "
            f"twice m to 1000."
        )


def build_index(library: Library, statement: sql.Composable, stage: str, progress: Progress, lock_timeout: str = "0") -> None:
    """Run this statement about an index, telling `progress` how far PostgreSQL is; cancelled when `progress` raises.

    It is run in a thread, on a connection of its own, since PostgreSQL answers nothing else meanwhile; and in no transaction,
    since it may be CONCURRENTLY.
    """
    with library.connection() as conn, library.connection() as watcher:
        conn.autocommit = watcher.autocommit = True
        kept = conn.execute("SHOW lock_timeout").fetchone()[0]
        failed: list[BaseException] = []

        def make() -> None:
            try:
                conn.execute("SELECT set_config('lock_timeout', %s, false)", [lock_timeout])
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
            while thread.is_alive():  # a cancel that comes before the statement was sent stops nothing
                conn.cancel()
                thread.join(_POLL_SECONDS)
            raise
        finally:
            thread.join()
            if not conn.closed:
                conn.execute("SELECT set_config('lock_timeout', %s, false)", [kept])
                conn.autocommit = False
            if not watcher.closed:
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
