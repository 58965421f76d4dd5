"""A second run over unchanged files: Index Folder's pipeline against a bare os.walk with stat.

The files are in the library already, with every vector (of 16 dimensions: their length plays no part, since none is read). Both ways
look at the same folder, in turn, several times; the best of each counts, since a shared machine only ever makes them slower. One more run
is over a library whose budget of token states is full: two distinct texts an image, and token states of none of them.

    .venv/bin/python benchmarks/rerun.py [--files 100000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness import machine, prepare, timed

FOLDER_SIZE = 1000
IMAGES_A_TEXT = 5
DIMS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    prepare()
    from diffusion_toolkit.db import open_library
    from diffusion_toolkit.db.server.embedded import EmbeddedServer

    scratch = Path(tempfile.mkdtemp(prefix="diffusion-toolkit-bench-"))
    try:
        folder = scratch / "images"
        make_files(folder, options.files)
        library, full = (open_library("default", scratch / name) for name in ("library", "full"))
        encoders = stand_ins()
        fill(library, folder, encoders, options.files // IMAGES_A_TEXT)
        fill(full, folder, encoders, 2 * options.files, states=False)
        ways = {
            "bare os.walk with stat": lambda: walk(folder),
            "second run, no model connected": lambda: run(library, folder, None),
            "second run, all models connected": lambda: run(library, folder, encoders),
            f"the same, {2 * options.files:,} texts without states, whose budget is full": lambda: run(full, folder, encoders, budget=0),
            "the known files alone": lambda: known(library, folder),
            "the scan alone": lambda: scanned(folder),
        }
        best: dict[str, Any] = {}
        for _ in range(options.rounds):
            for name, job in ways.items():
                found = timed(name, job)
                assert found.items == options.files, found
                best[name] = min(best.get(name, found), found, key=lambda one: one.seconds)
        bare = next(iter(best.values()))
        print(f"{machine()}\n{options.files:,} files in folders of {FOLDER_SIZE:,}; best of {options.rounds}\n")
        print("| way | s | times the bare walk |\n|---|---|---|")
        print("\n".join(f"| {way.name} | {way.seconds:.2f} | {way.seconds / bare.seconds:.2f} |" for way in best.values()), flush=True)
        for one, name in ((library, "library"), (full, "full")):
            one.close()
            EmbeddedServer.start(scratch / name).stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def make_files(folder: Path, count: int) -> None:
    for number in range(count):
        path = folder / f"{number // FOLDER_SIZE:04}" / f"ComfyUI_{number:08}_.png"
        if number % FOLDER_SIZE == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(b"\x89PNG")  # an unchanged file is not opened


def stand_ins() -> Any:
    """Encoders that have an identity and are never asked."""
    from diffusion_toolkit.embedders.pipeline import Encoders

    image = SimpleNamespace(fingerprint="image", name="image", dims=DIMS, weights="none")
    text = SimpleNamespace(fingerprint="text", name="text", dims=DIMS)
    clip = SimpleNamespace(fingerprint="states", clip_l_fingerprint="l", clip_g_fingerprint="g", name="clip", halves={})
    return Encoders(image, text, clip)


def store_of(library: Any, folder: Path, encoders: Any) -> Any:
    from diffusion_toolkit.embedders.pipeline import Encoders
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore

    return FolderStore(library, "bench", folder, "", encoders or Encoders())


def fill(library: Any, folder: Path, encoders: Any, texts: int, states: bool = True) -> None:
    """Rows as a first run leaves them, by literal SQL; `texts` distinct ones, each image with a prompt and a negative of them."""
    from diffusion_toolkit.embedders.folders.scan import Scan
    from diffusion_toolkit.embedders.metadata import READER_VERSION

    store_of(library, folder, encoders).close()
    entries = list(Scan(folder).files())
    with library.connection() as conn:
        conn.execute(
            "INSERT INTO texts (hash, text_g, text_l) SELECT decode(md5(n::text), 'hex'), 'a prompt of some length, number ' || n, '' "
            "FROM generate_series(1, %s) n",
            [texts],
        )
        conn.execute(
            "INSERT INTO images (hash, width, height, prompt_joined, negative_joined, loras, reader, hashed_by, prompt_id, negative_id) "
            "SELECT decode(md5(n::text), 'hex'), 1, 1, false, false, '[]', %(reader)s, 'blake3', first + n %% %(texts)s, "
            "first + (n + %(files)s) %% %(texts)s FROM generate_series(1, %(files)s) n, (SELECT 1 + min(id) AS first FROM texts) t",
            {"reader": READER_VERSION, "texts": texts, "files": len(entries)},
        )
        conn.execute(
            "INSERT INTO paths (root_id, path, image_id, file_size, mtime_ns) SELECT r.id, f.path, f.n, f.size, f.mtime "
            "FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) WITH ORDINALITY f (path, size, mtime, n), roots r",
            [[entry.path for entry in entries], [entry.size for entry in entries], [entry.mtime_ns for entry in entries]],
        )
        indexes = conn.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indexrelid::regclass::text LIKE '%%hnsw%%'", [])
        for (index,) in indexes.fetchall():
            conn.execute(f"DROP INDEX {index}")  # made for vectors of the models' own length
        vector = f"array_fill(0.5, ARRAY[{DIMS}])::vector::halfvec"
        conn.execute(f"INSERT INTO image_vectors SELECT i.id, e.id, {vector} FROM images i, encoders e WHERE e.family = 'image'")
        conn.execute(
            f"INSERT INTO text_vectors SELECT t.id, e.id, {vector} FROM texts t, encoders e WHERE e.family IN ('text', 'clip_l', 'clip_g')"
        )
        if states:
            conn.execute(
                "INSERT INTO token_states (text_id, encoder_id, tokens, states) SELECT t.id, e.id, 77, ''::bytea FROM texts t, encoders e "
                "WHERE e.family = 'token_states'"
            )
    with library.reading() as conn:
        conn.execute("VACUUM ANALYZE")  # as autovacuum leaves it within a minute


def walk(folder: Path) -> int:
    return sum(1 for where, _, names in os.walk(folder) for name in names if os.stat(os.path.join(where, name)))


def run(library: Any, folder: Path, encoders: Any, budget: int = 5 * 2**30) -> int:
    """What the node does, without the models."""
    from diffusion_toolkit.embedders.folders.scan import Scan
    from diffusion_toolkit.embedders.pipeline import Encoders, index_folder

    with store_of(library, folder, encoders) as store:
        report = index_folder(folder, Scan(folder), store, encoders or Encoders(), token_state_budget=budget)
    assert not report.skipped, report.skipped
    return report.unchanged


def known(library: Any, folder: Path) -> int:
    with store_of(library, folder, None) as store:
        return len(store.known_files())


def scanned(folder: Path) -> int:
    from diffusion_toolkit.embedders.folders.scan import Scan

    return sum(1 for _ in Scan(folder).files())


if __name__ == "__main__":
    main()
