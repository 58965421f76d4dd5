"""The fields of the filter language: what each takes, and the condition on an image that it makes.

Conditions stay plain comparisons of a column with a parameter where they can: those an index serves, and the planner
estimates from the column's own statistics, by which a search chooses its way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from typing import Any

from psycopg import sql

from ..labels import normal_label
from . import places, values, words
from .sql_parts import Parameters, Test, like
from .values import Span, Wrong, compared, filled

_ROUNDING = 1e-6  # of a fraction, within which another is the same
_CONFIDENCES = ("exact", "inferred", "unknown", "none")
_ABOUT = 0.02  # of an aspect or a number of megapixels, within which another is the same: SDXL's 16:9 is 1344x768
_SHAPES = {"portrait": Span(None, 1 - _ABOUT), "landscape": Span(1 + _ABOUT, None), "square": Span(1 - _ABOUT, 1 + _ABOUT)}
_HAS = {
    **{name: f"i.{name} IS NOT NULL" for name in ("seed", "steps", "cfg", "guidance", "denoise", "sampler", "scheduler")},
    **{name: f"i.{name} IS NOT NULL" for name in ("checkpoint", "vae", "generator", "rating")},
    "date": "i.created IS NOT NULL",
    "label": "i.labels <> '{}'",
    "namespace": "i.namespace <> ''",
    "lora": "i.loras <> '[]'::jsonb",
    "controlnet": "i.controlnets <> '[]'::jsonb",
}
_HAS_ROW = {
    **{field: f"SELECT FROM texts f_t WHERE f_t.id = i.{column} AND f_t.joined <> ''" for field, column in words.TEXT_IDS.items()},
    "file": "SELECT FROM paths f_p WHERE f_p.image_id = i.id AND f_p.missing IS NULL",
    "workflow": "SELECT FROM metadata f_m WHERE f_m.image_id = i.id AND f_m.key = 'workflow'",
}
_FILE_SIZE = f"SELECT FROM paths f_p WHERE f_p.image_id = i.id AND {{}} AND {places.STANDS}"
_OF_NAMES = """{column} IN (
    WITH RECURSIVE f_n AS (
        SELECT min({name}) AS name FROM images
        UNION ALL SELECT (SELECT min(f_i.{name}) FROM images f_i WHERE f_i.{name} > f_n.name) FROM f_n WHERE f_n.name IS NOT NULL
    )
    SELECT f_n.name FROM f_n WHERE f_n.name ILIKE {pattern}
)"""
MEGAPIXELS = "(i.width::float8 * i.height / 1e6)"
_COPIES = "(SELECT count(*) FROM paths f_p WHERE f_p.image_id = i.id AND f_p.missing IS NULL)"  # of a gone image 0


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `test` makes the condition of an operator and one value; `expects` says in words what it takes."""

    test: Callable[[str, str, Parameters], Test]
    expects: str
    ordered: bool = False  # takes <, >, and ranges
    any_of: Callable[[str, list[str], Parameters], Test] | None = None  # one condition for several values, where an index serves it
    words: tuple[str, ...] = ()  # those that it knows, to suggest one where another is misspelt


def span_test(column: str, span: Span, parameters: Parameters) -> Test:
    """That the column lies in the span."""
    parts = []
    for operator, end in ((">=", span.low), ("<" if span.below else "<=", span.high)):
        if end is not None:
            parts.append(sql.SQL("{} {} {}").format(sql.SQL(column), sql.SQL(operator), parameters.add(end)))
    return Test(sql.SQL(" AND ").join(parts))


def number(column: str, read: Callable[[str], Any], expects: str, within: float = 0.0, row: str | None = None, words: tuple[str, ...] = ()) -> Field:
    """A number. Others that differ from it by at most `within` times itself are the same; `row`: the column is in a subquery's row."""

    def test(operator: str, text: str, parameters: Parameters) -> Test:
        low, dots, high = text.partition("..")
        if dots:
            span = _range(operator, low, high, lambda end: Span(read(end), read(end)))
        elif operator in (":", "="):
            value = read(text)
            near = within * abs(value)
            span = Span(value - near, value + near) if near else Span(value, value)
        else:
            value = read(text)
            if operator in ("<", ">"):
                return in_row(Test(_compare(column, operator, value, parameters)))
            span = compared(operator, Span(value, value))
        if span.low is not None and span.low == span.high:
            return in_row(Test(_compare(column, "=", span.low, parameters)))
        return in_row(span_test(column, span, parameters))

    def in_row(test: Test) -> Test:
        return Test(sql.SQL(row).format(test.condition), subquery=True) if row else test

    def any_of(operator: str, texts: list[str], parameters: Parameters) -> Test:
        return Test(sql.SQL("{} = ANY({})").format(sql.SQL(column), parameters.add([read(text) for text in texts])))

    return Field(test, expects, ordered=True, any_of=None if row or within else any_of, words=words)


