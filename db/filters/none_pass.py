"""Why no image passes a filter, as far as one of its words or names is to blame; asked only where none did."""

from __future__ import annotations

import re
from collections.abc import Iterator

from psycopg import Connection, sql

from . import Filter, near_names, parse_filter, quoted, tree
from .errors import FilterError
from .fields import ALIASES

MOST = 10  # words and names of a filter that are looked up
LISTED = 8  # names: so few are told where none is like the one that was asked for
_SLASHES = "\\/"
_SAID = {
    "lora": "LoRA", "controlnet": "ControlNet", "vae": "VAE", "encoder": "text encoder", "prompt": "prompt", "negative": "negative prompt",
}  # fmt: skip


def why_none_pass(conn: Connection, filter: Filter | None) -> str:
    """A sentence on each name that no image has, and on each word that no prompt has but as the beginning of another: flower, where
    prompts have flowers.

    '' where each is there, and only all together let none pass; also for a filter of a node's own making, whose text is for people
    alone. Of what must be missing (-label:draft) nothing is told.
    """
    try:
        asked = list(dict.fromkeys(_asked(tree.parse(filter.text if filter else ""))))
    except FilterError:
        return ""
    told = [_word(conn, *one) if one[0] in ("prompt", "negative") else _name(conn, *one) for one in asked[:MOST] if not _passing(conn, *one)]
    return " ".join(sentence for sentence in told if sentence)


def _asked(node: tree.Node) -> Iterator[tuple[str, str, str]]:
    """(field, operator, value) of all names and whole words that must be there."""
    if isinstance(node, tree.Term):
        field = ALIASES.get(node.field, node.field)
        for value in node.values:
            whole_word = node.operator == ":" and "*" not in value.text and value.text[-1:].isalnum()
            if whole_word if field in ("prompt", "negative") else field in near_names.FIELDS and node.operator in (":", "=") and value.text:
                yield field, node.operator, value.text
    elif not isinstance(node, tree.Not):
        for item in node.items:
            yield from _asked(item)


def _word(conn: Connection, field: str, operator: str, word: str) -> str:
    count = _passing(conn, field, operator, f"{word}*")
    shown = f"{word}*" if word.isalnum() else quoted(f"{word}*")
    return f"No {_SAID[field]} has {word!r} as whole words; {shown} is in those of {_images(count)}." if count else ""


def _name(conn: Connection, field: str, operator: str, name: str) -> str:
    if field == "folder":
        return _folder(conn, operator, name)
    said = _SAID.get(field, field)
    like = "*" in name and operator == ":"
    told = f"No image has {f'a {said} like' if like else f'the {said}'} '{name}'."
    return f"{told} {_there_is(name, *near_names.names_of(conn, field), said)}".strip()


def _folder(conn: Connection, operator: str, name: str) -> str:
    if operator == "=" and (count := _passing(conn, "folder", ":", name)):
        return f"No file lies in the folder '{name}' itself; {_term(name)} has {_images(count)} below it."
    path, roots = name.replace("\\", "/"), conn.execute("SELECT name, path FROM roots ORDER BY id").fetchall()
    whole = re.match(r"/|[A-Za-z]:", path)
    if whole and "*" in name:
        return f"No file lies in the folder '{name}': in a whole path a star is no pattern. Write a folder's path without it, or folder:*/cats."
    if not whole and _passing(conn, "root", "=", path.strip("/")):
        root = path.strip("/")
        return f"'{root}' is a root, and no folder of one: root:{_value(root)} passes all below it."
    told = f"No file lies in {'a folder like' if '*' in name else 'the folder'} '{name}'."
    if whole:
        above = [f"{place.rstrip(_SLASHES)}/".replace("\\", "/") for _, place in roots]
        root = next((one for one in above if f"{path}/".startswith(one)), None)
        if root is None:
            places = ", ".join(f"{place} ({called})" for called, place in roots)
            return f"{told} The roots are {places}." if len(roots) <= LISTED else told
        path = path[len(root) :]
    path = path.strip("/")
    first, _, rest = path.partition("/")
    path = rest if rest and first in dict(roots) else path
    if path and "*" not in path and (count := _passing(conn, "folder", ":", f"*/{path}")):
        return f"No folder '{path}' lies directly below a root; {_term(f'*/{path}')} has {_images(count)}."
    names, all_seen = near_names.names_of(conn, "folder")
    names += [folder[:at] for folder in names for at, sign in enumerate(folder) if sign == "/"]  # and those above them
    return f"{told} {_there_is(path, sorted(set(names)), all_seen, 'folder below a root')}".strip()


def _there_is(name: str, names: list[str], all_seen: bool, said: str) -> str:
    """What was meant, or all that there is, or of a library too large to look at each image, what the newest have."""
    if meant := near_names.nearest(name, names):
        return "Did you mean '" + "' or '".join(meant) + "'?"
    if not names:
        return f"There is no {said}." if all_seen else ""
    are = "is" if len(names) == 1 else "are"
    return f"{f'There {are}' if all_seen else f'Among the newest {are}'}: {', '.join(names)}." if len(names) <= LISTED else ""


def _term(folder: str) -> str:
    """The filter text for all below this folder."""
    return f"folder:{_value(folder)}"


def _value(text: str) -> str:
    """`text` as a person would write it after a field."""
    return text if re.fullmatch(r"[\w/.*-]+", text) else quoted(text)


def _passing(conn: Connection, field: str, operator: str, value: str) -> int:
    try:
        found = parse_filter(f"{field}{operator}{quoted(value)}")
    except FilterError:  # a star more than the longest value can have
        return 0
    counted = sql.SQL("SELECT count(*) FROM images i WHERE {}").format(found.narrow)
    return conn.execute(counted, found.parameters).fetchone()[0]


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
