"""What the search benchmarks share: exact answers by NumPy, recall against them, ways timed in turn, and the plain wide table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import BATCH, DIMS, Data

TIE = 2e-6  # cosines closer than this are equal: float32 over 1,024 products
WIDE = "bench.wide"


class Truth:
    """Exact scores of some queries against every image, from the vectors drawn anew and rounded as the library stores them."""

    def __init__(self, conn: Any, data: Data) -> None:
        rows = conn.execute("SELECT id, prompt_id IS NULL, negative_id IS NULL FROM images ORDER BY hash").fetchall()
        ids, no_prompt, no_negative = zip(*rows)
        self.data, self.ids = data, np.array(ids)
        self.number = dict(zip(ids, range(len(ids))))
        self._lacking = {"negative": np.array(no_negative)} | dict.fromkeys(("prompt", "clip_l", "clip_g"), np.array(no_prompt))

    def cosines(self, kind: str, queries: np.ndarray) -> np.ndarray:
        """[queries, images] float32; 0 where an image has no vector of the kind."""
        queries = queries.astype(np.float16).astype(np.float32)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        found = np.empty((len(queries), self.data.items(kind)), np.float32)
        for number, vectors in enumerate(self.data.vectors(kind)):
            vectors = vectors.astype(np.float16).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            found[:, number * BATCH : number * BATCH + len(vectors)] = queries @ vectors.T
        if kind != "image":
            found = found[:, np.arange(self.data.rows) // self.data.images_per_text]
            found[:, self._lacking[kind]] = 0
        return found

    def lacking(self, kind: str) -> np.ndarray:
        """[images] bool: which have no vector of the kind."""
        return self._lacking.get(kind, np.zeros(len(self.ids), bool))

    def recall(self, scores: np.ndarray, found: Sequence[int], k: int, allowed: np.ndarray | None = None) -> float:
        """The share of the `k` best of one query's `scores` [images] that are among the first `k` ids found; equals count."""
        scores = scores if allowed is None else np.where(allowed, scores, -np.inf)
        k = min(k, int(np.isfinite(scores).sum()))
        last = np.partition(scores, -k)[-k]
        right = {image for image in found[:k] if scores[self.number[image]] >= last - TIE}
        return len(right) / k


@dataclass
class Way:
    """One way of answering: called with a query's number, gives image ids best first."""

    name: str
    answer: Callable[[int], list[int]]
    every: int = 1  # a slow way answers only each n-th query


@dataclass
class Row:
    """What was measured of one way: milliseconds of each query, and what it found."""

    name: str
    ms: np.ndarray
    found: dict[int, list[int]]

    @property
    def p50(self) -> float:
        return float(np.percentile(self.ms, 50))

    def recall(self, truth: Truth, scores: np.ndarray, k: int, allowed: np.ndarray | None = None) -> float:
        return float(np.mean([truth.recall(scores[n], found, k, allowed) for n, found in self.found.items()]))

    def shortest(self) -> int:
        return min(len(found) for found in self.found.values())


def in_turn(ways: Sequence[Way], count: int, rounds: int = 3) -> list[Row]:
    """Let all ways answer the same `count` queries one after the other, the first way changing from query to query.

    All queries are asked once beforehand, of a slow way only the first: each connection is a process that has to find every page.
    """
    times: list[list[float]] = [[] for _ in ways]
    found: list[dict[int, list[int]]] = [{} for _ in ways]
    for way in ways:
        for number in range(count if way.every == 1 else 1):
            way.answer(number)
    for turn in range(rounds):
        for number in range(count):
            for place in range(len(ways)):
                at = (place + number + turn) % len(ways)
                way = ways[at]
                if number % way.every or (way.every > 1 and turn):
                    continue
                started = time.perf_counter()
                ids = way.answer(number)
                times[at].append((time.perf_counter() - started) * 1e3)
                found[at][number] = ids
    return [Row(way.name, np.array(taken), ids) for way, taken, ids in zip(ways, times, found)]


def table(rows: Sequence[Row], against: Row, extra: Callable[[Row], list[str]] = lambda row: [], heads: Sequence[str] = ()) -> str:
    """Markdown: p50, p95 and p99 of each way, its p50 as a multiple of `against`, and more columns."""
    lines = [f"| way | p50 ms | p95 | p99 | x {against.name.split(',')[0]} | {' | '.join(heads)} |", "|---" * (5 + len(heads)) + "|"]
    for row in rows:
        p50, p95, p99 = np.percentile(row.ms, [50, 95, 99])
        cells = [row.name, f"{p50:.2f}", f"{p95:.2f}", f"{p99:.2f}", f"{p50 / against.p50:.2f}", *extra(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plain_connection(library: Any) -> Any:
    """A connection as anybody would make one: the server's defaults, vectors as parameters, no transaction blocks."""
    import psycopg
    from pgvector.psycopg import register_vector

    with library.connection() as conn:
        conninfo = psycopg.conninfo.make_conninfo(conn.info.dsn, password=conn.info.password)
    plain = psycopg.connect(conninfo, autocommit=True)
    register_vector(plain)
    return plain


def ensure_wide(conn: Any, data: Data) -> None:
    """The plain wide table: one row per image with a float32 `vector` column of each kind, as one would write it first."""
    if conn.execute("SELECT to_regclass(%s)", [WIDE]).fetchone()[0]:
        return
    kinds = data.kinds
    columns = ", ".join(f"{kind} vector({DIMS[kind]})" for kind in kinds)
    conn.execute("CREATE SCHEMA IF NOT EXISTS bench")
    ids = [row[0] for row in conn.execute("SELECT id FROM images ORDER BY hash")]
    conn.execute(f"CREATE TABLE {WIDE} (id bigint PRIMARY KEY, {columns})")
    streams = {kind: _per_image(data, kind) for kind in kinds}
    for start in range(0, data.rows, 1000):
        with conn.cursor().copy(f"COPY {WIDE} FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8) + _wide_rows(ids[start : start + 1000], [next(streams[kind]) for kind in kinds]) + b"\xff\xff")
    conn.execute(f"ANALYZE {WIDE}")
    conn.execute("CHECKPOINT")


def _per_image(data: Data, kind: str) -> Any:
    """Unit vectors [1000, dims] of the images in their order; a text's again for each of its images."""
    each = 1 if kind == "image" else data.images_per_text
    kept = np.empty((0, DIMS[kind]), np.float32)
    for vectors in data.vectors(kind):
        kept = np.concatenate([kept, np.repeat(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), each, axis=0)])
        while len(kept) >= 1000:
            yield kept[:1000]
            kept = kept[1000:]
    if len(kept):
        yield kept


def _wide_rows(ids: Sequence[int], columns: Sequence[np.ndarray]) -> bytes:
    fields: list[Any] = [("fields", ">i2"), ("id_size", ">i4"), ("id", ">i8")]
    for number, vectors in enumerate(columns):
        fields += [(f"size{number}", ">i4"), (f"dims{number}", ">u2"), (f"unused{number}", ">u2"), (f"v{number}", ">f4", (vectors.shape[1],))]
    rows = np.zeros(len(ids), np.dtype(fields))
    rows["fields"], rows["id_size"], rows["id"] = 1 + len(columns), 8, ids
    for number, vectors in enumerate(columns):
        rows[f"size{number}"], rows[f"dims{number}"], rows[f"v{number}"] = 4 + 4 * vectors.shape[1], vectors.shape[1], vectors[: len(ids)]
    return rows.tobytes()


def folder_argument(parser: Any) -> None:
    parser.add_argument("folder", type=Path, help="a library that benchmarks/synthetic.py filled")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