def moments(column: str) -> Field:
    """A date, or a span of them; each is as long as it is written: a year, a month, a day, a minute."""

    def read(text: str, parameters: Parameters) -> Span:
        parameters.moving = parameters.moving or text.lower() in ("today", "yesterday")
        return values.moment(text)

    def test(operator: str, text: str, parameters: Parameters) -> Test:
        low, dots, high = text.partition("..")
        if dots:
            span = _range(operator, low, high, lambda end: read(end, parameters))
        else:
            span = read(text, parameters)
            if operator == ">":
                span = Span(span.high, None)
            elif operator not in (":", "="):
                span = compared(operator, span)
        return span_test(column, span, parameters)

    return Field(test, "a date such as 2025, 2025-03, 2025-03-14, today, or from..to", ordered=True, words=("today", "yesterday"))


def age_test(operator: str, text: str, parameters: Parameters) -> Test:
    """That an image is younger than this, or with > older; a range is from the younger to the older."""
    parameters.moving = True
    now = datetime.now(timezone.utc)
    low, dots, high = text.partition("..")
    if dots:
        ages = _range(operator, low, high, lambda end: Span(values.age(end), values.age(end)))
        oldest, youngest = (None if age is None else now - age for age in (ages.high, ages.low))
        return span_test("i.created", Span(oldest, youngest), parameters)
    older = {">": "<", ">=": "<="}.get(operator)
    return Test(_compare("i.created", older or ">=", now - values.age(text), parameters))


def name(column: str, indexed: bool = False) -> Field:
    """A name: part of it, or a pattern of the whole with stars; with = all of it, letter for letter.

    Where an index has the column, the few names that there are can be found first, by a step along it each, then their images.
    """

    def alike(pattern: sql.Composable) -> Test:
        condition = sql.SQL("{} ILIKE {}").format(sql.SQL(column), pattern)
        if not indexed:
            return Test(condition)
        names = {"column": sql.SQL(column), "name": sql.SQL(column.removeprefix("i.")), "pattern": pattern}
        return Test(condition, narrow=sql.SQL(_OF_NAMES).format(**names))

    def test(operator: str, text: str, parameters: Parameters) -> Test:
        if operator == "=":
            return Test(_compare(column, "=", text, parameters))
        return alike(parameters.add(like(text, whole=False)))

    def any_of(operator: str, texts: list[str], parameters: Parameters) -> Test:
        if operator == "=":
            return Test(sql.SQL("{} = ANY({}::text[])").format(sql.SQL(column), parameters.add(texts)))
        return alike(sql.SQL("ANY({}::text[])").format(parameters.add([like(text, whole=False) for text in texts])))

    return Field(test, "a name or a part of it, with * for anything; = for the whole name", any_of=any_of)


def name_in_list(column: str, key: str | None) -> Field:
    """One name of a jsonb list, of objects with `key` or of bare names; as `name`.

    As a JSON path it is an operator on the column, which the planner estimates by trying it on the column's common values.
    """

    def test(operator: str, text: str, parameters: Parameters) -> Test:
        if operator == "=":
            whole = json.dumps([{key: text}] if key else [text])
            return Test(sql.SQL("{} @> {}::jsonb").format(sql.SQL(column), parameters.add(whole)))
        pattern = ".*".join(re.sub(r"([^\w\s])", r"\\\1", part) for part in re.split(r"\*+", text))
        pattern = f"^{pattern}$" if "*" in text else pattern
        path = f"$[*]{f'.{key}' if key else ''} ? (@ like_regex {json.dumps(pattern)} flag \"i\")"
        return Test(sql.SQL("{} @? {}::jsonpath").format(sql.SQL(column), parameters.add(path)))

    return Field(test, "a name or a part of it, with * for anything; = for the whole name")


def kept(text: str) -> str:
    """A label or namespace as it is kept."""
    try:
        return normal_label(text)
    except ValueError as error:
        raise Wrong(str(error)) from None


def label_test(operator: str, text: str, parameters: Parameters) -> Test:
    """That the image has this label; a star stands for anything."""
    label = filled(kept(text))
    if "*" in label and operator != "=":
        condition = sql.SQL("EXISTS (SELECT FROM unnest(i.labels) f_l WHERE f_l LIKE {})")
        return Test(condition.format(parameters.add(like(label, whole=True))))
    return Test(sql.SQL("i.labels @> {}::text[]").format(parameters.add([label])))


