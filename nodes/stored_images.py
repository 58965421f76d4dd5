"""A stored image in words: where it is, its size, its prompt, and all of it as the one line that nodes show; without ComfyUI."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from .wording import some

if TYPE_CHECKING:
    from pathlib import Path

    from ..db import StoredImage

ORDERS = ("newest", "oldest", "last indexed", "rating", "seed")  # of db.listing, which a node may not import for its schema
PROMPT_SHOWN = 120  # characters of a prompt, or of what was asked, in the text on the node


def image_line(image: StoredImage, note: str = "", ordered: str = "", kinds: Collection[str] = ()) -> str:
    """`#12  seed 5  a red fox  [the file is gone]`, where `ordered` is what its list is ordered by, and `kinds` what a search compared:
    of negative prompts these are shown, beside the prompt where others were compared too."""
    texts = [] if set(kinds) == {"negative"} else [short_prompt(image)]
    texts += [f"negative: {in_short(image.negative or '') or '(none known)'}"] if "negative" in kinds else []
    return "  ".join(filter(None, (f"#{image.id}", ordered, *texts, f"[{note}]" if note else "")))


def path_of(image: StoredImage, file: Path | str | None) -> str:
    """Where the picture is, or was seen last."""
    if file is not None:
        return str(file)
    return os.path.join(image.files[0].root, *image.files[0].path.split("/")) if image.files else ""


def sureness(image: StoredImage) -> str:
    """What is to be said of the prompt where the file does not simply state it."""
    if image.prompt_confidence == "inferred":
        return "the prompt is inferred"
    if image.prompt_confidence == "unknown":
        return "the prompt was made when the graph ran, and is " + ("known in part" if image.prompt else "not known")
    return ""


def short_prompt(image: StoredImage) -> str:
    """The prompt on one line."""
    return in_short(image.prompt or "") or "(no prompt known)"


def in_short(text: str) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= PROMPT_SHOWN else line[: PROMPT_SHOWN - 1] + "\u2026"


def ordered_by(image: StoredImage, order: str) -> str:
    """The value by which a list in this order puts the image where it is; empty for the score, which is told anyway."""
    if order in ("newest", "oldest"):
        of_file = "" if image.created_own else " (its file's)"
        return f"{image.created:%Y-%m-%d %H:%M}{of_file}" if image.created else "no date"
    if order == "last indexed":
        return f"indexed {image.indexed:%Y-%m-%d %H:%M}" if image.indexed else ""
    if order == "rating":
        if image.rating is None:
            return "not rated"
        return "rejected" if image.rating == -1 else some(image.rating, "star")
    if order == "seed":
        return "no seed" if image.seed is None else f"seed {image.seed}"
    return ""


def asked_size(image: StoredImage) -> tuple[int, int]:
    """Width and height that were asked of the image's sampler, its picture's own where none is known."""
    return image.asked_width or image.width, image.asked_height or image.height
