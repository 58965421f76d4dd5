"""Where in a graph a setting stands, found with the tracer itself: a literal is changed, and if the trace follows, that is the place.

So nothing here knows a class or an input by its name, whatever the tracer can read can be filled, and what was filled is what
a reader of the new picture will find.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..graph import Pass, Trace, trace

Graph = dict[str, dict[str, Any]]
MOST_TRACES = 600  # of one template; one takes about a millisecond, more in large graphs
_SIDES = ("positive", "negative")
_MARK = "zqx{}mark"
_FOUND = re.compile(r"zqx(\d+)mark")
_OTHER: Mapping[str, Callable[[Any], Any]] = {  # another value of the same kind, as no literal beside it will make one
    "seed": lambda value: 918_273_645_546_372 if value != 918_273_645_546_372 else 918_273_645_546_373,
    "steps": lambda value: value + 137,
    "cfg": lambda value: value + 0.734375,
    "guidance": lambda value: value + 0.734375,
    "denoise": lambda value: 0.4375 if value != 0.4375 else 0.5625,
    "width": lambda value: value + 8 * 137,
    "height": lambda value: value + 8 * 137,
    "sampler": lambda value: "zqxsampler",
    "scheduler": lambda value: "zqxscheduler",
    "checkpoint": lambda value: "zqxmodel.safetensors",
    "vae": lambda value: "zqxvae.safetensors",
}


class Place(NamedTuple):
    """An input that holds a literal. What is asked for is `scale` times as large as what stands there."""

    node: str
    input: str
    scale: float = 1.0


class TextPlaces(NamedTuple):
    """The literals that a side's text is made of: of CLIP-G's half and of CLIP-L's, the same where one text goes to both."""

    text_g: tuple[Place, ...] = ()
    text_l: tuple[Place, ...] = ()


class Probe:
    """A graph and what the tracer says of it and of its changed copies; ValueError where it can't be read at all."""

    def __init__(self, graph: Graph, types: Mapping[str, Sequence[str]]) -> None:
        self.graph, self._types = graph, types
        self.base = trace(graph, types=types)
        self._left = MOST_TRACES

    @property
    def first(self) -> Trace | Pass:
        """The pass that begins the picture: what is asked of a template is asked of it."""
        return passes_of(self.base)[0]

    def setting(self, name: str) -> list[Place]:
        """Where a setting of the first pass stands; a later pass that has the same value at another place counts as well."""
        value = getattr(self.first, name)
        if value is None:
            return []
        found, begins = [], False
        for place in self._literals(value):
            after = self._traced({place: _OTHER[name](value)})
            moved = [getattr(one, name) == _OTHER[name](value) for one in passes_of(after)] if after is not None else []
            if any(moved):
                found.append(place)
                begins |= moved[0]
        if begins or name not in ("width", "height"):
            return found if begins else []
        return self._scaled(name, value)

    def _scaled(self, name: str, value: int) -> list[Place]:
        """A side that is scaled on its way to the sampler."""
        for place, literal in self._sides(name):
            after = self._traced({place: 2 * literal})
            if after is not None and abs((getattr(passes_of(after)[0], name) or 0) - 2 * value) <= 2:
                return [place._replace(scale=value / literal)]
        return []

    def texts(self) -> dict[str, TextPlaces]:
        """The literals behind the positive and the negative text of the first pass, all in one more trace.

        A literal that both sides are made of is of neither: filling one would change the other.
        """
        heard = passes_of(self.base)
        halves = {half.strip() for one in heard for side in _SIDES for text in getattr(one, side) for half in text}
        none = any(not any(half.strip() for text in getattr(one, side) for half in text) for one in heard for side in _SIDES)
        candidates = [
            place
            for place, value in self._all()
            if isinstance(value, str) and ((none and not value.strip()) or (value.strip() and any(value.strip() in half for half in halves)))
        ]
        marked = self._traced({place: _MARK.format(i) for i, place in enumerate(candidates)})
        if marked is None:
            return {side: TextPlaces() for side in _SIDES}
        found = {side: self._marks(passes_of(marked), side, candidates) for side in _SIDES}
        shared = set.intersection(*({place for half in places for place in half} for places in found.values()))
        return {side: TextPlaces(*(tuple(p for p in half if p not in shared) for half in places)) for side, places in found.items()}

    def _marks(self, passes: Sequence[Any], side: str, candidates: Sequence[Place]) -> tuple[list[Place], list[Place]]:
        """In the order in which they stand in the text; then those of later passes that held the very same."""
        made: tuple[list[Place], list[Place]] = ([], [])
        for number, one in enumerate(passes):
            for text in getattr(one, side):
                for half, places in zip(text, made):
                    for mark in _FOUND.findall(half):
                        place = candidates[int(mark)] if int(mark) < len(candidates) else None
                        if place is None or place in places:
                            continue
                        same = any(self.value(place) == self.value(other) for other in places)
                        if number == 0 or (same and self.value(place).strip()):
                            places.append(place)
        return made

    def value(self, place: Place) -> Any:
        return self.graph[place.node]["inputs"][place.input]

    def _traced(self, changes: Mapping[Place, Any]) -> Trace | None:
        """None when it can't be read so, or too much was tried already."""
        self._left -= 1
        if self._left < 0:
            return None
        try:
            return trace(changed(self.graph, changes), types=self._types)
        except ValueError:
            return None

    def _literals(self, value: Any) -> list[Place]:
        """Inputs that hold this value. True is not 1 here."""
        return [place for place, literal in self._all() if literal == value and isinstance(literal, bool) == isinstance(value, bool)]

    def _sides(self, name: str) -> Iterator[tuple[Place, int]]:
        for place, literal in self._all():
            if name in place.input.lower() and isinstance(literal, int) and not isinstance(literal, bool) and literal > 0:
                yield place, literal

    def _all(self) -> Iterator[tuple[Place, Any]]:
        for key, node in self.graph.items():
            inputs = node.get("inputs") if isinstance(node, dict) else None
            for name, value in inputs.items() if isinstance(inputs, dict) else ():
                if isinstance(value, (str, int)) or isinstance(value, float) and math.isfinite(value):
                    yield Place(key, name), value


def passes_of(traced: Trace) -> list[Any]:
    """The passes; a graph without samplers is one by itself."""
    return list(traced.passes) or [traced]


def changed(graph: Graph, changes: Mapping[Place, Any]) -> Graph:
    """A graph with other literals; nodes that stay are shared with the old one."""
    new = dict(graph)
    for place, value in changes.items():
        node = new[place.node]
        new[place.node] = {**node, "inputs": {**node["inputs"], place.input: value}}
    return new
