"""The vector indexes of a library: how they are made, with progress, and what they are."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from psycopg import Connection, sql

from .._builder_lock import alone
from .._generation import bump_generation, one_writer
from .._index_sql import EF_CONSTRUCTION, INDEX_METHODS, TABLES, M, count_rows, create_statement, index_name
from ..connection import Library
from ..encoders import get_encoder
from ..errors import LibraryError
from ..progress import Progress, silent
from ..records import StoredEncoder
from ..search.kinds import state_of
from ..search.strategy import enough
from ._graph_cost import graph_bytes, settings_for
from .effort import find_efforts

_POLL_SECONDS = 0.5
_LARGER = (24, 48)  # m, of which the usual one is 16: each finds more, and takes more room and time
_OPTIONS = """
SELECT split_part(option, '=', 1), split_part(option, '=', 2)::integer
FROM pg_class c, unnest(c.reloptions) option WHERE c.oid = to_regclass(%s)
"""


def indexes_of(conn: Connection, encoder: StoredEncoder) -> list[str]:
    """The methods of the encoder's indexes that can be used, mostly one."""
    rows = conn.execute(
        "SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid WHERE x.indisvalid AND x.indrelid = to_regclass(%s)",
        [TABLES[encoder.family]],
    )
    there = {row[0] for row in rows}
    return [method for method in INDEX_METHODS if index_name(encoder, method) in there]


def graph_options(conn: Connection, name: str) -> tuple[int, int]:
    """The m and ef_construction that the HNSW index of this name was made with, pgvector's own where none are written down."""
    options = {"m": 16, "ef_construction": 64, **dict(conn.execute(_OPTIONS, [name]).fetchall())}
    return options["m"], options["ef_construction"]


def larger_m(conn: Connection, name: str) -> int | None:
    """An m with which the HNSW index of this name would find more; None where its own is large already."""
    return next((m for m in _LARGER if m > graph_options(conn, name)[0]), None)


def unused_below(conn: Connection, families: Collection[str], kinds: int = 1) -> int:
    """Where the active encoders of these families have so few vectors that searches for so many kinds use no index: with how many they do.

    0 where they use one.
    """
    rows = (source.rows for source in state_of(conn).sources if source.encoder.active and source.encoder.family in families)
    return enough(kinds) if max(rows, default=0) < enough(kinds) else 0


def set_index(
    library: Library,
    encoder_id: int,
    method: str,
    m: int = M,
    ef_construction: int = EF_CONSTRUCTION,
    progress: Progress = silent,
    analyse: bool = True,
) -> dict[str, int | None] | None:
    """Make this the index over an encoder's vectors, in place of what it has; made anew when it is of this method already.

    'hnsw': the best of them. 'ivfflat': smaller and soon made, for a filled library only: its lists, sqrt(rows) of them, are
    drawn from what is there. 'binary': HNSW over the signs alone, a sixteenth of the size, for libraries beyond memory.
    'none': every search compares with every vector. LibraryError while another process makes an index.

    `analyse` tells the planner of it; once is enough for several indexes of a table. An HNSW index that searches would use is tried,
    and what `find_efforts` found is returned.

    Nobody waits for it. It is made and dropped CONCURRENTLY, and takes its place by its name, which no search holds a lock
    against; so it is this that waits, for whoever has read the vectors for minutes.
    """
    if method not in (*INDEX_METHODS, "none"):
        raise LibraryError(f"There is no index method {method!r}. Choose one of: {', '.join(INDEX_METHODS)}, none.")
    check_graph(m, ef_construction)
    with alone(library):
        with library.connection() as conn:
            encoder = get_encoder(conn, encoder_id)
            rows = count_rows(conn, encoder)
        if method == "ivfflat" and not rows:
            raise LibraryError(f"The library has no vectors by {encoder.name} yet, from which an IVFFlat index draws its lists. Index a folder first.")
        left = [index_name(encoder, f"{of}_{old}") for of in ("new", "former") for old in INDEX_METHODS]  # by runs that were broken off
        drop_indexes(library, left, progress)
        new = index_name(encoder, f"new_{method}")
        if method != "none":
            try:
                statement = create_statement(encoder, method, new, m, ef_construction, rows, concurrently=True)
                need = rows * graph_bytes(encoder.dims, m, method)
                build_index(library, statement, f"Indexing {encoder.name} ({encoder.family})", progress, need=need)
            except BaseException:
                with suppress(LibraryError):  # the next run drops it
                    drop_indexes(library, [new], silent, "5s")
                raise
        if analyse:
            with library.connection() as conn:
                conn.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(TABLES[encoder.family])))
        with library.connection() as conn:
            one_writer(conn)
            formers = step_aside(conn, encoder)
            if method != "none":
                name = index_name(encoder, method)
                conn.execute(sql.SQL("ALTER INDEX {} RENAME TO {}").format(sql.Identifier(new), sql.Identifier(name)))
            conn.execute("DELETE FROM postponed_indexes WHERE encoder_id = %s", [encoder.id])  # whoever put it off, this is what is wanted
            bump_generation(conn)
        drop_indexes(library, formers, progress)
        return find_efforts(library, encoder, progress) if method == "hnsw" and rows >= enough() else None


