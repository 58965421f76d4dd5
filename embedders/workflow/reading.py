"""Read the API graph out of any saved workflow, also of packs and front ends that this ComfyUI does not have.

`to_api` gives exactly what the front end would queue, or refuses. Here nothing is to be queued: what a node lacks is left
out, what the file does not say is guessed, and the guesses are told. The loader and the way along the links are the same.
Beside the front end's own nodes that are never sent, those of packs are known by their shape: reroutes, pairs that set and
get a value by its name, broadcasts ("everywhere"), and switches that only connect to wildcards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .convert import MUTED, Placed, Prompt, Value
from .everywhere import connect_everywhere
from .groups import expand_groups
from .guess import Effort, define, is_reroute, shared_name
from .load import VIRTUAL_TYPES, load_as
from .nodes import Node
from .subgraphs import Graph
from .text import dynamic_prompt
from .tidy import output_types, tidy
from .widgets import UNFORESEEN, Widget, WorkflowError

MAX_STEPS = 300_000  # along links, in one workflow
_CHOICE = re.compile(r"\{[^{}|]*\|[^{}]*\}")
_MAX_DYNAMIC = 500_000  # characters of one workflow that are looked through for choices and comments


@dataclass
class Readable:
    """A workflow as a graph to be traced: `prompt` in API format, the `types` of its classes' outputs, and what is not sure.

    `guessed` and `unknown` say why by node id: a node whose values or links are guessed; a text that was chosen at random.
    """

    prompt: dict[str, dict[str, Any]]
    types: dict[str, list[str]]
    guessed: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


def readable(workflow: Any, definitions: Mapping[str, Mapping[str, Any]] = {}) -> Readable:
    """Read a UI-format workflow, with the running ComfyUI's `definitions` of those classes that it has.

    WorkflowError when it is none, or too large or too entangled to be read in about a second.
    """
    try:
        saved = tidy(workflow)
        expand_groups(saved)
        types = output_types(saved)
        graphs = [saved, *saved["definitions"]["subgraphs"]]
        reader = _Definitions(definitions, graphs)
        reader.mark(graphs)
        for graph in graphs:
            connect_everywhere(graph)
        found = _Reading(load_as(saved, reader.of))
        prompt = found.build()
    except WorkflowError:
        raise
    except RecursionError as error:
        raise WorkflowError("The workflow is too entangled to be read.") from error
    except UNFORESEEN as error:
        raise WorkflowError(f"The workflow is broken in a way that was not foreseen ({error!r}).") from error
    return Readable(prompt, types, found.guessed, found.unknown)


class _Definitions:
    """A definition for every saved node, with the host's where it has one that fits. What is guessed is noted on the node."""

    def __init__(self, known: Mapping[str, Mapping[str, Any]], graphs: list[dict[str, Any]]) -> None:
        self.known = known
        self.subgraphs = {graph["id"] for graph in graphs[1:]}
        self.links = {link["id"]: link for graph in graphs for link in graph["links"]}
        self._found: dict[str, Mapping[str, Any] | None] = {}
        self._effort = Effort()

    def of(self, saved: dict[str, Any]) -> Mapping[str, Any] | None:
        """For the loader, which puts the values in afterwards."""
        if saved["type"] in VIRTUAL_TYPES:
            return None
        found = define(saved, self._known(saved["type"]), self.links, self._effort)
        saved["widgets_values"] = found.values
        if found.guessed:
            saved["properties"].setdefault("guessed", found.guessed)
        return found.info

    def mark(self, graphs: list[dict[str, Any]]) -> None:
        """Note on nodes without a definition what role they have in the browser, where it can be told.

        A pair that sets and gets has classes alike but for these words, and the name of the value as its first value.
        """
        setters: dict[tuple[str, str], list[dict[str, Any]]] = {}
        getters: list[tuple[tuple[str, str], dict[str, Any]]] = []
        for node in (node for graph in graphs for node in graph["nodes"] if self._strange(node)):
            if is_reroute(node):
                node["properties"]["role"] = "through"
            elif node["inputs"] and _only_wildcards(node):
                node["properties"]["role"] = "nothing"
            kind, name = node["type"].lower(), shared_name(node)
            if name and "set" in kind and sum("widget" not in slot for slot in node["inputs"]) == 1:
                setters.setdefault((kind.replace("set", "get"), name), []).append(node)
            if name and "get" in kind and len(node["outputs"]) == 1 and all(slot["link"] is None for slot in node["inputs"]):
                getters.append(((kind, name), node))
        for key, node in getters:
            for setter in setters.get(key, ()):
                setter["properties"] |= {"role": "through", "shared": key}
                node["properties"] |= {"role": "get", "shared": key}

    def _strange(self, saved: Mapping[str, Any]) -> bool:
        kind = saved["type"]
        return kind not in VIRTUAL_TYPES and kind not in self.subgraphs and self._known(kind) is None

    def _known(self, kind: str) -> Mapping[str, Any] | None:
        if kind not in self._found:
            found = self.known.get(kind)
            self._found[kind] = found if isinstance(found, Mapping) else None
        return self._found[kind]


