"""What of a library stands in a node's fingerprint, by which ComfyUI tells whether the node has to run again."""

from __future__ import annotations

from typing import Any

from .host import fresh_fingerprint, library_fingerprint


def library_state(library_name: str | None = "default", library: str | None = "", **inputs: Any) -> str:
    """Changes whenever the library that a node with these inputs asks does.

    What is linked is None here, so which library it names is not known yet: new each time, and no other library is opened, or
    started, in its place. That runs no node oftener: all that give `library` run anew each time, and so what follows them.
    """
    if library_name is None or library is None:
        return fresh_fingerprint()
    return library_fingerprint(library or library_name)
