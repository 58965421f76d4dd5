"""Words in prompts: conditions on a text as PostgreSQL's full-text queries, which the index `texts_words` answers."""

from __future__ import annotations

import re

from psycopg import sql

from .errors import FilterError
from .sql_parts import Parameters, Test, like
from .tree import All, Either, Node, Term, Value

TEXT_IDS = {"prompt": "prompt_id", "negative": "negative_id"}  # field: the column of `images`
PUNCTUATION = (
    "!\"#$%&'()+,-./:;<=>?@[\\]^_`{|}~\u00a0\u00a1\u00ab\u00b7\u00bb\u00bf\u00d7\u200b\u2010\u2011\u2013\u2014\u2018\u2019\u201a"
    "\u201c\u201d\u201e\u2022\u2026\u2039\u203a\u2192\u2212\u3001\u3002\u300a\u300b\u300c\u300d\u300e\u300f\u3010\u3011\u30fb"
    "\uff01\uff08\uff09\uff0c\uff0f\uff1a\uff1b\uff1f\uff5e"
)
"""What parts words, beside white space and the star: the same characters as in the function `words_of`, which a test holds."""

MAX_WORD = 200  # characters; beyond some 2,000 bytes PostgreSQL refuses the query
_BETWEEN = re.compile(rf"[\s\x00-\x1f\x7f{re.escape(PUNCTUATION)}]+")
_BY_WORDS = "SELECT FROM texts f_t WHERE f_t.id = i.{} AND words_of(f_t.joined) @@ to_tsquery('simple', {})"
_EQUAL = "SELECT FROM texts f_t WHERE f_t.id = i.{} AND f_t.joined = {}"
_BY_LETTERS = "SELECT FROM texts f_t WHERE f_t.id = i.{} AND f_t.joined ILIKE {}"


def answers(field: str, query: str, parameters: Parameters) -> Test:
    """That the text of `field` answers this full-text query."""
    return Test(sql.SQL(_BY_WORDS).format(sql.Identifier(TEXT_IDS[field]), parameters.add(query)), subquery=True)


def by_letters(field: str, operator: str, text: str, parameters: Parameters) -> Test:
    """That the text of `field` is this one (=), or has these letters somewhere, with stars for anything between them."""
    statement, wanted = (_EQUAL, text) if operator == "=" else (_BY_LETTERS, like(f"*{text}*", whole=True))
    return Test(sql.SQL(statement).format(sql.Identifier(TEXT_IDS[field]), parameters.add(wanted)), subquery=True)


def one_query(node: Node, text: str) -> tuple[str, str] | None:
    """(field, full-text query) of a part of the tree that asks for words of one text alone: one look at the index for all."""
    if isinstance(node, Term):
        if node.field not in TEXT_IDS or node.operator != ":":
            return None
        queries = [_query(value, text) for value in node.values]
        return (node.field, f"({' | '.join(queries)})") if all(queries) else None
    if isinstance(node, (All, Either)) and node.items:
        found = [one_query(item, text) for item in node.items]
        if None not in found and len({field for field, _ in found}) == 1:
            word = " & " if isinstance(node, All) else " | "
            return found[0][0], f"({word.join(query for _, query in found)})"
    return None


def _query(value: Value, text: str) -> str | None:
    """`value` as a full-text query: its words beside each other, a star after one for any ending. None where a star stands elsewhere."""
    words = [word for word in _BETWEEN.split(value.text) if word.strip("*")]
    if any("*" in word.rstrip("*") for word in words):
        return None
    if not words:
        raise FilterError("there is no word in this. Write at least one letter or digit.", text, value.at)
    if max(map(len, words)) > MAX_WORD:
        raise FilterError(f"a word is longer than {MAX_WORD} letters. Write its beginning and a star.", text, value.at)
    return f"({' <-> '.join(_lexeme(word) for word in words)})"


def _lexeme(word: str) -> str:
    """One word, quoted for to_tsquery. A server with the locale C folds the case of ASCII alone, so other letters go in each case."""
    bare, ending = word.rstrip("*"), ":*" if word.endswith("*") else ""
    cases = [bare] if bare.isascii() else sorted({bare, bare.lower(), bare.upper(), bare.capitalize()})
    return "(" + " | ".join(f"'{one}'{ending}" for one in cases) + ")"
