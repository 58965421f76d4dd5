"""Trace a ComfyUI graph (API format) from the image it saved back to the texts and settings that made it.

The rules read the shape of the graph and the names of inputs, hardly ever the class of a node, so that custom nodes
follow them too:

- A *sampler* takes a guider, or a conditioning together with a model or latent, and holds a sampling setting.
- The samplers of an image are those upstream of its output, not counting ways through conditioning, models and CLIPs.
- Conditioning is followed through every node that has inputs named for it; a node with a positive and a negative one
  gives the positive at its first output and the negative at its second.
- Literal strings at text-like inputs of a node reached that way are the text; a link there is a string to be evaluated.
- An all-in-one link (pipe, context, embeds) carries both sides: the side is then told by names alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import names as called
from .records import Origin, Pass, Settings, Text, Trace

MAX_TEXT = 1_000_000  # characters; a graph of concatenations could double its way to any length
MAX_STEPS = 200_000  # nodes looked at in one trace; people's graphs take a few hundred


class Link(NamedTuple):
    node: str
    slot: int


@dataclass
class Node:
    kind: str
    links: dict[str, Link] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def trace(prompt: Any, *, types: Mapping[str, Sequence[str]] = {}, saved_as: str | None = None) -> Trace:
    """Read a graph in API format, whatever types it holds.

    `types` gives the types of a class's outputs where they are known (from a workflow in the same file, or the running
    ComfyUI); names tell them otherwise. `saved_as` is the file's name, which tells which of several outputs it is.
    ValueError when the graph has no nodes or is too entangled.
    """
    return _Graph(prompt).trace()


class _Graph:
    def __init__(self, prompt: Any) -> None:
        entries = prompt.items() if isinstance(prompt, dict) else ()
        raw = {k: v for k, v in entries if isinstance(v, dict) and isinstance(v.get("inputs"), dict)}
        if not raw:
            raise ValueError("the ComfyUI graph holds no nodes")
        self.nodes: dict[str, Node] = {}
        for key, item in raw.items():
            node = self.nodes[key] = Node(str(item.get("class_type", "")))
            for name, value in item["inputs"].items():
                link = _as_link(value)
                if link is not None and link.node in raw:
                    node.links[name] = link
                elif not isinstance(value, list):
                    node.values[name] = value
        self.samplers = {key for key, node in self.nodes.items() if _is_sampler(node)}
        self._strings: dict[str, str | None] = {}
        self._sides: dict[tuple[Any, ...], list[Text]] = {}
        self._steps = 0
        self._read: dict[bool, list[str]] = {False: [], True: []}  # where the texts of each side were read

    def trace(self) -> Trace:
        samplers = self._samplers_of_output()
        if not samplers:
            return self._without_sampler()
        result = Trace()
        for key in reversed(samplers):  # from the first pass to the last
            one = Pass(node=key, kind=self.nodes[key].kind)
            one.positive = list(self._side(key, negative=False))
            one.negative = list(self._side(key, negative=True))
            self._settings(key, one)
            result.passes.append(one)
            result.positive += one.positive
            result.negative += one.negative
        result.positive, result.negative = _distinct(result.positive), _distinct(result.negative)
        # A sampler that adds no noise goes on with another one's schedule: the settings are the beginner's.
        begun = next((key for key in samplers if self._adds_noise(key)), samplers[0])
        self._settings(begun, result)
        result.settings_origin = Origin("exact", f"node {begun[:40]} ({self.nodes[begun].kind[:60]})")
        self._origins(result)
        return result

    def _origins(self, result: Trace) -> None:
        where = {side: "; ".join(list(dict.fromkeys(read))[:4]) for side, read in self._read.items()}
        result.positive_origin = Origin("exact" if result.positive else "unknown", where[False])
        result.negative_origin = Origin("exact" if result.negative else "unknown", where[True])

    # -- which samplers ------------------------------------------------------------------------------------------

    def _samplers_of_output(self) -> list[str]:
        """Samplers of the likeliest output, the last pass first: one that saves wins, then the one with most passes.

        The file does not say which of a graph's outputs it is; a later pass's samplers include an earlier one's.
        """
        used = {link.node for node in self.nodes.values() for link in node.links.values()}
        outputs = [k for k, n in self.nodes.items() if n.links and (k not in used or "filename_prefix" in n.values)]
        saving = {k for k in outputs if _saves(self.nodes[k])}
        best: list[str] = []
        for keys in ([k for k in outputs if k in saving], [k for k in outputs if k not in saving]):
            for key in reversed(keys):
                if self._steps < MAX_STEPS // 4:
                    found = [k for k in self._upstream([key], self._image_links) if k in self.samplers]
                    best = max(best, found, key=len)
            if best:
                break
        return best

    def _image_links(self, node: Node) -> Iterator[Link]:
        for name, link in node.links.items():
            if not (called.conditioning(name) or called.guider(name) or called.model(name)):
                if called.latent(name) or not called.no_image(name):
                    yield link

    def _upstream(self, start: list[str], follow: Callable[[Node], Iterator[Link]]) -> Iterator[str]:
        """Breadth first, each node once, so cycles end and the nearest comes first."""
        seen, queue = set(start), list(start)
        for key in queue:
            self._step()
            yield key
            for link in follow(self.nodes[key]):
                if link.node not in seen:
                    seen.add(link.node)
                    queue.append(link.node)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise ValueError("it is too entangled to be followed")

    # -- texts ---------------------------------------------------------------------------------------------------

    def _side(self, key: str, negative: bool) -> list[Text]:
        """Texts that reach one side of a sampler, in the order in which its links lead to them."""
        start = self._conditioning_links(key, None, negative, bundle=False)
        if (known := self._sides.get((*start, negative))) is not None:
            return known
        texts = self._sides[(*start, negative)] = []
        stack = start[::-1]
        seen: set[tuple[Link, bool]] = set()
        while stack:
            link, bundle = stack.pop()
            if (link, bundle) in seen:
                continue
            seen.add((link, bundle))
            self._step()
            node = self.nodes[link.node]
            if "zeroout" in node.kind.lower().replace("_", ""):
                continue
            found = self._texts_at(node, negative, bundle)
            if found:
                self._read[negative].append(f"node {link.node[:40]} ({node.kind[:60]})")
            texts += found
            stack += self._conditioning_links(link.node, link, negative, bundle)[::-1]
        return texts

    def _conditioning_links(
        self, key: str, came_by: Link | None, negative: bool, bundle: bool
    ) -> list[tuple[Link, bool]]:
        """Links that bring the wanted side, each with whether it carries both. `came_by` is None at the sampler."""
        node = self.nodes[key]
        named = {n: k for n, k in node.links.items() if called.conditioning(n) and not called.bundle(n)}
        negatives = [k for n, k in named.items() if called.negative(n)]
        positives = [k for n, k in named.items() if not called.negative(n)]
        both = [(k, True) for n, k in node.links.items() if called.bundle(n)]
        makes_guider = any(called.model(name) for name in node.links)  # or it samples: no output for each side
        if came_by is not None and positives and negatives and not bundle and not makes_guider and came_by.slot < 2:
            negative = came_by.slot == 1
        if positives and (negatives or came_by is None or bundle or makes_guider):
            return [(k, False) for k in (negatives if negative else positives)]
        if named:
            return [(k, bundle) for k in named.values()]
        guiders = [(k, False) for n, k in node.links.items() if called.guider(n)]
        if guiders or both:
            return guiders + both
        if came_by is None or self._texts(node):
            return []
        return [(k, bundle) for k in self._passing(node)]

    def _passing(self, node: Node) -> list[Link]:
        """Links a reroute or switch hands on: the chosen one where a literal chooses, else all of no other type."""
        links = {n: k for n, k in node.links.items() if not called.other_type(n)}
        for name, value in node.values.items():
            if isinstance(value, bool):
                wanted = [k for n, k in links.items() if n.lower().endswith("true" if value else "false")]
            elif isinstance(value, int) and called.chooser(name):
                wanted = [k for n, k in links.items() if re.search(rf"(^|\D)0*{value}$", n)]
            else:
                continue
            if wanted:
                return wanted[:1]
        return list(links.values())

    def _texts(self, node: Node) -> dict[str, Any]:
        """Text-like inputs by name, literals and links, in the order of their names (files list literals first)."""
        inputs = {**{n: v for n, v in node.values.items() if isinstance(v, str)}, **node.links}
        found = {n: v for n, v in inputs.items() if called.text(n) and not called.not_text(n)}
        found = {n: v for n, v in found.items() if not (isinstance(v, Link) and called.conditioning(n))}
        if any(n.startswith("populated") for n in found):  # what a wildcard became, beside its pattern
            found = {n: v for n, v in found.items() if n.startswith("populated")}
        if not found and any(called.text_encoder(n) for n in node.links):
            found = {n: v for n, v in node.values.items() if isinstance(v, str) and re.search(r"\s", v.strip())}
        return dict(sorted(found.items(), key=lambda item: _natural(item[0])))

    def _texts_at(self, node: Node, negative: bool, bundle: bool) -> list[Text]:
        sources = self._texts(node)
        if any(called.negative(name) for name in sources):
            sources = {n: v for n, v in sources.items() if bool(called.negative(n)) == negative}
        elif bundle and negative:
            return []
        strings = {name: self._string(value) for name, value in sources.items()}
        by_end = {name.lower()[-2:]: text for name, text in strings.items() if text is not None}
        others = [s for n, s in strings.items() if s is not None and n.lower()[-2:] not in ("_g", "_l")]
        pair = [(by_end["_g"], by_end["_l"])] if "_g" in by_end and "_l" in by_end else []
        if not pair:
            others = [s for s in strings.values() if s is not None]
        return _distinct(pair + [(text, text) for text in others])

    def _string(self, value: Any, depth: int = 0) -> str | None:
        """The text of a literal, or of the string nodes behind a link: joined, replaced, switched as they would."""
        if not isinstance(value, Link):
            return value if isinstance(value, str) else None
        if value.node in self._strings or depth > 100:
            return self._strings.get(value.node)
        self._strings[value.node] = None  # a cycle comes back to nothing
        node = self.nodes[value.node]
        sources = self._texts(node) or {
            n: v for n, v in node.values.items() if isinstance(v, str) and called.string_source(n)
        }
        parts = [self._string(v, depth + 1) for v in (*sources.values(), *(() if sources else self._passing(node)))]
        texts = [text for text in parts if text is not None]
        glue = next((v for n, v in node.values.items() if called.glue(n)), "")
        text = glue.join(texts) if texts and isinstance(glue, str) else None
        find, replace = node.values.get("find"), node.values.get("replace")
        if text and isinstance(find, str) and find and isinstance(replace, str):
            text = text.replace(find, replace) if len(text) * (len(replace) + 1) <= MAX_TEXT else None
        self._strings[value.node] = text if text is None or len(text) <= MAX_TEXT else None
        return self._strings[value.node]

    def _without_sampler(self) -> Trace:
        """Graphs of remote models: the nearest node upstream of an output that holds a text says what was asked."""
        result = Trace()
        used = {link.node for node in self.nodes.values() for link in node.links.values()}
        outputs = [k for k, n in self.nodes.items() if k not in used and n.links]
        for key in self._upstream(outputs, lambda node: iter(node.links.values())):
            if key in used and (texts := self._texts_at(self.nodes[key], False, False)):
                result.positive, result.negative = texts, []
                if any(called.negative(name) for name in self._texts(self.nodes[key])):
                    result.negative = self._texts_at(self.nodes[key], True, False)
                self._settings(key, result)
                self._read[False].append(f"node {key[:40]} ({self.nodes[key].kind[:60]})")
                self._read[True] = self._read[False] if result.negative else []
                result.settings_origin = Origin("inferred", self._read[False][0])
                self._origins(result)
                break
        return result

    # -- settings ------------------------------------------------------------------------------------------------

    def _adds_noise(self, key: str) -> bool:
        node = self.nodes[key]
        if node.values.get("add_noise") in ("disable", False):
            return False
        return "noise" not in node.links or self._setting(key, ("noise_seed", "seed"), "noise") is not None

    def _settings(self, key: str, result: Settings) -> None:
        seed = self._setting(key, ("seed", "noise_seed"), "noise")
        result.seed = int(seed) if _is_whole(seed) and 0 <= seed < 2**64 else None
        steps = self._setting(key, ("steps",), "sigmas")
        result.steps = int(steps) if _is_whole(steps) and 0 <= steps < 2**31 else None
        guidance = ("cfg", "cfg_scale", "cfg_conds", "guidance", "guidance_scale")
        result.cfg = _finite(self._setting(key, guidance, "guider|cond|positive"))
        result.sampler = _name(self._setting(key, ("sampler_name", "sampler"), "sampler"))
        result.scheduler = _name(self._setting(key, ("scheduler",), "sigmas"))
        self._models(key, result)

    def _setting(self, key: str, names: tuple[str, ...], way: str) -> Any:
        """The value at one of `names`, here or at the nearest node upstream by links named like `way`."""

        def follow(node: Node) -> Iterator[Link]:
            first = node is self.nodes[key]
            for name, link in node.links.items():
                if re.search(way, name, re.I) or (not first and not called.other_type(name)):
                    yield link

        for at in self._upstream([key], follow):
            node = self.nodes[at]
            for name in names:
                if name in node.links and name not in node.values and (name != way):
                    value = self._scalar(node.links[name])
                else:
                    value = node.values.get(name)
                if value is not None:
                    return value
        return None

    def _scalar(self, link: Link) -> Any:
        """The number or string that a primitive-like node behind a link holds."""
        for key in self._upstream([link.node], lambda node: iter(self._passing(node))):
            for name, value in self.nodes[key].values.items():
                if called.scalar(name):
                    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
                        return value
        return None

    def _models(self, key: str, result: Settings) -> None:
        """Walk from a sampler up its models: LoRAs on the way, in the order they were applied, then the file."""

        def follow(node: Node) -> Iterator[Link]:
            wanted = [k for n, k in node.links.items() if called.model(n) or called.lora(n)]
            wanted += [k for n, k in node.links.items() if called.guider(n) or called.bundle(n)]
            yield from wanted or (self._passing(node) if node is not self.nodes[key] else ())

        for at in self._upstream([key], follow):
            node = self.nodes[at]
            result.loras[:0] = _loras(node.values)
            for name, value in node.values.items():
                if isinstance(value, str) and called.model_name(name) and called.MODEL_FILE.search(value):
                    result.checkpoint = result.checkpoint or value


def _saves(node: Node) -> bool:
    return "filename_prefix" in node.values or "save" in node.kind.lower()


def _is_sampler(node: Node) -> bool:
    if not any(called.setting(name) for name in (*node.values, *node.links)):
        return False
    if any(called.guider(name) for name in node.links):
        return True
    conditioned = any(called.conditioning(name) or called.bundle(name) for name in node.links)
    return conditioned and any(called.model(name) or called.latent(name) or called.bundle(name) for name in node.links)


def _loras(values: dict[str, Any]) -> list[dict[str, Any]]:
    """LoRAs a node applies: `lora_name` with its strengths, numbered stacks, or one dictionary for each."""
    found = []
    for name, value in values.items():
        if not re.search(r"^lora", name, re.I):
            continue
        if isinstance(value, dict) and isinstance(value.get("lora"), str) and value.get("on", True):
            model, clip, file = value.get("strength"), value.get("strengthTwo"), value["lora"]
        elif isinstance(value, str) and called.MODEL_FILE.search(value):
            number, file = re.sub(r"\D", "", name), value
            strengths = {n: v for n, v in values.items() if re.search("strength|weight", n)}
            strengths = {n: v for n, v in strengths.items() if re.sub(r"\D", "", n) == number}
            model = next((v for n, v in strengths.items() if "clip" not in n), None)
            of_clip = [v for n, v in strengths.items() if "clip" in n]
            clip = of_clip[0] if of_clip else 0.0 if "strength_model" in strengths else None
        else:
            continue
        on_model = 1.0 if _finite(model) is None else _finite(model)
        on_clip = on_model if _finite(clip) is None else _finite(clip)
        found.append({"name": file, "strength_model": on_model, "strength_clip": on_clip})
    return found


def _as_link(value: Any) -> Link | None:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)) and isinstance(value[1], int):
        return Link(str(value[0]), value[1])
    return None


def _distinct(texts: list[Text]) -> list[Text]:
    return list(dict.fromkeys(texts))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(digits or 0), word) for word, digits in re.findall(r"(\D+)(\d{0,9})", name)]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) or isinstance(value, float) and value.is_integer()


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
