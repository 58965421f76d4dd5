"""Run as a script beside the server: start it, and stop it when no process uses it any more.

    python _keeper.py START_LOCK USERS_LOCK SERVER_LOCK COMMANDS IMPORTS    # COMMANDS: JSON [start command, those of `_stopping.stop`, socket's folder or null]

A process that ends in good order stops the server itself when it is the last. This one is for those that are killed, or
whose terminal is closed: the usual way to leave ComfyUI, and Python then runs no exit handlers.

It works in the library's folder and goes by the locks' names there: so it watches the folder that its server was started in,
also where that was moved, and neither makes, takes nor stops anything in one that was put in its place.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

sys.path += sys.argv[5:]  # this folder, then our user's own path, which -I leaves out (for fasteners)
from _locks import FileLock  # noqa: E402
from _stopping import stop  # noqa: E402

PERIOD = 2.0  # seconds between looks


def unused(starting: FileLock, users: FileLock) -> bool:
    """Whether no process uses the server; then both locks are held, and stay so until this process ends."""
    if not starting.acquire():
        return False
    if users.acquire():
        return True
    starting.release()
    return False


def is_here(library: str) -> bool:
    """Whether the library's path still leads to the folder that we work in."""
    try:
        return os.path.samefile(library, ".")
    except OSError:
        return False


def keep(start_lock: str, users_lock: str, server_lock: str, start: list[str], stops: list[list[str]], folder: str | None) -> int:
    """Run the server to its end; its exit status. On Windows `start` (pg_ctl) ends when the server is ready."""
    starting, users = (FileLock(os.path.basename(lock), make=False) for lock in (start_lock, users_lock))
    serving = FileLock(server_lock)
    if not serving.acquire():
        sys.exit(f"Another PostgreSQL serves this folder, which can't be seen from here: it holds {server_lock}.")
    server = subprocess.Popen(start, stdin=subprocess.DEVNULL, **serving.held_by_child())
    serving.leave_to_child()
    while True:
        try:
            status = server.wait(timeout=PERIOD)
        except subprocess.TimeoutExpired:
            status = None
        if status is not None:
            if status or sys.platform != "win32":
                return status
            time.sleep(PERIOD)
        if unused(starting, users):
            if is_here(os.path.dirname(start_lock)):
                stop(*stops)
            else:  # in good order it would write its pg_control by its path, into whatever is there now
                server.send_signal(signal.SIGQUIT)
            status = server.wait()
            if folder:
                os.rmdir(folder)
            return status


if __name__ == "__main__":
    # A negative status is a signal's number.
    sys.exit(abs(keep(*sys.argv[1:4], *json.loads(sys.argv[4]))))
