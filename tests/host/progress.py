"""Shows what ComfyUI is doing while it does it: one line that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Any

_PLAIN_EVERY_S = 5.0


class Progress:
    """Follows one prompt's websocket events (`event` fits ComfyClient.queue's `on_event`), under a label.

    Leaving it ends the line with the time taken, or with "failed".
    """

    def __init__(self, label: str, prompt: dict[str, Any] | None = None) -> None:
        self._label = label
        self._titles = {id_: (node.get("_meta") or {}).get("title") or node["class_type"] for id_, node in (prompt or {}).items()}
        self._terminal = sys.stdout.isatty()
        self._started = time.monotonic()
        self._shown_at = -_PLAIN_EVERY_S
        self._shown_stage = ""

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "executing" and data.get("node"):
            self._show(self._title(data["node"]), "")
        elif kind == "progress_text":
            self._show(self._title(data["node"]), data["text"])
        elif kind == "progress" and data.get("node") is not None and data["max"] > 1:
            self._show(self._title(data["node"]), f"{data['value']} of {data['max']}")

    def _title(self, node_id: str) -> str:
        return self._titles.get(node_id, f"node {node_id}")

    def _show(self, title: str, text: str) -> None:
        now = time.monotonic()
        stage = title + text.split(":")[0]
        line = f"  {self._label}: {title}" + (f", {text}" if text else "")
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{line[:width]:<{width}}", end="", flush=True)
        elif stage != self._shown_stage or now - self._shown_at >= _PLAIN_EVERY_S:
            print(f"{line} ({now - self._started:.0f} s)", flush=True)
            self._shown_at, self._shown_stage = now, stage

    def __enter__(self) -> Progress:
        if self._terminal:
            print(f"  {self._label} ...", end="", flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        line = f"  {self._label}: " + (f"{time.monotonic() - self._started:.1f} s" if kind is None else "failed")
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{line:<{width}}" if self._terminal else line, flush=True)
