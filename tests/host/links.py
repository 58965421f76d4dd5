"""Symbolic links for tests, where the system makes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def make_link(link: Path, target: Path) -> None:
    """Skips the test on a Windows whose user may make none, and under Wine, which says that it made one."""
    try:
        link.symlink_to(target, target_is_directory=target.is_dir())
    except OSError as error:
        if os.name != "nt":
            raise
        pytest.skip(f"links can't be made here: {error}")
    if not link.is_symlink():
        pytest.skip("links can't be made here")
