"""Prompts taken apart into what people write between commas, without the signs that only a text encoder or a user interface reads.

Signs of ComfyUI and A1111 (`(x:1.2)`, `[x]`, `[a:b:0.5]`, `<lora:..>`, `embedding:..`, `BREAK`, `AND`), NovelAI (`{x}`, `1.2::x::`),
Midjourney (`x::2`, `--ar 3:2`) and dynamic prompts (`{a|b}`, `__card__`). Backslashes keep a bracket: `\\(artist\\)`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence

MOST_READ = 20_000  # characters of one prompt, a run of spaces as one
MOST_WORDS = 12  # of one phrase; a longer one is parted before the words that join its parts
LEAST_WORDS = 3  # of a part of a long phrase
MOST_CHARACTERS = 200  # of one phrase: beyond it is no phrase

_BRACKETS = {"\\(": "\ue000", "\\)": "\ue001", "\\[": "\ue002", "\\]": "\ue003", "\\{": "\ue004", "\\}": "\ue005"}
_ESCAPED = re.compile(r"\\[()\[\]{}]")
_REMOVED = (
    re.compile(r"<[A-Za-z_]+:[^<>]*>"),  # extra networks
    re.compile(r"\bembedding:[^\s,()\[\]]+", re.IGNORECASE),
    re.compile(r"(?:^|\s)--no\s(?:(?!\s--).)*", re.DOTALL),  # what it must not show
    re.compile(r"(?:^|\s)--[A-Za-z]+(?:\s+(?!--)[^\s,]+)?"),
    re.compile(r"__[\w/*-]+__"),
)
_DIGITS = r"[-+]?(?:(?<!\d)\d+(?:\.\d*)?|\.\d+)\s*"  # begins nowhere inside a number: a search would take the square of its digits
_NUMBER = rf"\s*{_DIGITS}"
_EDITED = re.compile(rf"\[([^\[\]:|]*):([^\[\]:|]*)(?::{_NUMBER})?\]")  # one part of a prompt for the first steps, another after
_WEIGHT = re.compile(rf":{_NUMBER}(?=[)\]}}])")
_DOUBLE_COLON = re.compile(rf"(?:{_DIGITS})?::(?:{_NUMBER}(?=[\s,]|$))?")
_BETWEEN = re.compile(r"(?:[,;|\n\r\uff0c\u3001\u3002\uff1b\ue006]|[)\]}]\s*[(\[{]|[.!?:](?=\s|$)|\b(?:BREAK|AND)\b)\s*")
_SPACES = re.compile(r"\s+")
_BRACKET = re.compile(r"[()\[\]{}]")
_EDGES = " \t\"'\u201c\u201d\u2018\u2019.,;:-_*#\u2013\u2014"
_EDGES_OF_QUOTES = _EDGES.translate({ord(mark): None for mark in '"\u201c\u201d'})
_QUOTE = re.compile('(?<!\\d)["\u201c\u201d]')  # after a digit it means inches
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_JOINING = frozenset(
    "with and while as in on at under over below above beside behind near inside beneath among between against around through "
    "into onto wearing holding featuring surrounded where which who".split()
)
_DROPPED = frozenset(("and", "or", "while", "where", "which", "who"))  # a phrase does not begin with these


def phrases_of(text: str) -> list[str]:
    """The phrases of one prompt in its order, each once, without weights; none for a prompt of signs alone."""
    found: dict[str, str] = {}
    for part in _BETWEEN.split(_without_signs(_SPACES.sub(_one_space, text)[:MOST_READ])):
        for phrase in _shorter(_tidy(_BRACKET.sub("", part))):
            phrase = _tidy(_brought_back(phrase))
            if phrase and len(phrase) <= MOST_CHARACTERS and any(letter.isalpha() for letter in phrase):
                found.setdefault(key_of(phrase), phrase)
    found.pop("", None)
    return list(found.values())


def key_of(phrase: str) -> str:
    """Equal for phrases that differ in case, spaces, underscores and punctuation only."""
    return " ".join(words_of(phrase))


def words_of(text: str) -> tuple[str, ...]:
    """Its words in lower case."""
    return _words(text) if len(text) <= MOST_CHARACTERS else tuple(_WORD.findall(text.lower()))


@functools.lru_cache(maxsize=20_000)  # the same phrases are asked for at every step of putting a prompt together
def _words(phrase: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(phrase.lower()))


def as_prompt(phrases: Sequence[str]) -> str:
    """A prompt that text encoders read as these phrases: brackets that belong to a name are kept from being weights."""
    return ", ".join(re.sub(r"[()]", r"\\\g<0>", phrase) for phrase in phrases)


def _one_space(spaces: re.Match[str]) -> str:
    return "\n" if {"\n", "\r"} & set(spaces[0]) else " "


def _without_signs(text: str) -> str:
    text = _ESCAPED.sub(lambda match: _BRACKETS[match[0]], text)
    for sign in _REMOVED:
        text = sign.sub(" ", text)
    text = _EDITED.sub(lambda match: _both(match[1], match[2]), text)
    text = _WEIGHT.sub("", text)
    return _DOUBLE_COLON.sub("\ue006", text)


def _both(first: str, second: str) -> str:
    return first if re.fullmatch(_NUMBER, second) else f"{first}, {second}"


def _brought_back(text: str) -> str:
    for sign, place in _BRACKETS.items():
        text = text.replace(place, sign[1])
    return text


def _tidy(text: str) -> str:
    """Without signs around it; quotation marks stay in pairs, and one whose other half stands elsewhere goes."""
    text = " ".join(text.split())
    found = text.strip(_EDGES)
    if not _QUOTE.search(found):
        return found
    found = text.strip(_EDGES_OF_QUOTES)
    if found.count('"') % 2 or found.count("\u201c") != found.count("\u201d"):
        found = " ".join(_QUOTE.sub("", found).split()).strip(_EDGES)
    return found


def _shorter(phrase: str) -> Iterator[str]:
    """The phrase, or where it is long its parts: each begins with a word that joins, and has at least LEAST_WORDS words."""
    words = phrase.split(" ")
    if len(words) <= MOST_WORDS:
        yield _part(words)
        return
    start = 0
    for place in range(1, len(words)):
        joins = words[place].lower() in _JOINING
        if joins and place - start >= LEAST_WORDS and len(words) - place >= LEAST_WORDS:
            yield _part(words[start:place])
            start = place
    yield _part(words[start:])


def _part(words: list[str]) -> str:
    while words and words[0].lower() in _DROPPED:
        words = words[1:]
    return _tidy(" ".join(words))
