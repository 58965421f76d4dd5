"""Why no image passes a filter, as far as one of its words, names or numbers is to blame; asked only where none did."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any

from psycopg import Connection, sql

from . import Filter, near_names, parse_filter, quoted, tree
from .errors import FilterError
from .fields import ALIASES, FIELDS, MEGAPIXELS
from .places import STANDS_ALONE
from .values import UNITS

ASKED = 10  # words, names and numbers of a filter that are looked for
MOST = 3  # of which it is told what was meant
ENOUGH = 1000  # images that are counted where only whether there is one is asked: for 1, the planner would leave indexes aside
LISTED = 8  # names: so few are told where none is like the one that was asked for
_PROMPTS = ("prompt", "negative")
_SLASHES = "\\/"
_SAID = {
    "lora": "LoRA", "controlnet": "ControlNet", "vae": "VAE", "encoder": "text encoder", "prompt": "prompt", "negative": "negative prompt",
}  # fmt: skip
_HAD = {
    "rating": "a rating", "seed": "a seed", "steps": "steps", "cfg": "a cfg", "guidance": "a guidance", "denoise": "a denoise",
    "date": "a date", "age": "a date",
}  # fmt: skip
_COLUMNS = {  # of numbers and dates
    **{field: f"i.{field}" for field in (*_HAD, "width", "height", "id", "indexed")},
    **dict.fromkeys(("date", "age"), "i.created"),
    "size": "ARRAY[i.width::bigint * i.height, i.width, i.height]",  # by how many pixels
    "megapixels": MEGAPIXELS,
    "filesize": "f_p.file_size",
}
Asked = tuple[str, str, str]  # a field, an operator and a value


def why_none_pass(conn: Connection, filter: Filter | None) -> str:
    """A sentence on each name that no image has, on each word that no prompt has but as the beginning of another (flower, where
    prompts have flowers), and on each number, date or range of them in which no image lies.

    '' where each is there, and only all together let none pass. Of what must be missing (-label:draft) nothing is told, nor of one of
    several values or sides of an `or` of which another is there: with that one mended, as few would pass.
    """
    try:
        root = tree.parse(filter.text if filter else "")
    except FilterError:  # filters that are joined can be longer together than one may be
        return ""
    looked_for = dict.fromkeys(one for term in _terms(root) for one in _asked(term))
    passing = {one: is_there(conn, *one) for one in islice(looked_for, ASKED)}
    told: list[str] = []
    for one in dict.fromkeys(_blamed(root, passing)):
        sentence = _sentence(conn, *one)
        told += [sentence] if sentence and sentence not in told else []
        if len(told) == MOST:
            break
    return " ".join(told)


def _terms(node: tree.Node) -> Iterator[tree.Term]:
    """All that must be there, or one of several that must."""
    if isinstance(node, tree.Term):
        yield node
    elif not isinstance(node, tree.Not):
        for item in node.items:
            yield from _terms(item)


def names_in(term: tree.Term) -> Iterator[Asked]:
    """Its names."""
    field = ALIASES.get(term.field, term.field)
    if field in near_names.FIELDS and term.operator in (":", "="):
        yield from ((field, term.operator, value.text) for value in term.values if value.text)


def _asked(term: tree.Term) -> Iterator[Asked]:
    """Its names, whole words and numbers."""
    yield from names_in(term)
    field = ALIASES.get(term.field, term.field)
    if field in _PROMPTS and term.operator == ":":
        yield from ((field, ":", value.text) for value in term.values if "*" not in value.text and value.text[-1:].isalnum())
    if field in _COLUMNS and term.operator != "!=":
        yield from ((field, term.operator, value.text) for value in term.values)


def _blamed(node: tree.Node, passing: dict[Asked, bool]) -> list[Asked]:
    """Those that were looked for without which nothing passes here."""
    if isinstance(node, tree.Term):
        asked = list(_asked(node))
        none = len(asked) == len(node.values) and not any(passing.get(one) for one in asked)
        return [one for one in asked if one in passing] if none else []
    if isinstance(node, tree.Not):
        return []
    sides = [_blamed(item, passing) for item in node.items]
    return [one for side in sides for one in side] if isinstance(node, tree.All) or all(sides) else []


def _sentence(conn: Connection, field: str, operator: str, value: str) -> str:
    if field in _COLUMNS:
        return _number(conn, field, operator, value)
    return _word(conn, field, operator, value) if field in _PROMPTS else missing_name(conn, field, operator, value)[0]


def _word(conn: Connection, field: str, operator: str, word: str) -> str:
    count = _count(conn, field, operator, f"{word}*")
    shown = f"{word}*" if word.isalnum() else quoted(f"{word}*")
    if count:
        return f"No {_SAID[field]} has {word!r} as whole words; {shown} is in those of {_images(count)}."
    name, _, value = word.partition(":")
    if value and name.lower() in FIELDS.keys() | ALIASES.keys():
        return f"{word!r} was looked for in the {_SAID[field]}; if it is meant as a filter, write it as filter text."
    return ""


def _number(conn: Connection, field: str, operator: str, value: str) -> str:
    rows = f"paths f_p WHERE {STANDS_ALONE}" if field == "filesize" else "images i"
    ends = conn.execute(f"SELECT min({_COLUMNS[field]}), max({_COLUMNS[field]}) FROM {rows}").fetchone()
    if None in ends:
        return f"No image has {_HAD[field]}." if field in _HAD else ""
    low, high = (_shown_number(field, end) for end in ends)
    only, lowest, highest = ("day", "earliest", "latest") if isinstance(ends[0], datetime) else ("value", "lowest", "highest")
    there = f"the {lowest} is {low}, the {highest} {high}" if low != high else f"the only {only} is {low}"
    return f"No image has {field}{operator}{shown_value(value)}; {there}."


def _shown_number(field: str, value: Any) -> str:
    """As a filter takes it."""
    if field == "rating" and value == -1:
        return "rejected"
    if field == "size":
        return f"{value[1]}x{value[2]}"
    if field == "filesize":
        unit = next((unit for unit in ("GB", "MB", "kB") if value >= UNITS[unit.lower()]), "b")
        return f"{value / UNITS.get(unit.lower(), 1):.10g}{unit}"
    if isinstance(value, datetime):
        with suppress(OSError, OverflowError, ValueError):  # Windows knows no local time before 1970
            value = value.astimezone()
        return f"{value:%Y-%m-%d}"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def missing_name(conn: Connection, field: str, operator: str, name: str) -> tuple[str, bool]:
    """A sentence on a name that no image has, and whether it tells what may have been meant."""
    if field == "folder":
        return _folder(conn, operator, name)
    said = _SAID.get(field, field)
    like = "*" in name and operator == ":"
    told = f"No image has {f'a {said} like' if like else f'the {said}'} '{name}'."
    return _there_is(told, name, *near_names.names_of(conn, field, name), said)


def _folder(conn: Connection, operator: str, name: str) -> tuple[str, bool]:
    if operator == "=" and (count := _count(conn, "folder", ":", name)):
        return f"No file lies in the folder '{name}' itself; {_term(name)} has {_images(count)} below it.", True
    path, roots = name.replace("\\", "/"), conn.execute("SELECT name, path FROM roots ORDER BY id").fetchall()
    whole = re.match(r"/|[A-Za-z]:", path)
    if whole and "*" in name:
        told = f"No file lies in the folder '{name}': in a whole path a star is no pattern."
        return f"{told} Write a folder's path without it, or folder:*/cats.", True
    if not whole and is_there(conn, "root", "=", path.strip("/")):
        root = path.strip("/")
        return f"'{root}' is a root, and no folder of one: root:{shown_value(root)} passes all below it.", True
    told = f"No file lies in {'a folder like' if '*' in name else 'the folder'} '{name}'."
    if whole:
        above = [f"{place.rstrip(_SLASHES)}/".replace("\\", "/") for _, place in roots]
        same = str if re.match("/(?!/)", path) else str.lower  # as places.folder_test compares
        root = next((one for one in above if same(f"{path}/").startswith(same(one))), None)
        if root is None:
            places = ", ".join(f"{place} ({called})" for called, place in roots)
            return (f"{told} The roots are {places}.", True) if len(roots) <= LISTED else (told, False)
        path = path[len(root) :]
    path = path.strip("/")
    first, _, rest = path.partition("/")
    path = rest if rest and first in dict(roots) else path
    if conn.execute("SELECT FROM roots r JOIN paths p ON p.root_id = r.id AND p.path = %s AND p.missing IS NULL LIMIT 1", [path]).rowcount:
        return f"'{name}' is a file, and no folder: file:{shown_value(path.rpartition('/')[2])} passes files of that name.", True
    if path and "*" not in path and (count := _count(conn, "folder", ":", f"*/{path}")):
        return f"No folder '{path}' lies directly below a root; {_term(f'*/{path}')} has {_images(count)}.", True
    names, all_seen = near_names.names_of(conn, "folder", path)
    names = list(dict.fromkeys(above for folder in names for above in (*_above(folder), folder)))
    return _there_is(told, path, names, all_seen, "folder below a root")


def _above(folder: str) -> Iterator[str]:
    return (folder[:at] for at, sign in enumerate(folder) if sign == "/")


def _there_is(told: str, name: str, names: list[str], all_seen: bool, said: str) -> tuple[str, bool]:
    """`told`, and what was meant, or all that there is, or of a library too large to look at each image, what the newest have."""
    if meant := near_names.nearest(name, names):
        return f"{told} Did you mean '" + "' or '".join(meant) + "'?", True
    if not names:
        return (f"{told} There is no {said}." if all_seen else told), False
    are = "is" if len(names) == 1 else "are"
    there = f" {f'There {are}' if all_seen else f'Among the newest {are}'}: {', '.join(sorted(names))}."
    return told + there * (len(names) <= LISTED), False


def _term(folder: str) -> str:
    """The filter text for all below this folder."""
    return f"folder:{shown_value(folder)}"


def shown_value(text: str) -> str:
    """`text` as a person would write it after a field."""
    return text if re.fullmatch(r"[\w/.*-]+", text) else quoted(text)


def is_there(conn: Connection, field: str, operator: str, value: str) -> bool:
    return bool(_count(conn, field, operator, value, ENOUGH))


def _count(conn: Connection, field: str, operator: str, value: str, at_most: int | None = None) -> int:
    try:
        found = parse_filter(f"{field}{operator}{quoted(value)}")
    except FilterError:  # a star more than the longest value can have
        return 0
    counted = sql.SQL("SELECT count(*) FROM (SELECT FROM images i WHERE {} LIMIT {}) i").format(found.narrow, at_most)
    return conn.execute(counted, found.parameters).fetchone()[0]


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
