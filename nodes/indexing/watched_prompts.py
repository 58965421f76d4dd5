"""What watching needs of ComfyUI: what its prompts saved, its queue, and the part of a prompt that leads to one node."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...embedders.template.present import upstream
from ..host_queue import FIVE, history, loops, paid, put, running_entry
from .watch import Finished, Place

Graph = dict[str, dict[str, Any]]

PREFIX = "diffusion-toolkit-watch-"  # no page has nodes of such ids, so none shows a watch's run on a node that happens to share one
EVENT = "diffusion_toolkit.watch"
CLOCKS_DIFFER_S = 600.0  # at the most: that of a network drive and ours


class CannotWatch(ValueError):
    """A node whose part of the prompt can't be queued again by itself; the message says why."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


@dataclass(frozen=True)
class Part:
    """The nodes that lead to one, under our own ids, and how many more things the host keeps with a queued prompt."""

    graph: Graph
    target: str
    more: int


@dataclass(frozen=True)
class Running:
    """The prompt that is running: its id, its entry in ComfyUI's queue, and the workflow's id where the page gave one."""

    prompt_id: str
    entry: Any

    @property
    def workflow(self) -> str:
        extra = (self.entry[3] or {}).get("extra_pnginfo") or {}
        workflow = extra.get("workflow") if isinstance(extra, Mapping) else None
        found = str(workflow.get("id") or "") if isinstance(workflow, Mapping) else ""
        return found if found.strip("0-") else ""  # all zeros stands for none


def running_prompt() -> Running | None:
    """The prompt of the node that calls this; None outside of ComfyUI's executor."""
    entry = running_entry()
    return None if entry is None else Running(entry[1], entry)


def check_saved_in(root: Path, folder: Path) -> None:
    """CannotWatch where nothing that ComfyUI saves can come into a folder, or it is none of the root's."""
    import folder_paths

    output = Path(folder_paths.get_output_directory()).resolve()
    if not folder.is_relative_to(root):
        raise CannotWatch(f"It leads out of {root}, to {folder}. Configure that as a root of its own.")
    if not folder.is_relative_to(output) and not output.is_relative_to(folder):
        raise CannotWatch(f"ComfyUI saves nothing here, but in {output}. Queue Index Folder again when there are new images.")


def part_leading_to(running: Running, node_id: str) -> Part:
    """What this node takes from, and what that takes from, as it was queued.

    Raises:
        CannotWatch: the node is part of no queued prompt, or the run would cost money each time.
    """
    from comfy_execution.graph_utils import add_graph_prefix

    prompt = running.entry[2]
    if node_id not in prompt:
        raise CannotWatch("It stands in a graph that another node runs. Queue Index Folder by itself to watch.")
    wanted = upstream(prompt, [node_id])
    services = paid(prompt[key]["class_type"] for key in wanted)
    if services:
        raise CannotWatch(f"What is connected to it calls paid services ({', '.join(services)}), which nobody would ask for each time.")
    part = {key: prompt[key] for key in wanted}
    if loops(part):
        raise CannotWatch("What is connected to it comes out of a loop. Connect the models themselves to watch.")
    graph, _ = add_graph_prefix(copy.deepcopy(part), (), PREFIX)
    return Part(graph, PREFIX + node_id, len(running.entry) - FIVE)


class HostQueue:
    """`watch.Queue` over ComfyUI's."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}  # the history's entries
        self._ended = 0

    @property
    def _host(self) -> Any:
        from server import PromptServer

        return PromptServer.instance

    def tasks(self) -> int:
        return self._host.prompt_queue.get_tasks_remaining()

    def others_wait(self) -> bool:
        """Anything that waits is another's: a watch puts its prompt in when the queue is empty."""
        return bool(self._host.prompt_queue.get_current_queue_volatile()[1])

    def finished(self) -> tuple[list[Finished], int]:
        entries, ended = history()
        new = [(prompt_id, entry) for prompt_id, entry in entries.items() if self._seen.get(prompt_id) is not entry]
        unseen = max(0, ended - self._ended - len(new))
        self._seen, self._ended = entries, ended
        return [Finished(prompt_id, entry["prompt"][2], list(saved_files(entry)), *_end(entry)) for prompt_id, entry in new], unseen

    def put(self, part: Part, beside: Graph) -> str:
        """Queue the part, to be run up to its target.

        The prompt that ran last goes with it, and is not run: what ComfyUI's cache keeps, and what its memory gives up last, is what
        the latest prompt has. So the next image is made as if nothing had come between. Its nodes are only asked whether they changed
        (`fingerprint_inputs`), as for each prompt; one that hashes a large file does so again.
        """
        return put(copy.deepcopy({**beside, **part.graph}), [part.target], part.more)

    def forget(self, prompt_id: str) -> None:
        self._host.prompt_queue.delete_history_item(prompt_id)

    def tell(self, place: Place, text: str) -> None:
        self._host.send_sync(EVENT, {**place._asdict(), "text": text})


def saved_files(entry: Mapping[str, Any]) -> Iterator[Path]:
    """The files in the output folder that a prompt's nodes say they saved in this run; what came from the cache, or was there long before
    and is shown, as by a search, is older."""
    import folder_paths

    output = Path(folder_paths.get_output_directory()).resolve()
    messages = (entry.get("status") or {}).get("messages") or ()
    cached = {node for kind, data in messages if kind == "execution_cached" for node in data.get("nodes") or ()}
    began = next((data.get("timestamp", 0) / 1000 for kind, data in messages if kind == "execution_start"), 0.0)
    for node_id, shown in (entry.get("outputs") or {}).items():
        for items in shown.values() if node_id not in cached and isinstance(shown, Mapping) else ():
            for item in items if isinstance(items, list) else ():
                if isinstance(item, Mapping) and item.get("type") == "output" and item.get("filename"):
                    file = Path(os.path.normpath(output / str(item.get("subfolder") or "") / str(item["filename"])))
                    if not _was_there(file, began - CLOCKS_DIFFER_S):
                        yield file


def _was_there(file: Path, before: float) -> bool:
    try:
        status = file.stat()
    except OSError:
        return False
    return max(status.st_mtime, status.st_ctime) < before  # a copy may keep the time of what it is of


def _end(entry: Mapping[str, Any]) -> tuple[str, str]:
    for kind, data in (entry.get("status") or {}).get("messages") or ():
        if kind == "execution_interrupted":
            return "cancelled", ""
        if kind == "execution_error":
            return "failed", str(data.get("exception_message") or "").strip()
    return "done", ""
