"""Runs pytest inside the prepared environment; on all tests, in as many processes as cores and memory allow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    HERE = Path(__file__).resolve().parent  # in the place of host/ its parent, for `host`; ComfyUI's portable Python has neither
    sys.path[:] = [str(HERE.parent), *(place for place in sys.path if Path(place).resolve() != HERE)]

from host import bootstrap


PROCESS_GIB = 8  # the most that one of them takes, its own ComfyUI among it


def main(arguments: list[str]) -> int:
    if not arguments:
        import psutil

        cores = os.cpu_count() or 1
        processes = max(min(cores, psutil.virtual_memory().total // (PROCESS_GIB << 30), 4), 1)
        arguments = ["-n", str(processes), "--dist", "loadfile"]  # a file's tests follow each other in one ComfyUI
        arguments += ["--no-loadscope-reorder"]  # as they are collected: files of a few long tests first, and of many short ones last
        # Else each process' torch takes all cores, and threads that wait for one another spin: up to six times the processor time.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(cores // processes, 1)))
    return subprocess.call([sys.executable, "-m", "pytest", *arguments], cwd=bootstrap.REPOSITORY)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
