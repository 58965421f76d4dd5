"""Subgraph definitions and their instances: which inner widgets an instance shows, and the values it has for them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .nodes import Node
from .widgets import UNDEFINED, Slot, Widget

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
    size: int = 0  # nodes, with those of the subgraphs in it

    def all_nodes(self) -> Iterator[Node]:
        """Every node here, and below each subgraph node every node of its definition."""
        for node in self.nodes.values():
            yield node
            if node.subgraph is not None:
                yield from node.subgraph.all_nodes()


def proxies(properties: Mapping[str, Any]) -> list[list[Any]]:
    entries = properties.get("proxyWidgets")
    if isinstance(entries, str):
        entries = json.loads(entries)
    return [entry for entry in entries or () if isinstance(entry, list) and len(entry) >= 2]


def configure_instance(node: Node, saved: Mapping[str, Any], graph: Graph) -> None:
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


def ends_of(graph: Graph, numbers: Iterable[int]) -> Iterator[tuple[Node, Slot]]:
    """The nodes and sockets of this graph that the given links lead to, in the links' order."""
    for number in numbers:
        link = graph.links.get(number)
        node = graph.nodes.get(link.target) if link else None
        slot = next((s for s in node.inputs if s.link == number), None) if node else None
        if node and slot:
            yield node, slot


def widget_of(node: Node, slot: Slot) -> Widget | None:
    return slot.promoted if node.subgraph is not None else node.widget(slot.widget)


def _promote(definition: Graph, slot: Slot, border: Border) -> None:
    for inner, end in ends_of(definition, border.links):
        widget = widget_of(inner, end)
        if widget:
            if slot.promoted is None or slot.promoted.kind != widget.kind:
                slot.promoted = Widget(border.name, widget.kind, copy.deepcopy(widget.value), options=widget.options)
                slot.widget = border.name
            return


def _source(definition: Graph, border: Border) -> tuple[str, str] | None:
    """The inner node id and widget name that a subgraph's input stands for."""
    for inner, end in ends_of(definition, border.links):
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


def settle_proxies(host: Node, values: Any) -> None:
    """Turn a `proxyWidgets` list (how front ends before subgraph inputs promoted widgets) into subgraph inputs with values.

    The n-th entry owns the n-th of the saved values. A widget that an input leads to already gets the value; any other gets a
    new input of its definition, which every instance then has; a PrimitiveNode gives its targets to the new input.
    """
    definition: Graph = host.subgraph
    plans = []
    entries = proxies(host.properties)
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
        ends = list(ends_of(definition, primitive.outputs[0].links)) if primitive.outputs else []
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
