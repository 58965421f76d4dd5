"""What a sampler was set to, read where it stands or where its links lead.

- A setting is the value of that name at the sampler, at the primitive linked to it, or at the nearest node upstream by the links that
  bring it: noise brings the seed, sigmas the steps, scheduler and denoise, a guider the cfg, and a bundle all of them.
- A solver or schedule with a node of its own and no name in it is called as its class is: SamplerDPMPP_2M_SDE is dpmpp_2m_sde.
- Guidance is what a node on the positive conditioning's way sets, the nearest to the sampler; it is not cfg.
- Width and height are those of the latent it started from, with what scaled it since. A size that is chosen in words wins over the
  numbers beside it, and either is turned where a switch says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from .conditioning import Side
from .nodes import Graph, Link, Node
from .records import Confidence, Settings
from .strings import Strings

_NAMED = {"sampler", "sampler_name", "scheduler"}
_CFG = ("cfg", "cfg_scale", "cfg_conds", "guidance_scale", "classifier_free_guidance")
_SETTING_OF = {"seed": "seed", "noise_seed": "seed", "steps": "steps", "cfg": "cfg", "sampler_name": "sampler", "scheduler": "scheduler"}
_CHOSEN_SIZE = re.compile(r"(?<!\d)(\d{2,5})\s*[x\u00d7*]\s*(\d{2,5})(?!\d)")
_TURNS = re.compile(r"(swap|invert|flip)_?(dimensions|orientation|sides)")
_GUIDANCE = ("guidance", "embedded_guidance_scale", "embedded_guidance", "distilled_guidance", "flux_guidance")


class Settle:
    """Reads the settings of samplers, and notes where they stood."""

    def __init__(self, graph: Graph, strings: Strings) -> None:
        self.graph, self.strings = graph, strings
        self._where: list[str] = []
        self._confidence: Confidence = "exact"

    def read(self, key: str, positive: Side, into: Settings) -> tuple[Confidence, list[str]]:
        node = self.graph.nodes[key]
        self._where = [str(node)]
        self._confidence = "exact"
        seed = self._look(node, ("seed", "noise_seed"), "noise", "seed")
        into.seed = int(seed) if is_whole(seed) and 0 <= seed < 2**64 else None
        steps = self._look(node, ("steps",), "sigmas", "steps")
        into.steps = int(steps) if is_whole(steps) and 0 <= steps < 2**31 else self._written_sigmas(node)
        into.cfg = finite(self._look(node, _CFG, "guider"))
        into.sampler = _word(self._look(node, ("sampler_name", "sampler"), "sampler")) or self._by_class(
            node, "sampler"
        )
        into.scheduler = _word(self._look(node, ("scheduler",), "sigmas")) or self._by_class(node, "sigmas")
        into.denoise = self._denoise(node)
        into.guidance = self._guidance(node, positive)
        into.width, into.height = self.size(node)
        for name, link in node.links.items():
            if (of := _SETTING_OF.get(name)) is not None and getattr(into, of) is None:
                self._confidence = "unknown"
                self._where.append(f"{self.graph.nodes[link.node]} made the {of} when the graph ran")
        return self._confidence, self._where

    def adds_noise(self, key: str) -> bool:
        """A sampler that adds none goes on with another's schedule."""
        node = self.graph.nodes[key]
        if self.strings.number(node, "add_noise") in ("disable", False):
            return False
        noise = self.graph.links_of(node, "noise")
        return not noise or self._look(node, ("noise_seed", "seed"), "noise") is not None

    def _look(self, start: Node, names: tuple[str, ...], way: str, hint: str = "") -> Any:
        """The value at one of `names`, here or at the nearest node upstream by links that carry `way`."""

        if (value := self._value(start, names, way)) is not None:
            return value

        def follow(node: Node) -> Iterator[Link]:
            first = node is start
            for name, link in node.links.items():
                kind = node.kinds[name]
                if kind in (way, "bundle") or (name in names if first else kind in (None, "opaque", "number")):
                    yield link

        for count, node in enumerate(self.graph.upstream([start.key], follow)):
            if count > 2000:
                break
            if node is not start and (value := self._value(node, names, way)) is not None:
                return value
        return None

    def _value(self, node: Node, names: tuple[str, ...], way: str) -> Any:
        for name in filter(None, (_input(node, wanted) for wanted in names)):
            if name in node.links and (name == way or node.links[name].node == node.key):
                continue  # the link by which it comes, or one to itself
            value = self.strings.number(node, name)
            if isinstance(value, (int, float, str)) and not isinstance(value, bool) and value != "":
                self._note(node)
                return value
        return None

    def _note(self, node: Node) -> None:
        if str(node) not in self._where:
            self._where.append(str(node))

    def _nearest(self, start: Node, way: str) -> Node | None:
        """The node that makes what comes by `way`, behind reroutes and what splits or flips it."""

        def follow(node: Node) -> Iterator[Link]:
            for name, link in node.links.items():
                if node.kinds[name] in (way, "bundle") or node is not start and node.kinds[name] is None:
                    yield link

        last = None
        for count, node in enumerate(self.graph.upstream([start.key], follow)):
            if node is not start:
                last = node
            if count > 200:
                return None
        return last

    def _by_class(self, start: Node, way: str) -> str | None:
        """`SamplerEulerAncestral`, `KarrasScheduler`: the name of a node's class without what it is."""
        if not self.graph.links_of(start, way):
            return None
        node = self._nearest(start, way)
        what = "sampler" if way == "sampler" else "scheduler"
        if node is None or what not in node.kind.lower() or _NAMED & {*node.values, *node.links}:
            return None  # one that is given a name is not named by its class
        name = re.sub(what, "", node.kind[:80], flags=re.I).strip("_ ")
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        if not name or not re.fullmatch(r"[a-z0-9_]+", name):
            return None
        self._note(node)
        self._confidence = "inferred"
        return name

    def _written_sigmas(self, start: Node) -> int | None:
        """Sigmas written out: there is one more of them than steps."""
        written = self._look(start, ("sigmas",), "sigmas")
        if not isinstance(written, str) or len(written) > 100_000:
            return None
        count = len(re.findall(r"\d+(?:\.\d*)?|\.\d+", written))
        return count - 1 if count > 1 else None

    def _denoise(self, node: Node) -> float | None:
        denoise = finite(self._look(node, ("denoise", "denoise_strength"), "sigmas"))
        if denoise is None:
            start, steps = (self._look(node, (name,), "sigmas") for name in ("start_at_step", "steps"))
            if is_whole(start) and is_whole(steps) and 0 < steps < 2**31 and 0 <= start:
                denoise = round(1 - min(start, steps) / steps, 4)
        return denoise if denoise is None or 0 <= denoise <= 1 else None

    def _guidance(self, node: Node, positive: Side) -> float | None:
        for at in positive.nodes:
            for name in _GUIDANCE:
                if name in at.values or name in at.links:
                    value = finite(self.strings.number(at, name))
                    if value is not None:
                        self._note(at)
                        return value
        return finite(self._look(node, _GUIDANCE, "guider"))

    def size(self, start: Node) -> tuple[int | None, int | None]:
        """Of the latent that the sampler or output goes back to; nothing where it was made of a picture of unknown size."""

        def follow(node: Node) -> Iterator[Link]:
            links = self.graph.links_of(node, "latent")
            if node is start:  # some video models take the size with embedded pictures
                embedded = {n: k for n, k in self.graph.links_of(node, "other").items() if "image" in n}
                links = links or self.graph.links_of(node, "image") or embedded or self.graph.links_of(node, "bundle")
            else:
                links = links or self.graph.links_of(node, "image") or self.graph.links_of(node, "bundle", None)
            yield from list(links.values())[:1]

        scale = 1.0
        for count, node in enumerate(self.graph.upstream([start.key], follow)):
            if count > 500:
                break
            if node is start and not self.graph.links_of(node, "bundle"):
                continue
            width, height = self._sides(node)
            if width and height:
                if node is not start:
                    self._note(node)
                return _pixels(width * scale), _pixels(height * scale)
            if node is start:
                continue
            if self.graph.links_of(node, "upscaler"):
                return None, None  # by as much as that model does
            for name in node.values:
                if re.fullmatch(r"(scale|upscale|resize)_?(by|factor|ratio)", name):
                    by = finite(self.strings.number(node, name))
                    scale *= by if by is not None and 0 < by < 100 else 1.0
        return None, None

    def _sides(self, node: Node) -> tuple[float | None, float | None]:
        chosen = _chosen_size(node)
        if chosen is not None:
            return chosen
        names = {}
        for side in ("width", "height"):
            called = (side, f"empty_latent_{side}", f"latent_{side}", f"image_{side}")
            names[side] = next((n for n in called if n in node.values or n in node.links), "")
        links = [node.links[name] for name in names.values() if name in node.links]
        sides = []
        for name in names.values():
            link = node.links.get(name)
            chosen = _chosen_size(self.graph.nodes[link.node]) if link is not None else None
            if chosen is not None and link is not None:  # the width comes first, and of one output alone nothing is known
                slots = sorted({other.slot for other in links if other.node == link.node})
                value = chosen[slots.index(link.slot)] if len(slots) == 2 else None
            else:
                value = finite(self.strings.number(node, name)) if name else None
            sides.append(value if value is not None and 0 < value < 2**20 else None)
        return sides[0], sides[1]


