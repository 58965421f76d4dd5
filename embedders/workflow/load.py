"""Load a saved ComfyUI workflow, version 0.4 or 1, as linked graphs of nodes that hold their values."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..graph.nodes import MAX_NODES
from .nodes import Node, build_node
from .subgraphs import (
    SUBGRAPH_INPUT,
    SUBGRAPH_OUTPUT,
    Border,
    Graph,
    Link,
    configure_instance,
    ends_of,
    proxies,
    settle_proxies,
    widget_of,
)
from .types import settle_types
from .widgets import UNDEFINED, WIDGET_TYPES, Widget, WorkflowError, rounded

VIRTUAL_TYPES = frozenset(("Reroute", "PrimitiveNode", "Note", "MarkdownNote"))
"""Nodes that the front end itself brings and never sends."""


def load(workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> Graph:
    """Build the root graph with everything below it, in the order in which the front end does, for the order decides values.

    Raises WorkflowError for what is no workflow, for node types that `object_info` lacks, and for subgraphs that hold themselves or
    multiply.
    """
    if not isinstance(workflow, Mapping) or not isinstance(workflow.get("nodes"), list):
        what = "it looks like the API format already" if _is_api(workflow) else 'it has no list of "nodes"'
        raise WorkflowError(f"This is not a UI-format workflow: {what}. Save it in ComfyUI with Workflow > Save, not Export (API).")
    saved = copy.deepcopy(dict(workflow))
    loader, root = _filled(saved, lambda node: object_info.get(str(node.get("type"))))
    if loader.group_nodes:
        raise WorkflowError(
            f"Node {', '.join(loader.group_nodes)} is an old group node. Open the workflow in ComfyUI, which makes it a subgraph, "
            "and save it again."
        )
    if loader.unknown:
        raise WorkflowError(
            f"This ComfyUI does not know {'; '.join(loader.unknown)}. "
            "Install the node pack that has them, and remove nodes that exist in the browser only (a pack's Get, Set or group "
            "switches); then convert again."
        )
    return _settled(loader, root)


def load_as(saved: dict[str, Any], define: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]) -> Graph:
    """Build the graph of a workflow that is clean and may be changed, with a definition for each saved node from `define`.

    Nothing is refused but subgraphs that hold themselves or multiply: what no definition tells stays as it was saved.
    """
    return _settled(*_filled(saved, define))


def _filled(saved: dict[str, Any], define: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]) -> tuple[_Loader, Graph]:
    definitions = {str(d.get("id")): d for d in _definitions(saved)}
    _give_unique_ids(saved, definitions)
    loader = _Loader(define, definitions)
    root = Graph("the workflow")
    loader.fill(root, saved)
    return loader, root


def _settled(loader: _Loader, root: Graph) -> Graph:
    for node in {id(n): n for n in root.all_nodes()}.values():
        _repair_values(node)
    graphs = [*loader.filled.values(), root]
    settle_types(graphs)
    for graph in graphs:
        for primitive in (n for n in graph.nodes.values() if n.type == "PrimitiveNode" and n.outputs):
            _apply_primitive(graph, primitive)
    return root


def _is_api(workflow: Any) -> bool:
    return isinstance(workflow, Mapping) and any(isinstance(v, Mapping) and "class_type" in v for v in workflow.values())


def _definitions(workflow: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for definition in (workflow.get("definitions") or {}).get("subgraphs") or ():
        yield definition
        yield from _definitions(definition)


def _give_unique_ids(workflow: dict[str, Any], definitions: Mapping[str, dict[str, Any]]) -> None:
    """Renumber inner nodes whose id another graph uses too: the front end keeps widget values by node id across graphs."""
    used = {str(node.get("id")) for node in workflow["nodes"] if isinstance(node.get("id"), int)}
    state = workflow.get("state") or {}
    last = max(0, workflow.get("last_node_id") or 0, state.get("lastNodeId") or 0)
    renamed: dict[str, dict[str, str]] = {}
    for key, definition in definitions.items():
        names = renamed.setdefault(key, {})
        for node in definition.get("nodes") or ():
            old = str(node.get("id"))
            if old in used:
                last += 1
                while str(last) in used:
                    last += 1
                names[old] = node["id"] = str(last)
            elif old.lstrip("-").isdigit():
                last = max(last, int(old))
            used.add(str(node["id"]))
        for link in definition.get("links") or ():
            for end in ("origin_id", "target_id"):
                link[end] = names.get(str(link.get(end)), link.get(end))
    everywhere = [workflow, *definitions.values()]
    for node in (node for graph in everywhere for node in graph.get("nodes") or ()):
        for entry in proxies(node.get("properties") or {}):
            entry[0] = renamed.get(str(node.get("type")), {}).get(str(entry[0]), entry[0])


class _Loader:
    """Builds graphs from saved ones; a definition is filled once, before the first graph that uses it."""

    def __init__(
        self,
        define: Callable[[Mapping[str, Any]], Mapping[str, Any] | None],
        definitions: Mapping[str, dict[str, Any]],
    ) -> None:
        self.define = define
        self.definitions = definitions
        self.unknown: list[str] = []
        self.group_nodes: list[str] = []
        self.filled: dict[str, Graph] = {}
        for key in definitions:
            self.definition(key, ())

    def definition(self, key: str, parents: tuple[str, ...]) -> Graph:
        """The graph of a subgraph definition, inner definitions first."""
        saved = self.definitions[key]
        name = str(saved.get("name") or key)
        if key in parents:
            raise WorkflowError(f"The subgraph '{name}' holds itself. Remove it from inside, then convert again.")
        if key not in self.filled:
            for node in saved.get("nodes") or ():
                if str(node.get("type")) in self.definitions:
                    self.definition(str(node["type"]), (*parents, key))
            graph = Graph(f"the subgraph '{name}'")
            for side, borders in (("inputs", graph.inputs), ("outputs", graph.outputs)):
                for border in saved.get(side) or ():
                    borders.append(Border(str(border.get("name")), border.get("type", "*"), list(border.get("linkIds") or ())))
            self.fill(graph, saved)
            self.filled[key] = graph
        return self.filled[key]

    def fill(self, graph: Graph, saved: Mapping[str, Any]) -> None:
        """Read a graph's links, build and configure its nodes, then settle the widgets promoted in the old way."""
        for link in map(_read_link, saved.get("links") or ()):
            graph.links[link.id] = link
        present: dict[tuple[str, int], list[int]] = {}  # by border; a workflow may have thousands of both
        for number, link in graph.links.items():
            present.setdefault((link.origin, link.origin_slot), []).append(number)
            present.setdefault((link.target, link.target_slot), []).append(number)
        for end, borders in ((SUBGRAPH_INPUT, graph.inputs), (SUBGRAPH_OUTPUT, graph.outputs)):
            for index, border in enumerate(borders):
                _repair_border(border, present.get((end, index), []))
        instances = []
        for entry in saved.get("nodes") or ():
            if entry.get("id") is None or not entry.get("type"):
                raise WorkflowError(
                    f"{graph.name} has a node without id or type: {json.dumps(entry)[:200]}. Save it again in ComfyUI."
                )
            node = self._node(graph, entry)
            graph.nodes[node.id] = node
            if node.subgraph is not None:
                instances.append((node, entry))
        graph.size = len(graph.nodes) + sum(node.subgraph.size for node, _ in instances)
        if graph.size > MAX_NODES:
            raise WorkflowError(f"{graph.name} has more than {MAX_NODES} nodes with those of its subgraphs. Save it with fewer of them.")
        for node, entry in instances:
            configure_instance(node, entry, graph)
        for node, entry in instances:
            settle_proxies(node, entry.get("widgets_values"))

    def _node(self, graph: Graph, saved: Mapping[str, Any]) -> Node:
        kind = str(saved.get("type"))
        if kind in self.filled:
            return Node(str(saved.get("id")), kind, saved.get("title") or "", saved.get("mode") or 0, saved.get("properties") or {},
                        virtual=True, subgraph=self.filled[kind])  # fmt: skip
        definition = self.define(saved)
        node = build_node(saved, definition or {})
        node.virtual = kind in VIRTUAL_TYPES
        if kind.startswith(("workflow>", "workflow/")):
            self.group_nodes.append(f"{node.id} ('{kind}')")
        elif definition is None and not node.virtual and node.mode not in (2, 4):
            self.unknown.append(f"'{kind}' (node {node.id} in {graph.name})")
        node.configure(saved, graph.links, definition)
        if kind == "PrimitiveNode" and isinstance(saved.get("widgets_values"), list) and saved["widgets_values"]:
            node.widgets.append(Widget("value", "PRIMITIVE", saved["widgets_values"][0]))
        return node


