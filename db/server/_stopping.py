"""How a server is stopped: by its users and by its keeper, which imports nothing but the standard library and this."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # on Windows, where a program would open a console
_GRACE_SECONDS = 30.0  # that a server which replays its log is given before it is stopped
_REJECTS = 1  # what pg_isready returns for a server that is starting, recovering or stopping


def stop(ready: Sequence[str], fast: Sequence[str], immediate: Sequence[str], **options: object) -> None:
    """Stop it in good order, else at once, which loses nothing that was committed: the next start replays the log.

    PostgreSQL 18.4 that is told to stop in good order while it recovers from a crash never ends (tried), and whoever waits
    for it with a lock in the hand would keep everybody else out. So recovery is waited for, and no stop is the last word.
    """
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "creationflags": NO_WINDOW, **options}
    deadline = time.monotonic() + _GRACE_SECONDS
    while (rejected := subprocess.run(ready, check=False, **quiet).returncode == _REJECTS) and time.monotonic() < deadline:
        time.sleep(0.2)
    if rejected or subprocess.run(fast, check=False, **quiet).returncode:
        subprocess.run(immediate, check=False, **quiet)