def any_label(operator: str, texts: list[str], parameters: Parameters) -> Test:
    return Test(sql.SQL("i.labels && {}::text[]").format(parameters.add([filled(kept(text)) for text in texts])))


def namespace_test(operator: str, text: str, parameters: Parameters) -> Test:
    """That the image is in this namespace; "" is that of images in none."""
    space = kept(text)
    if "*" in space and operator != "=":
        return Test(_compare("i.namespace", "LIKE", like(space, whole=True), parameters))
    return Test(_compare("i.namespace", "=", space, parameters))


def rating_read(text: str) -> int:
    """Stars, or 'rejected'."""
    stars = -1 if text.lower() == "rejected" else values.whole(text)
    if not -1 <= stars <= 5:
        raise Wrong(f"{text!r} is no rating (0 to 5 stars, or rejected)")
    return stars


def aspect_test(operator: str, text: str, parameters: Parameters) -> Test:
    """How wide an image is for its height, without a division that a height of 0 would break."""
    low, dots, high = text.partition("..")
    if text.lower() in _SHAPES:
        if operator not in (":", "="):
            raise Wrong(f"{text} can't be compared with {operator}")
        span = _SHAPES[text.lower()]
    elif dots:
        span = _range(operator, low, high, lambda end: Span(values.ratio(end), values.ratio(end)))
        span = Span(span.low and span.low * (1 - _ABOUT), span.high and span.high * (1 + _ABOUT))
    else:
        value = values.ratio(text)
        if operator in (":", "="):
            span = Span(value * (1 - _ABOUT), value * (1 + _ABOUT))
        elif operator in ("<", ">"):
            return Test(_compare("i.width", operator, value, parameters, "i.height * "))
        else:
            span = compared(operator, Span(value, value))
    ends = [(">=", span.low), ("<=", span.high)]
    parts = [_compare("i.width", sign, end, parameters, "i.height * ") for sign, end in ends if end is not None]
    return Test(sql.SQL(" AND ").join(parts))


def filesize_test(operator: str, text: str, parameters: Parameters) -> Test:
    """How large a file is. A range of which one end alone has a unit may be a mistake."""
    low, _, high = text.partition("..")
    values.one_unit(low, high)
    return _FILESIZE.test(operator, text, parameters)


def size_test(operator: str, text: str, parameters: Parameters) -> Test:
    """Width and height; compared, both sides hold."""
    sides = zip(("i.width", "i.height"), values.size(text))
    sign = "=" if operator == ":" else operator
    return Test(sql.SQL(" AND ").join(_compare(column, sign, value, parameters) for column, value in sides))


def has_test(operator: str, text: str, parameters: Parameters) -> Test:
    """That something is known of an image at all."""
    wanted = ALIASES.get(text.lower(), text.lower())
    if wanted in _HAS_ROW:
        return Test(sql.SQL(_HAS_ROW[wanted]), subquery=True)
    if wanted in _HAS:
        return Test(sql.SQL(_HAS[wanted]))
    raise Wrong(f"{text!r} is nothing that has: knows")


def confidence_test(operator: str, text: str, parameters: Parameters) -> Test:
    """How sure the prompt is; none: the file has no prompt at all."""
    if text.lower() not in _CONFIDENCES:
        raise Wrong(f"{text!r} is no confidence")
    if text.lower() == "none":
        return Test(sql.SQL("i.prompt_confidence IS NULL"))
    return Test(_compare("i.prompt_confidence", "=", text.lower(), parameters))


def _compare(column: str, operator: str, value: Any, parameters: Parameters, factor: str = "") -> sql.Composable:
    return sql.SQL("{} {} {}{}").format(sql.SQL(column), sql.SQL(operator), sql.SQL(factor), parameters.add(value))


def _range(operator: str, low: str, high: str, read: Callable[[str], Span]) -> Span:
    """from..to, either of which may be left out. What can hold of no image is a mistake."""
    if operator not in (":", "="):
        raise Wrong(f"a range can't stand after {operator}")
    if not low and not high:
        raise Wrong("a range needs an end, as in 20..40 or 20..")
    start, end = read(low) if low else Span(None, None), read(high) if high else Span(None, None)
    span = Span(start.low, end.high, end.below)
    if low and high and values.is_empty(span):
        raise Wrong(f"{low}..{high} is back to front: write {high}..{low}")
    return span


