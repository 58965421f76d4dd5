"""A folder in which upper and lower case are one, on systems where they are two."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def make_caseless(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in this folder are found as Windows and macOS look for them, whatever is called so when it is looked for."""
    stat = os.stat

    def any_case(path, **more):
        path = os.fspath(path)
        every = [os.path.join(where, name) for where, folders, names in os.walk(folder) for name in (*folders, *names)]
        return stat(next((one for one in (str(folder), *every) if one.lower() == path.lower()), path), **more)

    monkeypatch.setattr(os, "stat", any_case)
