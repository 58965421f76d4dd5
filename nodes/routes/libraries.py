"""Opening the library that a request names."""

from __future__ import annotations

from ...db import Library
from ..host import library_names, open_library
from .refusals import Refusal


def opened(name: str) -> Library:
    """The library of this name; a refusal lists the names that there are."""
    if name not in library_names():
        raise Refusal(404, "no_library", f"There is no library {name!r}. The libraries are: {', '.join(library_names())}.")
    return open_library(name)
