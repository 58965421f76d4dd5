"""Shows what ComfyUI is doing while it does it: one line that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Any

_PLAIN_EVERY_S = 5.0
_PLAIN_STAGE_S = 1.0  # what is over sooner needs no line


class Progress:
    """Follows one prompt's websocket events (`event` fits ComfyClient.queue's `on_event`), under a label.

    Leaving it ends the line with the time taken, or with "failed".
    """

    def __init__(self, label: str, prompt: dict[str, Any] | None = None) -> None:
        self._label = label
        self._titles = {id_: (node.get("_meta") or {}).get("title") or node["class_type"] for id_, node in (prompt or {}).items()}
        self._talkative: set[str] = set()  # nodes that send text: their bare numbers say less
        self._terminal = sys.stdout.isatty()
        self._started = time.monotonic()
        self._shown_at = self._started
        self._shown_stage = ""

    def event(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "executing" and data.get("node"):
            self._show(self._title(data["node"]), "", "")
        elif kind == "progress_text":
            self._talkative.add(data["node"])
            self._show(self._title(data["node"]), data["text"].split(":")[0], data["text"])
        elif kind == "progress" and data["max"] > 1 and data.get("node") not in self._talkative:
            self._show(self._title(data["node"]), "", f"{data['value']} of {data['max']}")

    def _title(self, node_id: str) -> str:
        return self._titles.get(node_id, f"node {node_id}")

    def _show(self, title: str, stage: str, text: str) -> None:
        """Show where the prompt is; in plain lines a new stage of a node sooner than what changes within one."""
        now = time.monotonic()
        stage = f"{title}/{stage}"
        line = f"  {self._label}: {title}" + (f", {text}" if text else "")
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r{line[:width]:<{width}}", end="", flush=True)
        elif now - self._shown_at >= (_PLAIN_EVERY_S if stage == self._shown_stage else _PLAIN_STAGE_S):
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
