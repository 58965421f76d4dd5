"""Regular expressions of a file, run within bounds: a hostile pattern can keep Python's own matcher busy for years.

Python's matcher can't be stopped, so only patterns are run whose cost can be told from their shape: repeats of single characters
or sets of them, or of fixed runs of these, none within another; no back references. Their ways to match are counted, and too many refused.
"""

from __future__ import annotations

import re
from typing import Any

try:
    from re import _parser as parser  # type: ignore[attr-defined]
except ImportError:  # Python 3.10
    import sre_parse as parser  # type: ignore[no-redef]

MAX_PATTERN = 500  # characters
MAX_COST = 4_000_000  # steps of Python's matcher, some 0.04 s
_SINGLE = {"LITERAL", "NOT_LITERAL", "IN", "ANY", "CATEGORY", "AT"}


class TooHard(Exception):
    """The pattern is none, or might take too long."""


def extract(pattern: str, text: str, flags: int, mode: str, group: Any) -> str:
    """As ComfyUI's own node does: the first match or all of them, whole or one group."""
    compiled = _compiled(pattern, text, flags)
    if compiled is None:
        return ""
    index = group if isinstance(group, int) else 1
    mode = mode.lower()
    if "all" in mode:
        found = list(compiled.finditer(text))
    else:
        first = compiled.search(text)
        found = [first] if first is not None else []
    if "group" in mode:
        return "\n".join(
            match.group(index) or "" for match in found if 0 <= index <= compiled.groups and compiled.groups
        )
    if "all" in mode and compiled.groups > 1:
        return "\n".join(match.group(1) or "" for match in found)
    return "\n".join(match.group(1 if "all" in mode and compiled.groups else 0) or "" for match in found)


def substitute(pattern: str, replace: str, text: str, flags: int, count: int) -> str:
    compiled = _compiled(pattern, text, flags)
    if (
        compiled is None
        or len(replace) * (len(text) + 1) > 10_000_000
        or re.search(r"\\g|\\\d", replace)
        and len(text) > 10_000
    ):
        raise TooHard
    try:
        return compiled.sub(replace, text, count=max(0, count))
    except (re.error, IndexError):
        raise TooHard from None


def _compiled(pattern: str, text: str, flags: int) -> re.Pattern[str] | None:
    """None for a pattern that is none, as nodes have it."""
    if len(pattern) > MAX_PATTERN:
        raise TooHard
    try:
        tree = parser.parse(pattern, flags)
        if _ways(tree, len(text) + 1, False) * (len(text) + 1) > MAX_COST:
            raise TooHard
        return re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError):
        return None


def _ways(tree: Any, length: int, repeated: bool) -> int:
    """An upper bound of the ways in which it can match at one place of a text."""
    ways = 1
    for operator, value in tree:
        name = str(operator)
        if name in _SINGLE:
            continue
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, body = value
            most = min(int(most), length)
            if repeated and most > least or most > 1 and not _fixed(body):
                raise TooHard
            ways *= max(1, most - int(least) + 1) * _ways(body, length, repeated or most > 1)
        elif name == "BRANCH":
            ways *= sum(_ways(branch, length, repeated) for branch in value[1])
        elif name == "SUBPATTERN":
            ways *= _ways(value[-1], length, repeated)
        elif name in ("ASSERT", "ASSERT_NOT"):
            ways *= _ways(value[1], length, repeated)
        else:
            raise TooHard
    return ways


def _fixed(body: Any) -> bool:
    """A run of single characters, which repeats in one way only; in a group or not."""
    return all(
        str(operator) in _SINGLE or str(operator) == "SUBPATTERN" and _fixed(value[-1]) for operator, value in body
    )