def _read_link(saved: Any) -> Link:
    """A link as version 0.4's list or version 1's object; only the root graph of 0.4 has lists."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    try:
        number, origin, origin_slot, target, target_slot = [saved[k] for k in keys] if isinstance(saved, Mapping) else saved[:5]
        return Link(int(number), str(origin), int(origin_slot), str(target), int(target_slot))
    except (KeyError, TypeError, ValueError) as error:
        raise WorkflowError(f"The link {json.dumps(saved)} is broken. Open the workflow in ComfyUI and save it again.") from error


def _repair_border(border: Border, present: list[int]) -> None:
    """Keep the saved order of the border's links; stale ids give way to the link that is really there."""
    there = set(present)
    border.links = [link for link in border.links if link in there] or present[:1]


def _repair_values(node: Node) -> None:
    """Fixes of the front end after loading: a combo without a value takes its first option, old sampler names lose a prefix."""
    widgets = [s.promoted for s in node.inputs if s.promoted] if node.subgraph is not None else list(node.widgets)
    for widget in widgets:
        if widget.choices and widget.value in (None, UNDEFINED):
            node.set_value(widget, widget.choices[0])
        if node.type in ("KSampler", "KSamplerAdvanced") and widget.name == "sampler_name":
            widget.value = widget.value[7:] if str(widget.value).startswith("sample_") else widget.value


def _apply_primitive(graph: Graph, primitive: Node) -> None:
    """Write a PrimitiveNode's value into the widgets that it is connected to."""
    ends = list(ends_of(graph, primitive.outputs[0].links))
    if not ends or not (ends[0][1].widget or ends[0][1].type in WIDGET_TYPES):
        return
    value = primitive.widgets[0].value if primitive.widgets else UNDEFINED
    first = widget_of(*ends[0])
    if value is UNDEFINED:
        value = first.value if first else UNDEFINED
    if len(ends) > 1 and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = _within(value, [widget for end in ends if (widget := widget_of(*end))])
    for node, slot in ends:
        widget = widget_of(node, slot)
        if widget:
            node.set_value(widget, rounded(widget, value))


def _within(value: float, widgets: list[Widget]) -> float:
    """A number as one PrimitiveNode may give it to several widgets: within the range of them all."""
    ranges = [widget.options for widget in widgets if widget.kind in ("INT", "FLOAT")]
    least = [options["min"] for options in ranges if options.get("min") is not None]
    most = [options["max"] for options in ranges if options.get("max") is not None]
    return min([max([value, *least]), *most])
