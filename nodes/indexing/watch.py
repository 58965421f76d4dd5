"""Watching: what ComfyUI saves is indexed soon after, whenever its queue has nothing else to do.

A watch puts the part of a prompt that leads to an Index Folder node back into ComfyUI's queue. So the models are the host's to load
and unload, cancel works as ever, and nothing is indexed while an image is being made, since the queue runs one prompt at a time. A
thread of our own with its own models would fight both the sampler and ComfyUI's model management.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

log = logging.getLogger("diffusion_toolkit")

LOOK_EVERY_S = 1.0
RETRY_S, LONGEST_RETRY_S = 60.0, 3600.0  # after a failed run, twice as long after each further one
LONG_QUIET_S = 1800.0  # of an empty queue, after which indexes are made whose making has had to make room for a prompt


class Place(NamedTuple):
    """What an Index Folder node is set to, by which the page knows whose news it gets."""

    root: str
    subfolder: str
    library_name: str


@dataclass(eq=False)
class Watch:
    """One watched folder, and how to index it. `part` is for the queue alone; `node` is (workflow's id, node's id)."""

    place: Place
    root: Path
    folder: Path
    recursive: bool
    pattern: str
    after: float  # seconds for which the queue is empty first
    node: tuple[str, str]
    from_prompt: str
    part: Any
    saved_in: set[Path] = field(default_factory=set)  # folders with something new
    failures: int = 0
    not_before: float = 0.0
    done_as: str = ""  # the prompt of its latest finished run
    behind: bool = False  # the making of indexes had to make room: all is indexed, and searches are slower than they could be
    refreshes: bool = field(default=True, init=False)  # whether the run at hand makes them
    stood_back: bool = field(default=False, init=False)
    looks_in: set[Path] = field(default_factory=set, init=False)  # those of the run at hand
    left: set[Path] = field(default_factory=set, init=False)  # those of cancelled runs, for the next one

    def covers(self, file: Path) -> bool:
        """Whether a run would come upon this file, or upon a text beside images; as everywhere hidden folders and files are left out."""
        from ...embedders.folders.hidden import is_hidden
        from ...embedders.folders.scan import SIDECARS, globs_of, is_wanted

        if not (file.is_relative_to(self.folder) if self.recursive else file.parent == self.folder):
            return False
        if any(map(is_hidden, [file, *file.parents][: len(file.relative_to(self.folder).parts)])):
            return False
        return file.name.endswith(SIDECARS) or is_wanted(file.name, file.relative_to(self.root).as_posix(), globs_of(self.pattern))

    def is_over(self, folder: Path, library_name: str) -> bool:
        """Whether it indexes just this folder, as it is really called: it may be typed in several ways, and lie below two roots."""
        return self.folder == folder and self.place.library_name == library_name

    def is_of(self, node: tuple[str, str], from_prompt: str) -> bool:
        """Whether this node has begun it, in an earlier prompt: one that a list runs several times watches several folders."""
        return self.node == node and bool(node[0]) and self.from_prompt != from_prompt

    def folder_of(self, file: Path) -> Path | None:
        """The folder in which a run would come upon this file, where it really is or by a link in the watched folder."""
        return next((place.parent for place in (file.resolve(), file) if self.covers(place)), None)

    @property
    def look_in(self) -> Path:
        """The folder that a run looks through: no more of a large one than holds what is new."""
        return Path(os.path.commonpath(self.looks_in)) if self.looks_in else self.folder


class Finished(NamedTuple):
    """A prompt that ComfyUI is done with: what it saved in this run, and how it ended ("done", "failed" or "cancelled")."""

    prompt_id: str
    graph: Any
    saved: Sequence[Path]
    ended: str
    message: str = ""


class Queue(Protocol):
    """ComfyUI's queue, and the page, as the watcher sees them."""

    def tasks(self) -> int: ...  # waiting or running
    def others_wait(self) -> bool: ...
    def finished(self) -> tuple[Sequence[Finished], int]: ...  # since the last call, and how many more, of which nothing is known
    def put(self, part: Any, beside: Any) -> str: ...
    def forget(self, prompt_id: str) -> None: ...
    def tell(self, place: Place, text: str) -> None: ...


