"""Socket types of a workflow: which connect, and how `COMFY_MATCHTYPE_V3` sockets take the type of what is connected to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .nodes import Node
from .subgraphs import SUBGRAPH_INPUT, Graph


def fits(one: Any, other: Any) -> bool:
    """Whether two socket types connect: equal but for case, any of a comma-separated list, or the wildcard."""
    if one in ("", "*", 0, None) or other in ("", "*", 0, None):
        return True
    ones, others = str(one).lower().split(","), str(other).lower().split(",")
    return bool(set(ones) & set(others))


def settle_types(graphs: Sequence[Graph]) -> None:
    """Narrow matched sockets until nothing changes: an input to what the others of its group have, an output to all of them.

    The types decide only what a bypassed node hands through, but there a wildcard and a type behave differently.
    """
    changed = True
    rounds, matched = 0, sum(1 for graph in graphs for node in graph.nodes.values() if node.matched)
    while changed and rounds < min(100, 3 + 20_000 // (matched + 1)):  # a chain of matched nodes settles link by link
        rounds += 1
        changed = any([_settle(graph, node) for graph in graphs for node in graph.nodes.values() if node.matched])


def _settle(graph: Graph, node: Node) -> bool:
    before = [slot.type for slot in (*node.inputs, *node.outputs)]
    for group, allowed in node.matched.items():
        slots = [slot for slot in node.inputs if slot.name in allowed]
        connected = [_origin_type(graph, slot.link) for slot in slots]
        for index, slot in enumerate(slots):
            common = _common([*connected[:index], *connected[index + 1 :], allowed[slot.name]])
            if common is None:
                break  # the front end gives up on such a node
            slot.type = common
        else:
            common = _common(connected)
            for output, follows in zip(node.outputs, node.matched_outputs):
                if follows == group and common is not None:
                    output.type = common
    return before != [slot.type for slot in (*node.inputs, *node.outputs)]


def _origin_type(graph: Graph, number: int | None) -> str:
    link = graph.links.get(number) if number is not None else None
    if link is None:
        return "*"
    if link.origin == SUBGRAPH_INPUT:
        return str(graph.inputs[link.origin_slot].type) if link.origin_slot < len(graph.inputs) else "*"
    origin = graph.nodes.get(link.origin)
    return str(origin.outputs[link.origin_slot].type) if origin and link.origin_slot < len(origin.outputs) else "*"


def _common(types: Sequence[str]) -> str | None:
    """The types that all of them allow, in the first one's order; the wildcard allows any."""
    lists = [kind.split(",") for kind in types if kind != "*"]
    if not lists:
        return "*"
    shared = [kind for kind in lists[0] if all(kind in other for other in lists[1:])]
    return ",".join(shared) or None
