"""A search of one kind, from a node's input to its rows, against the bare HNSW query and the exact scan of a wide table.

Ours: what a search node does with its vector (nodes/search/asking.py): borrow a connection, find the encoder, search, read all images. Bare: the one SELECT, its ids alone, on a
connection that is kept, with the same ef_search. Wide: PostgreSQL's first attempt, float32 vectors in a table of all five kinds.

    .venv/bin/python benchmarks/search.py FOLDER [--kind image] [--k 50] [--queries 200] [--wide 20]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from harness import machine, prepare
from measured import WIDE, Row, Truth, Way, ensure_wide, folder_argument, in_turn, plain_connection, table
from synthetic import DIMS, FAMILIES, Data, open_filled, stop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder_argument(parser)
    parser.add_argument("--kind", default="image")
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--ef", type=int, default=100, help="of the bare query")
    parser.add_argument("--wide", type=int, default=20, help="queries that the wide table answers too; 0: none, and no table is made")
    options = parser.parse_args()
    prepare()
    data, library = Data.of(options.folder), open_filled(options.folder)
    plain = plain_connection(library)
    if options.wide:
        ensure_wide(plain, data)
    queries = data.queries(options.kind, options.queries)
    truth = Truth(plain, data)
    scores = truth.cosines(options.kind, queries)
    ways = [bare(plain, options.kind, queries, options.k, options.ef), *ours(library, options.kind, queries, options.k)]
    if options.wide:
        ways.append(wide(plain_connection(library), options.kind, queries, options.k, max(1, options.queries // options.wide)))
    rows = in_turn(ways, options.queries, options.rounds)
    print(f"{machine()}\n{data.rows} images, kind {options.kind}, k {options.k}, {options.queries} queries, {options.rounds} rounds\n")

    def recalls(row: Row) -> list[str]:
        return [f"{row.recall(truth, scores, k):.3f}" for k in (10, 50)]

    print(table(rows, rows[0], recalls, ["recall@10", "recall@50"]))
    if options.wide:
        print(f"\nThe wide exact scan takes {rows[-1].p50 / rows[1].p50:.0f} times as long as ours from input to rows.")
    plain.close()
    stop(options.folder)


def bare(conn: Any, kind: str, queries: np.ndarray, k: int, ef: int) -> Way:
    """The least that pgvector can be asked."""
    from diffusion_toolkit.db._index_sql import searched_rows

    table_name, key = ("image_vectors", "image_id") if kind == "image" else ("text_vectors", "text_id")
    encoder = conn.execute("SELECT id FROM encoders WHERE family = %s AND active", [FAMILIES[kind]]).fetchone()[0]
    image_of = None
    if kind != "image":  # the bare query gives texts; which image each is of is looked up beforehand, outside the time
        image_of = dict(conn.execute(f"SELECT {'negative' if kind == 'negative' else 'prompt'}_id, min(id) FROM images GROUP BY 1").fetchall())
    conn.execute(f"SET hnsw.ef_search = {ef:d}")
    conn.execute("SET hnsw.iterative_scan = off")
    statement = (
        f"SELECT {key} FROM {table_name} WHERE {searched_rows(FAMILIES[kind], encoder).as_string()} "
        f"ORDER BY embedding::halfvec({DIMS[kind]}) <=> %s::halfvec({DIMS[kind]}) LIMIT {k}"
    )

    assert "Index Scan" in str(conn.execute(f"EXPLAIN {statement}", [queries[0]]).fetchall()), "the bare query goes by no index"

    def answer(number: int) -> list[int]:
        ids = [row[0] for row in conn.execute(statement, [queries[number]])]
        return ids if image_of is None else [image_of[text] for text in ids if text in image_of]

    return Way(f"bare HNSW, ef {ef}", answer)


def ours(library: Any, kind: str, queries: np.ndarray, k: int) -> list[Way]:
    """From a node's input to its rows; and the search alone, its connection included."""
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.links import QueryPart
    from diffusion_toolkit.nodes.search.asking import Wanted, find

    def rows(number: int) -> list[int]:
        part = QueryPart(kind, queries[number], fingerprint=f"synthetic-{FAMILIES[kind]}", model="synthetic")
        return [image.id for image in find(library, [part], Wanted(k)).images]

    def ids(number: int) -> list[int]:
        with library.reading() as conn:
            part = db.Part(kind, queries[number], fingerprint=f"synthetic-{FAMILIES[kind]}")
            answer = db.search(conn, db.Question(parts=(part,), k=k))
            return [hit.image_id for hit in answer.hits]

    return [Way("ours, input to rows", rows), Way("ours, search alone", ids)]


def wide(conn: Any, kind: str, queries: np.ndarray, k: int, every: int) -> Way:
    """The exact scan over TOASTed float32 vectors."""
    statement = f"SELECT id FROM {WIDE} ORDER BY {kind} <=> %s LIMIT {k}"
    return Way("wide exact scan", lambda number: [row[0] for row in conn.execute(statement, [queries[number]])], every)


if __name__ == "__main__":
    main()
