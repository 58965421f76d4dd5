"""Memory of an indexing run, by the number of its files: the most that the process and its readers' processes hold at once.

Tiny PNGs, each another picture with a prompt of its own, go through the whole pipeline into a fresh library. The encoders make
vectors of nothing, so that what is measured is ours; token states are off. Each size runs in a process of its own, and the server's
memory is not counted: it is bounded by its settings.

    .venv/bin/python benchmarks/memory.py [--files 1000,100000]
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from harness import machine, prepare

FOLDER_SIZE = 1000
DIMS = 16
MB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", default="1000,100000")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(options.child)))
        return
    rows = []
    for count in map(int, options.files.split(",")):
        scratch = Path(tempfile.mkdtemp(prefix="diffusion-toolkit-bench-"))
        try:
            make_files(scratch / "images", count)
            answer = subprocess.run([sys.executable, __file__, "--child", scratch], check=True, capture_output=True, text=True)
            rows.append({"files": count, **json.loads(answer.stdout.splitlines()[-1])})
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"{machine()}\n\n| files | before MB | most MB | of it readers' processes | at the end MB | s | files/s |\n|---|---|---|---|---|---|---|")
    for row in rows:
        sizes = " | ".join(f"{row[name] / MB:.0f}" for name in ("before", "most", "readers", "after"))
        print(f"| {row['files']:,} | {sizes} | {row['seconds']:.0f} | {row['files'] / row['seconds']:.0f} |")
    print(f"\nGrowth from {rows[0]['files']:,} to {rows[-1]['files']:,} files: {(rows[-1]['most'] - rows[0]['most']) / MB:.0f} MB.")


def make_files(folder: Path, count: int) -> None:
    for number in range(count):
        path = folder / f"{number // FOLDER_SIZE:04}" / f"ComfyUI_{number:08}_.png"
        if number % FOLDER_SIZE == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(tiny_png(number))


def tiny_png(number: int) -> bytes:
    """8 x 8 pixels and a prompt, both of this number alone."""
    rows = b"".join(b"\0" + number.to_bytes(4, "big") * 6 for _ in range(8))
    text = f"a prompt of some length, as people write them, number {number}\nNegative prompt: blurry, {number}\nSteps: 20, Seed: {number}"
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)),
        (b"tEXt", b"parameters\0" + text.encode("ascii")),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    parts = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def measure(scratch: Path) -> dict[str, float]:
    """One run, in this process."""
    prepare()
    from diffusion_toolkit.db import open_library
    from diffusion_toolkit.db.server.embedded import EmbeddedServer
    from diffusion_toolkit.embedders.folders.scan import Scan
    from diffusion_toolkit.embedders.pipeline import index_folder
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore

    folder = scratch / "images"
    library = open_library("default", scratch / "library")
    encoders = no_ops()
    with FolderStore(library, "bench", folder, "", encoders) as store, Watch() as watch:
        started = time.monotonic()
        with library.connection() as conn:  # making them takes hours, and is the server's; see bulk.py
            for (index,) in conn.execute("SELECT indexrelid::regclass::text FROM pg_index WHERE indexrelid::regclass::text LIKE '%%hnsw%%'", []).fetchall():
                conn.execute(f"DROP INDEX {index}")
        report = index_folder(folder, Scan(folder), store, encoders, token_state_budget=0)
        seconds = time.monotonic() - started
    library.close()
    EmbeddedServer.start(scratch / "library").stop()
    assert not report.skipped and report.added == report.found, report
    assert report.vectors["image"] == report.added, report.vectors
    return {**watch.seen, "seconds": seconds}


def no_ops() -> Any:
    """Encoders that cost nothing and keep what they make distinct."""
    from diffusion_toolkit.embedders.pipeline import Encoders

    def vectors(items: Any, dims: int = DIMS) -> np.ndarray:
        made = np.ones((len(items), dims), np.float32)
        made[:, 0] = np.arange(len(items))
        return made

    def encode(pairs: Any, states: bool = True) -> Any:
        return SimpleNamespace(clip_l=vectors(pairs, 768), clip_g=vectors(pairs, 1280), states=[])

    image = SimpleNamespace(fingerprint="image", name="image", dims=DIMS, weights="none", encode=vectors)
    text = SimpleNamespace(fingerprint="text", name="text", dims=DIMS, encode_texts=vectors)
    clip = SimpleNamespace(fingerprint="states", clip_l_fingerprint="l", clip_g_fingerprint="g", name="clip", halves={}, encode=encode)
    return Encoders(image, text, clip)


class Watch:
    """Looks at this process's memory, and its Python children's, twenty times a second."""

    def __enter__(self) -> Watch:
        import psutil

        self._process, self._over = psutil.Process(), threading.Event()
        self.seen = {"before": self._held()[0], "most": 0, "readers": 0, "after": 0}
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.seen["after"] = sum(self._held())

    def _look(self) -> None:
        while not self._over.wait(0.05):
            own, readers = self._held()
            if own + readers > self.seen["most"]:
                self.seen |= {"most": own + readers, "readers": readers}

    def _held(self) -> tuple[int, int]:
        import psutil

        readers = 0
        for child in self._process.children(recursive=True):
            try:
                readers += child.memory_info().rss if "python" in child.name() else 0
            except psutil.Error:  # it ended meanwhile
                pass
        return self._process.memory_info().rss, readers


if __name__ == "__main__":
    main()
