"""A folder in which upper and lower case are one, on systems where they are two."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest


def make_caseless(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in this folder are found as Windows looks for them, and macOS but for dots and blanks at a name's end, as they are called then."""
    stat = os.stat

    def plain(path: str) -> str:
        return re.sub(r"[. ]+(?=/|$)", "", path.replace(os.sep, "/").lower())

    def any_case(path, **more):
        path = os.fspath(path)
        every = [os.path.join(where, name) for where, folders, names in os.walk(folder) for name in (*folders, *names)]
        return stat(next((one for one in (str(folder), *every) if plain(one) == plain(path)), path), **more)

    monkeypatch.setattr(os, "stat", any_case)
