"""Runs pytest inside the prepared environment; on all tests, in as many processes as cores and memory allow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # tests/, for `host`; not host/ itself

from host import bootstrap


PROCESS_GIB = 8  # the most that one of them takes, its own ComfyUI among it


def main(arguments: list[str]) -> int:
    if not arguments:
        import psutil

        processes = min(os.cpu_count() or 1, psutil.virtual_memory().total // (PROCESS_GIB << 30), 4)
        arguments = ["-n", str(max(processes, 1)), "--dist", "loadfile"]  # a file's tests follow each other in one ComfyUI
    return subprocess.call([sys.executable, "-m", "pytest", *arguments], cwd=bootstrap.REPOSITORY)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
