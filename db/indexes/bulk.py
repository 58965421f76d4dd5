"""Runs that write much: HNSW indexes that would slow them down are taken away at their start and made anew at their end.

What is put off stands in `postponed_indexes` until it is made: by the run itself, or by whichever comes next, if it was cancelled or
killed. Meanwhile searches compare with every vector, which is right and takes longer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import Connection

from .._builder_lock import alone
from .._generation import bump_generation, one_writer
from .._index_sql import INDEX_METHODS, TABLES, count_rows, index_name
from ..claims import running
from ..connection import Library
from ..encoders import get_encoder
from ..errors import Busy, LibraryError
from ..progress import Progress, silent
from ..records import StoredEncoder
from ._graph_cost import graph_bytes, making_pays, memory_for
from .build import drop_indexes, graph_options, indexes_of, set_index, step_aside

LEAST = 1000  # new vectors, which any index takes in some seconds
_PATIENCE = "20s"  # for whoever reads the index that is to go; after that it is kept up until the next try
_GRAPHS = ("hnsw", "binary")  # IVFFlat takes new rows as fast as a table
_NOTE = """
INSERT INTO postponed_indexes (encoder_id, method, m, ef_construction) VALUES (%s, %s, %s, %s) ON CONFLICT (encoder_id) DO NOTHING
"""
_WAITING = """
SELECT p.encoder_id, p.method, p.m, p.ef_construction, e.family FROM postponed_indexes p JOIN encoders e ON e.id = p.encoder_id
ORDER BY e.active DESC, p.encoder_id
"""
_log = logging.getLogger("diffusion_toolkit")


@dataclass(frozen=True, slots=True)
class _Graph:
    """An HNSW index as it is, to be made the same again."""

    encoder: StoredEncoder
    method: str
    m: int
    ef_construction: int


def postpone_indexes(library: Library, expected: Mapping[int, int]) -> list[str]:
    """Put off the HNSW indexes over the vectors of these encoders where so many are `expected` that it pays, by encoder id.

    Returns the names of the encoders of which one was put off. Cheap when there is nothing to do, so that it may be asked
    again as more is expected. Where another process makes an index, all stay.
    """
    put_off = []
    for encoder_id, new in expected.items():
        if new < LEAST:
            continue
        with library.connection() as conn:
            encoder = get_encoder(conn, encoder_id)
            left = _left_behind(conn, encoder)
            graph = _graph(conn, encoder)
            pays = graph is not None and _pays(library, conn, graph, new)
        if left or pays:
            try:
                with alone(library):
                    _drop_left(library, encoder)  # first: one of them may have the name that an index which steps aside takes
                    put_off += _put_off(library, encoder) if pays else []
                    _drop_left(library, encoder)
            except Busy:
                pass
            except LibraryError as error:
                _log.warning("The index over the vectors by %s is kept up, row by row: %s", encoder.name, error)
    return put_off


def _drop_left(library: Library, encoder: StoredEncoder) -> None:
    with library.connection() as conn:
        left = _left_behind(conn, encoder)
    drop_indexes(library, left, silent, _PATIENCE)


def make_postponed(library: Library, progress: Progress = silent) -> int:
    """Make what was put off, unless another run goes on, which then does it at its end; how many were made.

    LibraryError while another process makes an index. When `progress` raises, what is not made stays put off.
    """
    with library.connection() as conn:
        if another_run(conn):
            return 0
        waiting = conn.execute(_WAITING).fetchall()
    last_of = {TABLES[family]: encoder_id for encoder_id, *_, family in waiting}
    made = 0
    for encoder_id, method, m, ef_construction, family in waiting:
        with library.connection() as conn:
            if encoder_id not in postponed(conn):  # another run that ended with this one has made it meanwhile
                continue
        set_index(library, encoder_id, method, m, ef_construction, progress, analyse=last_of[TABLES[family]] == encoder_id)
        made += 1
    if made:  # so much is new that the planner had better know it; filters look through these
        with library.connection() as conn:
            conn.execute("ANALYZE images, paths")
    return made


def another_run(conn: Connection) -> bool:
    """Whether anybody indexes at the moment."""
    return bool(running(conn))


def postponed(conn: Connection) -> set[int]:
    """The encoders whose index was put off and is not made yet."""
    return {row[0] for row in conn.execute("SELECT encoder_id FROM postponed_indexes")}


def _put_off(library: Library, encoder: StoredEncoder) -> list[str]:
    with library.connection() as conn:
        one_writer(conn)
        graph = _graph(conn, encoder)  # as it is now that nobody else makes one
        if graph is None:
            return []
        conn.execute(_NOTE, [encoder.id, graph.method, graph.m, graph.ef_construction])
        step_aside(conn, encoder)  # at once, so that no search counts on it; it goes when nobody reads it
        bump_generation(conn)
    return [encoder.name]


def _graph(conn: Connection, encoder: StoredEncoder) -> _Graph | None:
    """The encoder's only index, where that is a graph."""
    methods = indexes_of(conn, encoder)
    if len(methods) != 1 or methods[0] not in _GRAPHS:
        return None
    return _Graph(encoder, methods[0], *graph_options(conn, index_name(encoder, methods[0])))


def _left_behind(conn: Connection, encoder: StoredEncoder) -> list[str]:
    """Indexes that no search knows and that are kept up all the same: those that step aside, and of makings that were cut short."""
    names = [index_name(encoder, f"{of}_{method}") for of in ("former", "new") for method in INDEX_METHODS]
    return [name for name in names if conn.execute("SELECT to_regclass(%s)", [name]).fetchone()[0]]


def _pays(library: Library, conn: Connection, graph: _Graph, new: int) -> bool:
    row = graph_bytes(graph.encoder.dims, graph.m, graph.method)
    return making_pays(new, count_rows(conn, graph.encoder), row, memory_for(library, conn))
