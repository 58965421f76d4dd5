"""Take LoRAs out of a graph, and put others in: between the model's loader and all that takes it, and the same for its text encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..graph.nodes import Graph as Links
from ..graph.nodes import Link, Node
from .probe import Graph, Probe, passes_of

LOADER, LOADER_OF_MODEL = "LoraLoader", "LoraLoaderModelOnly"  # ComfyUI's own, for those that are put in


def without_loras(graph: Graph, types: Mapping[str, Sequence[str]]) -> tuple[Graph, list[str]]:
    """The graph without the nodes that apply LoRAs to its picture, and the LoRAs that could not be taken out.

    Such a node's takers are given what it was given of the same kind; of a list of LoRAs, which some nodes only make for another
    to apply, they are given nothing.
    """
    probe = Probe(graph, types)
    names = dict.fromkeys(lora["name"] for one in passes_of(probe.base) for lora in one.loras)
    links = Links(graph, types)
    going = {key for key in links.nodes if _holds(graph[key]["inputs"], names)}
    going = {key for key in going if _bypasses(links, links.nodes[key])}
    new = {key: dict(node, inputs=dict(node["inputs"])) for key, node in graph.items() if key not in going}
    for key in new.keys() & links.nodes.keys():
        for name, link in links.nodes[key].links.items():
            source: Link | None = link
            for _ in range(len(going) + 1):
                if source is None or source.node not in going:
                    break
                source = _through(links, source, links.nodes[key].kinds[name])
            if source is None:
                new[key]["inputs"].pop(name)
            elif source != link:
                new[key]["inputs"][name] = list(source)
    left = dict.fromkeys(lora["name"] for one in passes_of(Probe(new, types).base) for lora in one.loras)
    return new, list(left)


def with_loras(graph: Graph, types: Mapping[str, Sequence[str]], loras: Sequence[Mapping[str, Any]]) -> Graph | None:
    """The graph with these LoRAs, the first applied first; None where no model's loader is found.

    They stand right behind the loaders, so that what the template does to its model, it does to the whole.
    """
    if not loras:
        return graph
    probe, links = Probe(graph, types), Links(graph, types)
    start = getattr(probe.first, "node", "")
    model = _source(links, [start], ("model",), ("guider",)) if start else None
    if model is None:
        return None
    encoders = [place.node for side in probe.texts().values() for half in side for place in half]
    clip = _source(links, list(_takers(links, encoders)), ("clip",), ())
    new = {key: dict(node, inputs=dict(node["inputs"])) for key, node in graph.items()}
    last, last_clip = model, clip
    for number, lora in enumerate(loras, start=1):
        key = _unused(new, f"lora_{number}")
        inputs: dict[str, Any] = {"model": list(last), "lora_name": lora["name"], "strength_model": lora["strength_model"]}
        if last_clip is not None:
            inputs |= {"clip": list(last_clip), "strength_clip": lora["strength_clip"]}
        new[key] = {
            "class_type": LOADER if last_clip is not None else LOADER_OF_MODEL,
            "inputs": inputs,
            "_meta": {"title": "LoRA of the image"},
        }
        last, last_clip = Link(key, 0), Link(key, 1) if last_clip is not None else None
    for old, now in ((model, last), (clip, last_clip)):
        for taker, name in links.takers.get(old, ()) if old is not None else ():
            new[taker]["inputs"][name] = list(now)
    return new


def _holds(inputs: Mapping[str, Any], names: Mapping[str, Any]) -> bool:
    """Whether a node names one of these files itself, in a value or in what a value lists."""
    waiting, seen = list(inputs.values()), 0
    while waiting and seen < 1000:
        value, seen = waiting.pop(), seen + 1
        if isinstance(value, str) and value in names:
            return True
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return False


def _bypasses(links: Links, node: Node) -> bool:
    """A node that is given a model, or that only makes a list for another; a loader with a LoRA of its own is neither."""
    if links.links_of(node, "model"):
        return True
    kinds = [links.nodes[taker].kinds[name] for link in links.takers if link.node == node.key for taker, name in links.takers[link]]
    return bool(kinds) and all(kind == "lora" for kind in kinds)


def _through(links: Links, link: Link, kind: str | None) -> Link | None:
    """What a node that goes was given of the kind that its output was taken for; of two, the one of its output's own name."""
    node = links.nodes[link.node]
    given = links.links_of(node, links.type_of(link) or kind)
    return next(iter(given.values()), None)


def _takers(links: Links, keys: Sequence[str]) -> Iterator[str]:
    """The nodes with a text encoder nearest below these: the text may stand in a node of strings."""
    waiting, seen = list(keys), set(keys)
    for key in waiting:
        node = links.nodes[key]
        if links.links_of(node, "clip"):
            yield key
            continue
        for link, takers in links.takers.items():
            if link.node == key:
                new = [taker for taker, _ in takers if taker not in seen]
                seen.update(new)
                waiting += new


def _source(links: Links, start: Sequence[str], kinds: Sequence[str], on_the_way: Sequence[str]) -> Link | None:
    """The output that all of it comes from: the links that carry it are followed until a node takes none."""
    for key in start:
        came: Link | None = None
        seen = {key}
        node = links.nodes.get(key)
        while node is not None:
            onward = [*links.links_of(node, *kinds).items()] or ([*links.links_of(node, *on_the_way).items()] if on_the_way else [])
            if not onward:
                break
            came = onward[0][1]
            node = links.nodes[came.node] if came.node not in seen else None
            seen.add(came.node)
        if came is not None and links.takers.get(came):
            return came
    return None


def _unused(graph: Graph, key: str) -> str:
    while key in graph:
        key += "_"
    return key
