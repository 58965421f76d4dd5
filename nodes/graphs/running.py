"""What Run Graph needs of ComfyUI's executor: its own check of a graph, its queue, and graphs inside graphs."""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...embedders.template import unknown_classes
from ...embedders.template.present import upstream
from ..definitions import node_definitions
from ..host_queue import FIVE, loops, paid, put, running_entry
from .saved_values import link_of
from .stored_graphs import Graph, queueable

OURS = "DiffusionToolkitRunGraph"
TOLD = 20  # errors


class CannotRun(ValueError):
    """A graph that this ComfyUI can't run; the message says what it lacks."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


def parsed(text: str) -> Graph:
    """CannotRun where the text is no graph in API format."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CannotRun(f"The graph is no JSON ({error}). Connect Fill Template's or Recall Workflow's graph.") from error
    graph = queueable(content) if isinstance(content, dict) else {}
    if isinstance(content, dict) and isinstance(content.get("nodes"), list):
        raise CannotRun("This is a workflow as the page saves it. Give the queued graph: Recall Workflow's graph, or Export (API).")
    if not graph:
        raise CannotRun("The graph holds no nodes. Connect Fill Template's or Recall Workflow's graph.")
    return graph


def checked(graph: Graph) -> tuple[Graph, list[str]]:
    """The graph with its values as ComfyUI takes them, and its output nodes, by ComfyUI's own check, which expansions go without.

    Refused are graphs that would run themselves again, and those that call paid services: nobody looked at their price.
    """
    import nodes

    unknown = unknown_classes(graph, nodes.NODE_CLASS_MAPPINGS)
    if unknown:
        raise CannotRun(f"This ComfyUI has no node {', '.join(unknown)}. Install the packs that they are from.")
    kinds = {node["class_type"] for node in graph.values()}
    if OURS in kinds:
        raise CannotRun("The graph has a Run Graph of its own and would run graphs without end. Choose another template or image.")
    services = paid(kinds)
    if services:
        raise CannotRun(f"The graph calls paid services ({', '.join(services)}). Open Recall Workflow's file in ComfyUI and run it there.")
    ready = _with_an_output(copy.deepcopy(graph))
    valid, error, outputs, node_errors = _validated(ready)
    if not valid or node_errors:
        raise CannotRun(f"ComfyUI can't run this graph:\n{_in_words(ready, error, node_errors)}\nFill Template lists what is missing here, with the nearest names.")
    return ready, outputs


def picture_of(graph: Graph) -> tuple[Graph, list[Any]]:
    """The link to the picture that a graph saves or shows, and the nodes that make it: what else it saves is left out."""
    definitions = node_definitions()

    def shows(node: Mapping[str, Any]) -> list[Any] | None:
        for value in node["inputs"].values():
            source, slot = link_of(value) or ("", 0)
            if source in graph:
                kinds = (definitions.get(graph[source]["class_type"]) or {}).get("output") or ()
                if slot < len(kinds) and kinds[slot] == "IMAGE":
                    return value
        return None

    showing = [(node, shows(node)) for node in graph.values() if (definitions.get(node["class_type"]) or {}).get("output_node")]
    pictures = [(node, link) for node, link in showing if link is not None]
    saved = [link for node, link in pictures if "filename_prefix" in node["inputs"]]
    link = (saved or [link for _, link in pictures] or [None])[-1]
    if link is None:
        raise CannotRun("The graph saves and shows no picture that could come out here. Queue it by itself instead.")
    needed = {key: graph[key] for key in upstream(graph, [link[0]])}
    if loops(needed):
        raise CannotRun("The graph makes its picture in a loop, which can't run inside another graph. Queue it by itself instead.")
    return needed, link


def prefixed(graph: Graph, link: list[Any]) -> tuple[Graph, list[Any]]:
    """The same under ids that no other node of the running prompt has."""
    from comfy_execution.graph_utils import GraphBuilder, add_graph_prefix

    new, (out,) = add_graph_prefix(graph, (link,), GraphBuilder.alloc_prefix())
    return new, out


def place_in_list() -> int:
    """Which run of this node it is, from 0, where a list runs it once for each."""
    from comfy_execution.utils import get_executing_context

    context = get_executing_context()
    return (context.list_index or 0) if context is not None else 0


def put_in_queue(graph: Graph) -> str:
    """Check a graph and queue it behind all others, for the client that queued the running one; the new prompt's id.

    As ComfyUI does it, other packs come first, and what they made of the graph is checked.
    """
    from server import PromptServer

    request = PromptServer.instance.trigger_on_prompt({"prompt": graph})  # other packs fill wildcards there
    ready, outputs = checked(request["prompt"])
    entry = running_entry()
    if entry is None:
        raise CannotRun("ComfyUI's queue has no entry of this prompt. Run the graph 'in this graph' instead.")
    client = entry[3].get("client_id")
    return put(ready, outputs, len(entry) - FIVE, **({"client_id": client} if client else {}))


def _validated(graph: Graph) -> tuple[bool, Any, list[str], dict[str, Any]]:
    """ComfyUI's check runs in an event loop, and so does this node: it gets another thread's."""
    import execution
    from server import PromptServer

    replace = getattr(PromptServer.instance, "node_replace_manager", None)
    if replace is not None:
        replace.apply_replacements(graph)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, execution.validate_prompt(str(uuid.uuid4()), graph, None)).result()


def _with_an_output(graph: Graph) -> Graph:
    """A graph whose pictures nobody takes is checked, and run, as if they were looked at."""
    definitions = node_definitions()
    if any((definitions.get(node["class_type"]) or {}).get("output_node") for node in graph.values()):
        return graph
    taken = {link_of(value) for node in graph.values() for value in node["inputs"].values()}
    for key, node in list(graph.items()):
        for slot, kind in enumerate((definitions.get(node["class_type"]) or {}).get("output") or ()):
            if kind == "IMAGE" and (key, slot) not in taken:
                graph[f"{key}_shown_{slot}"] = {"class_type": "PreviewImage", "inputs": {"images": [key, slot]}}
    return graph


def _in_words(graph: Graph, error: Any, node_errors: Mapping[str, Any]) -> str:
    lines = [
        f"- node {key} ({graph[key]['class_type']}): {one.get('message')}: {str(one.get('details'))[:300]}"
        for key, found in node_errors.items()
        for one in found.get("errors", ())
    ]
    return "\n".join(lines[:TOLD] or [f"- {(error or {}).get('message')}: {str((error or {}).get('details'))[:300]}"])
