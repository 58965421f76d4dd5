"""The error of a filter text that can't be understood: where it goes wrong, and what may stand there."""

from __future__ import annotations

_SHOWN = 40  # characters of the place


class FilterError(ValueError):
    """`text` at the character `position` (from 0) is no filter; the message names the place and what is allowed."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path

    def __init__(self, reason: str, text: str = "", position: int = 0) -> None:
        self.reason, self.text, self.position = reason, text, position
        place = " ".join(text[position:].split())
        shown = place if len(place) <= _SHOWN else place[: _SHOWN - 1] + "\u2026"
        where = f"at character {position + 1}, {shown!r}" if shown else "at its end" if text.strip() else "since it is empty"
        super().__init__(f"The filter can't be understood {where}: {reason}")
