"""Runs pytest on all tests inside the prepared environment, and says at the end what this machine could not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # tests/, for `host`; not host/ itself

from host import bootstrap
from host.browser import find_browser

NO_BROWSER = """
The BROWSER TESTS were NOT RUN: no Chromium or Chrome was found here.
    Debian: apt-get install chromium; elsewhere: install Google Chrome; or name one in CHROME_PATH.
    Then run python3 tests/run.py again."""


def main(arguments: list[str]) -> int:
    browser = find_browser()
    command = [sys.executable, "-m", "pytest", *(arguments or ["tests"])]
    if browser is None:
        command.append("--ignore=tests/browser")
    code = subprocess.call(command, cwd=bootstrap.REPOSITORY)
    if browser is None:
        print(NO_BROWSER, flush=True)
    return code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
