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
_STEPS = """WITH RECURSIVE n AS (
    SELECT min({0}) AS name FROM images WHERE {0} <> ''
    UNION ALL SELECT (SELECT min(i.{0}) FROM images i WHERE i.{0} > n.name AND i.{0} <> '') FROM n WHERE n.name IS NOT NULL
)
SELECT name FROM n WHERE name <> ''"""
_NEWEST = "SELECT {0} AS held FROM images WHERE {0} <> '{1}' ORDER BY id DESC"
_FILES = "SELECT {} AS name FROM paths ORDER BY image_id DESC"
_NAMES = """WITH seen AS ({} LIMIT %(rows)s)
SELECT ARRAY(SELECT DISTINCT {} AS name FROM seen{} LIMIT %(names)s), (SELECT count(*) FROM seen) < %(rows)s"""
_STATEMENTS = {
    "label": _NAMES.format(_NEWEST.format("labels", "{}"), "n", ", unnest(held) n"),
    "lora": _NAMES.format(_NEWEST.format("loras", "[]"), "n->>'name'", ", jsonb_array_elements(held) n"),
    "controlnet": _NAMES.format(_NEWEST.format("controlnets", "[]"), "n->>'name'", ", jsonb_array_elements(held) n"),
    "encoder": _NAMES.format(_NEWEST.format("text_encoders", "[]"), "n", ", jsonb_array_elements_text(held) n"),
    **{field: _NAMES.format(_STEPS.format(field), "name", "") for field in ("checkpoint", "sampler", "namespace")},
    **{field: _NAMES.format(_NEWEST.format(field, ""), "held", "") for field in ("vae", "scheduler", "generator")},
    "root": _NAMES.format("SELECT name FROM roots", "name", ""),
    "format": _NAMES.format(_FILES.format(r"lower(substring(path FROM '\.([^./]+)$'))"), "name", ""),
    "folder": _NAMES.format(_FILES.format("substring(path FROM '^(.*)/')"), "name", ""),
}
FIELDS = tuple(_STATEMENTS)


def names_of(conn: Connection, field: str) -> tuple[list[str], bool]:
    """The names that images have of one of `FIELDS`, in order, some of them where there are more than a message is worth; and whether
    all images were looked at for them, not the newest only."""
    names, all_seen = conn.execute(_STATEMENTS[field], {"rows": ROWS, "names": NAMES}).fetchone()  # type: ignore[arg-type, misc]
    return sorted(filter(None, names)), all_seen


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
