"""Which images may be hits: a filter text, parsed by a grammar into one SQL condition with parameters.

What the language has is told to people in web/docs/DiffusionToolkitFilterImages.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from .._clean import clean_text
from . import tree
from .conditions import Conditions
from .errors import FilterError
from .sql_parts import PREFIX

__all__ = ["EVERYTHING", "Filter", "FilterError", "all_of", "parse_filter", "quoted"]


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on the table `images` under the alias `i`, and its named parameters, which never clash with a search's.

    Each parameter stands in it as an `sql.Placeholder`, so that `all_of` can rename it. `moving`: it hangs on the day or
    hour at which it was parsed ("today"), so a node that keeps a result has to look again. One that lets every image pass is
    false, so that a search need not look at it.

    `narrow` is the same condition for one statement that gathers all images which pass: by an index where `condition` would
    look at each image. It is not for estimates, nor for checking single images, for which `condition` is made.
    """

    condition: sql.Composable
    parameters: dict[str, Any] = field(default_factory=dict)
    text: str = ""  # as a person would write it, for messages
    moving: bool = False
    narrower: sql.Composable | None = None  # `narrow`, where it is not the condition itself

    @classmethod
    def of_ids(cls, ids: Iterable[int]) -> Filter:
        """These images alone."""
        name = f"{PREFIX}ids"
        return cls(sql.SQL("i.id = ANY({}::bigint[])").format(sql.Placeholder(name)), {name: array_of(ids)})

    @property
    def narrow(self) -> sql.Composable:
        return self.condition if self.narrower is None else self.narrower

    def __bool__(self) -> bool:
        return self.condition != EVERYTHING.condition


EVERYTHING = Filter(sql.SQL("true"))


def array_of(ids: Iterable[int]) -> str:
    """Ids as PostgreSQL writes a bigint[]: a list of some hundred takes the driver a tenth of the time of a search."""
    return f"{{{','.join(map(str, map(int, ids)))}}}"


def parse_filter(text: str) -> Filter:
    """The filter that `text` describes; an empty text lets every image pass. FilterError says where it goes wrong, and what may stand there."""
    text = clean_text(text)
    node = tree.parse(text)
    conditions = Conditions(text)
    condition = conditions.condition(node)
    narrower = Conditions(text, narrow=True).condition(node) if conditions.has_narrow else None  # of the same parameters
    return Filter(condition, conditions.parameters.values, " ".join(text.split()), conditions.parameters.moving, narrower)


def all_of(filters: Sequence[Filter | None]) -> Filter:
    """The filter that lets pass what all of them let pass; None is none."""
    filters = [one for one in filters if one] or [EVERYTHING]
    if len(filters) == 1:
        return filters[0]
    conditions: list[sql.Composable] = []
    narrow: list[sql.Composable] = []
    parameters: dict[str, Any] = {}
    for number, one in enumerate(filters):
        prefix = f"{PREFIX}{number}_"
        conditions.append(sql.SQL("({})").format(_renamed(one.condition, prefix)))
        narrow.append(sql.SQL("({})").format(_renamed(one.narrow, prefix)))
        parameters.update({f"{prefix}{name}": value for name, value in one.parameters.items()})
    texts = [one.text for one in filters if one.text]
    text = texts[0] if len(texts) == 1 else " ".join(f"({text})" for text in texts)
    both = sql.SQL(" AND ")
    return Filter(both.join(conditions), parameters, text, any(one.moving for one in filters), both.join(narrow))


def quoted(value: str) -> str:
    """`value` as a filter text can hold it, whatever is in it; a star in it still stands for anything."""
    return '"' + value.translate(tree.QUOTES).replace('"', '""') + '"'


def _renamed(part: sql.Composable, prefix: str) -> sql.Composable:
    """`part` with `prefix` before the names of its parameters."""
    if isinstance(part, sql.Composed):
        return sql.Composed([_renamed(piece, prefix) for piece in part])
    if isinstance(part, sql.Placeholder):
        return sql.Placeholder(f"{prefix}{part.as_string(None)[2:-2]}")
    return part
