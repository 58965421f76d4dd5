"""A saved ComfyUI workflow as linked graphs: nodes, links, subgraph definitions and the widget values promoted out of them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .workflow_nodes import UNDEFINED, WIDGET_TYPES, Node, Slot, Widget, WorkflowError, build_node, rounded

VIRTUAL_TYPES = frozenset(("Reroute", "PrimitiveNode", "Note", "MarkdownNote"))
"""Nodes that the front end itself brings and never sends."""

SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = "-10", "-20"
"""Ids that links inside a subgraph use for its two borders."""


@dataclass(slots=True)
class Link:
    """One connection inside one graph."""

    id: int
    origin: str
    origin_slot: int
    target: str
    target_slot: int


@dataclass(slots=True)
class Border:
    """One input or output of a subgraph definition, with its links inside, first one first."""

    name: str
    type: Any
    links: list[int]


@dataclass(slots=True, eq=False)
class Graph:
    """The root graph or one subgraph definition, which all its instances share."""

    name: str
    nodes: dict[str, Node] = field(default_factory=dict)
    links: dict[int, Link] = field(default_factory=dict)
    inputs: list[Border] = field(default_factory=list)
    outputs: list[Border] = field(default_factory=list)
    hosts: list[Node] = field(default_factory=list)  # the subgraph nodes that show this definition

    def all_nodes(self) -> Iterator[Node]:
        """Every node here, and below each subgraph node every node of its definition."""
        for node in self.nodes.values():
            yield node
            if node.subgraph is not None:
                yield from node.subgraph.all_nodes()


def load(workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> Graph:
    """Build the root graph with everything below it, in the order in which the front end does, for the order decides values.

    Raises WorkflowError for what is no workflow, for node types that `object_info` lacks, and for subgraphs that hold themselves.
    """
    if not isinstance(workflow, Mapping) or not isinstance(workflow.get("nodes"), list):
        what = "it looks like the API format already" if _is_api(workflow) else 'it has no list of "nodes"'
        raise WorkflowError(f"This is not a UI-format workflow: {what}. Save it in ComfyUI with Workflow > Save, not Export (API).")
    workflow = copy.deepcopy(dict(workflow))
    definitions = {str(d.get("id")): d for d in _definitions(workflow)}
    _give_unique_ids(workflow, definitions)
    loader = _Loader(object_info, definitions)
    root = Graph("the workflow")
    loader.fill(root, workflow)
    if loader.unknown:
        raise WorkflowError(
            f"This ComfyUI does not know {'; '.join(loader.unknown)}. "
            "Install the node pack that has them, or mute or remove these nodes, then convert again."
        )
    for node in {id(n): n for n in root.all_nodes()}.values():
        _repair_values(node)
    _apply_primitives(root)
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
        for entry in _proxies(node.get("properties") or {}):
            entry[0] = renamed.get(str(node.get("type")), {}).get(str(entry[0]), entry[0])


def _proxies(properties: Mapping[str, Any]) -> list[list[Any]]:
    entries = properties.get("proxyWidgets")
    if isinstance(entries, str):
        entries = json.loads(entries)
    return [entry for entry in entries or () if isinstance(entry, list) and len(entry) >= 2]


class _Loader:
    """Builds graphs from saved ones; a definition is filled once, before the first graph that uses it."""

    def __init__(self, object_info: Mapping[str, Any], definitions: Mapping[str, dict[str, Any]]) -> None:
        self.object_info = object_info
        self.definitions = definitions
        self.unknown: list[str] = []
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
        for index, border in enumerate(graph.inputs):
            _repair_border(border, [k for k, v in graph.links.items() if (v.origin, v.origin_slot) == (SUBGRAPH_INPUT, index)])
        for index, border in enumerate(graph.outputs):
            _repair_border(border, [k for k, v in graph.links.items() if (v.target, v.target_slot) == (SUBGRAPH_OUTPUT, index)])
        instances = []
        for entry in saved.get("nodes") or ():
            node = self._node(graph, entry)
            graph.nodes[node.id] = node
            if node.subgraph is not None:
                instances.append((node, entry))
        for node, entry in instances:
            _configure_instance(node, entry, graph)
        for node, entry in instances:
            _settle_proxies(node, entry.get("widgets_values"))

    def _node(self, graph: Graph, saved: Mapping[str, Any]) -> Node:
        kind = str(saved.get("type"))
        if kind in self.filled:
            return Node(str(saved.get("id")), kind, saved.get("title") or "", saved.get("mode") or 0, saved.get("properties") or {},
                        virtual=True, subgraph=self.filled[kind])  # fmt: skip
        definition = self.object_info.get(kind)
        node = build_node(saved, definition or {})
        node.virtual = kind in VIRTUAL_TYPES
        if definition is None and not node.virtual and node.mode not in (2, 4):
            self.unknown.append(f"'{kind}' (node {node.id} in {graph.name})")
        node.configure(saved, graph.links, definition)
        if kind == "PrimitiveNode" and isinstance(saved.get("widgets_values"), list) and saved["widgets_values"]:
            node.widgets.append(Widget("value", "PRIMITIVE", saved["widgets_values"][0]))
        return node


def _read_link(saved: Any) -> Link:
    if isinstance(saved, Mapping):
        parts = [saved.get(k) for k in ("id", "origin_id", "origin_slot", "target_id", "target_slot")]
    else:
        parts = list(saved)[:5]
    if len(parts) < 5 or parts[0] is None:
        raise WorkflowError(f"The link {json.dumps(saved)} is broken. Open the workflow in ComfyUI and save it again.")
    number, origin, origin_slot, target, target_slot = parts
    return Link(int(number), str(origin), int(origin_slot), str(target), -1 if target_slot is None else int(target_slot))


def _repair_border(border: Border, present: list[int]) -> None:
    """Keep the saved order of the border's links; stale ids give way to the link that is really there."""
    kept = [link for link in border.links if link in present]
    border.links = kept or present[:1]