class Watcher:
    """All watches of this ComfyUI. They end with it: each is made by queueing Index Folder with `watch` on.

    `look` is the whole of it, called each second by a thread that lives as long as there is a watch.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._watches: list[Watch] = []
        self._running: dict[str, Watch] = {}  # by prompt id: at most one
        self._quiet_since: float | None = None
        self._last_graph: Any = {}
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def watches(self) -> list[Watch]:
        with self._lock:
            return list(self._watches)

    def folders(self, library_name: str) -> list[str]:
        """The folders that are watched for a library."""
        return [str(watch.folder) for watch in self.watches() if watch.place.library_name == library_name]

    def over(self, folder: Path, library_name: str) -> list[Watch]:
        """The watches for a library that look into this folder."""
        ours = (watch for watch in self.watches() if watch.place.library_name == library_name)
        return [watch for watch in ours if watch.folder == folder or (watch.recursive and watch.folder in folder.parents)]

    def start(self, watch: Watch) -> None:
        """Watch from now on, in place of what this node or this folder had."""
        with self._lock:
            over = (watch.folder, watch.place.library_name)
            self._watches = [one for one in self._watches if not (one.is_over(*over) or one.is_of(watch.node, watch.from_prompt))]
            if not self._watches:
                self._queue.finished()  # what was saved before is indexed by the run that asks for this
            self._watches.append(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._look_on, name="diffusion-toolkit-watch", daemon=True)
                self._thread.start()

    def end(self, folder: Path, library_name: str, node: tuple[str, str], from_prompt: str) -> list[Path]:
        """Stop watching what this node watched; the folders that were watched.

        Another node over the same folder leaves it be: of two workflows that index it, one may watch. Where one of them is not known
        again, without a workflow's id as a program queues it, it goes by the folder and library.
        """
        with self._lock:
            over = [watch for watch in self._watches if watch.is_over(folder, library_name) and not (watch.node[0] and node[0])]
            same = [watch for watch in self._watches if watch in over or watch.is_of(node, from_prompt)]
            self._watches = [watch for watch in self._watches if watch not in same]
            return [watch.folder for watch in same]

    def run_of(self, prompt_id: str) -> Watch | None:
        """The watch that queued this prompt; None for a person's."""
        with self._lock:
            return self._running.get(prompt_id)

    def make_room(self, watch: Watch) -> None:
        """Called by a watch's run before each batch. Raises StandBack, which ends it in order, as soon as another prompt waits."""
        if self._queue.others_wait():
            from ...embedders.pipeline import StandBack

            watch.stood_back = True
            raise StandBack("Another prompt waits.")

    def ran(self, watch: Watch, unfinished: bool, unrefreshed: bool) -> None:
        """Its run ends in order, and this is what it has left: files, or only what searches use, which waits for a long quiet."""
        with self._lock:
            watch.stood_back = unfinished
            self._set_behind(watch, unrefreshed or (watch.behind and unfinished))

    def _set_behind(self, watch: Watch, behind: bool) -> None:
        """Of all watches of its library, which have its indexes in common."""
        for one in (watch, *self._watches):
            if one.place.library_name == watch.place.library_name:
                one.behind = behind

    def tell(self, watch: Watch, text: str) -> None:
        """Show this on the node, wherever a page has it open."""
        self._queue.tell(watch.place, text)

    def look(self, now: float) -> None:
        """See what has been saved, and queue a run when the time has come."""
        tasks = self._queue.tasks()
        finished, unknown = self._queue.finished()
        with self._lock:
            for one in finished:
                watch = self._running.pop(one.prompt_id, None)
                if watch is not None:
                    self._judge(watch, one, now)
                    continue
                self._quiet_since = None
                self._last_graph = one.graph
                for watch in self._watches:
                    watch.saved_in.update(filter(None, map(watch.folder_of, one.saved)))
            if unknown and self._running:  # the run of a watch is the first to end after it was queued
                unknown -= 1
                self._give_up_running()
            if unknown:  # programs remove from the history what they have seen
                self._quiet_since = None
                for watch in self._watches:
                    watch.saved_in.add(watch.folder)
            if tasks:
                self._quiet_since = None
                return
            self._give_up_running()  # deleted from the queue
            if self._quiet_since is None:
                self._quiet_since = now
            quiet = now - self._quiet_since
            for watch in self._watches:
                refreshes = not watch.behind or quiet >= LONG_QUIET_S
                due = watch.saved_in or (watch.behind and refreshes)
                if due and quiet >= watch.after and now >= watch.not_before:
                    watch.refreshes = refreshes
                    watch.looks_in, watch.stood_back = watch.saved_in | watch.left, False
                    watch.saved_in, watch.left = set(), set()
                    self._running[self._queue.put(watch.part, self._last_graph)] = watch
                    return

    def _give_up_running(self) -> None:
        """It is not known how the run ends; the next one looks there too."""
        for watch in self._running.values():
            watch.left |= watch.looks_in
        self._running.clear()

    def _judge(self, watch: Watch, run: Finished, now: float) -> None:
        """What a run's end means for its watch: only what was not done is due again, and after failures not at once."""
        if run.ended == "failed":
            wait = min(RETRY_S * 2 ** min(watch.failures, 6), LONGEST_RETRY_S)
            watch.failures, watch.not_before = watch.failures + 1, now + wait
            watch.saved_in |= watch.looks_in
            log.warning("Watching %s: the run failed: %s", watch.folder, run.message)
            again = f"is tried again in {wait / 60:.0f} min or later" if watch in self._watches else "watching has ended"
            self.tell(watch, f"Watching: the run at {clock()} failed and {again}. {run.message}")
        elif run.ended == "cancelled":
            watch.left |= watch.looks_in
            self._set_behind(watch, False)
            self.tell(watch, f"Watching: the run at {clock()} was cancelled; the next is when something new is saved.")
        else:
            watch.failures = 0
            watch.saved_in |= watch.looks_in if watch.stood_back else set()
        if watch.done_as:
            self._queue.forget(watch.done_as)  # one run of each watch is enough in ComfyUI's history
        watch.done_as = run.prompt_id

    def _look_on(self) -> None:
        while True:
            with self._lock:
                if not self._watches:
                    self._thread, self._last_graph = None, {}
                    return
            try:
                self.look(time.monotonic())
            except Exception:  # of a host that is not as we know it: said once, and no watch goes on half alive
                log.exception("Watching ended, by an error. Queue Index Folder to index what is new.")
                with self._lock:
                    ended, self._watches, self._running, self._last_graph = self._watches, [], {}, {}
                with suppress(Exception):
                    for watch in ended:
                        self.tell(watch, f"Watching ended at {clock()}, by an error that is in the log. Queue this to index what is new.")
            time.sleep(LOOK_EVERY_S)


def clock() -> str:
    """The time of day, for a person."""
    return time.strftime("%H:%M")


@functools.cache
def watcher() -> Watcher:
    """The one of this ComfyUI."""
    from .watched_prompts import HostQueue

    return Watcher(HostQueue())
