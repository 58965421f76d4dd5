"""A graph in API format as nodes and links, whatever the JSON held, and the budget that bounds every walk over it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

from . import names as called

MAX_STEPS = 90_000  # one for a node looked at, more where that takes longer; people's graphs take a few hundred
MAX_NODES = 20_000  # of a graph that is read at all, to be done within a second; people's have a few hundred
MAX_INPUTS = 500  # of one node; more are left unread
MAX_NAME = 300  # letters of an input's name or a class; what names tell is kept for later graphs


class Link(NamedTuple):
    node: str
    slot: int


@dataclass(slots=True, eq=False)
class Node:
    key: str
    kind: str
    links: dict[str, Link] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[str | None, ...] = ()  # what each output carries, as far as its type is known
    kinds: dict[str, str | None] = field(default_factory=dict)  # what each link carries
    carrying: dict[tuple[str | None, ...], dict[str, Link]] | None = None  # kept by `links_of`
    label: str = ""  # kept by `str`

    def __str__(self) -> str:
        self.label = self.label or f"node {called.shown(self.key, 40)} ({called.shown(self.kind, 60)})"
        return self.label


class Graph:
    """The nodes of a prompt. Never raises but ValueError, when there are none or too many."""

    def __init__(self, prompt: Any, types: Mapping[str, Sequence[str]]) -> None:
        entries = prompt.items() if isinstance(prompt, dict) else ()
        raw = {str(k): v for k, v in entries if isinstance(v, dict) and isinstance(v.get("inputs"), dict)}
        if not raw:
            raise ValueError("the ComfyUI graph holds no nodes")
        if len(raw) > MAX_NODES:
            raise ValueError(f"the ComfyUI graph holds {len(raw)} nodes, more than {MAX_NODES}")
        self.nodes: dict[str, Node] = {}
        self.takers: dict[Link, list[tuple[str, str]]] = defaultdict(list)  # who takes an output, and by which input
        self.left = MAX_STEPS
        self._floor = 0
        outputs: dict[str, tuple[str | None, ...]] = {}
        links: dict[Link, Link] = {}  # one of each, for large graphs
        for key, item in raw.items():
            kind = item.get("class_type")
            node = self.nodes[key] = Node(key, kind[:MAX_NAME] if isinstance(kind, str) else "")
            if node.kind not in outputs:
                outputs[node.kind] = _outputs(types.get(node.kind))
            node.outputs = outputs[node.kind]
            for name, value in islice(item["inputs"].items(), MAX_INPUTS):
                if len(str(name)) > MAX_NAME:
                    continue
                if isinstance(value, list):
                    link = _as_link(value)
                    if link is not None and link[0] in raw:
                        link = links.setdefault(link, link)
                        node.links[str(name)] = link
                        self.takers[link].append((key, str(name)))
                    elif value and all(isinstance(entry, dict) for entry in value[:MAX_INPUTS]):
                        node.values[str(name)] = {"__value__": value}  # as ComfyUI takes it, and saves it without
                elif not isinstance(value, int) or abs(value) < 2**64:  # seeds end there
                    node.values[str(name)] = value

        for node in self.nodes.values():
            for name, link in node.links.items():
                node.kinds[name] = self.type_of(link) or called.category(name.rsplit(".", 1)[-1])

    def type_of(self, link: Link) -> str | None:
        """What the output is known to carry."""
        outputs = self.nodes[link.node].outputs
        return outputs[link.slot] if 0 <= link.slot < len(outputs) else None

    def links_of(self, node: Node, *categories: str | None) -> dict[str, Link]:
        """The links that carry one of these, by the type of their outputs or, failing that, the names of their inputs."""
        if node.carrying is None:
            node.carrying = {}
        found = node.carrying.get(categories)
        if found is None:
            kinds = node.kinds
            found = {name: link for name, link in node.links.items() if kinds[name] in categories}
            node.carrying[categories] = found
        return found

    def spend(self, steps: int = 1) -> bool:
        """False once the graph proved too entangled: walks end then with what they have."""
        self.left -= steps
        return self.left > self._floor

    @contextmanager
    def half(self) -> Iterator[None]:
        """What is done within takes no more than half of what is left, so that something is left for the rest."""
        floor, self._floor = self._floor, max(self._floor, self.left // 2)
        yield
        self._floor = floor

    def upstream(self, start: Iterable[str], follow: Callable[[Node], Iterable[Link]]) -> Iterator[Node]:
        """Breadth first, each node once, so cycles end and the nearest comes first."""
        queue = list(dict.fromkeys(start))
        seen = set(queue)
        for key in queue:
            if not self.spend():
                return
            node = self.nodes[key]
            yield node
            for link in follow(node):
                if link.node not in seen:
                    seen.add(link.node)
                    queue.append(link.node)


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts text2 before text10."""
    return [(int(digits or 0), word) for word, digits in re.findall(r"(\D+)(\d{0,9})", name)]


def numbered(names: Iterable[str], number: int) -> list[str]:
    """Those names that end in the number: `text3`, `any_03`."""
    return [name for name in names if re.search(rf"(^|\D)0*{number}$", name)]


def _outputs(kinds: Any) -> tuple[str | None, ...]:
    if not isinstance(kinds, (list, tuple)):
        return ()
    return tuple(called.of_type(kind[:MAX_NAME]) if isinstance(kind, str) else None for kind in kinds[:100])


def _as_link(value: list[Any]) -> Link | None:
    if len(value) == 2 and isinstance(value[1], int):
        key, slot = value
        if isinstance(key, str):
            return Link(key, slot)
        if isinstance(key, int) and not isinstance(key, bool) and abs(key) < 2**64:
            return Link(str(key), slot)
    return None
