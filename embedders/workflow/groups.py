"""Old group nodes (`workflow>name`) as the subgraphs that newer front ends make of them, so that one expander serves both.

A group node's sockets and values are those of its inner nodes one behind the other, inner node by inner node: an input or
output that a link inside uses up is not among them, and an input that was a widget stands behind the real ones. Links
inside name nodes by their place in the group; a link from outside has no origin.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .subgraphs import SUBGRAPH_INPUT, SUBGRAPH_OUTPUT
from .tidy import MAX_NODES, tidy
from .widgets import WorkflowError

PREFIXES = ("workflow>", "workflow/")
_MAX_NESTING = 10  # groups in groups
_MAX_WORK = 1_000_000  # of a group's sockets times links
_Socket = tuple[Mapping[str, Any], int, dict[str, Any]]  # an inner node, the socket's place there, the socket


def expand_groups(workflow: dict[str, Any]) -> None:
    """Give each group node of a tidy workflow a subgraph definition of its own, which holds its values."""
    groups = workflow["extra"].get("groupNodes")
    groups = groups if isinstance(groups, Mapping) else {}
    definitions: list[dict[str, Any]] = workflow["definitions"]["subgraphs"]
    waiting = [(node, 0) for graph in (workflow, *definitions) for node in graph["nodes"] if _name(node) in groups]
    made, cache = 0, {}
    for node, depth in waiting:
        name = _name(node)
        if name not in cache:
            cache[name] = _tidy_group(groups[name])
        if depth > _MAX_NESTING or cache[name] is None:
            continue
        group = copy.deepcopy(cache[name])
        made += len(group["nodes"])
        if made > MAX_NODES:
            raise WorkflowError(f"The workflow has more than {MAX_NODES} nodes with those of its groups.")
        definition = _definition(node, group, f"{name} ({len(definitions)})")
        definitions.append(definition)
        node["type"] = definition["id"]
        node["widgets_values"] = None
        waiting += [(inner, depth + 1) for inner in definition["nodes"] if _name(inner) in groups]


def _name(node: Mapping[str, Any]) -> str | None:
    return node["type"][len(PREFIXES[0]) :] if node["type"].startswith(PREFIXES) else None


def _tidy_group(saved: Any) -> dict[str, Any] | None:
    """The group's nodes, its links between them, and the outputs that it shows beside those without a link."""
    if not isinstance(saved, Mapping) or not isinstance(saved.get("nodes"), list):
        return None
    nodes = [{**node, "id": place} for place, node in enumerate(saved["nodes"]) if isinstance(node, Mapping)]
    group = tidy({"nodes": nodes})
    raw = [link for link in saved.get("links") or () if isinstance(link, list) and len(link) >= 4]
    inner = [link for link in raw if all(isinstance(part, int) and 0 <= part < MAX_NODES for part in link[:4])]
    external = [e for e in saved.get("external") or () if isinstance(e, list) and len(e) >= 2 and isinstance(e[1], int)]
    shown = {((e[0].get("index") if isinstance(e[0], Mapping) else e[0]), e[1]) for e in external}
    config = saved.get("config") if isinstance(saved.get("config"), Mapping) else {}
    return {"nodes": group["nodes"], "links": inner, "shown": {s for s in shown if isinstance(s[0], int)}, "config": config}


