"""The options of the main-job command, checked before anything is installed; standard library only."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

# What the prompts of ComfyUI's template images are about.
TEMPLATE_QUERIES = ("a car on a rainy street at night", "a cute little dragon", "a cat wearing a crown")
FOLDER_QUERIES = ("a portrait of a woman", "a landscape with mountains and sky", "an animal")


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """`folder` (a Path or None), `query` (never empty), `top_k`, `keep_running`; leaves the program on a mistake."""
    parser = argparse.ArgumentParser(
        prog="python3 tests/demo.py",
        description="Starts ComfyUI with this package, indexes images into PostgreSQL, and finds them again by meaning.",
    )
    parser.add_argument("--folder", type=Path, metavar="DIR", help="your own images (default: those of ComfyUI's templates)")
    parser.add_argument("--query", action="append", metavar="TEXT", help="what to search for; may be given several times")
    parser.add_argument("--top-k", type=int, default=5, metavar="N", help="hits for each query (default: 5)")
    parser.add_argument("--keep-running", action="store_true", help="leave ComfyUI running until Ctrl-C, and print its address")
    parser.add_argument(
        "--install", action="store_true", help="with COMFYUI_PATH: install what is missing into that ComfyUI's Python"
    )
    options = parser.parse_args(arguments)
    if options.folder is not None:
        options.folder = options.folder.expanduser().resolve()
        if not options.folder.is_dir():
            parser.error(f"--folder {options.folder} is not a folder")
    if not 1 <= options.top_k <= 20:
        parser.error("--top-k must be from 1 to 20")
    options.query = options.query or list(FOLDER_QUERIES if options.folder else TEMPLATE_QUERIES)
    if not all(query.strip() for query in options.query):
        parser.error("--query must not be empty")
    return options
