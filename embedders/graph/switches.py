"""Nodes that hand on one of their inputs, told by a chooser among the others: a switch's boolean, a number, the name of an input."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from . import names as called
from .nodes import Graph, Link, Node, natural, numbered

if TYPE_CHECKING:
    from .strings import Strings

_SWITCH = re.compile(r"switch|select|choice|^(boolean|condition|input|index)$", re.I)  # of a chooser beside which all else is handed on
_MOST_SWITCHES, _MOST_INPUTS = 1000, 100  # people's graphs have some dozens, of two to twenty inputs
_TURNS = re.compile(r"not|inver|neg|rand|toggle|flip", re.I)  # of a class
_STEM = re.compile(r"(true|false|\d+|_[a-z])$", re.I)


def shut(graph: Graph, strings: Strings) -> None:
    """Take from switches the links that they don't hand on, as far as is certain: what is behind them did not make the picture.

    So no way leads to a LoRA, a sampler or a text of the other side. Who takes an output is left as it was.
    """
    looked_at = (node for node in graph.nodes.values() if 1 < len(node.links) + len(node.values) < _MOST_INPUTS and choosers(node))
    with graph.half():
        for node in islice(looked_at, _MOST_SWITCHES):
            if out := _left_out(node, strings):
                node.links = {name: link for name, link in node.links.items() if name not in out}
                node.kinds = {name: kind for name, kind in node.kinds.items() if name not in out}
                node.carrying = None


def _left_out(node: Node, strings: Strings) -> set[str]:
    """The inputs of which a switch hands on another: alike but for a true or false, a number or a letter at the end, and of one kind."""
    for name in choosers(node):
        if not node.links.keys() - {name} or not _SWITCH.search(name):
            continue
        if name in node.links and not _says(strings.graph.nodes[node.links[name].node]):
            continue
        value = strings.number(node, name)
        held = {n: v for n, v in node.values.items() if n != name}
        inputs = {n: link for n, link in node.links.items() if n != name}
        found = pick(value, inputs) or (pick(value, held | inputs) if isinstance(value, bool) else None)
        if found is None or not isinstance(value, bool) and any(type(v) in (int, float) for v in held.values()):
            continue
        kind, stem = node.kinds.get(found), _STEM.sub("", found.lower())
        return {n for n in inputs if n != found and _STEM.sub("", n.lower()) == stem and node.kinds[n] in (kind, None)}
    return set()


def _says(node: Node) -> bool:
    """Whether a node gives the one value that stands at it: one that takes something else, or turns it round, may give another."""
    return not node.links and sum(not n.startswith("control_") for n in node.values) == 1 and not _TURNS.search(node.kind)


def choose(node: Node, links: dict[str, Link], strings: Strings) -> tuple[Link | None, bool]:
    """The link that a switch hands on and whether that is certain; None when nothing says which."""
    if len(links) < 2:
        return None, True
    for name in choosers(node):
        others = {n: link for n, link in links.items() if n != name}
        if (
            len(others) == len(links)
            or name in node.links
            and strings.graph.type_of(node.links[name]) in (None, "number")
        ):
            if (found := pick(strings.number(node, name), others)) is not None:
                return others[found], True
    found = first_of_any(node, links)
    return (links[found], False) if found is not None else (None, True)


def choosers(node: Node) -> list[str]:
    """The inputs that may say which of the others is handed on."""
    return [name for name in (*node.values, *node.links) if called.chooser(name)][:5]


def pick(value: Any, inputs: dict[str, Any]) -> str | None:
    """The input that a chooser's value names: true and false, a number that one ends in, or the name itself."""
    if isinstance(value, bool):
        word, letter = ("true", "a") if value else ("false", "b")
        found = [n for n in inputs if n.lower().endswith(word)]
        if not found and len(inputs) == 2:
            found = [
                n for n in inputs if n.lower().endswith((f"_{letter}", f"if_{word}")) or n[:2].lower() == word[0] * 2
            ]
    elif isinstance(value, int) and 0 <= value < 10_000:
        found = numbered(inputs, value)
    elif isinstance(value, str) and value in inputs:
        found = [value]
    else:
        return None
    return found[0] if len(found) == 1 else None


def first_of_any(node: Node, inputs: dict[str, Any]) -> str | None:
    """The first of inputs like any_01, ctx_01: such a switch hands on the first that is there; a merger's last one wins."""
    links = [n for n in inputs if isinstance(inputs[n], Link)]
    if node.values or len(links) < 2 or not all(re.fullmatch(r"(any|ctx|context|input)_?\d+", n, re.I) for n in links):
        return None
    ordered = sorted(links, key=natural)
    return ordered[-1 if "merge" in node.kind.lower() else 0]