def _definition(host: Mapping[str, Any], group: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The group as the definition of its one instance `host`: the links inside, then those from its inputs and to its outputs."""
    nodes = group["nodes"]
    made = [_link(number, *link[:4]) for number, link in enumerate(group["links"], 1)]
    inputs: list[dict[str, Any]] = []
    for node, place, slot in _shown_inputs(host, group):
        outer = host["inputs"][len(inputs)]["name"] if len(inputs) < len(host["inputs"]) else f"{slot['name']} {len(made) + 1}"
        made.append(_link(len(made) + 1, SUBGRAPH_INPUT, len(inputs), node["id"], place))
        inputs.append({"name": outer, "type": slot["type"], "linkIds": [len(made)]})
    outputs: list[dict[str, Any]] = []
    for node, place, slot in _shown_outputs(group):
        made.append(_link(len(made) + 1, node["id"], place, SUBGRAPH_OUTPUT, len(outputs)))
        outputs.append({"name": slot["name"], "type": slot["type"], "linkIds": [len(made)]})
    by_end = {(link["target_id"], link["target_slot"]): link["id"] for link in made}
    for node, place, slot in _sockets(nodes, "inputs"):
        slot["link"] = by_end.get((str(node["id"]), place))
    if (len(inputs) + len(outputs)) * len(made) > _MAX_WORK:
        raise WorkflowError(f"The group node '{name}' has too many inputs and links.")
    _share_values(host, nodes)
    return {"id": f"group node {name}", "name": name, "nodes": nodes, "links": made, "inputs": inputs, "outputs": outputs,
            "extra": {}}  # fmt: skip


def _sockets(nodes: Sequence[Mapping[str, Any]], side: str) -> Iterator[_Socket]:
    return ((node, place, slot) for node in nodes for place, slot in enumerate(node[side]))


def _shown_inputs(host: Mapping[str, Any], group: Mapping[str, Any]) -> list[_Socket]:
    """What no link inside feeds, widgets last. A newer front end lists all widgets there: then those that `host` names are shown."""
    fed = {(link[2], link[3]) for link in group["links"]}
    free = [(node, place, slot) for node, place, slot in _sockets(group["nodes"], "inputs") if (node["id"], place) not in fed]
    widgets = [socket for socket in free if "widget" in socket[2]]
    if len(free) > len(host["inputs"]):
        named = {slot["name"] for slot in host["inputs"]}
        widgets = [socket for socket in widgets if socket[2]["name"] in named]
    return [*(socket for socket in free if "widget" not in socket[2]), *widgets]


def _shown_outputs(group: Mapping[str, Any]) -> Iterator[_Socket]:
    """What no link inside uses, and what is shown all the same, where the group's settings do not say otherwise."""
    used = {(link[0], link[1]) for link in group["links"]} - group["shown"]
    for node, place, slot in _sockets(group["nodes"], "outputs"):
        visible = _visible(group["config"], node["id"], place)
        if visible if visible is not None else (node["id"], place) not in used:
            yield node, place, slot


def _link(number: int, origin: Any, origin_slot: int, target: Any, target_slot: int) -> dict[str, Any]:
    return {
        "id": number, "origin_id": str(origin), "origin_slot": origin_slot, "target_id": str(target), "target_slot": target_slot
    }  # fmt: skip


def _visible(config: Mapping[str, Any], node: int, slot: int) -> bool | None:
    found: Any = config
    for key in (str(node), "output", str(slot), "visible"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, bool) else None


def _share_values(host: Mapping[str, Any], nodes: list[dict[str, Any]]) -> None:
    """Cut the group node's values into those of its inner nodes, whose own lists tell how many each has."""
    values = host["widgets_values"]
    owners = [node for node in nodes if isinstance(node["widgets_values"], list)]
    if not isinstance(values, list) or not values:
        return
    total = sum(len(node["widgets_values"]) for node in owners)
    place = 0
    for node in owners:
        own = node["widgets_values"]
        share = values[place : place + len(own)]
        if total != len(values) and not all(_alike(one, other) for one, other in zip(own, share)):
            break  # some widget has no place here (one made an input): what follows can't be told apart, and stays as it was
        node["widgets_values"] = share + own[len(share) :]
        place += len(own)
    if total != len(values):
        for node in nodes:
            node["properties"]["guessed"] = "the values of a group node do not fit its inner nodes"


def _alike(one: Any, other: Any) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (one, other))
    return numbers or type(one) is type(other)
