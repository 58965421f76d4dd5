"""Names in a filter that no image has, though images pass: a misspelt one leaves nothing out, or adds nothing, without a word."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from psycopg import Connection
from psycopg.errors import QueryCanceled

from .._generation import generation
from . import Filter, tree
from .errors import FilterError
from .none_pass import ASKED, MOST, Asked, is_there, missing_name, names_in, shown_value

MILLISECONDS = 200  # that a statement may take: where no index has the names, a library of a million images is not read for a note
KEPT = 200  # notes that this process remembers
_kept: dict[tuple[str, str], str] = {}


def unknown_names(conn: Connection, filter: Filter | None) -> str:
    """A note on names of the filter that no image has and that are near to one that images have: label:fianl in
    `label:draft or label:fianl`, and -label:darft. For a filter that images pass; of one that none passes `why_none_pass` tells.

    Asked once for a filter and the library as it is; remembered until somebody writes. Nothing where it would take long.
    """
    asked = _unsure(filter.text) if filter else ()
    if not asked:
        return ""
    key = (generation(conn), filter.text)
    if key not in _kept:
        if len(_kept) >= KEPT:
            _kept.clear()
        _kept[key] = " ".join(_told(conn, asked))
    return _kept[key]


def _told(conn: Connection, asked: tuple[tuple[Asked, bool], ...]) -> list[str]:
    told: list[str] = []
    try:
        with conn.transaction(force_rollback=True):  # which undoes the setting too
            conn.execute(f"SET LOCAL statement_timeout = {MILLISECONDS}")
            for one, negated in asked:
                sentence, helps = ("", False) if is_there(conn, *one) else missing_name(conn, *one)
                if helps:
                    told.append(f"{_left_out(*one)} leaves nothing out. {sentence}" if negated else sentence)
    except QueryCanceled:
        pass
    return told[:MOST]


@functools.lru_cache(KEPT)
def _unsure(text: str) -> tuple[tuple[Asked, bool], ...]:
    """(name, whether it must be missing) of those which images need not have to pass."""
    try:
        found = _names(tree.parse(text), negated=False, certain=True)
    except FilterError:  # filters that are joined can be longer together than one may be
        return ()
    return tuple(islice(dict.fromkeys(found), ASKED))


def _names(node: tree.Node, negated: bool, certain: bool) -> Iterator[tuple[Asked, bool]]:
    """`certain`: where it is not negated, images that pass have it."""
    if isinstance(node, tree.Not):
        yield from _names(node.item, not negated, certain)
    elif isinstance(node, tree.Term) and node.operator == "!=":
        yield from _names(replace(node, operator="="), not negated, certain)
    elif isinstance(node, tree.Term):
        if negated or not certain or len(node.values) > 1:
            yield from ((one, negated) for one in names_in(node))
    else:
        all_hold = isinstance(node, tree.All) != negated or len(node.items) == 1
        for item in node.items:
            yield from _names(item, negated, certain and all_hold)


def _left_out(field: str, operator: str, name: str) -> str:
    return f"-{field}{operator}{shown_value(name)}"
