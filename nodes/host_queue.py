"""ComfyUI's queue: what of it may be another in its next release stands in this file."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

FIVE = 5  # number, id, graph, extra data, outputs: what an entry has in every version; what follows differs


def running_entry() -> Any:
    """The queue's entry of the prompt whose node calls this; None outside of ComfyUI's executor."""
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    context = get_executing_context()
    if context is None or PromptServer.instance is None:
        return None
    entries = PromptServer.instance.prompt_queue.get_current_queue_volatile()[0]
    return next((entry for entry in entries if entry[1] == context.prompt_id), None)


def history() -> tuple[dict[str, Any], int]:
    """The entries of ComfyUI's history by prompt id, the oldest first; and how many prompts have ended since it started.

    These may be more: anybody can remove an entry, and a prompt that is queued again under the same id takes its former entry's place.
    """
    from server import PromptServer

    queue = PromptServer.instance.prompt_queue
    with queue.mutex:
        return queue.get_history(map_function=lambda entry: entry), queue.task_counter - len(queue.currently_running)


def put(graph: dict[str, Any], outputs: list[str], more: int, **extra: Any) -> str:
    """Queue a graph behind all others, up to its outputs; the new prompt's id.

    The entry is made as long as that of a prompt which ComfyUI queued: `more` is what that one has beyond the five.
    """
    from server import PromptServer

    host = PromptServer.instance
    number, host.number = host.number, host.number + 1
    prompt_id = str(uuid.uuid4())
    host.prompt_queue.put((number, prompt_id, graph, {**extra, "create_time": int(time.time() * 1000)}, outputs, *({} for _ in range(more))))
    return prompt_id


def paid(kinds: Iterable[str]) -> list[str]:
    """Those of these classes of nodes that call a paid service."""
    import nodes

    return sorted(kind for kind in set(kinds) if getattr(nodes.NODE_CLASS_MAPPINGS.get(kind), "API_NODE", False))


def loops(graph: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a graph that was checked has a loop. Newer ComfyUIs note on its nodes, by id, which are in it: under other ids it can't run."""
    return any("_loop_end" in node for node in graph.values())
