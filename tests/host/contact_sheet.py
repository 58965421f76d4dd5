"""A contact sheet: each query beside its hits, with scores and prompts, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

CELL = 240  # pixels of a picture's box
GAP = 16
CAPTION = 92  # below each picture
_PAPER, _INK, _FAINT, _BOX = (250, 249, 246), (30, 30, 34), (110, 110, 116), (232, 230, 224)


@dataclass(frozen=True, slots=True)
class Row:
    """One query: how it was asked, its words or its picture, and the hits as the search nodes report them."""

    asked: str
    text: str
    picture: Path | None
    hits: Sequence[dict[str, Any]]


def write_contact_sheet(rows: Sequence[Row], title: str, target: Path) -> Path:
    """Draw `rows` below each other into a PNG at `target`; a picture that can't be opened is a grey box."""
    from PIL import Image, ImageDraw, ImageFont

    columns = 1 + max((len(row.hits) for row in rows), default=0)
    head = 64
    size = (GAP + columns * (CELL + GAP), head + len(rows) * (CELL + CAPTION + GAP))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    large, body, small = (ImageFont.load_default(points) for points in (24, 19, 15))
    draw.text((GAP, 18), title, _INK, large)
    for number, row in enumerate(rows):
        y = head + number * (CELL + CAPTION + GAP)
        _query_cell(sheet, draw, row, y, body, small)
        for place, hit in enumerate(row.hits, 1):
            x = GAP + place * (CELL + GAP)
            path = Path(hit["path"]) if hit.get("path") else None
            _picture(sheet, draw, path, x, y)
            _caption(draw, f"{hit['score']:.3f}", hit.get("prompt") or "(no prompt known)", x, y + CELL + 6, body, small)
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target, optimize=False, compress_level=6)
    return target


def _query_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, row: Row, y: int, body: ImageFont.FreeTypeFont, small: ImageFont.FreeTypeFont
) -> None:
    if row.picture is not None:
        _picture(sheet, draw, row.picture, GAP, y)
        _caption(draw, row.asked, row.text, GAP, y + CELL + 6, body, small)
        return
    draw.rounded_rectangle((GAP, y, GAP + CELL, y + CELL), 10, _BOX)
    draw.text((GAP + 14, y + 14), row.asked, _FAINT, small)
    for line_number, line in enumerate(_wrapped(draw, row.text, body, CELL - 28, 7)):
        draw.text((GAP + 14, y + 44 + line_number * 26), line, _INK, body)


def _picture(sheet: Image.Image, draw: ImageDraw.ImageDraw, path: Path | None, x: int, y: int) -> None:
    from PIL import Image, ImageOps

    draw.rectangle((x, y, x + CELL, y + CELL), _BOX)
    try:
        if path is None:
            return
        with Image.open(path) as opened:
            opened.draft("RGB", (CELL, CELL))
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, Image.DecompressionBombError):
        return
    picture.thumbnail((CELL, CELL))
    sheet.paste(picture, (x + (CELL - picture.width) // 2, y + (CELL - picture.height) // 2), picture)


def _caption(
    draw: ImageDraw.ImageDraw, head: str, text: str, x: int, y: int, body: ImageFont.FreeTypeFont, small: ImageFont.FreeTypeFont
) -> None:
    draw.text((x, y), head, _INK, body)
    for number, line in enumerate(_wrapped(draw, text, small, CELL, 3)):
        draw.text((x, y + 25 + number * 20), line, _FAINT, small)


def _wrapped(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: int, lines: int) -> list[str]:
    """At most `lines` lines of the text, the last one ending in dots where there is more."""
    done: list[str] = []
    line = ""
    for word in text.split():
        while draw.textlength(word, font) > width:  # a word wider than the cell is cut
            word = word[:-1]
        longer = f"{line} {word}".strip()
        if draw.textlength(longer, font) <= width:
            line = longer
            continue
        done.append(line)
        line = word
        if len(done) == lines:
            last = done[-1]
            while draw.textlength(last + "...", font) > width:
                last = last[:-1]
            return [*done[:-1], last.rstrip(" ,.") + "..."]
    return [*done, line] if line else done
