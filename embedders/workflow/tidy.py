"""Bring a workflow as it was found in a file into the shape that the loader may trust, or refuse it for its size.

A workflow in an image was written by any front end of any year, or by anyone who wants to do harm. What has another type
than it should is left out; what would take more than about a second is refused. Nothing here recurses with the depth of
what it reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..graph.settings import is_whole
from .subgraphs import SUBGRAPH_INPUT
from .widgets import WorkflowError

MAX_NODES = 4_000  # in a file, and again once subgraphs are expanded; people's workflows have a few hundred
MAX_LINKS = 20_000
MAX_NESTING = 30  # subgraphs in subgraphs
MAX_DEPTH = 40  # of lists and objects in a widget's value
_MAX_VALUES = 300  # widgets of one node, or sockets on one side of a node or of a subgraph
_MAX_SLOTS = 25_000  # sockets and values of all nodes
_MAX_ITEMS = 10_000  # in the lists and objects of one value
_MAX_PROMOTED = 3_000  # widgets that subgraphs show by the old list, in the whole workflow


def tidy(workflow: Any) -> dict[str, Any]:
    """A new workflow of nodes, links and flat subgraph definitions, each of the type it should have.

    WorkflowError when it has no list of nodes, is too large, or has a subgraph that holds itself.
    """
    if not isinstance(workflow, Mapping) or not isinstance(workflow.get("nodes"), list):
        raise WorkflowError('This is not a UI-format workflow: it has no list of "nodes".')
    raw = [workflow, *_raw_definitions(workflow)]
    counts = [sum(len(_list(graph.get(key))) for graph in raw) for key in ("nodes", "links")]
    if counts[0] > MAX_NODES or counts[1] > MAX_LINKS:
        raise WorkflowError(f"The workflow has more than {MAX_NODES} nodes or {MAX_LINKS} links.")
    root, *definitions = graphs = [_graph(workflow, set()), *_definitions(workflow)]
    nodes = [node for graph in graphs for node in graph["nodes"]]
    if sum(len(node["inputs"]) + len(node["widgets_values"] or ()) for node in nodes) > _MAX_SLOTS:
        raise WorkflowError(f"The nodes of the workflow have more than {_MAX_SLOTS} inputs and values.")
    promoted = sum(len(node["properties"].get("proxyWidgets", ())) for node in nodes)
    if promoted > _MAX_PROMOTED:
        raise WorkflowError(f"The subgraphs of the workflow show more than {_MAX_PROMOTED} widgets.")
    by_id = {definition["id"]: definition for definition in definitions}
    _refuse_bombs(root, by_id)
    state = _mapping(workflow.get("state"))
    last = [n for n in (workflow.get("last_node_id"), state.get("lastNodeId")) if isinstance(n, int) and 0 <= n < 2**53]
    return {**root, "definitions": {"subgraphs": list(by_id.values())}, "last_node_id": max(last, default=0)}


def output_types(workflow: Any) -> dict[str, list[str]]:
    """The types of each class's outputs as the nodes of a workflow have them; empty when it is none.

    A slot on which nodes of the class disagree, or that takes any type, is `*`; a class of nothing else is left out.
    """
    if not isinstance(workflow, Mapping):
        return {}
    found: dict[str, list[str]] = {}
    disputed: set[str] = set()
    for graph in (workflow, *_raw_definitions(workflow)):
        for node in _mappings(graph.get("nodes")):
            kind, types = node.get("type"), [_type(slot.get("type")) for slot in _mappings(node.get("outputs"))]
            if not isinstance(kind, str) or not types:
                continue
            known = found.setdefault(kind, types)
            if len(known) != len(types):
                disputed.add(kind)
            elif known != types:
                found[kind] = [one if one == other else "*" for one, other in zip(known, types)]
    return {kind: types for kind, types in found.items() if kind not in disputed and set(types) != {"*"}}


def _graph(saved: Mapping[str, Any], borders: set[str]) -> dict[str, Any]:
    nodes: dict[str, dict[str, Any]] = {}
    for entry in _mappings(saved.get("nodes")):
        if (node := _node(entry)) is not None:
            nodes.setdefault(str(node["id"]), node)
    origins = borders | nodes.keys()
    links = {link["id"]: link for link in map(_link, _list(saved.get("links"))) if link and link["origin_id"] in origins}
    for node in nodes.values():
        for slot in node["inputs"]:
            if slot["link"] not in links:
                slot["link"] = None
    return {"nodes": list(nodes.values()), "links": list(links.values()), "extra": _mapping(saved.get("extra"))}


def _node(saved: Mapping[str, Any]) -> dict[str, Any] | None:
    number, kind = saved.get("id"), saved.get("type")
    if not isinstance(kind, str) or not kind or isinstance(number, bool) or not isinstance(number, (int, str)):
        return None
    inputs = [
        {
            "name": _name(slot),
            "type": _type(slot.get("type")),
            "link": slot["link"] if is_whole(slot.get("link")) else None,
            **(
                {"widget": {"name": widget["name"]}}
                if isinstance((widget := _mapping(slot.get("widget"))).get("name"), str)
                else {}
            ),
            "label": slot["label"] if isinstance(slot.get("label"), str) else "",
        }
        for slot in _mappings(saved.get("inputs"))[:_MAX_VALUES]
    ]
    outputs = [
        {"name": _name(slot), "type": _type(slot.get("type")), "links": [n for n in _list(slot.get("links")) if is_whole(n)]}
        for slot in _mappings(saved.get("outputs"))[:_MAX_VALUES]
    ]
    return {
        "id": number,
        "type": kind,
        "mode": saved["mode"] if is_whole(saved.get("mode")) else 0,
        "title": saved["title"] if isinstance(saved.get("title"), str) else "",
        "properties": _properties(_mapping(saved.get("properties"))),
        "inputs": inputs,
        "outputs": outputs,
        "widgets_values": _values(saved.get("widgets_values")),
        "widget_names": _widget_names(saved.get("widgets_values"), saved.get("widgets_values_named")),
    }


def _properties(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the conversion looks at."""
    kept: dict[str, Any] = {}
    entries = [e[:3] for e in _list(saved.get("proxyWidgets"))[:200] if isinstance(e, list) and len(e) >= 2]
    if entries := [e for e in entries if all(isinstance(part, (str, int, type(None))) for part in e)]:
        kept["proxyWidgets"] = entries
    quarantine = [e for e in _mappings(saved.get("proxyWidgetErrorQuarantine"))[:200] if isinstance(e.get("originalEntry"), list)]
    if quarantine := [e for e in quarantine if len(e["originalEntry"]) >= 2]:
        kept["proxyWidgetErrorQuarantine"] = [
            {"originalEntry": e["originalEntry"][:2], "hostValue": _value(e.get("hostValue"))} for e in quarantine
        ]
    return kept


