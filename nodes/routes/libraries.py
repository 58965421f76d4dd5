"""Opening the library that a request names."""

from __future__ import annotations

from ...db import Library
from ..config import configuration_faults
from ..host import config_file, library_names, open_library
from .refusals import Refusal


def opened(name: str) -> Library:
    """The library of this name; a refusal lists the names that there are, and what is wrong with the file that has them."""
    if name != "default" and name not in (names := library_names()):
        faults = "".join(f" {fault}" for fault in configuration_faults(config_file()))
        raise Refusal(404, "no_library", f"There is no library {name!r}. The libraries are: {', '.join(names)}.{faults}")
    return open_library(name)
