"""What may be wrong inside a library though its server runs: vectors that mean nothing, states that are damaged, what nothing uses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from psycopg import Connection, sql
from psycopg.errors import DataCorrupted

from .._builder_lock import alone
from .._generation import bump_generation, one_writer
from .._index_sql import INDEX_METHODS, TABLES, index_name, place_of
from ..connection import Library
from ..encoders import all_encoders, get_encoder
from ..hybrid.tail import note_images, note_texts
from ..indexes.build import drop_indexes, graph_options, set_index
from ..progress import Progress
from ..records import StoredEncoder, TextPair
from ..token_states import sound_token_states
from .prune import refuse_beside_a_run

VECTORS_AT_ONCE = 20_000
REMOVED_AT_ONCE = 1000  # so that no writer waits long
STATES_AT_ONCE = 64  # 16 MB, which the server reads and none of which it sends
_DEAD_LEAST = 1000

# A cosine with such a vector is not defined, and an index over vectors refuses one of another length. NaN is larger than all else here.
_UNSOUND_VECTORS = """
SELECT {key} FROM {table}
WHERE encoder_id = %(encoder)s AND {key} > %(after)s AND {key} <= %(last)s
  AND NOT (l2_norm(embedding) > 0 AND l2_norm(embedding) < 'Infinity' AND vector_dims(embedding) = %(dims)s)
"""
_DOUBTFUL_STATES = """
SELECT text_id FROM token_states
WHERE encoder_id = %s AND text_id = ANY(%s) AND (checksum IS NULL OR sha256(states) <> checksum)
"""
_FILELESS = "NOT EXISTS (SELECT FROM paths p WHERE p.image_id = i.id)"
_UNUSED = """
t.hash <> %(empty)s AND NOT EXISTS (SELECT FROM images i WHERE i.prompt_id = t.id)
AND NOT EXISTS (SELECT FROM images i WHERE i.negative_id = t.id)
"""

# Ours alone: a person may be making one of their own. A sound one by a name of `set_index`'s is no search's; all that is written goes into it.
_TO_MEND = f"""
SELECT c.relname FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
WHERE x.indrelid IN ('image_vectors'::regclass, 'text_vectors'::regclass)
  AND (NOT (x.indisvalid AND x.indisready) AND c.relname ~ '^(image|text)_vectors_[a-z_]+_[0-9]+$'
    OR c.relname ~ '^(image|text)_vectors_(new|former)_({"|".join(INDEX_METHODS)})_[0-9]+$')
ORDER BY c.relname
"""
# Those that PostgreSQL lets this user vacuum; of others it says in a warning that it leaves them as they are.
_DEAD = """
SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid JOIN pg_database d ON d.datname = current_database()
WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'images'::regclass) AND s.n_dead_tup > greatest(%s, s.n_live_tup / 10)
  AND CASE WHEN pg_has_role(d.datdba, 'USAGE') THEN true
      WHEN current_setting('server_version_num')::integer >= 170000 THEN has_table_privilege(c.oid, 'MAINTAIN')  -- which older ones don't know
      ELSE pg_has_role(c.relowner, 'USAGE') END
