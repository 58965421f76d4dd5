"""A weighted mix of kinds by `db.search`, against the plain SQL: the weighted sum of `1 - <=>` over the wide table.

Sorts of queries: `like` are near one image in all kinds; `mixed` take each kind's vector from another cluster, so that no
image is near in all of them; `stored` take each kind's from near a stored one, each of another image: as a prompt that is written again, with another
look, which one image fits in one kind as no other does; `far` the same at a cosine of .3, near to nothing; `unlike` are as `stored` with no weight above 0.
Every row says by which method the answers were found.

    .venv/bin/python benchmarks/hybrid.py FOLDER [--kinds prompt,negative,image] [--queries 50] [--plain 5] [--compared 100]
"""

from __future__ import annotations

import argparse
import functools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from harness import machine
from measured import WIDE, Truth, Way, ensure_wide, folder_argument, in_turn, plain_connection
from synthetic import DIMS, FAMILIES, Data, open_filled, stop

WEIGHTS = {
    3: [(0.4, 0.3, 0.3), (1, 0, 0), (1, -0.3, 0), (0.5, 0.5, -0.5)],
    5: [(0.3, 0.2, 0.2, 0.15, 0.15), (1, 0, 0, 0, 0), (1, -0.3, 0, 0.5, 0), (0.5, 0.5, -0.5, 0.3, -0.3), (0, 0, 0, 0.5, 0.5)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder_argument(parser)
    parser.add_argument("--kinds", default="prompt,negative,image")
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--plain", type=int, default=5, help="queries of each weights that the plain SQL answers too; 0: none")
    parser.add_argument("--sorts", default="like,mixed,stored")
    parser.add_argument("--build", metavar="KINDS", help="first make the hybrid index over these kinds, or: all")
    parser.add_argument("--compared", type=int, help="so many candidates, in place of what the check at the making chose")
    parser.add_argument("--postgresql", action="store_true", help="candidates compared by PostgreSQL, as before their vectors are read into memory")
    options = parser.parse_args()
    if options.postgresql:
        whole()._ASKED = 10**9
    kinds = options.kinds.split(",")
    data, library = Data.of(options.folder), open_filled(options.folder)
    if options.build:
        build(library, options.build)
    if not options.postgresql:
        print(f"{read_vectors(library, kinds)}\n", flush=True)
    with comparing(library, options.compared):
        compare(options, kinds, data, library)
    stop(options.folder)


def compare(options: argparse.Namespace, kinds: list[str], data: Data, library: Any) -> None:
    """Print the table."""
    plain = plain_connection(library)
    if options.plain:
        ensure_wide(plain, data)
    truth = Truth(plain, data)
    print(f"{machine()}\n{data}\nkinds {options.kinds}, k {options.k}, {options.queries} queries each, {options.rounds} rounds\n")
    print("| queries | weights | plain SQL p50 ms | ours p50 | p95 | with rows p50 | times | recall@1 | recall@10 | recall@50 | how |")
    print("|---" * 11 + "|")
    nearness = {"stored": 0.8, "far": 0.3, "unlike": 0.8}
    for sort in options.sorts.split(","):
        like = np.random.default_rng(7).integers(data.texts, size=options.queries) if sort == "like" else None
        if like is not None and data.images_per_text > 1:
            raise SystemExit("Queries like one image need a library with a text of its own for each image.")
        make = functools.partial(near_stored, cosine=nearness[sort]) if sort in nearness else functools.partial(Data.queries, like=like, seed=1)
        queries = {kind: make(data, kind, options.queries) for kind in kinds}
        cosines = [truth.cosines(kind, queries[kind]) for kind in kinds]
        for weights in WEIGHTS[len(kinds)]:
            weights = tuple(-abs(weight) for weight in weights) if sort == "unlike" else weights
            scores = sum(np.float32(weight) * found for weight, found in zip(weights, cosines))
            methods: Counter[str] = Counter()
            ways = [ours(library, kinds, queries, weights, options.k, methods, False), ours(library, kinds, queries, weights, options.k, methods, True)]
            if options.plain:
                every = max(1, options.queries // options.plain)
                ways.append(sum_over_wide(plain, kinds, queries, weights, options.k, every))
            rows = in_turn(ways, options.queries, options.rounds)
            search, with_rows = rows[:2]
            usual = rows[2].p50 if options.plain else float("nan")
            recalls = " | ".join(f"{search.recall(truth, scores, k):.3f}" for k in (1, 10, 50))
            how = "; ".join(f"{method} ({count / methods.total():.0%})" for method, count in methods.most_common(3))
            print(
                f"| {sort} | {weights} | {usual:.0f} | {search.p50:.2f} | {np.percentile(search.ms, 95):.2f} | {with_rows.p50:.2f} | "
                f"{usual / search.p50:.0f} | {recalls} | {how} |",
                flush=True,
            )
            short = search.shortest()
            if short < options.k:
                print(f"  (a search gave {short} hits)")
    plain.close()


def near_stored(data: Data, kind: str, count: int, cosine: float) -> np.ndarray:
    """Vectors [count, dims] at this cosine to a stored one, which is drawn for this kind by itself."""
    rng = np.random.default_rng([17, list(DIMS).index(kind)])
    wanted, found, start = np.sort(rng.integers(data.items(kind), size=count)), [], 0
    for vectors in data.vectors(kind):
        found.append(vectors[wanted[(wanted >= start) & (wanted < start + len(vectors))] - start])
        start += len(vectors)
    stored = rng.permutation(np.concatenate(found))  # in no order that another kind's have too
    noise = rng.standard_normal(stored.shape, np.float32)
    unit, aside = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (stored, noise))
    return cosine * unit + (1 - cosine**2) ** 0.5 * aside


def whole() -> Any:
    """The module that reads the vectors which candidates are compared with."""
    import diffusion_toolkit.db.hybrid.whole

    return diffusion_toolkit.db.hybrid.whole


def read_vectors(library: Any, kinds: list[str]) -> str:
    """Search until those vectors are read, as a process does beside its first searches; how long that took, and what for."""
    from diffusion_toolkit import db
    from diffusion_toolkit.db.hybrid.candidates import ready_hybrid
    from diffusion_toolkit.db.hybrid.held import held

    parts = tuple(db.Part(kind, np.ones(DIMS[kind], np.float32), fingerprint=f"synthetic-{FAMILIES[kind]}") for kind in kinds)
    for _ in range(whole()._ASKED):
        with library.reading() as conn:
            db.search(conn, db.Question(parts=parts, k=50))
    started = time.perf_counter()
    for thread in threading.enumerate():
        if thread.name == "whole vectors":
            thread.join()
    with library.reading() as conn:
        ready = ready_hybrid(conn)
        vectors = ready and held(conn, ready).whole.vectors
    if vectors is None:
        return "No vectors were read into memory: PostgreSQL compares the candidates."
    size = sum(of_encoder.numbers.nbytes + of_encoder.sketches.nbytes for of_encoder in vectors.vectors.values())
    return f"Vectors of {', '.join(ready['kinds'])}: {size / 1e6:,.0f} MB, read in {time.perf_counter() - started:.1f} s; in that time PostgreSQL compares (--postgresql)."


@contextmanager
def comparing(library: Any, candidates: int | None) -> Iterator[None]:
    """Search with so many candidates, whatever the check found; the library gets back what it had."""
    if not candidates:
        yield
        return
    with library.connection() as conn:
        kept = conn.execute("SELECT id, details FROM hybrids WHERE ready").fetchone()
        if kept is None:
            raise SystemExit("There is no hybrid index: add --build.")
        every = dict.fromkeys(kept[1]["candidates"], candidates)
        forced = {"candidates": every, "recalls": dict.fromkeys(every, 1)}
        conn.execute("UPDATE hybrids SET details = details || %s::jsonb WHERE id = %s", [json.dumps(forced), kept[0]])
    try:
        yield
    finally:
        with library.connection() as conn:
            conn.execute("UPDATE hybrids SET details = %s::jsonb WHERE id = %s", [json.dumps(kept[1]), kept[0]])


def build(library: Any, kinds: str) -> None:
    """Make the hybrid index and say what it is."""
    from diffusion_toolkit.db.hybrid.build import build_hybrid

    started = time.perf_counter()
    details = build_hybrid(library, None if kinds == "all" else kinds.split(","))
    print(f"Hybrid index over {kinds}: {time.perf_counter() - started:.0f} s, {details}\n", flush=True)


def ours(library: Any, kinds: list[str], queries: dict, weights: tuple, k: int, methods: Counter, with_rows: bool) -> Way:
    """What a node does, its connection included; with the images' rows if asked."""
    from diffusion_toolkit import db

    def answer(number: int) -> list[int]:
        parts = tuple(
            db.Part(kind, queries[kind][number], weight, fingerprint=f"synthetic-{FAMILIES[kind]}") for kind, weight in zip(kinds, weights)
        )
        with library.reading() as conn:
            found = db.search(conn, db.Question(parts=parts, k=k))
            methods[found.method] += 1
            ids = [hit.image_id for hit in found.hits]
            return [image.id for image in db.get_images(conn, ids)] if with_rows else ids

    return Way("ours", answer)


def sum_over_wide(conn: Any, kinds: list[str], queries: dict, weights: tuple, k: int, every: int) -> Way:
    """As one would write it: every image compared in every kind."""
    terms = " + ".join(f"%s * (1 - ({kind} <=> %s::vector({DIMS[kind]})))" for kind in kinds)
    statement = f"SELECT id FROM {WIDE} ORDER BY {terms} DESC LIMIT {k}"

    def answer(number: int) -> list[int]:
        values = [value for kind, weight in zip(kinds, weights) for value in (float(weight), queries[kind][number])]
        return [row[0] for row in conn.execute(statement, values)]

    return Way("plain SQL", answer, every)


if __name__ == "__main__":
    main()
