"""`run.py` in a process of its own, on the folders of a ComfyUI that a test started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bootstrap
from .server import ComfyServer

STAND_INS = Path(__file__).with_name("stand_in_loaders.py")
NO_MODELS = ("--clip-vision", "none", "--checkpoint", "none", "--text-embedder", "none")


@dataclass(frozen=True)
class Done:
    """How it ended, and what it said; `report` is what it wrote as JSON."""

    code: int
    said: str
    told: str
    report: dict[str, Any] | None


class Command:
    """Runs it with ComfyUI's node classes as a file, which spares their import."""

    def __init__(self, server: ComfyServer, scratch: Path) -> None:
        self._server, self._scratch = server, scratch
        self._classes = scratch / "object_info.json"
        self._classes.write_text("{}", encoding="utf-8")

    def start(self, *arguments: str, classes: bool = False, env: Mapping[str, str] = {}) -> subprocess.Popen[str]:
        """`classes`: with ComfyUI's own node classes after all."""
        known = [] if classes or arguments[0] != "index" else ["--object-info", str(self._classes)]
        command = [
            sys.executable, str(bootstrap.REPOSITORY / "run.py"), *arguments, *known, "--comfyui", str(self._server.comfyui),
            "--", "--base-directory", str(self._server.base), "--cpu",
        ]  # fmt: skip
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIFFUSION_TOOLKIT_")}
        return subprocess.Popen(
            command, env={**inherited, "PYTHONUTF8": "1", **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, encoding="utf-8",
        )  # fmt: skip

    def run(self, *arguments: str, timeout: float = 300, **options: Any) -> Done:
        file = self._scratch / "report.json"
        file.unlink(missing_ok=True)
        with self.start(*arguments, "--json", str(file), **options) as process:
            try:
                said, told = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Done(process.returncode, said, told, json.loads(file.read_text(encoding="utf-8")) if file.exists() else None)


def arguments(folder: Path, *more: str, models: Sequence[str] = NO_MODELS) -> list[str]:
    return ["index", str(folder), *models, *more]
