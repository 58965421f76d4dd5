"""What the main-job command prints at its end: a table of what was indexed, and the hits."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

KINDS = ("prompt", "negative", "image", "clip_l", "clip_g")


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """The numbers in the report of Index Folder."""

    found: int
    seconds: float
    rate: float | None  # images/s; None when no image had to be read
    added: int
    unchanged: int
    images: int  # in the library, like all below
    texts: int
    vectors: dict[str, int]
    token_states: int
    skipped: list[str]  # "path: reason"


def read_report(report: str) -> IndexSummary:
    """Take the numbers out of Index Folder's report; ValueError when it is worded otherwise than expected."""
    first = re.search(r"Found (\d+) images in ([\d.]+) s(?:, ([\d.]+) images/s)?: (\d+) added, (\d+) unchanged", report)
    held = re.search(r"The library holds (\d+) images, (\d+) texts; vectors: (.*)\.", report)
    states = re.search(r"Token states: (\d+) texts kept", report)
    if first is None or held is None:
        raise ValueError(f"the report of Index Folder has no counts in it:\n{report}")
    return IndexSummary(
        found=int(first[1]),
        seconds=float(first[2]),
        rate=float(first[3]) if first[3] else None,
        added=int(first[4]),
        unchanged=int(first[5]),
        images=int(held[1]),
        texts=int(held[2]),
        vectors={kind: int(count) for kind, count in re.findall(r"(\w+) (\d+)", held[3])},
        token_states=int(states[1]) if states else 0,
        skipped=re.findall(r"^Skipped (.*)$", report, re.MULTILINE) + re.findall(r"^\.\.\. (and \d+ more) skipped", report, re.MULTILINE),
    )


def index_table(summary: IndexSummary) -> str:
    """The table, for a person."""
    rate = f"{summary.rate:.1f}" if summary.rate is not None else "none read: nothing changed"
    rows = [
        ("images found", summary.found),
        ("  new", summary.added),
        ("  unchanged since the last run", summary.unchanged),
        ("  skipped", len(summary.skipped)),
        ("images/s", rate),
        None,
        ("images in the library", summary.images),
        ("texts (prompts and negative prompts)", summary.texts),
        *((f"{kind} vectors", summary.vectors.get(kind, 0)) for kind in KINDS),
        ("texts with token states", summary.token_states),
    ]
    line = "  " + "-" * 50
    table = [line, *(f"  {row[0]:<38}{row[1]:>12}" if row else line for row in rows), line]
    return "\n".join([*table, *(f"  skipped {reason}" for reason in summary.skipped)])


def hit_lines(asked: str, query: str, hits: Sequence[dict[str, Any]]) -> str:
    """A query and its hits, one line each."""
    lines = [f'  {asked}: "{query}"']
    for hit in hits:
        prompt = textwrap.shorten(hit.get("prompt") or "(no prompt known)", 64, placeholder="...")
        name = PurePath(hit.get("path") or "").name
        name = name if len(name) <= 36 else f"{name[:16]}...{name[-17:]}"
        lines.append(f"    {hit['score']:6.3f}  #{hit['image_id']:<5} {name:<37} {prompt}")
    return "\n".join(lines if hits else [*lines, "    no hits"])
