"""Bytes on disk of an image's vectors and their indexes, against five float32 vectors an image with an HNSW index each.

    .venv/bin/python benchmarks/bytes.py FOLDER [--float32 5000]
"""

from __future__ import annotations

import argparse
from typing import Any

from harness import machine
from measured import WIDE, ensure_wide, plain_connection
from synthetic import Data, open_filled, stop

TABLES = ("text_vectors", "image_vectors", "hybrid_vectors", "hybrids", "hybrid_tail", "token_states")


def main() -> None:
    from pathlib import Path

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--float32", type=int, default=5000, help="images of the float32 table that is measured; 0: none")
    options = parser.parse_args()
    data, library = Data.of(options.folder), open_filled(options.folder)
    conn = plain_connection(library)
    print(f"{machine()}\n{data}\n\n| what | MB | bytes an image |\n|---|---|---|")
    totals = dict.fromkeys(("five", "hybrid"), 0)
    for table in TABLES:
        for name, size in relations(conn, table):
            if size > 100_000:
                print(f"| {name} | {size / 1e6:.1f} | {size / data.rows:.0f} |")
            if table != "token_states":
                totals["hybrid" if table.startswith("hybrid") else "five"] += size
    both = sum(totals.values())
    print(f"| the five kinds | {totals['five'] / 1e6:.1f} | {totals['five'] / data.rows:.0f} |")
    print(f"| with the hybrid index | {both / 1e6:.1f} | {both / data.rows:.0f} |")
    if options.float32:
        plain = float32(conn, data, options.float32)
        print(f"| five float32 vectors and indexes ({options.float32} images measured) | {plain * options.float32 / 1e6:.1f} | {plain:.0f} |")
        print(f"\nOf 60 kB: the five kinds {totals['five'] / data.rows / 60_000:.3f}, with the hybrid index {both / data.rows / 60_000:.3f}; ", end="")
        print(f"of the float32 table as measured {totals['five'] / data.rows / plain:.3f} and {both / data.rows / plain:.3f}.")
    conn.close()
    stop(options.folder)


def relations(conn: Any, table: str) -> list[tuple[str, int]]:
    """The table, what lies beside it, and its indexes, each with its bytes."""
    own = conn.execute("SELECT pg_table_size(to_regclass(%s))", [table]).fetchone()[0]
    indexes = conn.execute(
        "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index WHERE indrelid = to_regclass(%s) ORDER BY 1", [table]
    ).fetchall()
    return [(table, own or 0), *indexes]


def float32(conn: Any, data: Data, images: int) -> float:
    """Bytes an image of a wide table of so many images, with HNSW indexes in float32."""
    ensure_wide(conn, data)
    conn.execute(f"CREATE TABLE bench.float32 AS SELECT * FROM {WIDE} LIMIT {images:d}")
    try:
        for kind in data.kinds:
            conn.execute(f"CREATE INDEX ON bench.float32 USING hnsw ({kind} vector_cosine_ops)")
        return conn.execute("SELECT pg_total_relation_size('bench.float32')").fetchone()[0] / images
    finally:
        conn.execute("DROP TABLE bench.float32")


if __name__ == "__main__":
    main()
