"""The whole vectors of the hybrid index's kinds, in a temporary file that is mapped into memory, and candidates compared with them.

PostgreSQL compares exactly too, and does until they are read; but it looks up each vector in a table, 8 microseconds apiece, and most of
a search over several kinds was that. They are in a file so that the system can take their memory back when a model needs it.
"""

from __future__ import annotations

import functools
import mmap
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from psycopg import sql

from .._copy_binary import BIGINT, halfvec, read_rows, read_whole
from .._index_sql import count_rows, place_of, searched_rows
from ..encoders import get_encoder
from ..errors import LibraryError
from ..question import TEXT_COLUMNS
from ..server._settings import machine_memory

if TYPE_CHECKING:
    from ..connection import Connection, Library
    from ..records import StoredEncoder
    from ..search.kinds import Direction

_SHARE = 8  # of this machine's memory, and of what is free on its disk, they may take one part in so many
_ASKED, _AGAIN = 3, 1000  # searches until they are read, and until that is tried again where there was no room
_OLD = 20  # of one in so many images there are others now
_BATCH = 1024  # vectors that are read at once
_AT_ONCE = 64  # that are compared at once, of which the processor's own memory holds what is made in between
_STEPS = 200  # in which an inner product of 1 is told: they are about an eighth, and those beyond 127 are told as that
_SKETCH = 64  # inner products of a vector with random ones: they tell a little of all of it, also of what short vectors leave out
_NEAREST = 32  # vectors of those that are best by their sketches, which are compared whole
_LOOKED, _SHARE_LOOKED, _MOST_LOOKED = 1000, 100, 20_000  # vectors whose sketches are looked at, at least so many or one in so many; and images of them
_FEW = 16  # of so many scores one is looked at first
_SMALL = np.float32(2.0**112)
_IMAGES = "SELECT id, coalesce(prompt_id, 0), coalesce(negative_id, 0) FROM images ORDER BY id"

Scores = tuple[np.ndarray, np.ndarray]
"""Image ids, int64 [n], and the score of each, float32 [n]."""


@dataclass(frozen=True, slots=True, eq=False)
class _Vectors:
    """All of one encoder that are searched: `numbers` [m, dims] float16 as they are stored, their lengths [m], whose they are [m], ascending, and
    `sketches` [m, 64] int8 of them at length 1."""

    numbers: np.ndarray
    lengths: np.ndarray
    keys: np.ndarray
    sketches: np.ndarray

    def cosines(self, places: np.ndarray, query: np.ndarray) -> np.ndarray:
        """Cosine similarities with `query` [dims] of those at these places; equal vectors have equal ones wherever they are."""
        unit = query.astype(np.float32)
        unit *= _SMALL / np.linalg.norm(unit)
        dots = [np.empty(0, np.float32)]
        for start in range(0, len(places), _AT_ONCE):
            rows = _small_floats(self.numbers[places[start : start + _AT_ONCE]])
            rows *= unit
            dots.append(rows.sum(axis=1))
        return np.clip(np.concatenate(dots) / self.lengths[places], -1, 1)

    def about(self, places: np.ndarray, short: np.ndarray, matrix: np.ndarray, query: np.ndarray) -> np.ndarray:
        """About what `cosines` gives, from the `short` vectors [n, kept] of those at these places by `matrix` [dims, kept], and their sketches."""
        unit, random = query.astype(np.float32), _random(len(query))
        unit /= np.linalg.norm(unit)
        asked = (unit - matrix @ (unit @ matrix)) @ random  # of what the short vectors leave out, the sketch
        return short @ ((unit - random @ asked) @ matrix) + self.sketches[places].astype(np.float32) @ (asked / _STEPS)


