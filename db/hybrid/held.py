"""The hybrid index in this process's memory, where a question is compared with all rows: read once, and then what was added."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from psycopg import sql

from .._copy_binary import BIGINT, halfvec, read_rows
from ..server._settings import machine_memory
from .projection import Projection

if TYPE_CHECKING:
    from ..connection import Connection

_KEPT = 2  # libraries' indexes
_SHARE = 8  # of this machine's memory an index may take one part in so many
_BATCH = 16_384  # rows of about 650 bytes
_ADDED = "SELECT place, image_id, embedding FROM hybrid_vectors WHERE hybrid_id = {} AND place > {} ORDER BY place"


class Held:
    """The rows of one index: image ids and short vectors, a kind's in one piece of memory.

    In blocks, each at least twice as large as the next, so that what comes later is added without copying all.
    """

    def __init__(self, projection: Projection) -> None:
        self.projection = projection
        self.last = 0  # place of the newest row
        self._blocks: list[tuple[np.ndarray, list[np.ndarray], np.ndarray]] = []  # ids [n], of each kind [n, kept], missing [n, kinds]
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return sum(len(ids) for ids, _, _ in self._blocks)

    def read_on(self, conn: Connection, hybrid_id: int, last: int) -> None:
        """Read the rows that were added since, where the newest of all has another place."""
        with self._lock:
            if last <= self.last:
                return
            query = sql.SQL(_ADDED).format(sql.Literal(hybrid_id), sql.Literal(self.last))
            columns = {"place": BIGINT, "id": BIGINT, "row": halfvec(self.projection.dims)}
            read = []
            for rows in read_rows(conn, query, {}, columns, _BATCH):
                read.append((rows["id"].astype(np.int64), *self.projection.parts(rows["row"]["numbers"])))
                last = max(last, int(rows["place"][-1]))
            blocks = [*self._blocks, _joined(read)] if read else self._blocks
            while len(blocks) > 1 and len(blocks[-2][0]) < 2 * len(blocks[-1][0]):
                blocks = [*blocks[:-2], _joined(blocks[-2:])]
            self._blocks = blocks  # searches that go on have the former ones
            self.last = last

    def nearest(self, query: Mapping[int, np.ndarray], constants: Mapping[int, float], n: int) -> np.ndarray:
        """Image ids [n] at most, best first, for a question as `Projection.query` makes it; `constants` are what having a kind adds."""
        blocks = self._blocks
        found = [np.concatenate(of) for of in zip(*(_best(block, query, constants, n) for block in blocks))]
        if not found:
            return np.empty(0, np.int64)
        ids, scores = found
        return ids[_largest(scores, n)]


def _best(block: tuple, query: Mapping[int, np.ndarray], constants: Mapping[int, float], n: int) -> tuple[np.ndarray, np.ndarray]:
    ids, parts, missing = block
    scores = sum(parts[place] @ part for place, part in query.items())
    for place, constant in constants.items():
        if constant:
            scores = scores + np.where(missing[:, place], np.float32(0), np.float32(constant))
    best = _largest(scores, n)
    return ids[best], scores[best]


def _largest(scores: np.ndarray, n: int) -> np.ndarray:
    """Places [n] of the largest, the largest first."""
    if n < len(scores):
        places = np.argpartition(scores, len(scores) - n)[len(scores) - n :]
        return places[np.argsort(-scores[places])]
    return np.argsort(-scores)


def _joined(blocks: list[tuple]) -> tuple:
    """One block of several; of an image that is in more than one the last row, since it was written anew."""
    ids = np.concatenate([block[0] for block in blocks])
    _, newest = np.unique(ids[::-1], return_index=True)
    keep = np.sort(len(ids) - 1 - newest)
    parts = [np.concatenate(of_kind)[keep] for of_kind in zip(*(block[1] for block in blocks))]
    return ids[keep], parts, np.concatenate([block[2] for block in blocks])[keep]


_held: OrderedDict[tuple, Held] = OrderedDict()
_lock = threading.Lock()


def held(conn: Connection, ready: Mapping[str, Any], fresh: bool = False) -> Held | None:
    """That of the index `ready`, its rows not read on yet; None where this machine's memory is too small for it. `fresh`: read anew, since
    images were removed.

    Its time of making tells it from another database's of the same id.
    """
    key = (conn.info.host, conn.info.port, conn.info.dbname, ready["id"], ready["created"])
    with _lock:
        if key in _held and not fresh:
            _held.move_to_end(key)
            return _held[key]
    if 4 * ready["dims"] * ready["fitted_on"] * _SHARE > machine_memory():
        return None
    data = conn.execute("SELECT projection FROM hybrids WHERE id = %s", [ready["id"]], binary=True).fetchone()[0]
    made = Held(Projection.from_bytes(data, ready["details"]["sizes"], ready["details"]["kept"]))
    with _lock:
        if fresh or key not in _held:
            _held[key] = made
        while len(_held) > _KEPT:
            _held.popitem(last=False)
        return _held[key]
