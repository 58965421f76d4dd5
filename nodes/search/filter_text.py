"""Filter texts made of separate wishes, as the widgets of a node or the fields of a request have them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timezone

from ..files import unquoted

ANY = "any"
ASPECTS = (ANY, "portrait", "landscape", "square")
_WORD = re.compile(r'(-?)(?:"([^"]*)"|(\S+))')
_AGE = re.compile(r"\d+\s*(?:h|d|w|mo|y)[a-z]*", re.IGNORECASE)


def filter_text(
    *,
    words: str = "",
    labels: str = "",
    namespace: str = "",
    folder: str = "",
    checkpoint: str = "",
    lora: str = "",
    lowest_rating: int = 0,
    aspect: str = ANY,
    since: str = "",
    until: str = "",
    more: str = "",
) -> str:
    """All wishes as one filter text; those that are empty are left out. `more` is a filter text itself.

    `words` are words of the prompt, "several" in quotation marks; `labels` are parted by commas. All must hold; those with a
    minus must not. `folder` may be pasted in quotation marks. `since` and `until` are dates, or ages such as 7d.
    """
    from ...db import quoted
    from ...db.filters.tree import QUOTES

    terms = [f"{minus}prompt:{quoted(phrase or word)}" for minus, phrase, word in _WORD.findall(words.translate(QUOTES)) if _has_word(phrase or word)]
    for label in filter(None, (label.strip() for label in labels.split(","))):
        minus = "-" if label.startswith("-") else ""
        terms.append(f"{minus}label:{quoted(label.removeprefix('-').strip())}")
    for field, value in (("namespace", namespace), ("folder", unquoted(folder)), ("checkpoint", checkpoint), ("lora", lora)):
        if value.strip():
            terms.append(f"{field}:{quoted(value.strip())}")
    if lowest_rating > 0:
        terms.append(f"rating:>={lowest_rating}")
    if aspect != ANY:
        terms.append(f"aspect:{aspect}")
    for value, age, date in ((since.strip(), "<=", ">="), (until.strip(), ">", "<=")):
        if value:
            terms.append(f"age:{age}{quoted(value)}" if _AGE.fullmatch(value) else f"date:{date}{quoted(value)}")
    if more.strip():
        terms.append(f"({more.strip()})" if terms else more.strip())
    return " ".join(terms)


def leave_no_time(since: str, until: str) -> bool:
    """Whether nothing can be made from `since` on and up to `until`, which are as `filter_text` takes them, and right."""
    from ...db.filters.values import Span, age, is_empty, moment

    if not (since.strip() and until.strip()):
        return False
    now = datetime.now(timezone.utc)
    first, last = (now - age(end) if _AGE.fullmatch(end) else moment(end) for end in (since.strip(), until.strip()))
    return is_empty(Span(first.low if isinstance(first, Span) else first, last.high if isinstance(last, Span) else last, below=True))


def moment_of(texts: Iterable[str | None]) -> str:
    """This minute where one of the filter texts hangs on today's date, else nothing: for a node's fingerprint.

    None is a linked text, which nobody can read yet: it may hang on it.
    """
    return f"{datetime.now():%Y-%m-%d %H:%M}" if any(text is None or _is_moving(text) for text in texts) else ""


def _is_moving(text: str) -> bool:
    from ...db import FilterError, parse_filter

    try:
        return parse_filter(text).moving
    except FilterError:  # the node tells when it runs, and nothing of it is kept
        return False


def _has_word(text: str) -> bool:
    """Whether there is more in it than the commas that people put between words."""
    return any(character.isalnum() for character in text)
