"""Which images may be hits: a filter text, parsed by a grammar into one SQL condition with parameters.

What the language has is told to people in web/docs/DiffusionToolkitFilterImages.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from .._clean import clean_text
from . import tree
from .conditions import Conditions
from .errors import FilterError
from .sql_parts import PREFIX

__all__ = ["Filter", "FilterError", "all_of", "parse_filter", "quoted"]


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on the table `images` under the alias `i`, and its named parameters, which never clash with a search's.

    Each parameter stands in it as an `sql.Placeholder`, so that `all_of` can rename it. `moving`: it hangs on the day or
    hour at which it was parsed ("today"), so a node that keeps a result has to look again. One that lets every image pass is
    false, so that a search need not look at it.
    """

    condition: sql.Composable
    parameters: dict[str, Any] = field(default_factory=dict)
    text: str = ""  # as a person would write it, for messages
    moving: bool = False

    def __bool__(self) -> bool:
        return self.condition != _EVERYTHING


_EVERYTHING = sql.SQL("true")


def parse_filter(text: str) -> Filter:
    """The filter that `text` describes; an empty text lets every image pass. FilterError says where it goes wrong, and what may stand there."""
    text = clean_text(text)
    conditions = Conditions(text)
    condition = conditions.condition(tree.parse(text))
    return Filter(condition, conditions.parameters.values, " ".join(text.split()), conditions.parameters.moving)


def all_of(filters: Sequence[Filter]) -> Filter:
    """The filter that lets pass what all of them let pass."""
    filters = [one for one in filters if one]
    if len(filters) == 1:
        return filters[0]
    conditions: list[sql.Composable] = []
    parameters: dict[str, Any] = {}
    for number, one in enumerate(filters):
        prefix = f"{PREFIX}{number}_"
        conditions.append(sql.SQL("({})").format(_renamed(one.condition, prefix)))
        parameters.update({f"{prefix}{name}": value for name, value in one.parameters.items()})
    texts = [one.text for one in filters if one.text]
    text = texts[0] if len(texts) == 1 else " ".join(f"({text})" for text in texts)
    condition = sql.SQL(" AND ").join(conditions) if conditions else _EVERYTHING
    return Filter(condition, parameters, text, any(one.moving for one in filters))


def quoted(value: str) -> str:
    """`value` as a filter text can hold it, whatever is in it; a star in it still stands for anything."""
    return '"' + value.replace('"', '""') + '"'


def _renamed(part: sql.Composable, prefix: str) -> sql.Composable:
    """`part` with `prefix` before the names of its parameters."""
    if isinstance(part, sql.Composed):
        return sql.Composed([_renamed(piece, prefix) for piece in part])
    if isinstance(part, sql.Placeholder):
        return sql.Placeholder(f"{prefix}{part.as_string(None)[2:-2]}")
    return part
