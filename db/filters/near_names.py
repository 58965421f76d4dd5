"""The names that a library has of a field, and those of them that a misspelt one may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

from psycopg import Connection

ROWS = 100_000  # that are looked at where no index has the names: those of the newest images
NAMES = 3000  # that are compared with
_ALIKE = 0.7  # of difflib's ratio: mien is meant to be mine
_MOST = 3  # that are taken for meant
_LEAST = 3  # letters that say something of what was meant wherever they stand
_WORD = re.compile(r"[^\W_]+")

# Where an index has the column: a step along it for each name.
_STEPS = """
WITH RECURSIVE n AS (
    SELECT min({0}) AS name FROM images WHERE {0} <> ''
    UNION ALL SELECT (SELECT min(i.{0}) FROM images i WHERE i.{0} > n.name AND i.{0} <> '') FROM n WHERE n.name IS NOT NULL
)
SELECT name FROM n WHERE name <> ''"""
_COLUMN = "SELECT DISTINCT {0} FROM (SELECT {0} FROM images WHERE {0} <> '' ORDER BY id DESC LIMIT %(rows)s) i"
_EACH = "SELECT DISTINCT {1} FROM (SELECT {0} FROM images WHERE {0} <> '{2}' ORDER BY id DESC LIMIT %(rows)s) i, {3}({0}) n WHERE {1} <> ''"
_FILES = "SELECT DISTINCT {} FROM (SELECT path FROM paths ORDER BY image_id DESC LIMIT %(rows)s) p"
_STATEMENTS = {
    "label": _EACH.format("labels", "n", "{}", "unnest"),
    "lora": _EACH.format("loras", "n->>'name'", "[]", "jsonb_array_elements"),
    "controlnet": _EACH.format("controlnets", "n->>'name'", "[]", "jsonb_array_elements"),
    "encoder": _EACH.format("text_encoders", "n", "[]", "jsonb_array_elements_text"),
    **{field: _STEPS.format(field) for field in ("checkpoint", "sampler", "namespace")},
    **{field: _COLUMN.format(field) for field in ("vae", "scheduler", "generator")},
    "root": "SELECT DISTINCT name FROM roots",
    "format": _FILES.format(r"lower(substring(p.path FROM '\.([^./]+)$'))"),
    "folder": _FILES.format("substring(p.path FROM '^(.*)/')"),
}
FIELDS = tuple(_STATEMENTS)


def names_of(conn: Connection, field: str) -> list[str]:
    """The names that images have of one of `FIELDS`, in order; some of them where there are more than a message is worth."""
    rows = conn.execute(f"{_STATEMENTS[field]} LIMIT %(names)s", {"rows": ROWS, "names": NAMES})  # type: ignore[arg-type]
    return sorted(name for (name,) in rows if name)


def nearest(value: str, names: Iterable[str]) -> list[str]:
    """The names that may have been meant: those that have `value` in them, else those that, or words of which, are like it.

    Of a folder and those below it the folder alone, where `names` are in order.
    """
    wanted = value.replace("*", "").strip("/").lower()
    having: dict[str, list[str]] = {}
    for name in names:
        for piece in {name.lower(), *_windows(name.lower(), len(_WORD.findall(wanted)))}:
            having.setdefault(piece, []).append(name)
    pieces = [piece for piece in having if len(wanted) >= _LEAST and wanted in piece]
    meant: list[str] = []
    for piece in pieces or difflib.get_close_matches(wanted, having, _MOST, _ALIKE):
        for name in having[piece]:
            if len(meant) < _MOST and name not in meant and not name.startswith(tuple(f"{one}/" for one in meant)):
                meant.append(name)
    return meant


def _windows(name: str, words: int) -> Iterator[str]:
    """Each part of the name that has so many words beside each other: of sdxl/dream_xl.safetensors also dream_xl."""
    found = list(_WORD.finditer(name))
    for first, last in zip(found, found[words - 1 :] if words else ()):
        yield name[first.start() : last.end()]
