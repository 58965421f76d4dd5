"""How a library is: what it holds, how complete that is, how large, and its problems."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime

from psycopg import Connection, DatabaseError

from .._index_sql import INDEX_METHODS
from ..connection import Library
from ..encoders import all_encoders
from ..files import known_roots
from ..indexes.bulk import postponed
from ..question import FAMILIES, TEXT_COLUMNS
from ..records import StoredEncoder
from ..words import Words
from .problems import VECTOR_TABLES, Problem, never_made, problems_of

_COUNTS = """
SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM paths), (SELECT count(*) FROM texts),
       (SELECT count(*) FROM token_states), (SELECT count(*) FROM images WHERE prompt_id IS NOT NULL),
       (SELECT count(*) FROM images WHERE negative_id IS NOT NULL), (SELECT count(*) FROM hybrid_tail)
"""
# Images that have a vector of the kind by the encoder; a text's vector counts for each of its images.
_BY_IMAGE = "SELECT count(*) FROM image_vectors WHERE encoder_id = %s"
_OUT_OF_REACH = """
SELECT count(*) FROM images i WHERE NOT EXISTS (SELECT FROM paths p WHERE p.image_id = i.id AND p.missing IS NULL)
  AND NOT EXISTS (SELECT FROM image_vectors v WHERE v.image_id = i.id AND v.encoder_id = ANY(%s))
