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


def chosen_state(**inputs: Any) -> str:
    """`library_state` of a node with `chosen_inputs`; nothing where hits alone choose, of which library_name is not heard.

    They bring their library, and the search that they are from has its state: with it all that follows runs again.
    """
    hits = [value for name, value in inputs.items() if name.endswith("hits")]
    ids = [value for name, value in inputs.items() if name == "image_id" or name.endswith("_ids")]
    if None in hits and all(value in ("", 0) for value in ids):
        return ""
    return library_state(**inputs)
