"""Strings and numbers behind links, evaluated as the graph would.

`exact` where names leave one meaning: a primitive, a concatenation with its delimiter, a replacement, a switch whose chooser is
known, a format, what a wildcard node says that it became. `inferred` where a node's texts are put together by guess, or taken from
a display, and where a node has other words beside its text, or may take one of its lines. `unknown` where the graph made the text
when it ran; what is known of it (a wildcard's pattern, the other half of a concatenation) is still given.

A text is made at run time when its node also takes a model, picture, sound or text encoder which it does not hand on, or has
options as only language models have; or when it holds alternatives like {a|b} or __name__ and takes a seed. If the node keeps its last
result, or a display behind it does, that is the text, inferred.

Nothing here calls itself: a rule is a generator that yields the links that it needs, and one loop runs them all.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, NamedTuple

from . import names as called
from .nodes import Graph, Link, Node, natural
from .operations import DONE_WITHOUT, MAX_TEXT, Operation, operation
from .records import Confidence
from .switches import choosers, first_of_any, pick

MAX_MADE = 20 * MAX_TEXT  # characters that are put together in one trace
MAX_MATCHES = 20  # regular expressions that are run in one trace
_RANK: dict[Confidence, int] = {"exact": 0, "inferred": 1, "unknown": 2}
_MAKERS = ("model", "clip", "image", "audio", "vision", "latent")
_MOST_PLACES = 8
_STEPS = 8  # of the budget that a string takes; it costs more time than a step along conditioning
_SAME = {
    "seed": ("noise_seed",), "noise_seed": ("seed",), "sampler_name": ("sampler",), "ckpt_name": ("checkpoint",),
    "steps": ("steps_total",),
}  # fmt: skip
_BESIDE = ("control_after_generate", "control_before_generate")
_WILDCARD = re.compile(r"""\{(?!\s*["'])[^{}|]*\|[^{}]*\}|__[\w/*-]+__|\{\{[^{}\n]+\}\}|\{%[^{}\n]+%\}""")
_DRAWS = re.compile(r"wildcard|dynamic|random|combinatori|jinja", re.I)  # of a class
_COMMENT = re.compile(r"^[ \t]*#", re.M)


class Known(NamedTuple):
    """A value (None: not known at all), how sure it is, and where it stands in the graph."""

    value: Any
    confidence: Confidence = "exact"
    where: tuple[str, ...] = ()


Rule = Generator[Link, Known, Known]
NOTHING = Known(None, "unknown")
_TOO_MUCH = Known(None, "unknown", ("the graph is too entangled to be followed to its end",))


def worse(one: Confidence, other: Confidence) -> Confidence:
    return one if _RANK[one] >= _RANK[other] else other


class Strings:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._known: dict[Link, Known] = {}
        self._listed: dict[str, Known | None] = {}
        self._characters = MAX_MADE
        self._matches = MAX_MATCHES

    def of(self, node: Node, name: str, value: Any) -> Known:
        """What stands at an input: the literal, or what is behind the link."""
        if isinstance(value, Link):
            return self.at(value)
        if isinstance(value, str) and node.values.get("strip_newlines") is True:
            value = value.replace("\n", "").strip()
        return self._wild(
            node, Known(value, "exact", (f"{node} {called.shown(name, 40)}",)), "wildcard" in name.lower()
        )

    def at(self, link: Link) -> Known:
        """The value behind a link."""
        running: list[tuple[Link, Rule]] = []
        active: set[Link] = set()
        wanted: Link | None = link
        answer: Known | None = None
        while True:
            if wanted is not None:
                answer = NOTHING if wanted in active else self._known.get(wanted)
                if answer is None and self.graph.spend(_STEPS):
                    running.append((wanted, self._evaluate(wanted)))
                    active.add(wanted)
                answer = answer or (None if running and running[-1][0] == wanted else _TOO_MUCH)
            if not running:
                return answer or NOTHING
            now, rule = running[-1]
            try:
                wanted = rule.send(answer) if answer is not None else next(rule)
                answer = None
            except StopIteration as end:
                running.pop()
                active.discard(now)
                answer = self._known[now] = self._bounded(end.value)
                wanted = None
                if not running:
                    return answer

    def number(self, node: Node, name: str) -> Any:
        """The number or word at an input; through a link, the one of the same name where its node has several."""
        if name in node.links:
            values = self.graph.nodes[node.links[name].node].values
            for same in (name, *_SAME.get(name, ())):
                if _is_scalar(values.get(same)):
                    return values[same]
            known = self.at(node.links[name])
            if known.value is not None and (known.confidence == "exact" or not isinstance(known.value, str)):
                return known.value
        return node.values.get(name)

    def _bounded(self, known: Known) -> Known:
        if isinstance(known.value, str) and len(known.value) > MAX_TEXT:
            return Known(None, "unknown", (*known.where[:3], "a text of more than a million characters"))
        return known

    def _together(self, parts: list[Known], value: Any, confidence: Confidence) -> Known:
        """What was made of several: as sure as the least sure of them. `value` may be a list of texts, still to be joined."""
        where: list[str] = []
        for part in parts:
            confidence = worse(confidence, part.confidence)
            where += part.where[:_MOST_PLACES]
        made = sum(map(len, value)) if isinstance(value, list) else len(value) if isinstance(value, str) else 0
        self._characters -= made
        if made > MAX_TEXT or self._characters < 0:
            return Known(None, "unknown", (*where[:3], "a text of more than a million characters"))
        if isinstance(value, list):
            value = " ".join(value) if value else None
        return Known(value, confidence, tuple(dict.fromkeys(where))[:_MOST_PLACES])

    # -- rules -----------------------------------------------------------------------------------------------------

    def _evaluate(self, link: Link) -> Rule:
        node = self.graph.nodes[link.node]
        if called.recalling(node.kind):  # what stands at it asks a library, or chooses
            return Known(None, "unknown", (f"{node} made it when the graph ran",))
        if self.graph.type_of(link) == "number":
            return (yield from self._scalar(node))
        if node.key not in self._listed:
            self._listed[node.key] = _active_texts(node)
        if (listed := self._listed[node.key]) is not None:
            return listed
        kept = {n: v for n, v in node.values.items() if isinstance(v, str) and v.strip() and called.produced(n)}
        populated = [n for n in kept if n.lower().startswith("populated")]
        if populated:
            return self.of(node, populated[0], kept[populated[0]])
        shown = self._shown_by(node)
        sources = self._sources(node, link)
        if shown is not None:
            sources = {n: v for n, v in sources.items() if isinstance(v, Link)}
        at_run_time = self._made_at_run_time(node)
        if not at_run_time:
            links = {n: v for n, v in (sources or node.links).items() if isinstance(v, Link)}
            chosen = yield from self._chosen(node, {**sources, **links} if sources else node.links)
            if chosen is not None:
                return chosen
            done = yield from self._operated(node, sources)
            if done is not None:
                return self._wild(node, done)
        parts: list[Known] = []
        for name, value in sources.items():
            parts.append((yield self._split(node, link, value)) if isinstance(value, Link) else self.of(node, name, value))
        if at_run_time:
            return self._produced(node, link, kept, parts)
        if not parts:
            return (yield from self._passed(node, link))
        if len(parts) == 1:
            if parts[0].confidence == "unknown" and shown is not None:
                return shown
            name = next(iter(sources))
            alone = len(node.links) + sum(isinstance(v, str) for v in node.values.values()) < 2
            plain = called.asked(name) or called.chosen(name) or alone
            literal = not isinstance(next(iter(sources.values())), Link)
            guess = literal and not plain or self._takes_a_line(node, parts[0].value)
            guess |= isinstance(parts[0].value, str) and _COMMENT.search(parts[0].value) is not None  # which it may leave out
            return self._wild(node, _guessed(parts[0]) if guess else parts[0])
        texts = [str(part.value) for part in parts if _is_scalar(part.value) and str(part.value).strip()]
        return self._wild(node, self._together(parts, list(dict.fromkeys(texts)), "inferred"))

    def _sources(self, node: Node, link: Link) -> dict[str, Any]:
        """The inputs that make the text, in the order of their names; of both sides' only those of the output."""
        graph = self.graph
        inputs: dict[str, Any] = {n: v for n, v in node.values.items() if isinstance(v, str) and not called.switched(v)}
        inputs |= {
            n: k
            for n, k in node.links.items()
            if node.kinds[n] in (None, "string") or called.text(n) or called.string_source(n)
        }
        inputs = {
            n: v
            for n, v in inputs.items()
            if not (isinstance(v, Link) and graph.type_of(v) not in (None, "string", "number", "opaque"))
        }
        found = {
            n: v for n, v in inputs.items() if called.text(n) and not called.not_text(n) and not called.produced(n)
        }
        if not found:
            found = {
                n: v
                for n, v in inputs.items()
                if called.string_source(n) and not (called.not_text(n) and n != "wildcard_text")
            }
        if any(called.negative(n) for n in found) and len(found) > 1:
            texts = [slot for slot, kind in enumerate(node.outputs) if kind == "string"]
            second = (
                texts.index(link.slot) * 2 >= len(texts) if len(texts) > 1 and link.slot in texts else link.slot > 0
            )
            found = {n: v for n, v in found.items() if called.negative(n) == second} or found
        return dict(sorted(found.items(), key=lambda item: natural(item[0])))

    def _chosen(self, node: Node, inputs: dict[str, Any]) -> Generator[Link, Known, Known | None]:
        """What a switch hands on, its chooser a literal or behind a link."""
        for name in choosers(node):
            value = (yield node.links[name]).value if name in node.links else node.values[name]
            others = {n: v for n, v in inputs.items() if n != name}
            found = pick(value, others)
            if found is None and isinstance(value, bool):  # one of the two may be written into the switch itself
                others = {n: v for n, v in node.values.items() if n != name} | others
                found = pick(value, others)
            if found is not None:
                source = others[found]
                return (yield source) if isinstance(source, Link) else self.of(node, found, source)
        found = first_of_any(node, inputs)
        return (yield inputs[found]) if found is not None else None

    def _operated(self, node: Node, sources: dict[str, Any]) -> Generator[Link, Known, Known | None]:
        """The result of a node whose names say what it does; None when they do not."""
        plan: Operation | None = operation(node, sources)
        if plan is None:
            return None
        given: dict[str, Any] = {}
        parts: list[Known] = []
        for name in plan.needs:
            if name in node.links:
                known = yield node.links[name]
            elif name in node.values:
                known = self.of(node, name, node.values[name])
            else:
                continue
            if name in plan.texts:
                parts.append(known)
            elif name in node.links and known.confidence != "exact":  # what is put in, or says how
                number = self.graph.type_of(node.links[name]) == "number"
                parts.append(known._replace(confidence="inferred") if number else known)
            given[name] = known.value
        texts = [given.get(name) for name in plan.texts]
        if any(text is None for text in texts):
            return self._together(parts, [str(text) for text in texts if text is not None], "unknown")
        self._matches -= plan.slow
        done = plan.run(given) if self._matches > 0 or not plan.slow else DONE_WITHOUT
        if done is DONE_WITHOUT:  # it can't be told: the text as it went in
            return self._together(parts, [str(text) for text in texts], "inferred")
        return self._together(parts, done, "inferred" if plan.guessed else "exact")

    def _passed(self, node: Node, link: Link) -> Rule:
        """A node without texts of its own hands on one of its links, or holds a number, or one string whatever its name."""
        numbers = yield from self._scalar(node)
        if isinstance(numbers.value, (int, float)):
            return numbers
        links = [self._split(node, link, k) for n, k in node.links.items() if node.kinds[n] in (None, "string", "opaque")]
        parts = []
        for one in links[:100]:
            parts.append((yield one))
        texts = [part for part in parts if _is_scalar(part.value)]
        if len(links) == 1 and parts[0].confidence != "unknown":
            beside = (v.strip() and not called.switched(v) for n, v in node.values.items() if isinstance(v, str) and not called.not_text(n))
            return _guessed(parts[0]) if any(beside) else parts[0]  # words that it may have put to the text
        shown = self._shown_by(node)
        if shown is not None:
            return shown
        if len(links) == 1:
            return parts[0]
        if texts:
            return self._together(texts, list(dict.fromkeys(str(part.value) for part in texts)), "inferred")
        literals = {n: v for n, v in node.values.items() if isinstance(v, str) and v.strip() and not called.not_text(n)}
        if len(literals) == 1 and not links:
            ((name, value),) = literals.items()
            if not re.search(r"^\S+\.\w{2,12}$", value[-300:]):  # a file
                return Known(value, "inferred", (f"{node} {called.shown(name, 40)}",))
        return Known(None, "unknown", (f"{node} gave it when the graph ran",))

    def _split(self, node: Node, link: Link, brought: Link) -> Link:
        """Of what a node takes apart that both texts were put into, the one that it gives at this output."""
        apart = link.slot > 0 and len(node.links) == 1 and self.graph.type_of(brought) != "string"
        return Link(brought.node, link.slot) if apart and _has_both(self.graph.nodes[brought.node]) else brought

    def _scalar(self, node: Node) -> Rule:
        """The number that a primitive holds, or the one behind it."""
        numbers = [n for n, v in node.values.items() if isinstance(v, (int, float)) and not n.startswith("control_")]
        if "value" in numbers:
            return self.of(node, "value", node.values["value"])
        if (
            len(numbers) == 1
            and not node.links
            and not any(isinstance(v, str) for n, v in node.values.items() if n not in _BESIDE)
        ):
            return self.of(node, numbers[0], node.values[numbers[0]])
        if "index" in numbers and any(map(called.chosen, node.values)):  # the place of what was chosen among options
            return self.of(node, "index", node.values["index"])
        passing = [k for n, k in node.links.items() if node.kinds[n] in (None, "number", "string")]
        if len(passing) == 1 and not any(isinstance(v, str) for v in node.values.values()):
            return (yield passing[0])
        return NOTHING

    # -- run time --------------------------------------------------------------------------------------------------

    def _made_at_run_time(self, node: Node) -> bool:
        if any(called.at_run_time(name) for name in (*node.values, *node.links)):
            return True
        taken = set(node.kinds.values()) & set(_MAKERS)
        if node.outputs and taken and taken <= set(node.outputs):
            return False  # handed on, such as what a loader of LoRAs in a text takes
        seeded = any("seed" in name for name in (*node.values, *node.links))
        return (
            bool(taken)
            or seeded
            and any(name in ("model", "model_name") or re.search("llm|instruct", name, re.I) for name in node.values)
        )

    def _produced(self, node: Node, link: Link, kept: dict[str, str], parts: list[Known]) -> Known:
        if kept:
            name, value = next(iter(kept.items()))
            return Known(value, "inferred", (f"{node} {called.shown(name, 40)}",))
        for taker, name in self.graph.takers.get(link, ())[:20]:
            shown = self._shown_by(self.graph.nodes[taker], name)
            if shown is not None:
                return shown
        texts = (" ".join(part.value[:1000].split()) for part in parts if isinstance(part.value, str))
        given = next(filter(None, texts), "")
        given = re.sub(r"[\x00-\x1f\ud800-\udfff]", "\ufffd", given[:80])
        return Known(None, "unknown", (f"{node} made it when the graph ran" + (f', given "{given}"' if given else ""),))

    def _shown_by(self, node: Node, taken: str | None = None) -> Known | None:
        """The text that a display keeps of what it was last given: beside a link `text` in `text_0` or the like."""
        if len(node.links) != 1:
            return None
        (by,) = node.links
        for name, value in node.values.items():
            if isinstance(value, str) and value.strip() and (taken is None or taken == by):
                beside = re.fullmatch(re.escape(by) + r"_?\d+", name) if not by[-1:].isdigit() else None
                if (
                    beside
                    or called.shows(node.kind)
                    and (len(value) > 20 or called.text(name))
                    or called.produced(name)
                ):
                    return Known(value, "inferred", (f"{node} {called.shown(name, 40)}",))
        return None

    @staticmethod
    def _takes_a_line(node: Node, value: Any) -> bool:
        """Whether of a text of several lines it may hand on one: by its number, or by chance."""
        several = isinstance(value, str) and "\n" in value.strip()
        by_chance = re.search("line", node.kind, re.I) and any("seed" in name for name in (*node.values, *node.links))
        return several and bool(by_chance or any(type(node.values.get(name)) is int for name in choosers(node)))

    def _wild(self, node: Node, known: Known, draws: bool = False) -> Known:
        """A pattern, if the node that holds it draws from it."""
        draws = draws or any("seed" in n for n in (*node.values, *node.links)) or _DRAWS.search(node.kind) is not None
        if draws and known.confidence != "unknown" and isinstance(known.value, str):
            if _WILDCARD.search(known.value[:100_000]):
                return Known(known.value, "unknown", (*known.where, f"{node} drew from the pattern when the graph ran"))
        return known


def _has_both(node: Node) -> bool:
    return len({called.negative(name) for name in (*node.values, *node.links)}) > 1


def _active_texts(node: Node) -> Known | None:
    """The words of a list in which each can be switched off, as of a LoRA's triggers."""
    for name, value in node.values.items():
        entries = value.get("__value__") if isinstance(value, dict) else None
        entries = entries[:1000] if isinstance(entries, list) else []
        if entries and all(isinstance(one, dict) and {"text", "active"} <= one.keys() for one in entries):
            texts = [one["text"] for one in entries if one["active"] is True and isinstance(one["text"], str)]
            return Known(", ".join(texts), "inferred", (f"{node} {called.shown(name, 40)}",))
    return None


def _guessed(known: Known) -> Known:
    return known._replace(confidence=worse(known.confidence, "inferred"))


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)
