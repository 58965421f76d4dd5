"""Questions of one kind that are near to none of its vectors: what the index finds as a plain search asks it, and what a search gives.

Sums of two, one without another, what is least like one, and a description's; each against comparing with all. The index of
the kind is tried first (db/indexes/effort.py), unless it was.

    .venv/bin/python benchmarks/shapes.py FOLDER [--kind image] [--k 50] [--queries 40]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine, prepare
from measured import Truth, Way, folder_argument, in_turn, plain_connection
from search import bare
from synthetic import DIMS, FAMILIES, Data, open_filled, stop

SHAPES = {  # the weights of the parts; the last is asked as a description is, whose vector lies apart from the pictures'
    "near": (1.0,), "unlike": (1.0, -1.0), "between": (1.0, 1.0), "several, one of them unlike": (1.0, 1.0, -1.0), "opposite": (-1.0,),
    "far": (1.0,),
}  # fmt: skip
OTHER_HALF = {"picture_tower": "synthetic"}
GAP = 2.0  # how far away, against the length of a vector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder_argument(parser)
    parser.add_argument("--kind", default="image")
    parser.add_argument("--k", type=int, default=50)
    options = parser.parse_args()
    prepare()
    data, library = Data.of(options.folder), open_tried(options.folder)
    plain = plain_connection(library)
    truth = Truth(plain, data)
    drawn = data.queries(options.kind, 3 * options.queries).reshape(3, options.queries, DIMS[options.kind])
    drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
    gap = np.random.default_rng(5).standard_normal(DIMS[options.kind])
    gap *= GAP / np.linalg.norm(gap)
    print(f"{machine()}\n{data.rows} images, kind {options.kind}, k {options.k}, {options.queries} queries, {options.rounds} rounds\n")
    print("| question | bare HNSW, ef 100, p50 ms | recall@10 | @50 | ours p50 ms | recall@10 | @50 | how |")
    print("|---" * 8 + "|")
    for shape, weights in SHAPES.items():
        if shape == "far" and options.kind != "image":
            continue  # only pictures are described
        vectors = drawn[: len(weights)] + (gap if shape == "far" else 0)  # [parts, queries, dims]
        asked = np.tensordot(weights, vectors, 1).astype(np.float32)  # [queries, dims]
        scores = truth.cosines(options.kind, asked)
        methods: dict[str, None] = {}
        ways = [bare(plain, options.kind, asked, options.k, 100), ours(library, options, vectors, weights, shape, methods)]
        rows = in_turn(ways, options.queries, options.rounds)
        cells = [f"{row.p50:.1f} | {row.recall(truth, scores, 10):.3f} | {row.recall(truth, scores, 50):.3f}" for row in rows]
        print(f"| {shape} | {' | '.join(cells)} | {', '.join(methods)} |", flush=True)
    plain.close()
    stop(options.folder)


def open_tried(folder: Path) -> Any:
    """The library in `folder`, its pictures such that can be described, and its indexes tried."""
    from diffusion_toolkit import db
    from diffusion_toolkit.db.indexes.effort import try_grown

    library = open_filled(folder)
    with library.connection() as conn:
        conn.execute("UPDATE encoders SET details = details || %s::jsonb WHERE family = 'image'", [json.dumps(OTHER_HALF)])
        db.bump_generation(conn)
    try_grown(library)
    return library


def ours(library: Any, options: Any, vectors: np.ndarray, weights: tuple[float, ...], shape: str, methods: dict[str, None]) -> Way:
    """A search for the parts, its connection included."""
    from diffusion_toolkit import db

    made_by = {"details": OTHER_HALF} if shape == "far" else {"fingerprint": f"synthetic-{FAMILIES[options.kind]}"}

    def answer(number: int) -> list[int]:
        asked = zip(vectors[:, number].astype(np.float32), weights)
        parts = tuple(db.Part(options.kind, vector, weight, **made_by) for vector, weight in asked)
        with library.reading() as conn:
            found = db.search(conn, db.Question(parts=parts, k=options.k))
        methods[found.method] = None
        return [hit.image_id for hit in found.hits]

    return Way("ours", answer)


if __name__ == "__main__":
    main()
