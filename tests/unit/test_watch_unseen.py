"""What ComfyUI's history tells a watch: of some prompts nothing, since a program removes their entries, or queues under one id again; and
of others too much, since nodes show what was saved long before."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from diffusion_toolkit.nodes.indexing import watched_prompts
from diffusion_toolkit.nodes.indexing.watched_prompts import HostQueue, saved_files
from host.watch_queue import OUTPUT, queue, watch, watcher  # noqa: F401  (fixtures)


def test_where_a_prompt_ended_unseen_the_whole_folder_is_looked_through_when_all_is_quiet(watcher, queue) -> None:  # noqa: F811
    watcher.start(watch("cats", after=5))
    watcher.look(0)
    queue.unknown = 2
    watcher.look(100)
    watcher.look(104.9)
    assert queue.put_in == []
    watcher.look(105)
    assert watcher.run_of("watch 1").look_in == OUTPUT / "cats"


class History:
    """ComfyUI's, as `host_queue.history` tells of it."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}
        self.ended = 0

    def __call__(self) -> tuple[dict[str, Any], int]:
        return dict(self.entries), self.ended

    def ends(self, prompt_id: str) -> None:
        self.entries[prompt_id] = {"prompt": (0, prompt_id, {"9": {}}), "outputs": {}, "status": {}}
        self.ended += 1


@pytest.fixture
def history(monkeypatch) -> History:
    made = History()
    monkeypatch.setattr(watched_prompts, "history", made)
    monkeypatch.setattr(watched_prompts, "saved_files", lambda entry: [])
    return made


def test_each_prompt_is_told_once_and_those_that_left_no_entry_are_counted(history) -> None:
    of_host = HostQueue()

    def told() -> tuple[list[str], int]:
        finished, unseen = of_host.finished()
        return [one.prompt_id for one in finished], unseen

    history.ends("before")
    assert told() == (["before"], 0)
    history.ends("one")
    history.ends("two")
    assert told() == (["one", "two"], 0) and told() == ([], 0)
    history.ends("gone")
    del history.entries["gone"]
    history.ends("three")
    assert told() == (["three"], 1) and told() == ([], 0)
    history.ends("one")  # again, under the same id
    assert told() == (["one"], 0)
    history.ends("two")
    history.ends("two")
    assert told() == (["two"], 1)
    history.entries.clear()
    assert told() == ([], 0)


def test_what_was_there_long_before_was_not_saved_by_the_prompt_that_shows_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "folder_paths", SimpleNamespace(get_output_directory=lambda: str(tmp_path)))
    now = time.time()
    for name in ("new.png", "old.png"):
        (tmp_path / name).touch()
    shown = {"images": [{"filename": name, "subfolder": "", "type": "output"} for name in ("new.png", "old.png", "gone.png")]}

    def saved(began: float) -> list[str]:
        status = {"messages": [["execution_start", {"timestamp": int(1000 * began)}], ["execution_cached", {"nodes": ["2"]}]]}
        return [file.name for file in saved_files({"outputs": {"1": shown, "2": shown}, "status": status})]

    os.utime(tmp_path / "old.png", (now, now - 10_000))
    assert saved(now) == ["new.png", "old.png", "gone.png"]  # a copy that kept its time
    assert saved(now + 500) == ["new.png", "old.png", "gone.png"]  # by a drive whose clock is late
    os.utime(tmp_path / "new.png", (now, now + 800))
    assert saved(now + 1000) == ["new.png", "gone.png"]
