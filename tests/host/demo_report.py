"""What the main-job command prints at its end: a table of what was indexed, the hits, and how a shell gets at the same library."""

from __future__ import annotations

import os
import shlex
import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

KINDS = {  # of vectors; CLIP vectors of negative prompts are stored too, and not counted here
    "prompt": "prompt vectors",
    "negative": "negative vectors",
    "image": "image vectors",
    "clip_l": "CLIP-L vectors of prompts",
    "clip_g": "CLIP-G vectors of prompts",
}


def index_table(summary: dict[str, Any]) -> str:
    """The `summary` in Index Folder's output as a table, for a person."""
    rate = summary["images_per_second"]
    rows = [
        ("images found", summary["found"]),
        ("  new", summary["added"]),
        ("  unchanged since the last run", summary["unchanged"]),
        ("  of known content (moved, copied)", summary["known_elsewhere"]),
        ("  skipped", len(summary["skipped"])),
        ("seconds of indexing alone", f"{summary['seconds']:.1f}"),
        ("images/s in these", f"{rate:.1f}" if rate is not None else "nothing new"),
        None,
        ("images in the library", summary["images"]),
        ("distinct texts, the empty one included", summary["texts"]),
        *((label, summary["vectors"][kind]) for kind, label in KINDS.items()),
        ("texts with token states", summary["token_states"]),
    ]
    line = "  " + "-" * 50
    table = [line, *(f"  {row[0]:<38}{row[1]:>12}" if row else line for row in rows), line]
    return "\n".join([*table, *(f"  skipped {path}: {reason}" for path, reason in summary["skipped"])])


def shell_lines(python: Path, package: Path, comfyui: Path, base: Path, images: Path, loaders: Path | None) -> str:
    """The commands that ask the demo's library and add to it; `loaders` makes the stand-ins, where the vectors are theirs."""
    here = Path.cwd()

    def line(command: str, *options: str | Path) -> str:
        given = [python, package / "run.py", command, *options, "--comfyui", comfyui, "--", "--base-directory", base]
        given += ["--extra-model-paths-config", base / "extra_model_paths.yaml"]
        words = [os.path.relpath(one, here) if isinstance(one, Path) and one.is_relative_to(here) else str(one) for one in given]
        return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)

    made_by = ("--models-from", loaders) if loaders is not None else ()
    first = " (the first index makes the stand-ins, to learn which models they are)" if loaders is not None else ""
    return f"The same library from a shell:{first}\n  {line('status')}\n  {line('index', images, *made_by)}"


def hit_lines(asked: str, query: str, hits: Sequence[dict[str, Any]]) -> str:
    """A query and its hits, one line each."""
    lines = [f'  {asked}: "{query}"']
    for hit in hits:
        prompt = textwrap.shorten(hit.get("prompt") or "(no prompt known)", 64, placeholder="...")
        name = PurePath(hit.get("path") or "").name
        name = name if len(name) <= 36 else f"{name[:16]}...{name[-17:]}"
        lines.append(f"    {hit['score']:6.3f}  #{hit['image_id']:<5} {name:<37} {prompt}")
    return "\n".join(lines if hits else [*lines, "    no hits"])
