"""What the administrator wrote into `<user directory>/diffusion_toolkit/config.json`: folders and libraries by name."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

_EXAMPLE = '{"roots": {"name": "/path/to/images"}, "libraries": {"name": "postgresql://user:password@host:5432/database"}}'


class ConfigurationError(RuntimeError):
    """A setting of the administrator that can't be used. The message never holds a connection string."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


def configured_roots(file: Path) -> list[tuple[str, str]]:
    """(name, path) of the folders that may be read; none where there is no file."""
    return list(_section(file, "roots").items())


def configured_libraries(file: Path) -> dict[str, str]:
    """Connection strings by the library's name. They are secrets: not for a widget, a log or a message."""
    return {name.strip(): dsn.strip() for name, dsn in _section(file, "libraries").items() if name.strip() and dsn.strip()}


def refuse_if_others_can_read(file: Path) -> None:
    """For a file that holds a password, as ssh does it. Windows keeps a user's folder to that user by itself."""
    if os.name == "nt":
        return
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        raise ConfigurationError(
            f"{file} holds the password of a library, and other users of this computer may read or change it (its mode is "
            f'{mode:03o}). Run: chmod 600 "{file}". Where that has no effect, keep the password in ~/.pgpass instead.'
        )


def _section(file: Path, name: str) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        settings = json.loads(file.read_text(encoding="utf-8-sig"))  # Notepad writes a byte order mark
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} can't be read ({error}). It should hold {_EXAMPLE}.") from None
    if not isinstance(settings, dict) or not _is_names(settings.get(name, {})):
        raise ConfigurationError(f'{file} can\'t be read: its "{name}" are not text by name. It should hold {_EXAMPLE}.')
    return settings.get(name, {})


def _is_names(section: Any) -> bool:
    return isinstance(section, dict) and all(isinstance(value, str) for value in section.values())
