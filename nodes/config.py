"""What the administrator wrote into `<user directory>/diffusion_toolkit/config.json`: folders and libraries by name."""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SECTIONS = ("roots", "libraries")
_EXAMPLE = '{"roots": {"name": "/path/to/images"}, "libraries": {"name": "postgresql://user:password@host:5432/database"}}'
BACKSLASHES = "In JSON each backslash of a Windows path is written twice, or as /."


class ConfigurationError(RuntimeError):
    """A setting of the administrator that can't be used. The message never holds a connection string."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


def configured_roots(file: Path) -> list[tuple[str, str]]:
    """(name, path) of the folders that may be read; none where there is no file."""
    return list(_section(file, "roots").items())


def configured_libraries(file: Path) -> dict[str, str]:
    """Connection strings by the library's name. They are secrets: not for a widget, a log or a message."""
    return {name.strip(): dsn.strip() for name, dsn in _section(file, "libraries").items() if name.strip() and dsn.strip()}


def libraries_for(file: Path, name: str, has_password: Callable[[str], bool], set_elsewhere: bool = False) -> dict[str, str]:
    """The connection strings with which the library `name` can be opened.

    A fault of the file ends only what hangs on it: "default" goes on while the file does not say where that is, or where it is
    `set_elsewhere`, and so does a library without a password in a file that others may read.

    Raises:
        ConfigurationError: this library can't be had before the file is mended.
    """
    alone = name == "default"
    try:
        named = configured_libraries(file)
    except ConfigurationError:
        if alone and (set_elsewhere or not _may_name_default(file)):
            return {}
        raise
    if alone and set_elsewhere:
        return named
    if name in named and has_password(named[name]):
        refuse_if_others_can_read(file)
    if name not in named and not alone and (unknown := unknown_sections(file)):
        raise ConfigurationError(unknown)
    return named


def configuration_faults(file: Path, has_password: Callable[[str], bool] | None = None) -> list[str]:
    """What a person should mend in the file, in words; `has_password` looks at who may read it too."""
    found = []
    for read in (configured_roots, configured_libraries):
        try:
            read(file)
        except ConfigurationError as error:
            found.append(str(error))
    if found:
        return list(dict.fromkeys(found))
    if unknown := unknown_sections(file):
        found.append(unknown)
    if has_password is not None and any(map(has_password, configured_libraries(file).values())):
        try:
            refuse_if_others_can_read(file)
        except ConfigurationError as error:
            found.append(str(error))
    return found


def refuse_if_others_can_read(file: Path) -> None:
    """For a file that holds a password, as ssh does it. On Windows a mode tells nothing: a folder of the user's own is closed to others
    by itself, and a portable ComfyUI's is not, as the README says."""
    if os.name == "nt":
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise ConfigurationError(
            f"{file} holds the password of a library, and other users of this computer may read or change it (its mode is "
            f'{mode:03o}). Run: chmod 600 "{file}". Where that has no effect, keep the password in ~/.pgpass instead.'
        )


def _section(file: Path, name: str) -> dict[str, str]:
    settings = _settings(file)
    if not isinstance(settings, dict) or not _is_names(settings.get(name, {})):
        raise ConfigurationError(f'{file} can\'t be read: its "{name}" are not text by name. It should hold {_EXAMPLE}.')
    return settings.get(name, {})


def _settings(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig")) if file.is_file() else {}  # Notepad writes a byte order mark
    except (OSError, ValueError, RecursionError) as error:
        hint = f" {BACKSLASHES}" if "escape" in str(error) else ""  # of C:\photos; C:\new is a path of another name
        raise ConfigurationError(f"{file} can't be read ({error}). It should hold {_EXAMPLE}.{hint}") from None


def _may_name_default(file: Path) -> bool:
    """Whether a file that can't be read as settings may say where the library "default" is; then no other takes its place."""
    try:
        return b'"default"' in file.read_bytes()
    except OSError:
        return True


def unknown_sections(file: Path) -> str:
    """Names at the top of the file that mean nothing, such as a misspelt one; "" where there are none."""
    unknown = [name for name in _settings(file) if name not in _SECTIONS]
    if not unknown:
        return ""
    # A name that looks like anything but a name may be a connection string in the wrong place.
    shown = [f'"{name}"' if re.fullmatch(r"[\w -]{1,40}", name) else "a name that is not shown here" for name in unknown]
    near = [difflib.get_close_matches(name.lower(), _SECTIONS, 1, 0.6) for name in unknown]
    alike = [f'"{words[0]}"' + (f" for {one}" if len(unknown) > 1 else "") for words, one in zip(near, shown) if words]
    meant = f" Did you mean {', '.join(alike)}?" if alike else ""
    verb = "means" if len(unknown) == 1 else "mean"
    return f"{file} has {', '.join(shown)}, which {verb} nothing there.{meant} It should hold {_EXAMPLE}."


def _is_names(section: Any) -> bool:
    return isinstance(section, dict) and all(isinstance(value, str) for value in section.values())
