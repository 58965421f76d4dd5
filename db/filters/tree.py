"""A filter text taken apart by the grammar, before any field has looked at its values."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Union

from .errors import FilterError

if TYPE_CHECKING:
    from lark import Lark, Token

MAX_LENGTH = 4000  # characters
WORDS = "prompt"  # the field of words that stand alone
QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u201f\uff02", '"'))  # as word processors and phones write them


@dataclass(frozen=True, slots=True)
class Value:
    """What stands after an operator: `at` is its place in the text."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Term:
    """A field, an operator (':', '=', '!=', '<', '<=', '>', '>=') and values, of which one must hold."""

    field: str
    operator: str
    values: tuple[Value, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Not:
    item: Node


@dataclass(frozen=True, slots=True)
class All:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    items: tuple[Node, ...]


Node = Union[Term, Not, All, Either]


def parse(text: str) -> Node:
    """`text` as a tree; no text is `All(())`. FilterError where the grammar does not allow what stands there."""
    from lark import UnexpectedCharacters, UnexpectedEOF, UnexpectedToken

    if len(text) > MAX_LENGTH:
        raise FilterError(f"it is longer than {MAX_LENGTH} characters. Leave some of it out.", text, MAX_LENGTH)
    try:
        return _parser().parse(text.translate(QUOTES))  # type: ignore[return-value]
    except UnexpectedCharacters as error:
        raise _misplaced(text, error.pos_in_stream, error.allowed or set()) from None
    except (UnexpectedToken, UnexpectedEOF) as error:
        at = error.pos_in_stream if error.pos_in_stream is not None and getattr(error, "token", "") else len(text)
        raise _misplaced(text, at, error.accepts or error.expected) from None


@functools.cache
def _parser() -> Lark:
    """Made once; it runs the callbacks as it goes, so that no nesting is deep for it."""
    from lark import Lark, Transformer, v_args

    @v_args(inline=True)
    class Build(Transformer):
        """Nodes of our own in place of lark's."""

        def start(self, item: Node | None = None) -> Node:
            return item if item is not None else All(())

        def either(self, *items: Node) -> Node:
            return Either(items)

        def both(self, *items: Node) -> Node:
            return All(items)

        def negation(self, item: Node) -> Node:
            return Not(item)

        def term(self, field: Token, operator: Token, *values: Value) -> Node:
            return Term(str(field).lower(), str(operator).removeprefix(":") or ":", values, field.start_pos)

        def words(self, token: Token) -> Node:
            return Term(WORDS, ":", (_value(token),), token.start_pos)

        def value(self, token: Token) -> Value:
            return _value(token)

    grammar = (Path(__file__).parent / "grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", transformer=Build())


def _value(token: Token) -> Value:
    text = str(token)
    return Value(text[1:-1].replace('""', '"') if token.type == "QUOTED" else text, token.start_pos)


def _misplaced(text: str, at: int, allowed: set[str]) -> FilterError:
    """What to say where the grammar can't go on."""
    rest = text[at:].lstrip()
    at = len(text) - len(rest) if rest else len(text.rstrip())
    if rest.translate(QUOTES).startswith('"'):
        reason = 'the quotation mark is not closed. End the words with another ".'
    elif rest.startswith(")"):
        reason = "there is nothing to close here. Take the parenthesis away, or put ( before what belongs together."
        if not text[:at].count("(") <= text[:at].count(")"):
            reason = "something must stand before this parenthesis, such as a word or label:cat."
    elif between := re.match(r"(or|and)\b|\|\|?|&&?", rest, re.IGNORECASE):
        reason = f"{between[0]} stands between two conditions, as in cat {between[0]} dog. To look for the word itself, put it in quotation marks."
    elif "VALUE" in allowed:
        reason = 'a value is missing. Write it after the field, as in label:cat or steps:20..40; quote it when it has spaces or ().'
    elif not rest and text[:at].count("(") > text[:at].count(")"):
        reason = "a parenthesis is not closed. Add ) where what belongs together ends."
    elif not rest:
        reason = "something must follow, such as a word or label:cat. To look for the word itself, put it in quotation marks."
    elif re.match(r"[:<>=]|!=", rest):
        reason = 'a field must stand before this, as in steps:>20. To look for the letters themselves, put all in quotation marks: "16:9".'
    elif re.match(r"[-!]", rest):
        reason = "the minus must stand directly before what it leaves out, as in -label:draft."
    else:
        reason = 'a word, "words in quotation marks", field:value, OR, NOT or a parenthesis may stand here.'
    return FilterError(reason, text, at)
