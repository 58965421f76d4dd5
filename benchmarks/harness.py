"""What every benchmark needs: ComfyUI as a library, this package by name, the machine in words, and two ways as one ratio.

A benchmark is run with the Python of `.venv` (made by `python3 tests/run.py`), as `.venv/bin/python benchmarks/<name>.py`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))  # for `host`


def prepare() -> None:
    """Make `import comfy` and `import diffusion_toolkit` work, on the GPU where there is one."""
    from host import bootstrap
    from host.package import load_package
    from host.server import has_accelerator

    sys.path.insert(0, str(bootstrap.find_comfyui()))
    from comfy.cli_args import args

    args.cpu = not has_accelerator()
    load_package()


def object_info(saved: Path | None = None) -> dict[str, Any]:
    """ComfyUI's `/object_info`, from a file or from a ComfyUI that is started for it, with this package imported."""
    from host.package import load_package

    load_package()
    if saved:
        return json.loads(saved.read_text(encoding="utf-8"))
    from host.server import ComfyServer

    with ComfyServer() as server:
        return server.object_info()


def machine() -> str:
    """The machine that the figures are of."""
    import psutil
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    memory = psutil.virtual_memory().total / 2**30
    return f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {device}, {platform.system()}, Python {platform.python_version()}"


@dataclass(frozen=True)
class Timed:
    """One way of doing the job: how many items it did, in how many seconds."""

    name: str
    items: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.items / self.seconds


def timed(name: str, job: Callable[[], int]) -> Timed:
    """Run `job`, which returns how many items it did."""
    started = time.perf_counter()
    items = job()
    return Timed(name, items, time.perf_counter() - started)


def table(unit: str, plain: Timed, ours: Timed) -> str:
    """Both ways as a Markdown table, with their ratio."""
    lines = [f"| way | {unit} | s | {unit}/s |", "|---|---|---|---|"]
    lines += [f"| {way.name} | {way.items} | {way.seconds:.1f} | {way.rate:.2f} |" for way in (plain, ours)]
    return "\n".join([*lines, f"\nRatio: {ours.rate / plain.rate:.2f} times as fast."])