"""
_BY_TEXT = """
SELECT count(*) FROM images i
WHERE EXISTS (SELECT FROM text_vectors v WHERE v.encoder_id = %s AND v.text_id = i.{})
"""
_STATES_SIZE = "SELECT coalesce(avg(pg_column_size(states)), 0)::bigint FROM (SELECT states FROM token_states LIMIT 1000) s"
_INDEXES = """
SELECT c.relname, t.relname, a.amname, i.indisvalid AND i.indisready, pg_relation_size(c.oid)
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_am a ON a.oid = c.relam
WHERE t.oid = ANY(%s::regclass[]) AND a.amname IN ('hnsw', 'ivfflat')
ORDER BY t.relname, c.relname
"""
_SIZES = """
SELECT c.relname, pg_table_size(c.oid), pg_indexes_size(c.oid)
FROM pg_class c
WHERE c.relkind = 'r' AND c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'images'::regclass)
ORDER BY pg_total_relation_size(c.oid) DESC
"""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of the images that could have a vector of a kind, how many have one by the active encoder."""

    kind: str
    have: int
    could: int


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index of vectors: 'hnsw', 'ivfflat' or 'binary'; one that is not `sound` is never used.

    `kinds` are those that it serves, and `encoder` whose vectors of them; None for what a person made, or of one that was removed.
    `state` is '' where searches know it, 'new' while it is made beside another, and 'former' when it is about to go.
    """

    name: str
    table: str
    method: str
    sound: bool
    size: int  # bytes
    kinds: tuple[str, ...] = ()
    encoder: StoredEncoder | None = None
    state: str = ""


@dataclass(frozen=True, slots=True)
class EncoderStatus:
    """An encoder, how many vectors (or token states) by it are kept, and at how many of them searches look."""

    encoder: StoredEncoder
    vectors: int
    searched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryStatus:
    """All of it. Sizes are in bytes; `sizes` holds (data, indexes) by table."""

    name: str
    server: str  # PostgreSQL's version
    pgvector: str
    images: int
    paths: int
    texts: int
    token_states: int
    states_size: int  # bytes of one text's, on the average of some; a table keeps the space of those that were removed
    coverage: list[Coverage]
    encoders: list[EncoderStatus]
    indexes: list[VectorIndex]
    hybrids: list[tuple[list[str], int, bool]]  # kinds, images, ready
    hybrid_tail: int
    size: int
    wal: int | None  # of the whole server; None where this user may not know it
    sizes: dict[str, tuple[int, int]]
    read_before: int  # images that an older reader has read
    postponed: list[StoredEncoder]  # those whose index a large run has put off until it is done
    roots: list[tuple[str, str, int]]  # name, absolute path, files known there
    problems: list[Problem] = field(default_factory=list)
    never_made: list[Problem] = field(default_factory=list)  # no problems: kinds of vectors that nobody has asked for so far
    words: Words = field(default_factory=Words)  # in which they are told

    @property
    def vector_bytes(self) -> tuple[int, int]:
        """Of all vectors and of their indexes."""
        found = [self.sizes.get(table, (0, 0)) for table in VECTOR_TABLES]
        return sum(data for data, _ in found), sum(indexes for _, indexes in found)


def library_status(library: Library, reader_version: int = 0, words: Words | None = None) -> LibraryStatus:
    """Ask everything of one library. `reader_version` is the newest reader's; images that an older one has read are counted.

    The problems are told in the nodes' words, or in these.
    """
    with library.connection() as conn:
        images, paths, texts, states, prompts, negatives, tail = conn.execute(_COUNTS).fetchone()
        encoders, put_off = _encoders(conn), postponed(conn)
        status = LibraryStatus(
            name=library.name,
            server=conn.execute("SHOW server_version").fetchone()[0],
            pgvector=conn.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()[0],
            images=images,
            paths=paths,
            texts=texts,
            token_states=states,
            states_size=conn.execute(_STATES_SIZE).fetchone()[0],
            coverage=_coverage(conn, encoders, {"image": images - _out_of_reach(conn, encoders), "prompt": prompts, "negative": negatives}),
            encoders=encoders,
            indexes=[_index(row, encoders) for row in conn.execute(_INDEXES, [list(VECTOR_TABLES)])],
            hybrids=[tuple(row) for row in conn.execute("SELECT kinds, fitted_on, ready AND details ? 'candidates' FROM hybrids WHERE kinds <> '{}' ORDER BY id")],
            hybrid_tail=tail,
            size=conn.execute("SELECT pg_database_size(current_database())").fetchone()[0],
            wal=_wal(conn),
            sizes={table: (data, indexes) for table, data, indexes in conn.execute(_SIZES)},
            roots=[(name, path, files) for _, name, path, files in known_roots(conn)],
            read_before=conn.execute("SELECT count(*) FROM images WHERE reader < %s", [reader_version]).fetchone()[0],
            postponed=[known.encoder for known in encoders if known.encoder.id in put_off],
            words=words or Words(),
        )
        status.problems.extend(problems_of(conn, status, library.warnings))
        status.never_made.extend(never_made(status))
    return status


def server_began(conn: Connection) -> datetime:
    """When the server was started: another time than before tells that it was not there in between."""
    return conn.execute("SELECT pg_postmaster_start_time()").fetchone()[0]


def _wal(conn: Connection) -> int | None:
    try:
        with conn.transaction():
            return conn.execute("SELECT sum(size)::bigint FROM pg_ls_waldir()").fetchone()[0]
    except DatabaseError:  # it is a superuser's, a member's of pg_monitor, and of no one where a provider keeps it
        return None


def _encoders(conn: Connection) -> list[EncoderStatus]:
    kept = {}
    for table in ("image_vectors", "text_vectors", "token_states"):
        kept |= dict(conn.execute(f"SELECT encoder_id, count(*) FROM {table} GROUP BY encoder_id").fetchall())
    left_out = dict(conn.execute("SELECT encoder_id, count(*) FROM text_vectors WHERE NOT searched GROUP BY encoder_id").fetchall())
    return [EncoderStatus(one, found := kept.get(one.id, 0), found - left_out.get(one.id, 0)) for one in all_encoders(conn)]


def _index(row: tuple, encoders: list[EncoderStatus]) -> VectorIndex:
    """By its name, which tells whose vectors it is over, and how."""
    index = VectorIndex(*row)
    ours = re.fullmatch(rf"{index.table}_(?:(new|former)_)?({'|'.join(INDEX_METHODS)})_(\d+)", index.name)
    encoder = next((known.encoder for known in encoders if ours and known.encoder.id == int(ours[3])), None)
    if ours is None:
        return index
    kinds = tuple(kind for kind, family in FAMILIES.items() if encoder and family == encoder.family)
    return replace(index, method=ours[2], kinds=kinds, encoder=encoder, state=ours[1] or "")


def _out_of_reach(conn: Connection, encoders: list[EncoderStatus]) -> int:
    """Images that lack a vector and can't get one, since no file of them is there any more."""
    active = [known.encoder.id for known in encoders if known.encoder.active and known.encoder.family == "image"]
    return conn.execute(_OUT_OF_REACH, [active]).fetchone()[0]


def _coverage(conn: Connection, encoders: list[EncoderStatus], could: dict[str, int]) -> list[Coverage]:
    active = {known.encoder.family: known.encoder.id for known in encoders if known.encoder.active}
    found = []
    for kind, family in FAMILIES.items():
        statement = _BY_IMAGE if kind == "image" else _BY_TEXT.format(TEXT_COLUMNS[kind])
        have = conn.execute(statement, [active[family]]).fetchone()[0] if family in active else 0
        found.append(Coverage(kind, have, could[kind if kind in could else "prompt"]))
    return found