def step_aside(conn: Connection, encoder: StoredEncoder) -> list[str]:
    """Take the names by which searches know the encoder's indexes from them; returns those that they have now."""
    formers = []
    for method in INDEX_METHODS:
        name, former = index_name(encoder, method), index_name(encoder, f"former_{method}")
        if conn.execute("SELECT to_regclass(%s)", [name]).fetchone()[0]:
            conn.execute(sql.SQL("ALTER INDEX {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(former)))
            formers.append(former)
    return formers


def drop_indexes(library: Library, names: Sequence[str], progress: Progress, lock_timeout: str = "0") -> None:
    """Remove the indexes of these names that there are, waiting for whoever reads them, `lock_timeout` for each at most."""
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


def build_index(
    library: Library, statement: sql.Composable, stage: str, progress: Progress, lock_timeout: str = "0", need: int = 0
) -> None:
    """Run this statement about an index, telling `progress` how far PostgreSQL is; cancelled when `progress` raises.

    It is run in a thread, on a connection of its own, since PostgreSQL answers nothing else meanwhile; and in no transaction,
    since it may be CONCURRENTLY. `need` is about what a graph takes in memory: where the server is ours, it is given that.
    """
    with library.connection() as conn, library.connection() as watcher:
        settings = {"lock_timeout": lock_timeout, **(settings_for(library, conn, need) if need else {})}
        conn.rollback()
        conn.autocommit = watcher.autocommit = True
        kept = {name: conn.execute("SELECT current_setting(%s)", [name]).fetchone()[0] for name in settings}
        failed: list[BaseException] = []

        def make() -> None:
            try:
                _set_all(conn, settings)
                conn.execute(statement)
            except BaseException as error:  # raised again in the thread that waits
                failed.append(error)

        thread = threading.Thread(target=make, name="diffusion-toolkit-index")
        thread.start()
        try:
            progress(stage, 0, 1)  # a cancel is heard however soon it is done
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
                _set_all(conn, kept)
                conn.autocommit = False
            if not watcher.closed:
                watcher.autocommit = False
        if failed:
            raise failed[0]


def _set_all(conn: Connection, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        conn.execute("SELECT set_config(%s, %s, false)", [name, value])


def _how_far(watcher: Connection, backend: int) -> tuple[int, int]:
    row = watcher.execute(
        "SELECT tuples_done, tuples_total, blocks_done, blocks_total FROM pg_stat_progress_create_index WHERE pid = %s", [backend]
    ).fetchone()
    if row is None:
        return 0, 1
    tuples, of_tuples, blocks, of_blocks = row
    return (blocks, of_blocks) if of_blocks else (tuples, max(of_tuples, 1))