def _only_wildcards(saved: Mapping[str, Any]) -> bool:
    used = any(slot["links"] for slot in saved["outputs"])
    return not used and not saved["widgets_values"] and all(slot["type"] == "*" for slot in saved["inputs"])


class _Reading(Prompt):
    """The way along the links, where what leads nowhere is left out and the browser's own nodes of packs hand through."""

    def __init__(self, root: Graph) -> None:
        super().__init__(root, lambda parts: parts[0], datetime.now())
        self.guessed: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self._steps = self._characters = 0
        self._setters: dict[tuple[int, Any], Node] = {}
        for graph in _graphs(root):
            for node in graph.nodes.values():
                role = node.properties.get("role")
                if role:
                    node.virtual = True
                if role == "through" and node.mode != MUTED and "shared" in node.properties:
                    self._setters.setdefault((id(graph), node.properties["shared"]), node)

    def _entry(self, placed: Placed) -> dict[str, Any]:
        if guessed := placed.node.properties.get("guessed"):
            self.guessed[placed.id] = guessed
        return super()._entry(placed)

    def _sent(self, placed: Placed, widget: Widget) -> Any:
        """A text as it was saved, but for comments: which of `{a|b}` the front end chose for a run is kept nowhere."""
        value = widget.value
        if not isinstance(value, str) or not (widget.kind == "COMBO" or widget.options.get("dynamicPrompts") is True):
            return value
        if _CHOICE.search(value):
            self.unknown[placed.id] = "the front end chose among {a|b} when the graph was queued, which a workflow does not keep"
        elif widget.options.get("dynamicPrompts") is True and re.search(r"[{\\]|//|/\*", value):
            self._characters += len(value) * (1 + value.count("{"))
            if self._characters <= _MAX_DYNAMIC:
                return dynamic_prompt(value, self.choose)
        return value

    def _source(self, placed: Placed, index: int, kind: Any) -> tuple[str, int] | Value | None:
        slot = placed.node.inputs[index]
        link = placed.graph.links.get(slot.link) if slot.link is not None else None
        origin = placed.graph.nodes.get(link.origin) if link else None
        if origin is not None and origin.type == "PrimitiveNode" and placed.node.widget(slot.widget):
            return None  # the loader has written its value into the widget, rounded as the widget does
        try:
            return super()._source(placed, index, kind)
        except (WorkflowError, RecursionError):
            if self._steps > MAX_STEPS:
                raise
            return None  # a circle, a border that is not there, a chain without end

    def _output(self, placed: Placed, index: int, kind: Any, seen: set[tuple[str, str, int]]) -> tuple[str, int] | Value | None:
        node = placed.node
        if node.mode != MUTED and node.type == "PrimitiveNode":
            return Value(node.widgets[0]) if node.widgets else None
        if node.mode != MUTED and node.virtual and node.subgraph is None and "role" in node.properties:
            self._guard(placed, "output", index, seen)
            if node.properties["role"] == "get":
                return self._got(placed, node.properties["shared"], kind, seen)
            linked = next((i for i, slot in enumerate(node.inputs) if slot.link is not None and not slot.widget), None)
            return None if linked is None else self._input(placed, linked, kind, seen)
        return super()._output(placed, index, kind, seen)

    def _got(self, placed: Placed, key: Any, kind: Any, seen: set[tuple[str, str, int]]) -> tuple[str, int] | Value | None:
        """What the setter of that name was given: of this graph, or the nearest around it."""
        graph: Graph = placed.graph
        host: Placed | None = placed.host
        while (setter := self._setters.get((id(graph), key))) is None:
            if host is None:
                return None
            graph, host = host.graph, host.host
        return self._output(Placed(setter, graph, host), 0, kind, seen)

    def _guard(self, placed: Placed, side: str, index: int, seen: set[tuple[str, str, int]]) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise WorkflowError("The workflow is too entangled to be read.")
        super()._guard(placed, side, index, seen)


def _graphs(root: Graph) -> Iterator[Graph]:
    seen, waiting = {id(root)}, [root]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.nodes.values():
            if node.subgraph is not None and id(node.subgraph) not in seen:
                seen.add(id(node.subgraph))
                waiting.append(node.subgraph)