_FILESIZE = number("f_p.file_size", values.size_in_bytes, "a size such as 500kB, >2MB or 1MB..5MB", row=_FILE_SIZE)
_WHOLE = "a whole number, a range such as 20..40, or >20"
_REAL = "a number, a range such as 3.5..7, or >5"
FIELDS = {
    "prompt": Field(partial(words.by_letters, "prompt"), "words of the prompt, with * for any ending"),
    "negative": Field(partial(words.by_letters, "negative"), "words of the negative prompt, with * for any ending"),
    "label": Field(label_test, "a label, with * for anything", any_of=any_label),
    "namespace": Field(namespace_test, "a namespace, with * for anything"),
    "rating": number("i.rating", rating_read, "0 to 5 stars, rejected, a range such as 3..5, or >=4", words=("rejected",)),
    "folder": Field(places.folder_test, "a folder below a root such as 2025/portraits, a whole path, or a pattern with *"),
    "file": Field(places.file_test, "a file name or a part of it, with * for anything"),
    "format": Field(places.format_test, "a file's ending such as png"),
    "root": Field(places.root_test, "the name of a root, such as output"),
    "checkpoint": name("i.checkpoint", indexed=True),
    "lora": name_in_list("i.loras", "name"),
    "controlnet": name_in_list("i.controlnets", "name"),
    "vae": name("i.vae"),
    "encoder": name_in_list("i.text_encoders", None),
    "sampler": name("i.sampler", indexed=True),
    "scheduler": name("i.scheduler"),
    "generator": name("i.generator"),
    "seed": number("i.seed", values.whole, _WHOLE),
    "steps": number("i.steps", values.whole, _WHOLE),
    "cfg": number("i.cfg", values.real, _REAL, _ROUNDING),
    "guidance": number("i.guidance", values.real, _REAL, _ROUNDING),
    "denoise": number("i.denoise", values.real, _REAL, _ROUNDING),
    "width": number("i.width", values.whole, _WHOLE),
    "height": number("i.height", values.whole, _WHOLE),
    "size": Field(size_test, "width x height such as 1024x1024, or >=1024x1024", ordered=True),
    "megapixels": number(MEGAPIXELS, values.real, _REAL, _ABOUT),
    "aspect": Field(aspect_test, "portrait, landscape, square, a ratio such as 16:9, or >1.5", ordered=True, words=tuple(_SHAPES)),
    "filesize": replace(_FILESIZE, test=filesize_test),
    "copies": number(_COPIES, values.whole, _WHOLE),
    "date": moments("i.created"),
    "indexed": moments("i.indexed"),
    "age": Field(age_test, "how old at most, such as 12h, 7d, 2w, 3mo, 1y; >1y for older, 7d..1mo", ordered=True),
    "has": Field(has_test, f"one of {', '.join(sorted([*_HAS, *_HAS_ROW]))}", words=(*_HAS, *_HAS_ROW)),
    "confidence": Field(confidence_test, "how sure the prompt is: exact, inferred, unknown, or none", words=_CONFIDENCES),
    "id": number("i.id", lambda text: values.whole(text.removeprefix("#")), "the number of an image such as 30 or #30, or a range"),
}
ALIASES = {
    "neg": "negative", "negative_prompt": "negative", "tag": "label", "labels": "label", "tags": "label", "stars": "rating",
    "path": "folder", "dir": "folder", "filename": "file", "ext": "format", "type": "format", "model": "checkpoint",
    "ckpt": "checkpoint", "loras": "lora", "created": "date", "mp": "megapixels", "ratio": "aspect", "collection": "namespace",
    "is": "aspect", "text_encoder": "encoder", "software": "generator",
}  # fmt: skip
ELSEWHERE = {
    **dict.fromkeys(("order", "sort", "sort_by"), "The order is chosen with Search Options."),
    **dict.fromkeys(("limit", "top", "top_k", "k"), "How many is chosen on the search node, with top_k and offset."),
    **dict.fromkeys(("score", "similarity"), "The lowest score is chosen on the search node."),
    **dict.fromkeys(("before", "older"), "Write date:<2025-03, or age:>7d."),
    **dict.fromkeys(("after", "since", "newer"), "Write date:>=2025-03, or age:7d."),
    "until": "Write date:<=2025-03, or age:>7d.",
}
BYTES = ("b", "byte", "bytes")
UNITS = {
    "rating": ("stars",), "steps": ("steps",), "megapixels": ("mp", "megapixels"),
    **dict.fromkeys(("width", "height", "size"), ("px", "pixels")), "filesize": (*BYTES, *filter(None, values.UNITS)),
}  # fmt: skip
"""By field what people write after its numbers, as in rating:4 stars, which alone would be a word of the prompt. No word that begins
other things in prompts, as in rating:5 star wars."""
