"""Make a filled library's indexes anew by the package's own functions, with seconds and sizes.

    .venv/bin/python benchmarks/indexes.py FOLDER [--method hnsw] [--m 16] [--ef-construction 64] [--hybrid KINDS|all] [--memory 4GB]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from harness import machine
from synthetic import Data, open_filled, stop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", default="hnsw", help="of the encoders' own indexes; keep: leave them as they are")
    parser.add_argument("--m", type=int, help="default: the package's")
    parser.add_argument("--ef-construction", type=int, help="default: the package's")
    parser.add_argument("--hybrid", help="kinds of the hybrid index, or: all")
    parser.add_argument("--memory", default="", help="maintenance_work_mem, kept as the database's setting")
    options = parser.parse_args()
    library = open_filled(options.folder)
    from diffusion_toolkit.db import active_encoders
    from diffusion_toolkit.db.hybrid.build import build_hybrid
    from diffusion_toolkit.db.indexes.build import set_index

    given = {name: value for name, value in (("m", options.m), ("ef_construction", options.ef_construction)) if value}
    print(f"{machine()}\n{Data.of(options.folder)}\n{options.method} {given or 'as the package has it'}\n", flush=True)
    if options.memory:
        with library.connection() as conn:
            conn.execute("SELECT set_config('maintenance_work_mem', %s, false)", [options.memory])
            name = conn.info.dbname
            conn.execute(f"ALTER DATABASE {name} SET maintenance_work_mem = '{options.memory}'")
        library.close()  # so that new connections have it
    if options.method != "keep":
        with library.connection() as conn:
            encoders = active_encoders(conn)
        for family, encoder in encoders.items():
            started = time.perf_counter()
            set_index(library, encoder.id, options.method, **given)
            print(f"{time.perf_counter() - started:7.1f} s  {family}", flush=True)
    if options.hybrid:
        started = time.perf_counter()
        details = build_hybrid(library, None if options.hybrid == "all" else options.hybrid.split(","))
        print(f"{time.perf_counter() - started:7.1f} s  hybrid index: {details}", flush=True)
    with library.connection() as conn:
        for name, size in conn.execute(
            "SELECT c.relname, pg_size_pretty(pg_relation_size(c.oid)) FROM pg_class c JOIN pg_am a ON a.oid = c.relam "
            "WHERE a.amname IN ('hnsw', 'ivfflat') ORDER BY 1"
        ):
            print(f"{size:>12}  {name}")
    stop(options.folder)


if __name__ == "__main__":
    main()