ORDER BY s.relname
"""


@dataclass(frozen=True, slots=True)
class LooseEnds:
    """What nothing leads to any more."""

    images: int  # none of whose files is known: each was overwritten, or removed by hand
    texts: int  # that no image has
    states_bytes: int  # of these texts' token states


def unsound_vectors(library: Library, progress: Progress) -> list[tuple[StoredEncoder, list[int]]]:
    """Ids of the images or texts whose vector is zero, not finite or of another length, by encoder. Every vector is read."""
    found = []
    for encoder in _encoders(library, ("image_vectors", "text_vectors")):
        names = place_of(encoder)
        with library.reading() as conn:
            last = conn.execute(sql.SQL("SELECT coalesce(max({key}), 0) FROM {table} WHERE encoder_id = %s").format(**names), [encoder.id])
            ids, highest = [], last.fetchone()[0]
            for after in range(0, highest, VECTORS_AT_ONCE):
                progress(f"Vectors by {encoder.name}", after, highest)
                which = {"encoder": encoder.id, "after": after, "last": after + VECTORS_AT_ONCE, "dims": encoder.dims}
                ids += [id_ for (id_,) in conn.execute(sql.SQL(_UNSOUND_VECTORS).format(**names), which)]
        if ids:
            found.append((encoder, ids))
    return found


def damaged_states(library: Library, progress: Progress) -> list[tuple[StoredEncoder, list[int]]]:
    """Ids of the texts whose token states are not what was stored, by encoder. All of them are read, by the server."""
    found = []
    for encoder in _encoders(library, ("token_states",)):
        with library.reading() as conn:
            ids = [id_ for (id_,) in conn.execute("SELECT text_id FROM token_states WHERE encoder_id = %s ORDER BY text_id", [encoder.id])]
            damaged: list[int] = []
            for done in range(0, len(ids), STATES_AT_ONCE):
                progress(f"Token states by {encoder.name}", done, len(ids))
                damaged += _damaged(conn, encoder.id, ids[done : done + STATES_AT_ONCE])
        if damaged:
            found.append((encoder, damaged))
    return found


def _damaged(conn: Connection, encoder_id: int, ids: list[int]) -> list[int]:
    try:
        doubtful = [id_ for (id_,) in conn.execute(_DOUBTFUL_STATES, [encoder_id, ids])]
    except DataCorrupted:  # the server noticed it first: now one by one
        doubtful = ids
    return list(sound_token_states(conn, doubtful, encoder_id)[1]) if doubtful else []


def forget(library: Library, encoder_id: int, ids: Sequence[int]) -> None:
    """Remove the vectors, or token states, by this encoder of these images or texts, so that the next run makes them anew."""
    with library.connection() as conn:
        encoder = get_encoder(conn, encoder_id)
        one_writer(conn)
        conn.execute(sql.SQL("DELETE FROM {table} WHERE encoder_id = %s AND {key} = ANY(%s)").format(**place_of(encoder)), [encoder_id, list(ids)])
        if encoder.family == "image":
            note_images(conn, ids)
        else:
            note_texts(conn, encoder_id, ids)
        bump_generation(conn)


def loose_ends(conn: Connection) -> LooseEnds:
    images = conn.execute(f"SELECT count(*) FROM images i WHERE {_FILELESS}").fetchone()[0]
    texts = conn.execute(
        f"SELECT count(*), coalesce(sum((SELECT sum(octet_length(s.states)) FROM token_states s WHERE s.text_id = t.id)), 0)::bigint "
        f"FROM texts t WHERE {_UNUSED}",
        _empty(),
    ).fetchone()
    return LooseEnds(images, *texts)


def remove_fileless_images(library: Library, progress: Progress) -> int:
    """Remove the images none of whose files is known, with their vectors and metadata; how many. LibraryError while a run goes on."""
    return _remove(library, f"images i WHERE {_FILELESS}", "Removing images without a file", progress)


def remove_unused_texts(library: Library, progress: Progress) -> int:
    """Remove the texts that no image has, with their vectors and token states; how many. LibraryError while a run goes on.

    The empty one stays: images are sampled against it.
    """
    return _remove(library, f"texts t WHERE {_UNUSED}", "Removing texts that no image has", progress)


def _remove(library: Library, which: str, stage: str, progress: Progress) -> int:
    """Lot by lot: to remove a text with its vectors and token states takes a while, in which every other writer waits."""
    with library.reading() as conn:
        ids = [id_ for (id_,) in conn.execute(f"SELECT id FROM {which} ORDER BY id", _empty())]
    removed = 0
    for start in range(0, len(ids), REMOVED_AT_ONCE):
        progress(stage, start, len(ids))
        with library.connection() as conn:
            one_writer(conn)
            refuse_beside_a_run(conn)
            lot = {**_empty(), "lot": ids[start : start + REMOVED_AT_ONCE]}
            removed += conn.execute(f"DELETE FROM {which} AND id = ANY(%(lot)s)", lot).rowcount  # those that are still so
            bump_generation(conn)
    return removed


def mend_indexes(library: Library, progress: Progress) -> list[str]:
    """Make the indexes of vectors that are not sound anew, as they were, and drop what makings that were cut short have left.

    The names of both. LibraryError while another process makes an index.
    """
    with library.reading() as conn:
        names = [name for (name,) in conn.execute(_TO_MEND)]
        encoders = all_encoders(conn)
        made_with = {name: graph_options(conn, name) for name in names if "_ivfflat_" not in name}
    mended = []
    for encoder in encoders:
        for method in INDEX_METHODS:
            name = index_name(encoder, method)
            if name in names:
                set_index(library, encoder.id, method, *made_with.get(name, ()), progress=progress)
                mended.append(name)
    with alone(library):
        with library.reading() as conn:
            left = [name for (name,) in conn.execute(_TO_MEND)]  # now that nobody makes one
        drop_indexes(library, left, progress)
    return mended + left


def vacuum(library: Library, progress: Progress) -> list[str]:
    """Let the server take up what was deleted in the tables that have much of it and that this user may vacuum; their names."""
    with library.reading() as conn:
        rows = conn.execute(_DEAD, [_DEAD_LEAST]).fetchall()
        for done, (table,) in enumerate(rows):
            progress(f"Taking up what was deleted in {table}", done, len(rows))
            conn.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table)))
    return [table for (table,) in rows]


def _encoders(library: Library, tables: Sequence[str]) -> Iterator[StoredEncoder]:
    with library.reading() as conn:
        encoders = all_encoders(conn)
    return (encoder for encoder in encoders if TABLES[encoder.family] in tables)


def _empty() -> Mapping[str, bytes]:
    return {"empty": TextPair("", "").hash}
