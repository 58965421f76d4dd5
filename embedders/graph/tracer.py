"""Trace a ComfyUI graph (API format) from the image it saved back to the texts and settings that made it.

The rules read types of links where these are known, the shape of the graph and the names of inputs, hardly ever the class of a
node, so that custom nodes follow them too. They stand where they are applied:

- `outputs`: which output the file is, and the samplers that reach it, first to last;
- `conditioning`: the texts that reach each side of a sampler;
- `strings`, `operations`, `matching`: strings that nodes make of others;
- `settings`, `models`: what the sampler was set to and the files it used;
- `names`: what the names of inputs and types tell.

The texts of an image are those of its passes, first to last. Its settings are those of the pass that began the last schedule: a
sampler that adds no noise goes on with another's. Without a sampler the nearest node upstream of the output that holds a
text is a remote model that was asked for the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from .conditioning import Conditioning, Side
from .models import Models
from .nodes import Graph, Link, Node
from .outputs import is_sampler, picture_links, samplers_of_image
from .records import Confidence, Origin, Pass, Settings, Trace
from .settings import Settle
from .strings import Strings, worse

_MOST_PLACES = 6  # named in one origin


def trace(prompt: Any, *, types: Mapping[str, Sequence[str]] = {}, saved_as: str | None = None) -> Trace:
    """Read a graph in API format, whatever types it holds.

    `types` gives the types of a class's outputs where they are known (from a workflow in the same file, or the running
    ComfyUI); names tell them otherwise. `saved_as` is the file's name, which tells which of several outputs it is.
    ValueError when the graph has no nodes. One too entangled to be followed to its end gives what was found until then.
    """
    return _Tracer(Graph(prompt, types)).trace(saved_as)


class _Tracer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.strings = Strings(graph)
        self.conditioning = Conditioning(graph, self.strings)
        self.settle = Settle(graph, self.strings)
        self.models = Models(graph, self.strings)
        self.samplers = {key for key, node in graph.nodes.items() if is_sampler(graph, node)}

    def trace(self, saved_as: str | None) -> Trace:
        output, order = samplers_of_image(
            self.graph, self.samplers, saved_as, lambda node: self.strings.number(node, "filename_prefix")
        )
        if not order:
            return self._without_sampler(output)
        result = Trace()
        sides: list[tuple[Side, Side]] = []
        sources: dict[str, tuple[Confidence, list[str]]] = {}
        for key in reversed(order):  # the last pass first, for the case that the graph is too entangled for all
            made = Pass(node=key, kind=self.graph.nodes[key].kind)
            with self.graph.half():
                positive = self.conditioning.side(key, negative=False)
            with self.graph.half():
                negative = self.conditioning.side(key, negative=True)
            made.positive = list(positive.texts)
            made.negative = [text for text in negative.texts if not negative.shared or text not in made.positive]
            with self.graph.half():
                sources[key] = self.settle.read(key, positive, made)
            with self.graph.half():
                self.models.read(key, positive, made, self.samplers)
            result.passes.insert(0, made)
            sides.insert(0, (positive, negative))
        result.positive = list(dict.fromkeys(text for made in result.passes for text in made.positive))
        result.negative = list(dict.fromkeys(text for made in result.passes for text in made.negative))
        result.positive_origin = _origin([side for side, _ in sides], bool(result.positive), certain=False)
        result.negative_origin = _origin([side for _, side in sides], bool(result.negative), certain=True)
        begun = self._begun(order)
        _copy(next(made for made in result.passes if made.node == begun), result)
        confidence, where = sources[begun]
        result.settings_origin = Origin(confidence, "; ".join(where[:_MOST_PLACES]))
        return result

    def _begun(self, order: list[str]) -> str:
        """The pass that began the schedule which the last one ended."""
        last = order[-1]
        wanted = set(order)
        seen: set[str] = set()
        while not self.settle.adds_noise(last) and last not in seen:
            seen.add(last)
            start = last
            before = self.graph.upstream([start], lambda node: picture_links(self.graph, node, self.samplers))
            last = next((node.key for node in before if node.key in wanted and node.key not in seen), last)
        return last if last not in seen else order[-1]

    def _without_sampler(self, output: Node | None) -> Trace:
        """Graphs of remote models: the nearest node upstream of the output that holds a text says what was asked."""
        result = Trace()
        taken = {link.node for link in self.graph.takers}
        starts = (
            [output.key]
            if output is not None
            else [k for k, n in self.graph.nodes.items() if k not in taken and n.links]
        )

        def pictures(node: Node) -> Iterator[Link]:
            return picture_links(self.graph, node, self.samplers)

        def all_links(node: Node) -> Iterator[Link]:
            return iter(node.links.values())

        for follow in (pictures, all_links):
            for node in self.graph.upstream(starts, follow):
                if node.key not in taken:
                    continue
                positive, negative = (self.conditioning.asked_at(node, side) for side in (False, True))
                if positive.texts or positive.where:
                    result.positive, result.negative = positive.texts, negative.texts
                    confidence, where = self.settle.read(node.key, positive, result)
                    self.models.read(node.key, positive, result, self.samplers)
                    result.positive_origin = _origin([positive], bool(positive.texts), certain=False)
                    result.negative_origin = _origin([negative], bool(negative.texts), certain=False)
                    result.settings_origin = Origin("inferred", "; ".join(where[:_MOST_PLACES]))
                    return result
        return result


def _origin(sides: list[Side], found: bool, certain: bool) -> Origin:
    """`certain`: that nothing was found because no text was given is as sure as a text would be."""
    confidence: Confidence = "exact"
    for side in sides:
        confidence = worse(confidence, side.confidence)
    where = list(dict.fromkeys(place for side in sides for place in side.where))
    ends = list(dict.fromkeys(place for side in sides for place in side.ends))
    if not found and not where:
        where = ends
        confidence = confidence if certain and ends else "unknown"
    more = f"; and {len(where) - _MOST_PLACES} more" if len(where) > _MOST_PLACES else ""
    return Origin(confidence, "; ".join(where[:_MOST_PLACES]) + more)


def _copy(made: Settings, into: Settings) -> None:
    for field in fields(Settings):
        setattr(into, field.name, getattr(made, field.name))