def _chosen_size(node: Node) -> tuple[float, float] | None:
    """Width and height that a node's choice names, as `9:16 portrait 768x1344`, or its numbers, turned by a switch."""
    turned = any(_TURNS.search(name) and value in (True, "On", "on", "true", "yes") for name, value in node.values.items())
    for name, value in node.values.items():
        if isinstance(value, str) and re.search("resolution|dimension|^size|(?<![a-z])ratio", name):
            found = _CHOSEN_SIZE.search(value[:80])
            if found and min(int(found[1]), int(found[2])) >= 64:
                if name == "dimensions" and node.values.get("invert") is True:  # of KJNodes' presets
                    turned = True
                return (float(found[2]), float(found[1])) if turned else (float(found[1]), float(found[2]))
    width, height = (finite(node.values.get(side)) for side in ("width", "height"))
    return (height, width) if turned and width and height else None


def _input(node: Node, wanted: str) -> str | None:
    """The input of this name, or one that an option brings, as `model.seed`."""
    if wanted in node.values or wanted in node.links:
        return wanted
    return next((name for name in (*node.values, *node.links) if name.endswith(f".{wanted}")), None)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) or isinstance(value, float) and value.is_integer()


def finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() and len(value) < 200 else None


def _pixels(length: float) -> int | None:
    return round(length) if 0 < length < 2**31 else None