def _link(saved: Any) -> dict[str, Any] | None:
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    if isinstance(saved, Mapping):
        parts = [saved.get(key) for key in keys]
    else:
        parts = [*_list(saved)[:6], None][:6]
    if len(parts) < 6 or not all(isinstance(part, (int, str)) and not isinstance(part, bool) for part in parts[:5]):
        return None
    try:
        numbers = [int(parts[place]) for place in (0, 2, 4)]
    except ValueError:
        return None
    if min(numbers[1:]) < 0:
        return None
    return dict(zip(keys, (numbers[0], str(parts[1]), numbers[1], str(parts[3]), numbers[2], _type(parts[5]))))


def _definitions(workflow: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for saved in _raw_definitions(workflow):
        if not isinstance(saved.get("id"), str):
            continue
        definition = {
            **_graph(saved, {SUBGRAPH_INPUT}),
            "id": saved["id"],
            "name": saved["name"] if isinstance(saved.get("name"), str) else "",
        }
        for side in ("inputs", "outputs"):
            definition[side] = [
                {"name": _name(b), "type": _type(b.get("type")), "linkIds": [n for n in _list(b.get("linkIds")) if is_whole(n)]}
                for b in _mappings(saved.get(side))[:_MAX_VALUES]
            ]
        yield definition


def _raw_definitions(workflow: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Definitions may hold definitions; some files have all of them at the top."""
    waiting: list[Mapping[str, Any]] = [workflow]
    while waiting:
        for definition in _mappings(_mapping(waiting.pop().get("definitions")).get("subgraphs")):
            yield definition
            waiting.append(definition)


def _refuse_bombs(root: Mapping[str, Any], definitions: Mapping[str, Mapping[str, Any]]) -> None:
    """Subgraphs that hold themselves, or each other so often that the whole grows without bounds."""
    inside = {key: [n["type"] for n in d["nodes"] if n["type"] in definitions] for key, d in definitions.items()}
    count = {key: len(d["nodes"]) for key, d in definitions.items()}
    deep: dict[str, int] = {}
    settled: dict[str, int] = {}
    while len(settled) < len(definitions):
        ready = [key for key in definitions if key not in settled and all(k in settled for k in inside[key])]
        if not ready:
            name = next(key for key in definitions if key not in settled)
            raise WorkflowError(f"The subgraph '{definitions[name]['name'] or name}' holds itself.")
        for key in ready:
            deep[key] = 1 + max((deep[k] for k in inside[key]), default=0)
            settled[key] = min(MAX_NODES + 1, count[key] + sum(settled[k] for k in inside[key]))
        if max(deep.values()) > MAX_NESTING:
            raise WorkflowError(f"Its subgraphs are nested more than {MAX_NESTING} deep.")
    if len(root["nodes"]) + sum(settled.get(node["type"], 0) for node in root["nodes"]) > MAX_NODES:
        raise WorkflowError(f"The workflow has more than {MAX_NODES} nodes with those of its subgraphs.")


def _values(saved: Any) -> Any:
    if isinstance(saved, Mapping):
        return {key: _value(value) for key, value in list(saved.items())[:_MAX_VALUES] if isinstance(key, str)}
    return [_value(value) for value in saved[:_MAX_VALUES]] if isinstance(saved, list) else None


def _widget_names(values: Any, named: Any) -> list[str] | None:
    """The names that the values have in a second list of newer front ends, which is in the same order; None where that can't be told.

    Its values are not taken: what a random choice became is written into the first list alone.
    """
    if not isinstance(values, list) or not isinstance(named, Mapping) or len(values) != len(named):
        return None  # of two widgets of one name one is there
    if not all(isinstance(name, str) and not name.isdigit() for name in named):
        return None  # JavaScript puts numbers first
    return list(named)


def _value(value: Any) -> Any:
    """A widget's value; None for one that is nested too deep, or has too much in it, to be one."""
    if not isinstance(value, (list, dict)):
        return value
    level, depth, items = [value], 0, 0
    while level:
        depth += 1
        items += sum(len(item) for item in level)
        if depth > MAX_DEPTH or items > _MAX_ITEMS:
            return None
        children = [c for item in level for c in (item.values() if isinstance(item, dict) else item)]
        level = [child for child in children if isinstance(child, (list, dict))]
    return value


def _name(slot: Mapping[str, Any]) -> str:
    return slot["name"] if isinstance(slot.get("name"), str) else ""


def _type(value: Any) -> str:
    """A socket's type. Old files have a combo's options in its place, 0 or -1 for any."""
    if isinstance(value, list):
        return "COMBO"
    return value if isinstance(value, str) and value else "*"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in _list(value) if isinstance(item, Mapping)]
