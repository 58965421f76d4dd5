"""The texts whose conditioning reaches one side of a sampler.

- Links of type CONDITIONING, or with inputs named for it, are followed; a sampler's or guider's own by side.
- A guider of three (`cond1`, `cond2`, `negative`) asks for the first; the second stands half-way to the negative and counts with it,
  but for the texts that are the first's too. Whatever else a text reaches, at a positive input it stays the prompt.
- A node with a positive and a negative input gives the positive at its first output of CONDITIONING and the negative at the
  others. One that has a model or bundle and whose types are unknown gives at each output what is asked for.
- A bundle (pipe, context, embeds, tuple) carries both sides: names tell them from there on. An input of its own wins over what a
  node's bundle brings.
- A switch hands on what its literal chooses, a reroute everything that may be conditioning.
- An encoder's text is what stands at inputs named for texts, or its only texts that look like a sentence. Of text_g and text_l
  a pair is made. Empty texts count only where an encoder has nothing else.
- Zeroed conditioning has no text, nor has one that is named empty: that nothing was asked for is exact. What a node makes of a
  picture or a file of embeddings is unknown where there is no text beside it, and so is what a walk was cut off from. What our own
  nodes recall is unknown, whatever text is beside it: their words ask a library, and a CLIP at them chooses an encoder.
- A node's own text comes behind those of the conditioning that it takes. One that makes conditioning of conditioning and has
  nothing to encode with has none.
- A remote model whose inputs are named oddly was asked by the only text at it of several words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import names as called
from .nodes import Graph, Link, Node, natural
from .records import Confidence, Text
from .strings import Known, Strings, worse
from .switches import choose

_NOT_CONDITIONING = {
    "model", "clip", "vae", "image", "latent", "mask", "control", "noise", "sigmas", "sampler", "audio", "lora", "vision", "upscaler",
    "patch", "number", "other", "string",
}  # fmt: skip


@dataclass
class Side:
    """What reached one side of a sampler."""

    texts: list[Text] = field(default_factory=list)
    confidence: Confidence = "exact"
    where: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)  # on the way, the nearest to the sampler first
    ends: list[str] = field(default_factory=list)  # why there is no text, for certain
    made: list[str] = field(default_factory=list)  # what was made of something else than a text
    recalled: list[Link] = field(default_factory=list)  # the outputs of our nodes that give some of it out of a library
    shared: bool = False  # some of it stands between the sides: what is the other's too does not count here


class _Step(NamedTuple):
    link: Link
    negative: bool
    bundle: bool  # both sides come by this link
    guider: bool
    sure: bool


class Conditioning:
    def __init__(self, graph: Graph, strings: Strings) -> None:
        self.graph, self.strings = graph, strings
        self._known: dict[tuple[Any, ...], Side] = {}
        self._texts: dict[tuple[str, bool, bool], dict[str, Any]] = {}

    def side(self, key: str, negative: bool) -> Side:
        node = self.graph.nodes[key]
        start = self._onward(node, None, negative, bundle=False, guider=True, sure=True)
        own = self._sources(node, negative, sided=True)
        cached = (*start, *(() if not own else (key,)), negative)
        if cached not in self._known:
            self._known[cached] = self._walk(node, start, negative, own)
        return self._known[cached]

    def asked_at(self, node: Node, negative: bool) -> Side:
        """The text that one node was given, as remote models are."""
        side = Side(nodes=[node])
        sources = self._sources(node, negative, sided=True)
        if not sources and not negative and (not node.outputs or "image" in node.outputs):
            said = {n: v for n, v in node.values.items() if isinstance(v, str) and len(v) >= 20 and _is_sentence(v)}
            if len(said) == 1 and not any(called.not_text(n) or called.category(n) for n in said):
                sources = said
        if sources:
            self._add(node, sources, False, side)
        side.texts = list(dict.fromkeys(side.texts))
        return side

    def _walk(self, sampler: Node, start: list[_Step], negative: bool, own: dict[str, Any]) -> Side:
        side = Side(nodes=[sampler], shared=negative and bool(self._between(self._named(sampler))))
        if not start:
            self._end(sampler, negative, side)
        stack: list[_Step | tuple[Node, _Step]] = list(start[::-1])
        seen: set[_Step] = set()
        while stack:
            step = stack.pop()
            if not isinstance(step, _Step):
                self._read(*step, side)
                continue
            if step in seen:
                continue
            seen.add(step)
            if not self.graph.spend(2):
                side.confidence = worse(side.confidence, "inferred")
                side.where.append("the graph is too entangled to be followed to its end")
                break
            node = self.graph.nodes[step.link.node]
            side.nodes.append(node)
            if called.zeroing(node.kind):
                side.ends.append(f"{node} zeroes it")
                continue
            if called.recalling(node.kind):
                side.recalled.append(step.link)
                side.confidence = "unknown"  # also beside a text, which then is a part of it
                side.where.append(f"{node} makes it when the graph runs")
                continue
            stack.append((node, step))
            side.shared |= negative and step.guider and bool(self._between(self._named(node)))
            onward = self._onward(node, step.link, *step[1:])
            if not onward and step.guider:
                self._end(node, negative, side)
            elif not onward and step.sure and not self._sources(node, step.negative, sided=step.bundle):
                if called.empty(node.kind):
                    side.ends.append(f"{node} is empty")
                elif step.negative and self._sources(node, False, sided=step.bundle):  # a bundle of one side
                    self._end(node, negative, side)
                else:
                    side.made.append(f"{node} makes it when the graph runs")
            stack += onward[::-1]
        if own:  # a detailer's or a remote sampler's
            self._add(sampler, own, True, side)
        side.texts = list(dict.fromkeys(side.texts))
        return side

    @staticmethod
    def _end(node: Node, negative: bool, side: Side) -> None:
        """Samplers may well have no negative; without a positive they were not understood."""
        (side.ends if negative else side.made).append(f"{node} takes none")

    # -- the way ---------------------------------------------------------------------------------------------------

    def _onward(
        self, node: Node, came_by: Link | None, negative: bool, bundle: bool, guider: bool, sure: bool
    ) -> list[_Step]:
        """The links that bring the wanted side. `came_by` is None at the sampler."""
        kinds = node.kinds
        named = self._named(node)
        bundles = [name for name, kind in kinds.items() if kind == "bundle"]
        chosen, certain = choose(
            node, {n: node.links[n] for n in (*named, *bundles)} if named or bundles else {}, self.strings
        )
        if chosen is not None:
            return [_Step(chosen, negative, bundle or not named, guider, sure and certain)]
        negatives = [name for name in named if called.negative(name)]
        positives = [name for name in named if not called.negative(name) and called.positive(name)]
        neutral = [name for name in named if name not in negatives and name not in positives]
        if came_by is not None and negatives and (positives or neutral) and not bundle and not guider:
            negative = self._side_at(node, came_by, negative)
        if came_by is None or guider:
            between = self._between(named)
            wanted = negatives + between if negative else [n for n in positives + neutral if n not in between]
        else:
            wanted = (negatives if negative else positives) + neutral
            if not wanted and not bundles and not bundle:
                wanted = named
        wanted.sort(key=list(node.links).index)
        if wanted:
            return [_Step(node.links[name], negative, False, False, sure) for name in wanted]
        guiders = [node.links[name] for name, kind in kinds.items() if kind == "guider"]
        if guiders:
            return [_Step(link, negative, False, True, sure) for link in guiders]
        if bundles:
            return [_Step(node.links[name], negative, True, False, sure) for name in bundles]
        if named or came_by is not None and self._sources(node, negative, sided=False):
            return []
        opaque = {n: node.links[n] for n, kind in kinds.items() if kind not in _NOT_CONDITIONING}
        if came_by is None:
            return [_Step(link, negative, True, False, False) for link in opaque.values()]
        if not bundle and not guider:  # conditioning goes through nothing whose type is known to be another
            opaque = {n: link for n, link in opaque.items() if kinds[n] != "opaque"} or opaque
        chosen, certain = choose(node, opaque, self.strings)
        links = [chosen] if chosen is not None else list(opaque.values())
        sure = sure and (certain if chosen is not None else len(links) < 2)
        return [_Step(link, negative, bundle, guider, sure) for link in links]

    @staticmethod
    def _named(node: Node) -> list[str]:
        return [name for name, kind in node.kinds.items() if kind == "conditioning" and not called.empty(name)]

    @staticmethod
    def _between(named: Sequence[str]) -> list[str]:
        """The inputs of a guider of three that stand between its first and its negative."""
        neutral = [name for name in named if not called.negative(name)]
        if len(neutral) < 2 or neutral == named or any(map(called.positive, neutral)):
            return []
        return sorted(neutral, key=natural)[1:]

    def _side_at(self, node: Node, came_by: Link, negative: bool) -> bool:
        """Whether a node that has both sides gives the negative at the output that was come by."""
        sides = [slot for slot, kind in enumerate(node.outputs) if kind == "conditioning"]
        if came_by.slot in sides:
            return came_by.slot != sides[0] if len(sides) > 1 else negative
        if node.outputs or came_by.slot > 1 or self.graph.links_of(node, "model", "bundle"):
            return negative
        return came_by.slot == 1

    # -- the texts -------------------------------------------------------------------------------------------------

    def _read(self, node: Node, step: _Step, side: Side) -> None:
        negative = step.negative
        sides = [slot for slot, kind in enumerate(node.outputs) if kind == "conditioning"]
        if len(sides) > 1 and step.link.slot in sides and not step.bundle:
            negative = step.link.slot != sides[0]
        if self._is_string(node, step):
            text = self._text(self.strings.at(step.link), node, step.sure, side)
            side.texts += [(text, text)] if text is not None else []
            return
        sources = self._sources(node, negative, sided=step.bundle)
        if sources:
            self._add(node, sources, step.sure, side)

    def _is_string(self, node: Node, step: _Step) -> bool:
        """A node of strings where conditioning was looked for: the input took a text, whatever its name."""
        if step.bundle or self.graph.type_of(step.link) not in (None, "string"):
            return False
        kinds = set(node.kinds.values())
        texts = [n for n, v in node.values.items() if isinstance(v, str) and (called.text(n) or called.string_source(n))]
        if len(set(map(called.negative, texts))) != 1:  # with texts of both sides it is a loader that encodes them, as far as can be told
            return False
        return kinds <= {"string", "number", None} and set(node.outputs) <= {"string", "number", None}

    def _add(self, node: Node, sources: dict[str, Any], sure: bool, side: Side) -> None:
        found: dict[str, str] = {}
        sure = sure and not any("trigger" in name.lower() for name in sources)  # put to the text, before or behind it
        for name, value in sources.items():
            maker = self.graph.nodes[value.node] if isinstance(value, Link) else node
            text = self._text(self.strings.of(node, name, value), maker, sure, side)
            if text is not None:
                found[name] = text
        side.texts += _pairs(found)

    @staticmethod
    def _text(known: Known, maker: Node, sure: bool, side: Side) -> str | None:
        """Take note of how a text is known, and give it; a number at the maker of a text, as a seed, is none."""
        if not isinstance(known.value, str) and known.confidence != "unknown":
            known = Known(None, "unknown", (f"{maker} made it when the graph ran",))
        side.confidence = worse(side.confidence, known.confidence if sure else worse(known.confidence, "inferred"))
        side.where += known.where
        return known.value

    def _sources(self, node: Node, negative: bool, sided: bool) -> dict[str, Any]:
        """Inputs that hold the texts of one side. `sided`: what has no side's name is positive, as in a bundle."""
        key = (node.key, negative, sided)
        if key not in self._texts:
            self._texts[key] = self._find_sources(node, negative, sided)
        return self._texts[key]

    def _find_sources(self, node: Node, negative: bool, sided: bool) -> dict[str, Any]:
        graph = self.graph
        if not (node.values or {"string", None} & set(node.kinds.values()) or any(map(called.text, node.links))):
            return {}
        encodes = bool(graph.links_of(node, "clip")) or "conditioning" in node.outputs
        takes = set(node.kinds.values())
        deaf = "conditioning" in takes & set(node.outputs) and not takes & {"clip", "model", "bundle", "opaque", None}
        at_sampler = sided and any(called.setting(name) for name in node.values)
        strings = {n: v for n, v in node.values.items() if isinstance(v, str) and not deaf and not called.switched(v)}
        strings |= {
            n: k for n, k in node.links.items() if node.kinds[n] in ("string", None) or graph.type_of(k) == "string"
        }
        found = {n: v for n, v in strings.items() if called.text(n) and not called.not_text(n)}
        found = {
            n: v for n, v in found.items() if not (isinstance(v, Link) and graph.type_of(v) not in (None, "string"))
        }
        if at_sampler and not encodes:  # samplers have texts of their own only where they are asked like this
            found = {n: v for n, v in found.items() if called.asked(n)}
        if any(n.startswith("populated") and not _blank(v) for n, v in found.items()):  # what a wildcard became
            found = {n: v for n, v in found.items() if n.startswith("populated")}
        if not found and encodes and not at_sampler and not graph.links_of(node, "conditioning"):
            found = {n: k for n, k in strings.items() if isinstance(k, Link) and graph.type_of(k) == "string"}
            found = found or {
                n: v for n, v in strings.items() if isinstance(v, str) and re.search(r"\s", v.strip()) and "\\" not in v
            }
        if any(called.negative(n) for n in found):
            found = {n: v for n, v in found.items() if called.negative(n) == negative}
        elif sided and negative:
            return {}
        if at_sampler or graph.links_of(node, "conditioning", "bundle"):  # a text of its own that was left out
            found = {n: v for n, v in found.items() if not _blank(v)}
        return dict(sorted(found.items(), key=lambda item: natural(item[0]))) if len(found) > 1 else found


def _pairs(found: dict[str, str]) -> Iterator[Text]:
    """The texts of one encoder: text_g and text_l as a pair; the empty ones only where there is nothing else."""
    by_end = {name.lower()[-2:]: name for name in found}
    pair = [by_end["_g"], by_end["_l"]] if "_g" in by_end and "_l" in by_end else []
    texts: list[Text] = [(found[pair[0]], found[pair[1]])] if pair else []
    texts += [(text, text) for name, text in found.items() if name not in pair]
    return iter([text for text in texts if text[0].strip() or text[1].strip()] or texts)


def _is_sentence(text: str) -> bool:
    """Several words, neither a file nor what is written for machines."""
    return len(text[:10_000].split(None, 2)) > 2 and not set("\\{}") & set(text)


def _blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()
