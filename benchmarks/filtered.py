"""A filtered search by `db.search`, against the query that one would write by hand for just this filter.

By hand: the ids that pass are materialised and their vectors compared exactly, or (where more than 5 % pass) an iterative HNSW
scan; both are tried on each filter, and the faster of those that find all is "the best by hand". `topic` is the hard case: the filter
lets one cluster through, and the query comes from another.

    .venv/bin/python benchmarks/filtered.py FOLDER [--kind image] [--k 10] [--queries 100]
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

import numpy as np
from harness import machine
from measured import Row, Truth, Way, folder_argument, in_turn, plain_connection
from synthetic import DIMS, FAMILIES, Data, open_filled, stop

FILTERS = {  # what a person writes: the same in SQL
    "checkpoint:=one_percent.safetensors": "i.checkpoint = 'one_percent.safetensors'",
    "checkpoint:=one_of_ten_thousand.safetensors": "i.checkpoint = 'one_of_ten_thousand.safetensors'",
    "checkpoint:one_percent": "i.checkpoint ILIKE '%%one\\_percent%%'",
    "checkpoint:=five_percent.safetensors": "i.checkpoint = 'five_percent.safetensors'",
    "steps:20..45": "i.steps BETWEEN 20 AND 45",
    "label:topic-0": "i.labels @> ARRAY['topic-0']",
    "namespace:work": "i.namespace = 'work'",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder_argument(parser)
    parser.add_argument("--kind", default="image")
    parser.add_argument("--k", type=int, default=10)
    options = parser.parse_args()
    from diffusion_toolkit import db

    data, library = Data.of(options.folder), open_filled(options.folder)
    plain = plain_connection(library)
    plain.execute("SET hnsw.ef_search = 100")
    plain.execute("SET hnsw.iterative_scan = strict_order")
    queries = data.queries(options.kind, options.queries)
    truth = Truth(plain, data)
    scores = truth.cosines(options.kind, queries)
    print(f"{machine()}\n{data}\nkind {options.kind}, k {options.k}, {options.queries} queries, {options.rounds} rounds\n")
    print("| filter | passes | by hand: exact p50 ms | by hand: iterative p50 | recall@10 | ours p50 | p95 | times best by hand | on a held connection | times | hits | recall@10 | how |")
    print("|---" * 13 + "|")
    for text, condition in FILTERS.items():
        allowed = np.isin(truth.ids, [row[0] for row in plain.execute(f"SELECT id FROM images i WHERE {condition}", [])])
        methods: Counter[str] = Counter()
        filtered = db.parse_filter(text)
        ways = [
            by_hand(plain, options.kind, queries, options.k, condition, exact=True),
            by_hand(plain, options.kind, queries, options.k, condition, exact=False),
            ours(library, options.kind, queries, options.k, filtered, methods),
            held(library, options.kind, queries, options.k, filtered),
        ]
        exact, iterative, mine, kept = in_turn(ways, options.queries, options.rounds)

        def recall(row: Row) -> float:
            return row.recall(truth, scores, min(10, options.k), allowed)

        good = [row.p50 for row in (exact, iterative) if recall(row) >= 0.99]
        how = "; ".join(f"{method} ({count / methods.total():.0%})" for method, count in methods.most_common(3))
        print(
            f"| `{text}` | {allowed.sum()} ({allowed.mean():.2%}) | {exact.p50:.2f} | {iterative.p50:.2f} | {recall(iterative):.3f} | "
            f"{mine.p50:.2f} | {np.percentile(mine.ms, 95):.2f} | {mine.p50 / min(good):.2f} | {kept.p50:.2f} | {kept.p50 / min(good):.2f} | {mine.shortest()} | {recall(mine):.3f} | {how} |",
            flush=True,
        )
    plain.close()
    stop(options.folder)


def by_hand(conn: Any, kind: str, queries: np.ndarray, k: int, condition: str, exact: bool) -> Way:
    """With one image a text, as the library must be for it, the join is the same for all kinds."""
    from diffusion_toolkit.db._index_sql import searched_rows

    table, key, column = ("image_vectors", "image_id", "id") if kind == "image" else ("text_vectors", "text_id", "prompt_id")
    column = "negative_id" if kind == "negative" else column
    encoder = conn.execute("SELECT id FROM encoders WHERE family = %s AND active", [FAMILIES[kind]]).fetchone()[0]
    if exact:
        statement = (
            f"WITH chosen AS MATERIALIZED (SELECT i.id, i.{column} AS item FROM images i WHERE {condition}) "
            f"SELECT chosen.id FROM chosen JOIN {table} v ON v.{key} = chosen.item AND v.encoder_id = {encoder} "
            f"ORDER BY v.embedding <=> %s::halfvec({DIMS[kind]}) LIMIT {k}"
        )
    else:
        statement = (
            f"SELECT i.id FROM {table} v JOIN images i ON i.{column} = v.{key} WHERE {searched_rows(FAMILIES[kind], encoder).as_string()} AND {condition} "
            f"ORDER BY v.embedding::halfvec({DIMS[kind]}) <=> %s::halfvec({DIMS[kind]}) LIMIT {k}"
        )
    return Way("by hand", lambda number: [row[0] for row in conn.execute(statement, [queries[number]])])


def ours(library: Any, kind: str, queries: np.ndarray, k: int, filtered: Any, methods: Counter) -> Way:
    """The same, its connection and choice of method included."""
    from diffusion_toolkit import db

    def answer(number: int) -> list[int]:
        with library.reading() as conn:  # as the nodes do
            found = db.search(conn, question(kind, queries[number], k, filtered))
            methods[found.method] += 1
            return [hit.image_id for hit in found.hits]

    return Way("ours", answer)


def held(library: Any, kind: str, queries: np.ndarray, k: int, filtered: Any) -> Way:
    """`db.search` alone: what a caller with a connection of its own pays."""
    from diffusion_toolkit import db

    conn = library.connect()  # closed with the process
    conn.autocommit = True

    def answer(number: int) -> list[int]:
        found = db.search(conn, question(kind, queries[number], k, filtered))
        return [hit.image_id for hit in found.hits]

    return Way("ours, connection held", answer)


def question(kind: str, vector: np.ndarray, k: int, filtered: Any) -> Any:
    """As a search node asks, which tells the model that made the vector."""
    from diffusion_toolkit import db

    return db.Question(parts=(db.Part(kind, vector, fingerprint=f"synthetic-{FAMILIES[kind]}"),), k=k, filter=filtered)


if __name__ == "__main__":
    main()
