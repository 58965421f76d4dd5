"""What a word would find as the beginning of longer ones, where nothing has it as a whole word."""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import Connection, sql

from . import Filter, parse_filter, quoted, tree
from .errors import FilterError

MOST = 10  # words of a filter that are looked up


def longer_words(conn: Connection, filter: Filter | None) -> str:
    """Sentences on the filter's words that no prompt has but as the beginning of another: flower, where prompts have flowers."""
    try:
        node = tree.parse(filter.text if filter else "")
    except FilterError:  # a filter of a node's own making, whose text is for people alone
        return ""
    told = []
    for term, word in list(dict.fromkeys(_words(node)))[:MOST]:
        if _passing(conn, f"{term}:{quoted(word)}"):
            continue
        count = _passing(conn, f"{term}:{quoted(word + '*')}")
        if count:
            shown = f"{word}*" if word.isalnum() else quoted(f"{word}*")
            text = "negative prompt" if term == "negative" else term
            told.append(f"No {text} has {word!r} as whole words; {shown} is in those of {count:,} image{'s' * (count != 1)}.")
    return " ".join(told)


def _words(node: tree.Node) -> Iterator[tuple[str, str]]:
    """(field, words) of all that must be there as a whole word; not of what must be missing."""
    if isinstance(node, tree.Term):
        if node.field in ("prompt", "negative") and node.operator == ":":
            yield from ((node.field, value.text) for value in node.values if "*" not in value.text and value.text[-1:].isalnum())
    elif not isinstance(node, tree.Not):
        for item in node.items:
            yield from _words(item)


def _passing(conn: Connection, text: str) -> int:
    found = parse_filter(text)
    counted = sql.SQL("SELECT count(*) FROM images i WHERE {}").format(found.narrow)
    return conn.execute(counted, found.parameters).fetchone()[0]
