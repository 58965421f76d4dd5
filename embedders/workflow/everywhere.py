"""Links that a pack makes when a prompt is queued: a node that gives what it is connected to everywhere it fits.

Newer versions list these links in the workflow's `extra`, and then they are facts. For older ones the rule is guessed: an
unconnected input takes what is broadcast for its very type; if several are, the one whose own input is called alike. "Prompts
Everywhere" gives the first of its two conditionings to positive inputs, where its own names tell no sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .tidy import MAX_LINKS
from .types import fits

_BROADCASTS = re.compile(r"everywhere", re.I)
_OF_PROMPTS = re.compile(r"prompts?\W*everywhere", re.I)
_SIDES = {"+ve": "positive", "-ve": "negative"}


def connect_everywhere(graph: dict[str, Any]) -> None:
    """Add the broadcast links to a tidy graph."""
    by_id = {str(node["id"]): node for node in graph["nodes"]}
    listed = list(_listed(graph["extra"].get("ue_links"), by_id))
    number = max((link["id"] for link in graph["links"]), default=0)
    for origin, origin_slot, target, slot, guessed in listed or list(_guessed(graph, by_id)):
        if slot["link"] is not None:
            continue
        number += 1
        slot["link"] = number
        graph["links"].append(
            {
                "id": number, "origin_id": str(origin["id"]), "origin_slot": origin_slot, "target_id": str(target["id"]),
                "target_slot": target["inputs"].index(slot), "type": slot["type"],
            }
        )  # fmt: skip
        if guessed:
            target["properties"]["guessed"] = "its link is what another node broadcasts by type"


def _given_type(link: Mapping[str, Any] | None, nodes: Mapping[str, dict[str, Any]]) -> Any:
    """The type that a link brings; older front ends noted the wildcard that takes it."""
    if link is None or link["origin_id"] not in nodes:
        return "*"
    outputs = nodes[link["origin_id"]]["outputs"]
    return outputs[link["origin_slot"]]["type"] if link["type"] == "*" and link["origin_slot"] < len(outputs) else link["type"]


def _side(name: str) -> str:
    return _SIDES.get(name.lower(), name.lower())


_Found = tuple[Mapping[str, Any], int, dict[str, Any], dict[str, Any], bool]


def _listed(saved: Any, nodes: Mapping[str, dict[str, Any]]) -> Iterator[_Found]:
    for entry in saved[:MAX_LINKS] if isinstance(saved, list) else ():
        if not isinstance(entry, Mapping):
            continue
        origin, target = nodes.get(str(entry.get("upstream"))), nodes.get(str(entry.get("downstream")))
        out, into, kind = entry.get("upstream_slot"), entry.get("downstream_slot"), entry.get("type")
        if origin is None or target is None or not isinstance(out, int) or not isinstance(into, int) or out < 0:
            continue
        if 0 <= into < len(target["inputs"]) and fits(target["inputs"][into]["type"], kind):
            yield origin, out, target, target["inputs"][into], False


def _guessed(graph: Mapping[str, Any], nodes: Mapping[str, dict[str, Any]]) -> Iterator[_Found]:
    links = {link["id"]: link for link in graph["links"]}
    given: dict[str, list[tuple[str, Mapping[str, Any], int]]] = {}
    for node in nodes.values():
        if _BROADCASTS.search(node["type"]) and node["mode"] == 0:
            kinds = [_given_type(links.get(slot["link"]), nodes) for slot in node["inputs"]]
            names = [_side(slot["label"] or slot["name"]) for slot in node["inputs"]]
            prompts = [i for i, kind in enumerate(kinds) if kind == "CONDITIONING"]
            if _OF_PROMPTS.search(node["type"]) and len(prompts) == 2 and not {names[i] for i in prompts} & set(_SIDES.values()):
                names[prompts[0]], names[prompts[1]] = _SIDES.values()
            for slot, kind, name in zip(node["inputs"], kinds, names):
                if kind != "*":
                    link = links[slot["link"]]
                    given.setdefault(kind, []).append((name, nodes[link["origin_id"]], link["origin_slot"]))
    for target in nodes.values():
        if _BROADCASTS.search(target["type"]):
            continue
        for slot in target["inputs"]:
            sources = given.get(slot["type"], ()) if "widget" not in slot else ()
            named = [s for s in sources if s[0] == slot["name"].lower()]
            found = named or (sources if len(sources) == 1 else ())
            if found and found[0][1] is not target:
                yield found[0][1], found[0][2], target, slot, True
