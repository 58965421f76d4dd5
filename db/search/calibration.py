"""What a score means in this library: the cosines of a question with some thousand of its images.

The kinds spread differently: two prompts that have nothing in common may have a cosine of 0.6, two pictures one of 0.3. So
a score is told as a percentile, and cosines of several kinds may be added as standard scores, by how the library itself is
spread about this very question. The sampled vectors stay in memory; a question costs one matrix product.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from psycopg import Connection, sql

from ..question import Part
from ..stream import vectors_of
from .kinds import Source, State, direction_of, has_vector, unit

SAMPLED = 1000  # images; libraries of fewer are taken whole. A share is right within 1.6 % (one deviation), within 0.3 % at the 99th percentile
_FEW = 200  # images with a vector that a sample must have, where the library has them
_KEPT = 12  # matrices of some 4 MB
_FRESH_SECONDS = 60.0

_IDS = "SELECT id FROM images WHERE id = ANY(%s)"
_ANY_IDS = "SELECT i.id FROM images i WHERE {condition} ORDER BY random() LIMIT %s"

_samples: OrderedDict[tuple, tuple[float, int, object]] = OrderedDict()  # key: (when, generation, ids or matrix)
_lock = threading.Lock()


class Calibration:
    """How a question's parts and scores are spread over the library: `cosines` [sampled images, parts], NaN: has no such vector."""

    def __init__(self, cosines: np.ndarray) -> None:
        self.cosines = cosines

    def standard(self, weights: Sequence[float]) -> tuple[list[float], list[float]]:
        """(weights, constants) that make of each part's cosine its standard score times its weight."""
        scaled, constants = [], []
        for column, weight in zip(self.cosines.T, weights):
            known = column[~np.isnan(column)]
            deviation = float(known.std()) if len(known) else 0.0
            if deviation < 1e-6:  # the library does not differ in it
                deviation = 1.0
            scaled.append(weight / deviation)
            constants.append(-weight / deviation * float(known.mean()) if len(known) else 0.0)
        return scaled, constants

    def scores(self, weights: Sequence[float], constants: Sequence[float]) -> np.ndarray:
        """The sampled images' scores, ascending; of those that have at least one of the kinds."""
        known = ~np.isnan(self.cosines)
        scores = np.where(known, self.cosines * np.array(weights) + np.array(constants), 0.0).sum(axis=1)
        return np.sort(scores[known.any(axis=1)])


def percentiles(scores: np.ndarray, of: Sequence[float]) -> list[float | None]:
    """The share, 0 to 100, of the ascending `scores` that is below each of these; None without any scores."""
    if not len(scores):
        return [None] * len(of)
    return (100.0 * np.searchsorted(scores, np.asarray(of, float) - _rounding(scores), "left") / len(scores)).tolist()


def lowest_of(scores: np.ndarray, percentile: float) -> float:
    """The lowest score that at least so many of the ascending `scores` are below; the best one where there is none such."""
    if not len(scores) or percentile <= 0:
        return -np.inf
    wanted, rounding = percentile / 100 * len(scores), _rounding(scores)
    place = min(len(scores) - 1, int(np.ceil(wanted)))
    if np.searchsorted(scores, scores[place] - rounding, "left") < wanted:  # its equals, as of one prompt, are not below it
        place = min(len(scores) - 1, int(np.searchsorted(scores, scores[place] + rounding, "right")))
    return float(scores[place]) - rounding


def _rounding(scores: np.ndarray) -> float:
    """How far PostgreSQL's score of an image may be from ours of the same."""
    return 1e-5 * max(1.0, float(scores[-1] - scores[0]))


