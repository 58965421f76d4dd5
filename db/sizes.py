"""Sizes in words."""

from __future__ import annotations

import shutil
from pathlib import Path


def in_bytes(size: int) -> str:
    """For a person: 1.4 GB."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            break
        amount /= 1000
    return f"{amount:.0f} {unit}" if amount >= 99.5 or unit == "bytes" else f"{amount:.2g} {unit}"  # .2g of 99.6 is 1e+02


def free_space(folder: Path) -> str:
    """What is free on its disk, for a person; more than there was when something failed, whose files are gone."""
    try:
        return in_bytes(shutil.disk_usage(folder).free)
    except OSError:
        return "an unknown amount"