@dataclass(frozen=True, slots=True, eq=False)
class WholeVectors:
    """Of all images, int64 `ids` [n] ascending, as they were at the library's `generation`.

    `known` [n]: it is so still. `places` are those of each kind and encoder, [n], -1 where an image lacks it, `by_place` [n] the images ordered by
    them; `each` has how many images have one vector.
    """

    generation: int
    ids: np.ndarray
    known: np.ndarray
    places: Mapping[tuple[str, int], np.ndarray]
    by_place: Mapping[tuple[str, int], np.ndarray]
    each: Mapping[tuple[str, int], float]
    vectors: Mapping[int, _Vectors]

    def without(self, ids: np.ndarray) -> WholeVectors:
        """The same, but that no more is known of these images, int64 [n]."""
        return replace(self, known=self.known & ~np.isin(self.ids, ids))

    def compare(self, directions: Sequence[Direction], ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of these images, int64 [n], that are known, and their cosine similarities [n, directions]; NaN where one lacks the kind."""
        at = _places(self.ids, ids)
        ids, at = ids[at >= 0], at[at >= 0]
        ids, at = ids[self.known[at]], at[self.known[at]]
        found = np.full((len(ids), len(directions)), np.nan)
        for column, direction in enumerate(directions):
            encoder_id = direction.source.encoder.id
            places = self.places[direction.kind, encoder_id][at]
            there = places >= 0
            found[there, column] = self.vectors[encoder_id].cosines(places[there], direction.vector)
        return ids, found

    def looked_at(self, direction: Direction) -> int:
        """How many images `nearest` is to be given, the best by their short vectors."""
        each = self.each[direction.kind, direction.source.encoder.id]
        return int(min(_MOST_LOOKED, each * max(_LOOKED, len(self.ids) // _SHARE_LOOKED)))

    def nearest(self, direction: Direction, matrix: np.ndarray, ids: np.ndarray, short: np.ndarray, rows: np.ndarray) -> Scores:
        """Of these images, int64 [n], those that are nearest in one direction, with all images of their texts, and their cosine similarities.

        They are at these `rows` [n] of the index, and most often of all images too. What their `short` vectors [n, kept] by `matrix` [dims, kept]
        don't tell, sketches do roughly.
        """
        kind = direction.kind, direction.source.encoder.id
        at = rows if np.array_equal(self.ids[rows[rows < len(self.ids)]], ids) else _places(self.ids, ids)
        places = np.where(at >= 0, self.places[kind][at], -1)
        there = np.flatnonzero(places >= 0)
        distinct, first = np.unique(places[there], return_index=True)
        vectors = self.vectors[kind[1]]
        best = distinct[leading(vectors.about(distinct, short[there[first]], matrix, direction.vector), _NEAREST)]
        best = best[vectors.lengths[best] > 0]  # others are damaged
        first, last = (np.searchsorted(self.places[kind], best, side, sorter=self.by_place[kind]) for side in ("left", "right"))
        images = np.concatenate([there[:0], *(self.by_place[kind][slice(*of_one)] for of_one in zip(first, last))])
        return self.ids[images], np.repeat(vectors.cosines(best, direction.vector), last - first)


class Whole:
    """The whole `vectors` of one index in this process, None until they are read: beside the searches, and again once many of them are others."""

    def __init__(self) -> None:
        self.vectors: WholeVectors | None = None
        self._changed = 0  # images of which no more is known
        self._until = _ASKED  # so many searches more
        self._lock = threading.Lock()

    @property
    def unchanged(self) -> WholeVectors | None:
        """The vectors, where they are those of all images of the index."""
        return None if self._changed else self.vectors

    def asked(self, conn: Connection, ready: Mapping[str, Any]) -> None:
        """A search asks the index `ready`. Who does so once or twice has the vectors never read."""
        with self._lock:
            if self.vectors is not None and self._changed * _OLD <= len(self.vectors.ids):
                return
            self._until -= 1
            if self._until == 0:
                try:
                    threading.Thread(target=self._read, args=(conn.library, ready, self._changed), name="whole vectors", daemon=True).start()
                except RuntimeError:  # as many threads as can be, or the end of the process
                    self._until = _AGAIN

    def forget(self, ids: np.ndarray) -> None:
        """These images have another row in the index now."""
        with self._lock:
            self._changed += len(ids)
            if self.vectors:
                self.vectors = self.vectors.without(ids)

    def _read(self, library: Library, ready: Mapping[str, Any], changed: int) -> None:
        vectors = None
        try:
            with library.connection() as conn:
                vectors = read_vectors(conn, ready)
        except (LibraryError, OSError, MemoryError):  # the searches go on, and say what is amiss
            pass
        finally:
            with self._lock:
                self._until = _ASKED if vectors else _AGAIN
                if vectors and self._changed == changed:  # else some became others while they were read
                    self.vectors, self._changed = vectors, 0


def read_vectors(conn: Connection, ready: Mapping[str, Any]) -> WholeVectors | None:
    """Those of the index `ready`, in a transaction of their own. None where memory or disk is too small for them.

    OSError where they can't be written. 100,000 images of five kinds, all texts distinct, are 1 GB, and take some 5 s.
    """
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    generation = conn.execute("SELECT generation FROM library").fetchone()[0]
    encoders = [get_encoder(conn, encoder_id) for encoder_id in sorted(set(ready["encoder_ids"]))]
    counts = [count_rows(conn, encoder) for encoder in encoders]
    size = sum(count * (2 * encoder.dims + _SKETCH) for encoder, count in zip(encoders, counts))
    if _SHARE * size > min(machine_memory(), shutil.disk_usage(_folder()).free):
        return None
    vectors = {encoder.id: _read_encoder(conn, encoder, count) for encoder, count in zip(encoders, counts)}
    images = read_whole(conn, sql.SQL(_IMAGES), {}, {"id": BIGINT, "prompt_id": BIGINT, "negative_id": BIGINT})
    ids = images["id"].astype(np.int64)
    places, each, known = {}, {}, np.ones(len(ids), bool)
    for kind, encoder_id in zip(ready["kinds"], ready["encoder_ids"]):
        column = images[TEXT_COLUMNS.get(kind, "id")].astype(np.int64)
        places[kind, encoder_id] = at = _places(vectors[encoder_id].keys, column)
        each[kind, encoder_id] = (at >= 0).sum() / max(1, len(np.unique(at[at >= 0])))
        known[at >= 0] &= vectors[encoder_id].lengths[at[at >= 0]] > 0  # what a damaged vector is like is PostgreSQL's to say
    by_place = {kind: np.argsort(at) for kind, at in places.items()}
    return WholeVectors(generation, ids, known, places, by_place, each, vectors)


def largest(scores: np.ndarray, n: int) -> np.ndarray:
    """Places [n] of the largest, the largest first."""
    places = leading(scores, n)
    return places[np.argsort(-scores[places])]


def leading(scores: np.ndarray, n: int) -> np.ndarray:
    """The same in any order."""
    if not n:
        return np.empty(0, np.int64)
    if _FEW * n < len(scores):  # those of some rows tell about where they begin
        some = scores[::_FEW]
        twice = min(2 * n // _FEW + _FEW, len(some))
        places = np.flatnonzero(scores >= np.partition(some, -twice)[-twice])
        if n <= len(places) < len(scores):
            return places[leading(scores[places], n)]
    return np.argpartition(scores, len(scores) - n)[len(scores) - n :] if n < len(scores) else np.arange(len(scores))


def _places(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of these, int64 [n], is among the ascending `keys`; -1 where it is not."""
    if not len(keys):
        return np.full(len(wanted), -1)
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _small_floats(halves: np.ndarray) -> np.ndarray:
    """float16 numbers as float32, 2**112 times as small: by their bits, which takes a third of the time of NumPy's own conversion."""
    bits = halves.view(np.int16).astype(np.int32)  # sign, 5 bits of exponent, 10 of mantissa
    bits <<= 13
    bits &= ~0x70000000  # copies of the sign
    return bits.view(np.float32)


@functools.cache
def _random(dims: int) -> np.ndarray:
    """Vectors [dims, 64] float32 with which sketches are made: their inner products are on average those of what they are made of."""
    return np.random.default_rng(dims).standard_normal((dims, _SKETCH), np.float32) / np.float32(_SKETCH**0.5)


def _sketch(units: np.ndarray) -> np.ndarray:
    """What is kept [n, 64] int8 of vectors [n, dims] at length 1."""
    return np.clip(np.rint(units @ _random(units.shape[1]) * _STEPS), -127, 127).astype(np.int8)


def _read_encoder(conn: Connection, encoder: StoredEncoder, count: int) -> _Vectors:
    query = sql.SQL("SELECT {key}, embedding FROM {table} WHERE {rows} AND vector_dims(embedding) = {dims} ORDER BY {key}").format(
        rows=searched_rows(encoder.family, encoder.id), dims=sql.Literal(encoder.dims), **place_of(encoder)
    )
    keys, lengths, done = np.empty(count, np.int64), np.empty(count, np.float32), 0
    sketches = np.empty((count, _SKETCH), np.int8)
    with tempfile.TemporaryFile(dir=_folder()) as file:
        for rows in read_rows(conn, query, {}, {"key": BIGINT, "vector": halfvec(encoder.dims)}, _BATCH):
            here = slice(done, done := done + len(rows))
            numbers = rows["vector"]["numbers"].astype(np.float16)
            whole = numbers.astype(np.float32)
            keys[here], lengths[here] = rows["key"], np.linalg.norm(whole, axis=1)
            file.write(numbers.data)
            sketches[here] = _sketch(whole / np.maximum(lengths[here, None], 1e-12))
        file.flush()
        return _Vectors(_mapped(file, (done, encoder.dims)), lengths[:done], keys[:done], sketches[:done])


def _folder() -> str:
    """The folder of temporary files. On many Linuxes /tmp is memory, which the system could not take back."""
    own = Path("/var/tmp")
    return str(own) if not {"TMPDIR", "TEMP", "TMP"} & os.environ.keys() and own.is_dir() and os.access(own, os.W_OK) else tempfile.gettempdir()


def _mapped(file: IO[bytes], shape: tuple[int, int]) -> np.ndarray:
    """float16 numbers [n, dims] that a file holds, which has to last no longer than this call."""
    if not shape[0]:
        return np.empty(shape, np.float16)
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):  # once the system has taken the memory back, it would read megabytes for each vector
        memory.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(memory, np.float16).reshape(shape)