def calibrate(conn: Connection, parts: Sequence[Part], sources: Sequence[Source], state: State) -> Calibration:
    """How the library is spread about these parts."""
    vectors = _sampled(conn, state, parts, sources, anyhow=True)
    known = sum(~np.isnan(of_part[:, 0]) for of_part in vectors)
    if len(known) >= SAMPLED and np.count_nonzero(known) < _FEW:
        vectors = _sampled(conn, state, parts, sources, anyhow=False)
    queries = [unit(direction_of(part, source).vector).astype(np.float32) for part, source in zip(parts, sources)]  # rounded as PostgreSQL gets them
    # einsum stays in this thread: those of BLAS wait for busy cores, 16 ms instead of 0.2.
    return Calibration(np.stack([np.einsum("sd,d->s", *pair) for pair in zip(vectors, queries)], axis=1).astype(float))


def forget_samples() -> None:
    """Draw all samples anew at their next use: the library has changed much."""
    with _lock:
        _samples.clear()


def _sampled(conn: Connection, state: State, parts: Sequence[Part], sources: Sequence[Source], anyhow: bool) -> list[np.ndarray]:
    """Unit vectors [sampled images, dims] by part, NaN where an image has none.

    Of images with one of the kinds, when not `anyhow`: such images are hard to find by chance.
    """
    library = (conn.info.host, conn.info.port, conn.info.dbname, state.created)
    kinds = tuple(sorted({(part.kind, source.encoder.id) for part, source in zip(parts, sources)}))
    drawn = (library, _size(state.newest), None if anyhow else kinds)
    by_kind = {(part.kind, source.encoder.id): source for part, source in zip(parts, sources)}
    ids = _kept(drawn, state, lambda: tuple(_draw(conn, state.newest) if anyhow else _draw_with(conn, by_kind)))
    vectors = []
    for part, source in zip(parts, sources):
        key = (*drawn, part.kind, source.encoder.id, hash(ids))
        vectors.append(_kept(key, state, functools.partial(_vectors, conn, part.kind, source, list(ids))))
    return vectors


def _size(newest: int) -> int:
    """A number that changes as the library grows by a tenth."""
    return int(np.log(max(newest, 1)) / np.log(1.1))


def _kept(key: tuple, state: State, make):
    """What was made for `key` before; made anew after a write, in a large library once a minute at the most."""
    now = time.monotonic()
    with _lock:
        if key in _samples:
            when, made_at, value = _samples[key]
            if made_at == state.generation or (state.newest > SAMPLED and now - when < _FRESH_SECONDS):
                _samples.move_to_end(key)
                return value
    value = make()
    with _lock:
        _samples[key] = (now, state.generation, value)
        while len(_samples) > _KEPT:
            _samples.popitem(last=False)
    return value


def _draw(conn: Connection, newest: int) -> list[int]:
    """Ids of images by chance, the same ones each time that the library is the same."""
    if newest <= SAMPLED:
        return [row[0] for row in conn.execute("SELECT id FROM images ORDER BY id")]
    tried = np.random.default_rng(newest).choice(newest, min(newest, 2 * SAMPLED), replace=False) + 1
    there = {row[0] for row in conn.execute(_IDS, [tried.tolist()])}
    ids = [image_id for image_id in tried.tolist() if image_id in there][:SAMPLED]
    if len(ids) >= SAMPLED:
        return sorted(ids)
    return [row[0] for row in conn.execute("SELECT id FROM images ORDER BY random() LIMIT %s", [SAMPLED])]  # many are gone


def _draw_with(conn: Connection, by_kind: dict[tuple[str, int], Source]) -> list[int]:
    conditions = [has_vector(kind, source) for (kind, _), source in by_kind.items()]
    statement = sql.SQL(_ANY_IDS).format(condition=sql.SQL(" OR ").join(conditions))
    return [row[0] for row in conn.execute(statement, [SAMPLED])]


def _vectors(conn: Connection, kind: str, source: Source, ids: list[int]) -> np.ndarray:
    """Unit vectors [len(ids), dims] float32, NaN where an image has none."""
    vectors = np.full((len(ids), source.encoder.dims), np.nan, np.float32)
    places = {image_id: place for place, image_id in enumerate(ids)}
    for image_id, vector in vectors_of(conn, kind, source.encoder, ids).items():
        vectors[places[image_id]] = vector
    return vectors
