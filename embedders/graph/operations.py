"""What string nodes do to their texts, told by the names of their inputs."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from . import names as called
from .matching import TooHard, extract, substitute
from .nodes import Link, Node, natural

MAX_TEXT = 1_000_000  # characters; a graph of concatenations could double its way to any length
DONE_WITHOUT = object()  # the operation can't be told, or would take too long

_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}
_TOLD = lru_cache(4096)(
    re.compile(
        r"format|f_string|template|key|regex|pattern|find|search|old|from|start|mode|delimiter|separator|glue|joiner|fix|pend|^action$",
        re.I,
    ).search
)
_PARTS = lru_cache(4096)(re.compile(r"(.*[a-z])_?([a-z]|\d+)", re.I).fullmatch)
_AROUND = lru_cache(4096)(re.compile(r"^(pre|suf)fix$|(?<!file)(?<!filename)_(pre|suf)fix$|^(pre|ap)pend", re.I).search)
_BEFORE = lru_cache(4096)(re.compile("pre", re.I).search)
_CLEANS = lru_cache(4096)(re.compile("clean|trim|strip", re.I).search)
_FIND = lru_cache(4096)(re.compile(r"(find|search|old|from)(_?(?:text|string|word))?(_?\d*)", re.I).fullmatch)
_NUMBERS = re.compile(r"(0?\d)?(\.\d)?[dfg]?")  # a width and digits that can't make it long
_TEXT_EXACTLY = lru_cache(4096)(re.compile(r"^(string|texts?|prompt|input|json_string)$", re.I).search)
_TEXT_LIKELY = lru_cache(4096)(re.compile(r"string|text|prompt|input", re.I).search)


@dataclass(frozen=True)
class Operation:
    """`run` takes the values at `needs`; those at `texts` must be known, or nothing is."""

    texts: list[str]
    needs: list[str]
    run: Callable[[dict[str, Any]], Any]
    slow: bool = False
    guessed: bool = False


def operation(node: Node, sources: dict[str, Any]) -> Operation | None:
    """What the node does with its texts; None when its names do not say."""
    names = [*node.values, *node.links]
    if not any(_TOLD(name) for name in names):
        return None
    lower = {name.lower(): name for name in names}
    for known in (_formatted, _json, _regex, _acted, _replaced, _cut, _shaped, _joined):
        found = known(node, names, lower, sources)
        if found is not None:
            return found
    return None


def _main(names: list[str], without: tuple[str, ...] = ()) -> str | None:
    """The input that holds the text that something is done to."""
    for wanted in (_TEXT_EXACTLY, _TEXT_LIKELY):
        for name in names:
            if name not in without and wanted(name):
                return name
    return None


def _formatted(node: Node, names: list[str], lower: dict[str, str], sources: dict[str, Any]) -> Operation | None:
    pattern = next((lower[n] for n in ("f_string", "format_string", "template", "format") if n in lower), None)
    if pattern is None or pattern in node.values and "{" not in str(node.values[pattern]):
        return None
    fields = {name.rsplit(".", 1)[-1]: name for name in names if name != pattern}

    def run(given: dict[str, Any]) -> Any:
        try:
            made = []
            pieces = list(string.Formatter().parse(str(given[pattern])[:MAX_TEXT]))
            for index, (literal, field, spec, conversion) in enumerate(pieces):
                made.append(literal)
                if field is None:
                    continue
                name = fields.get(field) if field else sorted(fields.values(), key=natural)[index]
                if conversion or name is None or not _NUMBERS.fullmatch(spec or ""):
                    return DONE_WITHOUT
                if given.get(name) is not None:  # what is not known leaves a gap, as in a concatenation
                    made.append(format(given[name], spec or ""))
            return "".join(made) if sum(map(len, made)) <= MAX_TEXT else DONE_WITHOUT
        except (ValueError, TypeError, IndexError):
            return DONE_WITHOUT

    return Operation([pattern], [pattern, *fields.values()], run)


def _json(node: Node, names: list[str], lower: dict[str, str], sources: dict[str, Any]) -> Operation | None:
    if "json_string" not in lower or "key" not in lower:
        return None

    def run(given: dict[str, Any]) -> Any:
        try:
            found = json.loads(given[lower["json_string"]]).get(given.get(lower["key"]), "")
            return str(found) if isinstance(found, (str, int, float)) else DONE_WITHOUT
        except (ValueError, TypeError, AttributeError, RecursionError):
            return DONE_WITHOUT

    return Operation([lower["json_string"]], [lower["json_string"], lower["key"]], run)


def _regex(node: Node, names: list[str], lower: dict[str, str], sources: dict[str, Any]) -> Operation | None:
    pattern = next((lower[n] for n in ("regex_pattern", "regex", "pattern") if n in lower), None)
    if pattern is None:
        return None
    replace = next((lower[n] for n in ("replace", "replacement", "replace_with") if n in lower), None)
    text = _main(names, (pattern, replace or ""))
    if text is None:
        return None

    def run(given: dict[str, Any]) -> Any:
        flags = 0
        for name, flag, default in (
            ("case_insensitive", re.I, True),
            ("multiline", re.M, False),
            ("dotall", re.S, False),
        ):
            flags |= flag if given.get(lower.get(name, ""), default) is True else 0
        try:
            if replace is not None:
                count = given.get(lower.get("count", ""), 0)
                return substitute(
                    given[pattern], given[replace], given[text], flags, count if isinstance(count, int) else 0
                )
            mode = given.get(lower.get("mode", ""), "First Match")
            return extract(given[pattern], given[text], flags, str(mode), given.get(lower.get("group_index", ""), 1))
        except (TooHard, TypeError):
            return DONE_WITHOUT

    return Operation([text], names, run, slow=True)


def _replaced(node: Node, names: list[str], lower: dict[str, str], sources: dict[str, Any]) -> Operation | None:
    pairs = []
    for name in sorted(names, key=natural):
        found = _FIND(name)
        if found:
            tail = (found[2] or "") + (found[3] or "")
            new = next(
                (
                    lower[n + t]
                    for t in (tail.lower(), found[3] or "")
                    for n in ("replace", "replacement", "new", "to", "replace_with")
                    if n + t in lower
                ),
                None,
            )
            if new is not None:
                pairs.append((name, new))
    if not pairs:
        return None
    used = tuple(name for pair in pairs for name in pair)
    text = _main(names, used)
    if text is None:
        return None

    def run(given: dict[str, Any]) -> Any:
        result = str(given[text])
        for old, new in pairs:
            find, replace = given.get(old), given.get(new)
            if not isinstance(find, str) or not isinstance(replace, str):
                return DONE_WITHOUT
            if not find:  # Python puts the new between all characters, other nodes nothing
                continue
            if len(result) + result.count(find) * len(replace) > MAX_TEXT:
                return DONE_WITHOUT
            result = result.replace(find, replace)
        return result

    return Operation([text], [text, *used], run)


def _acted(node: Node, names: list[str], lower: dict[str, str], sources: dict[str, Any]) -> Operation | None:
    """Three texts of which the `action` makes one: all in a row, or the second replaced by the third in the first."""
    action = node.values.get("action")
    texts = [name for name in ("text_a", "text_b", "text_c") if name in lower]
    if action not in ("append", "replace") or len(texts) < 2:
        return None
    tidy = node.values.get("tidy_tags") in ("yes", True)

    def run(given: dict[str, Any]) -> Any:
        first, second, third = (str(given.get(name) or "") for name in ("text_a", "text_b", "text_c"))
        if action == "append":
            made = (", " if tidy else "").join(text for text in (first, second, third) if text)
        elif second.startswith("/") and second.endswith("/") or not second or len(first) + first.count(second) * len(third) > MAX_TEXT:
            return DONE_WITHOUT
        else:
            made = first.replace(second, third)
        if tidy:
            made = re.sub(r",{2,}", ",", re.sub(r"\s{2,}", " ", made).replace(" ,", ",")).strip()
        return made

    return Operation(texts, texts, run)


def _cut(node: Node, names: list[str], lower: dict[str, str], sources: dict[str, Any]) -> Operation | None:
    text = _main(names)
    if text is None:
        return None
    if "start" in lower and "end" in lower:
        return Operation(
            [text], [text, lower["start"], lower["end"]],
            lambda given: _slice(given[text], given.get(lower["start"]), given.get(lower["end"])),
        )  # fmt: skip
    return None


def _slice(text: Any, start: Any, end: Any) -> Any:
    return str(text)[start:end] if isinstance(start, int) and isinstance(end, int) else DONE_WITHOUT


def _shaped(node: Node, names: list[str], lower: dict[str, str], sources: dict[str, Any]) -> Operation | None:
    """Case and white space at the ends, by a `mode` that says so."""
    mode = node.values.get(lower.get("mode", ""))
    shapes: dict[str, Callable[[str], str]] = {
        "uppercase": str.upper, "lowercase": str.lower, "capitalize": str.capitalize, "title case": str.title,
        "both": str.strip, "left": str.lstrip, "right": str.rstrip,
    }  # fmt: skip
    shape = shapes.get(mode.lower()) if isinstance(mode, str) else None
    text = _main(names)
    if shape is None or text is None:
        return None
    return Operation([text], [text], lambda given: shape(str(given[text])))


def _joined(node: Node, names: list[str], lower: dict[str, str], sources: dict[str, Any]) -> Operation | None:
    """Texts of numbered or lettered names with a delimiter between them, or a prefix and suffix about one."""
    glue = next((name for name in names if called.glue(name)), None)
    around = [n for n in names if _AROUND(n)]
    if glue is None and not around:
        return None
    texts = [n for n in sources if n not in around and n != glue and not called.not_text(n)]
    extra = [
        n
        for n in names
        if n not in texts and n not in around and isinstance(node.links.get(n), Link) and _PARTS(n) and n != glue
    ]
    if glue is not None and extra and all(called.category(n) in (None, "string") for n in extra):
        texts = sorted({*texts, *extra}, key=natural)
    first = [n for n in around if _BEFORE(n)]
    last = [n for n in around if n not in first]
    order = [*first, *texts, *last]
    if not texts or glue is None and len(texts) > 1:
        return None
    skips = any(_CLEANS(n) and v in (True, "true", "yes") for n, v in node.values.items())

    def run(given: dict[str, Any]) -> Any:
        between = given.get(glue, "") if glue is not None else ""
        if not isinstance(between, str):
            return DONE_WITHOUT
        between = _ESCAPES.get(between, between)
        found = [str(given[n]) for n in order if given.get(n) is not None]
        if skips:
            found = [text.strip() for text in found if text.strip()]
        if sum(map(len, found)) + len(between) * len(found) > MAX_TEXT:
            return DONE_WITHOUT
        return between.join(found)

    needs = [*order, *([glue] if glue is not None else [])]
    more = [n for n, v in node.values.items() if isinstance(v, str) and len(v) > 10 and n not in needs]
    return Operation(texts, needs, run, guessed=glue is None and bool(more))
