"""Names in a filter that no image has, though images pass: a misspelt one leaves nothing out, or adds nothing, without a word."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from psycopg import Connection
from psycopg.errors import QueryCanceled

from .._generation import generation
from . import Filter, tree
from .errors import FilterError
from .none_pass import ASKED, MOST, Asked, is_there, missing_name, names_in, shown_value

SECONDS = 0.2  # that all names of a filter may take: where no index has them, a library of a million images is not read for a note
SPARED = 300.0  # seconds for which a filter that took longer is not asked about, whoever writes: a run writes several times a second
KEPT = 200  # notes that this process remembers
_kept: dict[tuple, str] = {}  # by library, its generation and filter
_slow: dict[tuple, float] = {}  # by library and filter: until when


def unknown_names(conn: Connection, filter: Filter | None) -> str:
    """A note on names of the filter that no image has and that are near to one that images have: label:fianl in
    `label:draft or label:fianl`, and -label:darft. For a filter that images pass; of one that none passes `why_none_pass` tells.

    Asked once for a filter and the library as it is; remembered until somebody writes. Nothing where it would take long,
    nor for some minutes where it did.
    """
    asked = _unsure(filter.text) if filter else ()
    if not asked:
        return ""
    library = (conn.info.host, conn.info.port, conn.info.dbname)  # a copy has the original's generation
    key = (*library, generation(conn), filter.text)
    note = _kept.get(key)
    if note is None:
        if _slow.get((*library, filter.text), 0.0) > time.monotonic():
            return ""
        told, in_time = _told(conn, asked)
        note = " ".join(told)
        _keep(_kept, key, note)
        if not in_time:
            _keep(_slow, (*library, filter.text), time.monotonic() + SPARED)
    return note  # what another thread may just have forgotten


def _keep(kept: dict[tuple, Any], key: tuple, value: Any) -> None:
    if len(kept) >= KEPT:
        kept.clear()
    kept[key] = value


class _Hurried:
    """A connection whose statements together may take SECONDS, inside a transaction; then each raises QueryCanceled."""

    def __init__(self, conn: Connection) -> None:
        self._conn, self._until = conn, time.monotonic() + SECONDS

    def execute(self, *statement: Any) -> Any:
        left = int(1000 * (self._until - time.monotonic()))
        if left < 1:  # 0 would be no limit
            raise QueryCanceled("no time is left")
        self._conn.execute(f"SET LOCAL statement_timeout = {left}")
        return self._conn.execute(*statement)


def _told(conn: Connection, asked: tuple[tuple[Asked, bool], ...]) -> tuple[list[str], bool]:
    """Sentences, and whether all names were asked about."""
    told: list[str] = []
    try:
        with conn.transaction(force_rollback=True):  # which undoes the setting too
            hurried: Any = _Hurried(conn)
            for one, negated in asked:
                sentence, helps = ("", False) if is_there(hurried, *one) else missing_name(hurried, *one)
                if helps:
                    told.append(f"{_left_out(*one)} leaves nothing out. {sentence}" if negated else sentence)
    except QueryCanceled:
        return told[:MOST], False
    return told[:MOST], True


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
