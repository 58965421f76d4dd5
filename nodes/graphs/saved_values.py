"""What Save Image with Prompt writes into the graph of a file: texts and settings in the place of the links that brought them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...embedders.graph.saved_texts import SAVER, SIDES, beside

Graph = Mapping[str, Mapping[str, Any]]
Link = tuple[str, int]

TEXTS = tuple(SIDES.values())


@dataclass(frozen=True)
class Written:
    """The graph for the file, and which of the given values some node took over a link, by their slots."""

    graph: Graph
    taken: Collection[int] = ()


def written(graph: Graph, key: str, texts: Mapping[str, str], given: Mapping[int, Any] = {}) -> Written:
    """The graph as it is to be saved by its node `key`; the given one stays, and its nodes that don't change are shared.

    `texts` came over the node's inputs of these names, `given` over the outputs (by slot) of the node that is linked to its `hits`.
    Each input with the same link gets the value itself, and `hits`, which is of no more use then, goes. Of the node's own texts the link stays where no other node took it: queued
    again, the graph then tells what comes, as another hit; the text of this time stands beside it.
    """
    own = graph[key]["inputs"]
    source = link_of(own.get("hits"))
    values: dict[Link, Any] = {(source[0], slot): value for slot, value in given.items()} if source is not None else {}
    values |= {link: text for name, text in texts.items() if (link := link_of(own.get(name))) is not None}
    new, taken = dict(graph), set()
    for other, node in graph.items():
        inputs = node.get("inputs")
        if not isinstance(inputs, Mapping):
            continue
        keeps = TEXTS if node.get("class_type") == SAVER else ()  # each saver writes its own texts
        links = {name: link for name, value in inputs.items() if name not in keeps and (link := link_of(value)) in values}
        if links:
            new[other] = {**node, "inputs": {**inputs, **{name: values[link] for name, link in links.items()}}}
            taken.update(links.values())
    mine = {name: value for name, value in new[key]["inputs"].items() if name not in map(beside, TEXTS)}
    for name, text in texts.items():
        link = link_of(mine.get(name))
        if link is not None:
            mine[name if link in taken else beside(name)] = text
    settings = {slot for slot in given if source is not None and (source[0], slot) in taken}
    if settings:  # a search that finds nothing another time would keep the node from saving
        del mine["hits"]
    new[key] = {**new[key], "inputs": mine}
    return Written(new, settings)


def one_for_one(graph: Graph, key: str, source: str, slots: Collection[int], lists: Callable[[str], tuple[bool, Sequence[bool]]]) -> bool:
    """Whether run i of node `key` has the images that were made with value i of the lists that node `source` gives at `slots`.

    ComfyUI runs a node once for each place of the lists that reach it, a shorter list's last value again, and gives on in that order. So
    it is, unless a node between takes lists as a whole or gives lists itself, or `source` has run for several. `lists` tells of a node
    whether it takes lists as a whole, and which of its outputs are lists.
    """
    links = {node: [found for value in (of.get("inputs") or {}).values() if (found := link_of(value)) is not None] for node, of in graph.items()}

    def before(ends: Iterable[str], goes_on: Callable[[str], bool]) -> list[str]:
        found = list(ends)
        for node in found:
            found += [of for of, _ in links.get(node, ()) if of not in found and goes_on(of)]
        return found

    between = before([of for of, _ in [link_of(graph[key]["inputs"].get("images")) or (source, 0)] if of != source], lambda node: node != source)
    made: set[str] = set()  # of the settings, on the way to the images
    while more := {node for node in between for of, slot in links.get(node, ()) if of in made or (of == source and slot in slots)} - made:
        made |= more
    ran = before([source], lambda node: not lists(node)[0])
    came = [lists(of)[1][slot : slot + 1] for node in ran for of, slot in links.get(node, ())]
    return not any(lists(node)[0] or any(lists(node)[1]) for node in made) and not any(map(any, came))


def link_of(value: Any) -> Link | None:
    """The node and the output behind an input; None for what is no link."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)) and isinstance(value[1], int):
        return str(value[0]), value[1]
    return None
