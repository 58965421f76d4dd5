"""The hybrid index in this process's memory, where a question is compared with all rows: read once, and then what was added."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psycopg import sql

from .._copy_binary import BIGINT, halfvec, read_rows
from ..server._settings import machine_memory
from .projection import Projection
from .whole import Scores, Whole, largest, leading

if TYPE_CHECKING:
    from ..connection import Connection

_KEPT = 2  # libraries' indexes
_SHARE = 8  # of this machine's memory an index may take one part in so many
_BATCH = 16_384  # rows of about 650 bytes
_COUNT = "SELECT count(*) FROM hybrid_vectors WHERE hybrid_id = %s AND place > %s"
_ADDED = "SELECT place, image_id, embedding FROM hybrid_vectors WHERE hybrid_id = {} AND place > {} ORDER BY place LIMIT {}"


@dataclass(frozen=True, slots=True)
class Look:
    """What gives the true `scores` by a kind of some images, by the ids, short vectors [n, kept] and places of so many `rows`, the best by these."""

    rows: int
    scores: Callable[[np.ndarray, np.ndarray, np.ndarray], Scores]


@dataclass(frozen=True, slots=True)
class _Block:
    """Some rows: image ids [n], of each kind short vectors [n, kept] in one piece of memory, and whether an image lacks it, bool [n, kinds]."""

    ids: np.ndarray
    parts: tuple[np.ndarray, ...]
    missing: np.ndarray
    by_id: np.ndarray  # rows [n] by their image's id

    @classmethod
    def of(cls, ids: np.ndarray, parts: tuple[np.ndarray, ...], missing: np.ndarray) -> _Block:
        return cls(ids, parts, missing, np.argsort(ids))

    def where(self, keep: np.ndarray) -> _Block:
        return self if keep.all() else _Block.of(self.ids[keep], tuple(part[keep] for part in self.parts), self.missing[keep])

    def put(self, scores: np.ndarray, known: Scores) -> None:
        """Put what is `known` in place of the scores [n] of the images that are here."""
        ids, better = known
        if len(self.ids):
            rows = self.by_id[np.searchsorted(self.ids, ids, sorter=self.by_id).clip(max=len(self.ids) - 1)]
            here = self.ids[rows] == ids
            scores[rows[here]] = better[here]


class Held:
    """The rows of one index, each image once.

    In blocks, each at least twice as large as the next, so that what comes later is added without copying all.
    """

    def __init__(self, projection: Projection, made: int) -> None:
        """`made` is the place of the last row when the index was made."""
        self.projection = projection
        self.whole = Whole()
        self.added = np.empty(0, np.int64)  # images since then, which the projection does not know
        self._made = made
        self._last = 0  # place of the newest row
        self._blocks: list[_Block] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(len(block.ids) for block in self._blocks)

    def is_read(self, last: int) -> bool:
        """Whether the newest row of all is known, which has this place."""
        return 0 < last <= self._last

    def read_on(self, conn: Connection, hybrid_id: int, last: int) -> bool:
        """Read the rows that were added since, where the newest of all has another place. False where memory is too small for them."""
        with self._lock:
            if last <= self._last:
                return True
            count = conn.execute(_COUNT, [hybrid_id, self._last]).fetchone()[0]
            if 4 * self.projection.dims * (len(self) + count) * _SHARE > machine_memory():
                return False
            new, newest = self._read(conn, hybrid_id, count)
            blocks = [*(block.where(~np.isin(block.ids, new.ids)) for block in self._blocks), new]  # of what was written anew the last row counts
            while len(blocks) > 1 and len(blocks[-2].ids) < 2 * len(blocks[-1].ids):
                blocks = [*blocks[:-2], _joined(*blocks[-2:])]
            self._blocks = blocks  # searches that go on have the former ones
            self.whole.forget(new.ids)
            self._last = newest  # last of all, since it tells others that they are read
            return True

    def _read(self, conn: Connection, hybrid_id: int, count: int) -> tuple[_Block, int]:
        """The next `count` rows and the place of the last, into memory that is taken once, since what is freed in pieces is not given back."""
        kept = self.projection.kept
        ids, missing = np.empty(count, np.int64), np.empty((count, len(kept)), bool)
        parts = tuple(np.empty((count, of_kind), np.float32) for of_kind in kept)
        columns, done, newest = {"place": BIGINT, "id": BIGINT, "row": halfvec(self.projection.dims)}, 0, self._last
        query = sql.SQL(_ADDED).format(*map(sql.Literal, (hybrid_id, self._last, count)))
        for rows in read_rows(conn, query, {}, columns, _BATCH):
            here = slice(done, done := done + len(rows))
            ids[here] = rows["id"]
            missing[here] = self.projection.split(rows["row"]["numbers"], [part[here] for part in parts])
            newest = int(rows["place"][-1])
            self.added = np.union1d(self.added, rows["id"][rows["place"] > self._made])
        return _Block.of(ids[:done], tuple(part[:done] for part in parts), missing[:done]), newest

    def forget(self, ids: Iterable[int]) -> None:
        """Leave out these images, which were removed."""
        with self._lock:
            self._blocks = [block.where(~np.isin(block.ids, list(ids))) for block in self._blocks]
            self.added = np.setdiff1d(self.added, list(ids))

    def nearest(self, query: Mapping[int, np.ndarray], constants: Mapping[int, float], known: Mapping[int, Scores | Look], n: int) -> Scores:
        """The best images, `n` at most, best first, for a question as `Projection.query` makes it; `constants` are what having a kind adds,
        `known` the true scores that some images have by a kind.

        An image that lacks all that is asked for is none.
        """
        with _all_cores:
            found = [_best(block, query, constants, known, n) for block in self._blocks]
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        ids, scores = (np.concatenate(of) for of in zip(*found))
        best = largest(scores, n)
        return ids[best], scores[best]


def _best(
    block: _Block, query: Mapping[int, np.ndarray], constants: Mapping[int, float], known: Mapping[int, Scores | Look], n: int
) -> tuple[np.ndarray, np.ndarray]:
    scores = np.zeros(len(block.ids), np.float32)
    for place, part in query.items():
        of_kind = block.parts[place] @ part
        better = known.get(place)
        if isinstance(better, Look):
            rows = np.sort(leading(of_kind, better.rows))
            better = better.scores(block.ids[rows], block.parts[place][rows], rows)
        if better is not None:
            block.put(of_kind, better)
        scores += of_kind
    if not block.missing.any():  # looked at alone, since the kinds that are asked for would be copied
        scores += np.float32(sum(constants.values()))
    else:
        missing = block.missing[:, list(query)]
        scores += ~missing @ np.array([constants[place] for place in query], np.float32)
        scores[missing.all(axis=1)] = -np.inf
    best = largest(scores, n)
    best = best[scores[best] > -np.inf]
    return block.ids[best], scores[best]


def _joined(one: _Block, other: _Block) -> _Block:
    parts = tuple(np.concatenate(of_kind) for of_kind in zip(one.parts, other.parts))
    return _Block.of(np.concatenate([one.ids, other.ids]), parts, np.concatenate([one.missing, other.missing]))


_held: OrderedDict[tuple, tuple[tuple, Held]] = OrderedDict()  # by the database, with what tells the index from another there
_lock = threading.Lock()
_all_cores = threading.Lock()  # BLAS's threads wait for each other: of sixteen searches that multiply at once each took twenty times as long


def held(conn: Connection, ready: Mapping[str, Any]) -> Held:
    """That of the index `ready`, its rows not read on yet. Of one database only the newest is kept."""
    return held_already(conn, ready) or _keep(conn, ready, Held(read_projection(conn, ready), ready["details"].get("last", 0)))


def held_already(conn: Connection, ready: Mapping[str, Any]) -> Held | None:
    """The same where this process has it."""
    place = _place(conn)
    with _lock:
        index, there = _held.get(place, (None, None))
        if index != (ready["id"], ready["made"]):
            return None
        _held.move_to_end(place)
        return there


def _keep(conn: Connection, ready: Mapping[str, Any], made: Held) -> Held:
    place, index = _place(conn), (ready["id"], ready["made"])
    with _lock:
        if place not in _held or _held[place][0] != index:
            _held[place] = index, made
        _held.move_to_end(place)
        while len(_held) > _KEPT:
            _held.popitem(last=False)
        return _held[place][1]


def _place(conn: Connection) -> tuple[str, int, str]:
    return conn.info.host, conn.info.port, conn.info.dbname


def read_projection(conn: Connection, ready: Mapping[str, Any]) -> Projection:
    """That of the index `ready`."""
    data = conn.execute("SELECT projection FROM hybrids WHERE id = %s", [ready["id"]], binary=True).fetchone()[0]
    return Projection.from_bytes(data, ready["details"]["sizes"], ready["details"]["kept"])
