"""A queue that a test moves, second by second, and a watcher over it."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusion_toolkit.nodes.indexing.watch import Finished, Place, Watch, Watcher

OUTPUT = Path("/pictures").absolute()


class FakeQueue:
    """ComfyUI's queue, with nothing in it but what the test says."""

    def __init__(self) -> None:
        self.busy = self.waiting = self.unknown = 0
        self.done: list[Finished] = []
        self.put_in: list[tuple[object, object]] = []
        self.forgotten: list[str] = []
        self.told: list[str] = []

    def tasks(self) -> int:
        return self.busy + self.waiting

    def others_wait(self) -> bool:
        return self.waiting > 0

    def finished(self) -> tuple[list[Finished], int]:
        done, self.done, unknown, self.unknown = self.done, [], self.unknown, 0
        return done, unknown

    def put(self, part: object, beside: object) -> str:
        self.put_in.append((part, beside))
        self.busy = 1
        return f"watch {len(self.put_in)}"

    def forget(self, prompt_id: str) -> None:
        self.forgotten.append(prompt_id)

    def tell(self, place: Place, text: str) -> None:
        self.told.append(text)

    def ends(self, ended: str = "done") -> None:
        """The watch's run that is in the queue ends."""
        self.busy = 0
        self.done.append(Finished(f"watch {len(self.put_in)}", {}, [], ended, "no such checkpoint" if ended == "failed" else ""))

    def saves(self, name: str = "a.png") -> None:
        """A person's prompt ends that saved this file."""
        self.done.append(Finished("a person's", {"9": "its nodes"}, [OUTPUT / name], "done"))


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def watcher(queue: FakeQueue) -> Watcher:
    watcher = Watcher(queue)
    watcher._thread = object()  # type: ignore[assignment]  # the test looks by itself
    return watcher


def watch(
    subfolder: str = "",
    node: str = "4",
    after: float = 5,
    recursive: bool = True,
    prompt: str = "first",
    part: str = "",
    pattern: str = "",
    library: str = "default",
) -> Watch:
    place = Place("output", subfolder, library)
    part = part or f"part {subfolder}"
    return Watch(place, OUTPUT, OUTPUT / subfolder, recursive, pattern, after, ("workflow", node), prompt, part)


def parts(queue: FakeQueue) -> list[object]:
    return [part for part, _ in queue.put_in]
