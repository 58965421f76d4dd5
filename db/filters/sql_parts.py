"""Pieces of conditions: parameters by number, negation that counts the unknown as not so, and patterns for LIKE."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

PREFIX = "filter_"  # of parameters, so that a search's own never clash


@dataclass(slots=True)
class Parameters:
    """The values of a condition, by the names that its placeholders have; `moving` when they hang on today's date."""

    values: dict[str, Any] = field(default_factory=dict)
    moving: bool = False

    def add(self, value: Any) -> sql.Placeholder:
        name = f"{PREFIX}{len(self.values)}"
        self.values[name] = value
        return sql.Placeholder(name)


@dataclass(frozen=True, slots=True)
class Test:
    """One condition on an image. `subquery`: SQL of a subquery that has a row when it holds, which a planner can join.

    `narrow`: the same condition as `Filter.narrow` is to have it, where that is another one.
    """

    condition: sql.Composable
    subquery: bool = False
    narrow: sql.Composable | None = None

    def sql(self, negated: bool) -> sql.Composable:
        """The condition, or that it does not hold: an image of which nothing is known is among the latter."""
        if self.subquery:
            return sql.SQL("NOT EXISTS ({})" if negated else "EXISTS ({})").format(self.condition)
        return sql.SQL("({}) IS NOT TRUE" if negated else "({})").format(self.condition)


def joined(word: str, conditions: list[sql.Composable]) -> sql.Composable:
    """Conditions with AND or OR between them, in parentheses."""
    return sql.SQL("({})").format(sql.SQL(f" {word} ").join(conditions))


def like(text: str, whole: bool) -> str:
    """A LIKE pattern of `text` with * for anything. Without a star it is found anywhere, unless it shall be the `whole`."""
    pattern = re.sub(r"\*+", "%", re.sub(r"([\\%_])", r"\\\1", text))
    return pattern if whole or "*" in text else f"%{pattern}%"
