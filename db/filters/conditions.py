"""From the tree of a filter text to one SQL condition; negations are carried down to the terms, so that the rest stays plain."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from psycopg import sql

from . import words
from .errors import FilterError
from .fields import ALIASES, BYTES, ELSEWHERE, FIELDS, UNITS
from .sql_parts import Parameters, Test, joined
from .tree import All, Either, Node, Not, Term, Value
from .values import Wrong

MAX_DEPTH = 30
MAX_TERMS = 100
MAX_VALUE = 300  # characters, but for words: a name that is longer is none, and slow to look for in all names
MAX_STARS = 10  # in a value; a pattern of hundreds is slow to match


class Conditions:
    """Makes the condition of one text, and gathers its parameters."""

    def __init__(self, text: str, narrow: bool = False) -> None:
        self.parameters = Parameters()
        self.has_narrow = False  # whether `narrow` would make another condition
        self._narrow = narrow
        self._text = text
        self._terms = 0

    def condition(self, node: Node) -> sql.Composable:
        """The condition of the whole text."""
        return self._sql(self._checked(node, 0), negated=False)

    def _checked(self, node: Node, depth: int) -> Node:
        """The tree with every field by its own name. FilterError where a field or its operator is wrong, or there is too much."""
        if depth > MAX_DEPTH:
            raise FilterError(f"parentheses and negations nest deeper than {MAX_DEPTH}. Write it flatter.", self._text)
        if isinstance(node, Not):
            return Not(self._checked(node.item, depth + 1))
        if isinstance(node, (All, Either)):
            items = tuple(self._checked(item, depth + 1) for item in node.items)
            for item, after in zip(items, items[1:]):
                self._refuse_a_unit(item, after)
            return type(node)(items)
        self._terms += len(node.values)
        if self._terms > MAX_TERMS:
            raise FilterError(f"it has more than {MAX_TERMS} conditions. Leave some out.", self._text, node.at)
        field = ALIASES.get(node.field, node.field)
        for value in node.values:
            if len(value.text) > MAX_VALUE and field not in words.TEXT_IDS:
                raise FilterError(f"a value of {field} is longer than {MAX_VALUE} characters. Shorten it.", self._text, value.at)
            if value.text.count("*") > MAX_STARS:
                raise FilterError(f"it has more than {MAX_STARS} stars. One stands for anything.", self._text, value.at)
        if field not in FIELDS:
            raise FilterError(_unknown(node.field), self._text, node.at)
        if node.operator[0] in "<>" and not FIELDS[field].ordered:
            reason = f"{field} can't be compared with {node.operator}. It takes {FIELDS[field].expects}."
            raise FilterError(reason, self._text, node.at)
        for value in node.values:
            if not value.text.strip() and field != "namespace":
                without = f" For images without one write -has:{field}." if field in FIELDS["has"].words else ""
                raise FilterError(f"the value of {field} is empty. It takes {FIELDS[field].expects}.{without}", self._text, value.at)
        operator = "=" if node.operator == "!=" else node.operator
        term = Term(field, operator, node.values, node.at)
        return Not(term) if node.operator == "!=" else term

    def _refuse_a_unit(self, node: Node, after: Node) -> None:
        """FilterError where `after` is a bare word right after a number, and its unit: it would be looked for in prompts."""
        while isinstance(node, Not):
            node = node.item
        if not isinstance(node, Term) or not isinstance(after, Term):
            return
        number, word = node.values[-1], after.values[0].text
        if word.lower() in UNITS.get(node.field, ()) and self._text[number.at : after.at + len(word)].split() == [number.text, word]:
            told = self._text[node.at : after.at].rstrip()
            instead = f"{told} alone"
            if node.field == "filesize" and word.lower() not in BYTES:
                instead = f"{told}{word}" if number.text.isdecimal() and len(node.values) == 1 else "each number with its unit, as filesize:1MB..2MB"
            raise FilterError(f'this is no part of {told}, but a word of the prompt. Write {instead}, or for the word "{word}".', self._text, after.at)

    def _sql(self, node: Node, negated: bool) -> sql.Composable:
        if isinstance(node, Not):
            return self._sql(node.item, not negated)
        if (query := words.one_query(node, self._text)) is not None:
            return words.answers(*query, self.parameters).sql(negated)
        if isinstance(node, Term):
            return self._term(node, negated)
        parts = [self._sql(item, negated) for item in self._gathered(node)]
        if not parts:
            return sql.SQL("false" if negated else "true")
        return joined("OR" if isinstance(node, All) == negated else "AND", parts)

    def _gathered(self, node: All | Either) -> list[Node]:
        """The node's items, those that ask for words of one text put together: one look at the index serves them all."""
        by_field: dict[str, list[Node]] = {}
        others: list[Node] = []
        for item in node.items:
            query = words.one_query(item, self._text)
            (by_field.setdefault(query[0], []) if query else others).append(item)
        return [*(type(node)(tuple(items)) for items in by_field.values()), *others]

    def _term(self, term: Term, negated: bool) -> sql.Composable:
        field = FIELDS[term.field]
        equal = term.operator in (":", "=") and not any("*" in value.text or ".." in value.text for value in term.values)
        if len(term.values) > 1 and field.any_of and equal:
            texts = [value.text for value in term.values]
            return self._test(term, term.values[0], field.any_of, term.operator, texts).sql(negated)
        parts = [self._test(term, value, field.test, term.operator, value.text).sql(negated) for value in term.values]
        return parts[0] if len(parts) == 1 else joined("AND" if negated else "OR", parts)

    def _test(self, term: Term, value: Value, make: Callable[..., Test], *arguments: Any) -> Test:
        """What the field makes of a value; the value's place is told where it is wrong."""
        try:
            test: Test = make(*arguments, self.parameters)
        except Wrong as wrong:
            written = value.text.lower()
            meant = _meant(written, [word for word in FIELDS[term.field].words if word not in written.split("..")], 0.6)
            raise FilterError(f"{wrong}.{meant} {term.field} takes {FIELDS[term.field].expects}.", self._text, value.at) from None
        self.has_narrow = self.has_narrow or test.narrow is not None
        return Test(test.narrow) if self._narrow and test.narrow is not None else test


def _unknown(field: str) -> str:
    if field in ELSEWHERE:
        return f"{field} is no filter. {ELSEWHERE[field]}"
    return (
        f"there is no field {field!r}.{_meant(field, [*FIELDS, *ALIASES], 0.7)} The fields are {', '.join(FIELDS)}. To look for the words themselves, put them "
        "in quotation marks."
    )


def _meant(word: str, known: Sequence[str], least: float) -> str:
    alike = difflib.get_close_matches(word, known, 1, least)
    return f" Did you mean {alike[0]}?" if alike else ""
