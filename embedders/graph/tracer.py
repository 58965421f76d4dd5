"""Trace a ComfyUI graph (API format) from the image it saved back to the texts and settings that made it.

The rules read types of links where these are known, the shape of the graph and the names of inputs, hardly ever the class of a
node, so that custom nodes follow them too. They stand where they are applied:

- `outputs`: which output the file is, and the samplers that reach it, first to last;
- `conditioning`: the texts that reach each side of a sampler;
- `strings`, `operations`, `matching`: strings that nodes make of others;
- `switches`: which of its inputs a switch hands on; the others are taken away before anything is followed;
- `settings`, `models`: what the sampler was set to and the files it used;
- `names`: what the names of inputs and types tell.

The texts of an image are those of its passes, first to last, and so are its LoRAs. Its settings are those of the first that makes noise, with which
the picture can be begun again: a refiner goes on with them, and a hires fix has the seed and strength of a change. The VAE is that of the last, which
decoded it. Without a sampler the nearest node upstream of the output that holds a text is a remote model that was asked for the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from . import names as called
from .conditioning import Conditioning, Side
from .models import Models
from .nodes import Graph, Link, Node
from .outputs import Chosen, is_sampler, output_of_file, picture_links
from .records import Confidence, Origin, Pass, Settings, Trace
from .saved_texts import SAVER, SIDES, is_of, saved_text
from .settings import Settle
from .strings import Strings, worse
from .switches import shut

_SETTINGS = tuple(field.name for field in fields(Settings))
_MOST_PLACES = 6  # named in one origin
_SEVERAL = "several outputs differ in it, and neither the file's name nor its size tells which it is"


class _Read(NamedTuple):
    """A pass and where it was found."""

    made: Pass
    positive: Side
    negative: Side
    confidence: Confidence  # of the settings
    where: list[str]


def trace(
    prompt: Any,
    *,
    types: Mapping[str, Sequence[str]] = {},
    saved_as: str | None = None,
    size: tuple[int, int] | None = None,
) -> Trace:
    """Read a graph in API format, whatever types it holds.

    `types` gives the types of a class's outputs where they are known (from a workflow in the same file, or the running
    ComfyUI); names tell them otherwise. `saved_as` is the file's name and `size` its pixels, which tell which of several outputs it is.
    ValueError when the graph has no nodes or too many. One too entangled to be followed to its end gives what was found until then.
    """
    return _Tracer(Graph(prompt, types)).trace(saved_as, size)


class _Tracer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.strings = Strings(graph)
        shut(graph, self.strings)
        self.conditioning = Conditioning(graph, self.strings)
        self.settle = Settle(graph, self.strings)
        self.models = Models(graph, self.strings)
        self._passes: dict[str, _Read] = {}
        self.samplers = {key for key, node in graph.nodes.items() if is_sampler(graph, node)}

    def trace(self, saved_as: str | None, size: tuple[int, int] | None) -> Trace:
        chosen = output_of_file(
            self.graph,
            self.samplers,
            saved_as,
            size,
            lambda node: self.strings.number(node, "filename_prefix"),
            self.settle.size,
        )
        result = self._made_by(chosen.order) if chosen.order else self._without_sampler(chosen.output)
        result.loads_no_lora = self.models.load_none()
        self._add_saved(result, chosen)
        if chosen.order:
            self._doubt(result, chosen)
        return result

    def _add_saved(self, result: Trace, chosen: Chosen) -> None:
        """The texts that the saving node keeps, of a side that can't be followed exactly.

        Exact where the one node that gave the conditioning gave the text with it. Else a person linked a text: it goes with what is known
        otherwise, or in its place where it holds all of that, and tells nothing new where it is a part of that.
        """
        kept = [node for node in (chosen.output, *chosen.alike) if node is not None and node.kind == SAVER]
        for side in SIDES:
            found = next(((node, *saved) for node in kept if (saved := saved_text(node, side)) is not None), None)
            known = getattr(result, side)
            if found is None or getattr(result, f"{side}_origin").confidence == "exact":
                continue
            node, text, place = found
            if any(text in half for pair in known for half in pair):
                continue
            passes = [getattr(self._passes[sampler], side) for sampler in chosen.order]
            alone = bool(passes) and all(one.recalled and len(one.where) == len(one.recalled) and not one.made for one in passes)
            sure = alone and not known and all(is_of(node, side, link, self.graph.nodes[link.node]) for one in passes for link in one.recalled)
            other = [pair for pair in known if not all(half in text for half in pair)]
            setattr(result, side, [*other, (text, text)])
            setattr(result, f"{side}_origin", Origin("exact" if sure else "inferred", f"{node} {place}"))

    def _made_by(self, order: list[str]) -> Trace:
        """What the samplers of one output tell."""
        result = Trace()
        read = [self._pass(key) for key in reversed(order)][::-1]  # the last first, lest the graph is too entangled for all
        result.passes = [one.made for one in read]
        result.positive = list(dict.fromkeys(text for made in result.passes for text in made.positive))
        result.negative = list(dict.fromkeys(text for made in result.passes for text in made.negative))
        result.positive_origin = _origin([one.positive for one in read], bool(result.positive))
        result.negative_origin = _origin([one.negative for one in read], bool(result.negative))
        begun = next((one for one in read if self.settle.adds_noise(one.made.node)), read[0])
        _copy(begun.made, result)
        result.vae = read[-1].made.vae or begun.made.vae
        loras = [lora for one in read for lora in one.made.loras]
        result.loras = [lora for n, lora in enumerate(loras) if lora not in loras[:n]]
        result.settings_origin = Origin(begun.confidence, "; ".join(begun.where[:_MOST_PLACES]))
        return result

    def _pass(self, key: str) -> _Read:
        """One sampler, and how sure its settings are."""
        if key not in self._passes:
            made = Pass(node=key, kind=self.graph.nodes[key].kind)
            with self.graph.half():
                positive = self.conditioning.side(key, negative=False)
            with self.graph.half():
                negative = self.conditioning.side(key, negative=True)
            made.positive = list(positive.texts)
            made.negative = [text for text in negative.texts if not negative.shared or text not in made.positive]
            with self.graph.half():
                confidence, where = self.settle.read(key, positive, made)
            with self.graph.half():
                self.models.read(key, positive, made, self.samplers)
            self._passes[key] = _Read(made, positive, negative, confidence, where)
        return self._passes[key]

    def _doubt(self, result: Trace, chosen: Chosen) -> None:
        """Nothing is exact that another output, which the file may be as well, has otherwise."""
        others = [self._made_by(order) for order in chosen.others]
        if not others and not chosen.unlike:
            return
        for name, same in (
            ("positive", lambda other: set(other.positive) == set(result.positive)),
            ("negative", lambda other: set(other.negative) == set(result.negative)),
            ("settings", lambda other: all(getattr(other, name) == getattr(result, name) for name in _SETTINGS)),
        ):
            if chosen.unlike or not all(map(same, others)):
                origin = getattr(result, f"{name}_origin")
                where = "; ".join(filter(None, (origin.where, _SEVERAL)))
                setattr(result, f"{name}_origin", Origin(worse(origin.confidence, "inferred"), where))

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
            return pictures(node) if node.kind == SAVER else iter(node.links.values())

        for follow in (pictures, all_links):
            for node in self.graph.upstream(starts, follow):
                if node.key not in taken or node.kind == SAVER:
                    continue
                if follow is pictures and called.recalling(node.kind):
                    made = Origin("unknown", f"{node} made it when the graph ran")
                    result.positive_origin = result.negative_origin = result.settings_origin = made
                    return result
                positive, negative = (self.conditioning.asked_at(node, side) for side in (False, True))
                if positive.texts or positive.where:
                    result.positive, result.negative = positive.texts, negative.texts
                    confidence, where = self.settle.read(node.key, positive, result)
                    self.models.read(node.key, positive, result, self.samplers)
                    result.positive_origin = _origin([positive], bool(positive.texts))
                    result.negative_origin = _origin([negative], bool(negative.texts))
                    result.settings_origin = Origin("inferred", "; ".join(where[:_MOST_PLACES]))
                    return result
        return result


def _origin(sides: list[Side], found: bool) -> Origin:
    """Without a text it is unknown, but where all ways end for certain: that nothing was asked for is as sure as a text would be."""
    confidence: Confidence = "exact"
    for side in sides:
        confidence = worse(confidence, side.confidence)
    where = [place for side in sides for place in side.where]
    made = [place for side in sides for place in side.made]
    ends = [place for side in sides for place in side.ends]
    if not found:
        confidence = "exact" if ends and not made and not where else "unknown"
        where = where or made or ends
    where = list(dict.fromkeys(where))
    more = f"; and {len(where) - _MOST_PLACES} more" if len(where) > _MOST_PLACES else ""
    return Origin(confidence, "; ".join(where[:_MOST_PLACES]) + more)


def _copy(made: Settings, into: Settings) -> None:
    for name in _SETTINGS:
        setattr(into, name, getattr(made, name))