def _configure_instance(node: Node, saved: Mapping[str, Any], graph: Graph) -> None:
    """A subgraph node's sockets are the definition's borders; each gets a copy of the first widget it leads to inside."""
    by_name = {i.get("name"): i for i in saved.get("inputs") or ()}
    definition: Graph = node.subgraph
    definition.hosts.append(node)
    node.links = graph.links
    node.inputs = [Slot(b.name, b.type, by_name.get(b.name, {}).get("link")) for b in definition.inputs]
    saved_outputs = list(saved.get("outputs") or ())
    for index, border in enumerate(definition.outputs):
        links = saved_outputs[index].get("links") if index < len(saved_outputs) else None
        node.outputs.append(Slot(border.name, border.type, links=list(links or ())))
    for slot, border in zip(node.inputs, definition.inputs):
        _promote(definition, slot, border)
    values = saved.get("widgets_values")
    promoted = [slot.promoted for slot in node.inputs if slot.promoted]
    if isinstance(values, list):
        for widget, value in zip(promoted, values):
            widget.value = value
    elif isinstance(values, Mapping):
        for widget in promoted:
            widget.value = values.get(widget.name, widget.value)
    for entry in reversed(node.properties.get("proxyWidgetErrorQuarantine") or ()):
        _set_by_border_name(node, entry.get("originalEntry") or ("", ""), entry.get("hostValue"))


def _ends(definition: Graph, border: Border) -> Iterator[tuple[Node, Slot]]:
    """The inner nodes and sockets that a subgraph's input leads to."""
    for number in border.links:
        link = definition.links.get(number)
        inner = definition.nodes.get(link.target) if link else None
        slot = next((s for s in inner.inputs if s.link == number), None) if inner else None
        if inner and slot:
            yield inner, slot


def _widget_of(node: Node, slot: Slot) -> Widget | None:
    return slot.promoted if node.subgraph is not None else node.widget(slot.widget)


def _promote(definition: Graph, slot: Slot, border: Border) -> None:
    for inner, end in _ends(definition, border):
        widget = _widget_of(inner, end)
        if widget:
            if slot.promoted is None or slot.promoted.kind != widget.kind:
                slot.promoted = Widget(border.name, widget.kind, copy.deepcopy(widget.value), options=widget.options)
                slot.widget = border.name
            return


def _source(definition: Graph, border: Border) -> tuple[str, str] | None:
    """The inner node id and widget name that a subgraph's input stands for."""
    for inner, end in _ends(definition, border):
        if inner.subgraph is not None:
            return inner.id, end.name
        widget = inner.widget(end.widget)
        if widget:
            return inner.id, widget.name
    return None


def _resolves(host: Node, node_id: str, name: str, depth: int = 100) -> bool:
    inner = host.subgraph.nodes.get(node_id)
    if inner is None or not depth:
        return False
    if inner.subgraph is None:
        return inner.widget(name) is not None
    border = next((b for b in inner.subgraph.inputs if b.name == name), None)
    source = _source(inner.subgraph, border) if border else None
    return source is not None and _resolves(inner, *source, depth=depth - 1)


