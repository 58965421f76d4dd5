"""Runs pytest on all tests inside the prepared environment, and says at the end what this machine could not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # tests/, for `host`; not host/ itself

from host import bootstrap
from host.browser import HOW_TO_GET, find_browser


def main(arguments: list[str]) -> int:
    browser = find_browser()
    command = [sys.executable, "-m", "pytest", *arguments]
    if browser is None:
        command.append("--ignore=tests/browser")
    code = subprocess.call(command, cwd=bootstrap.REPOSITORY)
    if browser is None:
        print(f"\nThe BROWSER TESTS were NOT RUN: no Chromium or Chrome was found here.\nTo run them, {HOW_TO_GET};")
        print("then run python3 tests/run.py again.", flush=True)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
