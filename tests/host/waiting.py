"""Wait for what comes by itself, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 60  # a limit for what never comes, not a measure of how fast it should


def wait_until(so: Callable[[], object]) -> None:
    """Return as soon as it is so; AssertionError where it is not within SECONDS."""
    deadline = time.monotonic() + SECONDS
    while not so():
        assert time.monotonic() < deadline, f"it never came to that in {SECONDS} s"
        time.sleep(0.02)
