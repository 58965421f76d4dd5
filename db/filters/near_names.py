"""The names that a library has of a field, and those of them that a misspelt one may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence

from psycopg import Connection

from .places import STANDS_ALONE

ROWS = 100_000  # that are looked at where no index has the names: those of the newest images
NAMES = 3000  # that are compared with
PIECES = 10_000  # of those names, their words among them, that are looked at one by one
_LETTERS = 100_000  # of those pieces, as each takes the longer the longer the word is: some tenths of a second
_LONGEST = 100  # letters of a name that are compared
_ALIKE = 0.7  # of difflib's ratio: mien is meant to be mine
_MOST = 3  # that are taken for meant
_LEAST = 3  # letters that say something of what was meant wherever they stand
_PIECES = 24  # of two letters each of a value that PostgreSQL looks for in all names, to choose those
_WORD = re.compile(r"[^\W_]+")
_BETWEEN = "_-. "  # what people leave out or write in each other's place: sdxl for sd_xl_base_1.0

# Where an index has the column: a step along it for each name.
_STEPS = """WITH RECURSIVE n AS (
    SELECT min({0}) AS name FROM images WHERE {0} <> ''
    UNION ALL SELECT (SELECT min(i.{0}) FROM images i WHERE i.{0} > n.name AND i.{0} <> '') FROM n WHERE n.name IS NOT NULL
)
SELECT name FROM n WHERE name <> ''"""
_NEWEST = "SELECT {0} AS held FROM images WHERE {0} <> '{1}' ORDER BY id DESC"
_FILES = f"SELECT {{}} AS name FROM paths f_p WHERE {STANDS_ALONE} ORDER BY image_id DESC"
_ROOTS = f"SELECT name FROM roots f_r WHERE EXISTS (SELECT FROM paths f_p WHERE f_p.root_id = f_r.id AND {STANDS_ALONE})"
_NAMES = """WITH seen AS ({} LIMIT %(rows)s)
SELECT
    ARRAY(
        SELECT name FROM (SELECT DISTINCT name, translate(lower(name), %(between)s, '') AS letters FROM (SELECT {} AS name FROM seen{}) s) d
        WHERE name <> ''
        ORDER BY
            (SELECT count(*) FROM unnest(%(pieces)s::text[]) p WHERE strpos(letters, p) > 0) DESC, abs(length(letters) - %(length)s), name
        LIMIT %(names)s
    ),
    (SELECT count(*) FROM seen) < %(rows)s"""
_STATEMENTS = {
    "label": _NAMES.format(_NEWEST.format("labels", "{}"), "n", ", unnest(held) n"),
    "lora": _NAMES.format(_NEWEST.format("loras", "[]"), "n->>'name'", ", jsonb_array_elements(held) n"),
    "controlnet": _NAMES.format(_NEWEST.format("controlnets", "[]"), "n->>'name'", ", jsonb_array_elements(held) n"),
    "encoder": _NAMES.format(_NEWEST.format("text_encoders", "[]"), "n", ", jsonb_array_elements_text(held) n"),
    **{field: _NAMES.format(_STEPS.format(field), "name", "") for field in ("checkpoint", "sampler", "namespace")},
    **{field: _NAMES.format(_NEWEST.format(field, ""), "held", "") for field in ("vae", "scheduler", "generator")},
    "root": _NAMES.format(_ROOTS, "name", ""),
    "format": _NAMES.format(_FILES.format(r"lower(substring(path FROM '\.([^./]+)$'))"), "name", ""),
    "folder": _NAMES.format(_FILES.format("substring(path FROM '^(.*)/')"), "name", ""),
}
FIELDS = tuple(_STATEMENTS)


def names_of(conn: Connection, field: str, value: str) -> tuple[list[str], bool]:
    """The names that images have of one of `FIELDS`, those first that share most with `value`, and of more than a message is worth no
    others; and whether all images were looked at for them, not the newest only."""
    wanted = _run_together(value.replace("*", "").lower())
    pieces = list(dict.fromkeys(wanted[at : at + 2] for at in range(0, max(1, len(wanted) - 1), 1 + len(wanted) // _PIECES)))
    asked = {"rows": ROWS, "names": NAMES, "pieces": pieces, "length": len(wanted), "between": _BETWEEN}
    names, all_seen = conn.execute(_STATEMENTS[field], asked).fetchone()  # type: ignore[arg-type, misc]
    return names, all_seen


def nearest(value: str, names: Sequence[str]) -> list[str]:
    """The names that may have been meant: those that have `value` in them, else those that have its letters with other `_-. ` between
    them, else those that, or words of which, are like it.

    Of a folder and those below it the folder alone.
    """
    wanted = value.replace("*", "").strip("/").lower()
    having: dict[str, list[str]] = {}
    for read in (str, _run_together):
        if not having and len(part := read(wanted)) >= _LEAST:
            having = {name: [name] for name in sorted(names) if part in read(name.lower())}
    alike: Iterable[str] = having
    if not having:
        wanted = wanted[-_LONGEST:]
        most = min(PIECES, _LETTERS // max(1, len(wanted)))
        for name in names:
            if len(having) >= most:
                break
            end = name.lower()[-_LONGEST:]
            for piece in {end, *_windows(end, len(_WORD.findall(wanted)))}:
                having.setdefault(piece, []).append(name)
        alike = difflib.get_close_matches(wanted, having, _MOST, _ALIKE)
    meant: list[str] = []
    for piece in alike:
        for name in sorted(having[piece]):
            if len(meant) < _MOST and name not in meant and not name.startswith(tuple(f"{one}/" for one in meant)):
                meant.append(name)
    return meant


def _run_together(name: str) -> str:
    return name.translate(dict.fromkeys(map(ord, _BETWEEN)))


def _windows(name: str, words: int) -> Iterator[str]:
    """Each part of the name that has so many words beside each other: of sdxl/dream_xl.safetensors also dream_xl."""
    found = list(_WORD.finditer(name))
    for first, last in zip(found, found[words - 1 :] if words else ()):
        yield name[first.start() : last.end()]
