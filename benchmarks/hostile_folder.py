"""A run over 1,000 sound pictures and 200 hostile files: all of the one are indexed, each of the other is named, nothing ends the run.

    .venv/bin/python benchmarks/hostile_folder.py [--good 1000] [--hostile 200]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from harness import REPOSITORY, machine  # makes `host` importable
from host.hostile_folder import write_hostile_folder
from host.package import load_package

assert REPOSITORY
load_package()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--good", type=int, default=1000)
    parser.add_argument("--hostile", type=int, default=200)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="diffusion-toolkit-hostile-") as scratch:
        folder = Path(scratch) / "pictures"
        good, hostile = write_hostile_folder(folder, options.good, options.hostile)
        report, seconds, indexed = index(folder, Path(scratch) / "library")
    named = dict(report.skipped)
    print(f"{machine()}\n{len(good)} sound pictures of 32x32, {len(hostile)} hostile files; a stand-in encoder\n")
    told = len(hostile & named.keys())
    print(f"In {seconds:.1f} s: {len(good & indexed)} of {len(good)} sound ones indexed, {told} of {len(hostile)} hostile ones named.")
    kinds = Counter(Path(name).suffix[1:] for name in hostile)
    print("Hostile: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) + ". The most frequent reasons:")
    for reason, count in Counter(reason.split("(")[0].strip() for reason in named.values()).most_common(6):
        print(f"- {count}: {reason}")
    assert indexed == good and named.keys() == hostile


def index(folder: Path, directory: Path) -> tuple[SimpleNamespace, float, set[str]]:
    from diffusion_toolkit import db
    from diffusion_toolkit.db.server.embedded import EmbeddedServer
    from diffusion_toolkit.embedders.folders.scan import Scan
    from diffusion_toolkit.embedders.pipeline import Encoders, index_folder
    from diffusion_toolkit.nodes.indexing.index_store import FolderStore

    encoder = SimpleNamespace(fingerprint="f", weights="w", name="stand-in", dims=4)
    encoder.encode = lambda images: np.ones((len(images), 4), np.float32)
    encoders, library = Encoders(image=encoder), db.open_library("default", directory)
    began = time.perf_counter()
    with FolderStore(library, "pictures", folder, "", encoders) as store:
        report = index_folder(folder, Scan(folder), store, encoders)
    seconds = time.perf_counter() - began
    with library.connection() as conn:
        indexed = {path for (path,) in conn.execute("SELECT path FROM paths")}
    library.close()
    EmbeddedServer.start(directory).stop()
    return report, seconds, indexed


if __name__ == "__main__":
    main()