def _settle_proxies(host: Node, values: Any) -> None:
    """Turn a `proxyWidgets` list (how front ends before subgraph inputs promoted widgets) into subgraph inputs with values.

    The n-th entry owns the n-th of the saved values. A widget that an input leads to already gets the value; any other gets a
    new input of its definition, which every instance then has; a PrimitiveNode gives its targets to the new input.
    """
    definition: Graph = host.subgraph
    plans = []
    entries = _proxies(host.properties)
    for index, entry in enumerate(entries):
        value = values[index] if isinstance(values, list) and index < len(values) and values[index] is not None else UNDEFINED
        node_id, name = str(entry[0]), str(entry[1])
        within = str(entry[2]) if len(entry) > 2 and entry[2] is not None else None
        if not _resolves(host, node_id, name):
            while match := re.match(r"\s*(\d+)\s*:\s*(.+)$", name):
                within, name = match[1], match[2]
        existing = next((b for b in definition.inputs if _source(definition, b) == (node_id, name)), None)
        plans.append((entry, node_id, name, within, value, existing))
    primitives: dict[str, list[tuple[str, Any]]] = {}
    for entry, node_id, name, within, value, existing in plans:
        inner = definition.nodes.get(node_id)
        if existing:
            _set_by_border_name(host, ("-1", existing.name), value)
        elif inner is None:
            _set_by_border_name(host, entry, value)
        elif inner.type == "PrimitiveNode":
            primitives.setdefault(node_id, []).append((name, value))
        else:
            slot = _socket_of(inner, name, within)
            if slot is not None:
                _set_by_border_name(host, ("-1", _new_border(definition, name, [(inner, slot)]).name), value)
    for node_id, wanted in primitives.items():
        primitive = definition.nodes[node_id]
        links = [definition.links[n] for n in primitive.outputs[0].links if n in definition.links] if primitive.outputs else []
        ends = [(n, s) for link in links for n in [definition.nodes.get(link.target)] if n for s in n.inputs if s.link == link.id]
        if not ends or len({name for name, _ in wanted}) > 1 or primitive.properties.get("proxyBypassedToSubgraphInput"):
            continue
        title = primitive.title if primitive.title not in ("", "PrimitiveNode") else wanted[0][0]
        border = _new_border(definition, title, ends)
        _set_by_border_name(host, ("-1", border.name), next((v for _, v in wanted if v is not UNDEFINED), UNDEFINED))


def _socket_of(inner: Node, name: str, within: str | None) -> Slot | None:
    """The socket of the widget that a proxy entry names, on a plain node or on a nested subgraph node."""
    if inner.subgraph is None:
        widget = inner.widget(name)
        hidden = widget is None or (not (widget.stored and widget.sent) and widget.kind == "AUDIO_UI")
        return None if hidden else next((s for s in inner.inputs if s.widget == name), None)
    for slot, border in zip(inner.inputs, inner.subgraph.inputs):
        source = _source(inner.subgraph, border)
        matches = source == (within, name) if within else slot.name == name or (source is not None and source[1] == name)
        if matches:
            return slot if slot.promoted else None
    return None


def _new_border(definition: Graph, name: str, ends: Iterable[tuple[Node, Slot]]) -> Border:
    """Add an input to a subgraph definition, leading to the given sockets, and its socket to every instance."""
    taken, unique, count = {b.name for b in definition.inputs}, name, 0
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    border = Border(unique, "*", [])
    for node, slot in ends:
        border.type = slot.type
        number = max([0, *definition.links]) + 1
        definition.links[number] = Link(number, SUBGRAPH_INPUT, len(definition.inputs), node.id, node.inputs.index(slot))
        slot.link = number
        border.links.append(number)
    definition.inputs.append(border)
    for host in definition.hosts:
        host.inputs.append(Slot(border.name, border.type))
        _promote(definition, host.inputs[-1], border)
    return border


def _set_by_border_name(host: Node, entry: Iterable[Any], value: Any) -> None:
    """Give the promoted widget of the named subgraph input a value; entries of any other source than the border are ignored."""
    source, name, *_ = entry
    widget = host.widget(str(name)) if str(source) == "-1" and value is not UNDEFINED and value is not None else None
    if widget:
        widget.value = value


def _repair_values(node: Node) -> None:
    """Fixes of the front end after loading: a combo without a value takes its first option, old sampler names lose a prefix."""
    widgets = [s.promoted for s in node.inputs if s.promoted] if node.subgraph is not None else node.widgets
    for widget in widgets:
        if widget.choices and widget.value in (None, UNDEFINED):
            widget.value = widget.choices[0]
        if node.type in ("KSampler", "KSamplerAdvanced") and widget.name == "sampler_name":
            widget.value = widget.value[7:] if str(widget.value).startswith("sample_") else widget.value


def _apply_primitives(root: Graph) -> None:
    """Write each PrimitiveNode's value into the widgets that it is connected to."""
    seen: set[int] = set()
    graphs = [root]
    while graphs:
        graph = graphs.pop(0)
        if id(graph) in seen:
            continue
        seen.add(id(graph))
        graphs += [node.subgraph for node in graph.nodes.values() if node.subgraph is not None]
        for primitive in (n for n in graph.nodes.values() if n.type == "PrimitiveNode" and n.outputs):
            _apply_primitive(graph, primitive)


def _apply_primitive(graph: Graph, primitive: Node) -> None:
    links = [graph.links[number] for number in primitive.outputs[0].links if number in graph.links]
    ends = [(node, slot) for link in links for node in [graph.nodes.get(link.target)] if node for slot in node.inputs if slot.link == link.id]
    if not ends or not (ends[0][1].widget or ends[0][1].type in WIDGET_TYPES):
        return
    value = primitive.widgets[0].value if primitive.widgets else UNDEFINED
    first = _widget_of(*ends[0])
    if value is UNDEFINED:
        value = first.value if first else UNDEFINED
    for node, slot in ends:
        widget = _widget_of(node, slot)
        if widget:
            node.set_value(widget, rounded(widget, value))
