"""What our nodes ask of ComfyUI: its folders, the library in them, progress, and text on a node."""

from __future__ import annotations

import functools
import logging
import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import BACKSLASHES, ConfigurationError, configuration_faults, configured_libraries, configured_roots, libraries_for, unknown_sections
from .wording import program

if TYPE_CHECKING:
    from ..db import Library, StoredImage

log = logging.getLogger("diffusion_toolkit")

PACKAGE = Path(__file__).resolve().parent.parent
ROOTS_VARIABLE = "DIFFUSION_TOOLKIT_ROOTS"


def names_missing_requirements(execute: Callable) -> Callable:
    """Turn a failed import inside a node into a message that says what to install, and where."""

    @functools.wraps(execute)
    def checked(*args: Any, **inputs: Any) -> Any:
        try:
            return execute(*args, **inputs)
        except ImportError as error:
            raise RuntimeError(
                f"Diffusion Toolkit can't import {error.name or 'a dependency'} ({error}). Install its requirements with\n"
                f'{program(sys.executable)} -m pip install -r "{PACKAGE / "requirements.txt"}"\nand restart ComfyUI.'
            ) from error

    return checked


def numbers_in_range(execute: Callable) -> Callable:
    """Refuse numbers that a widget would not let a person write: ComfyUI looks at none that come over a link."""

    @functools.wraps(execute)
    def checked(node: Any, *args: Any, **inputs: Any) -> Any:
        for of in (node.SCHEMA or node.GET_SCHEMA()).inputs:
            low, high, value = getattr(of, "min", None), getattr(of, "max", None), inputs.get(of.id)
            if low is not None and isinstance(value, (int, float)) and not low <= value <= high:  # also of NaN
                raise ValueError(f"{of.id} is {value}. It takes a number from {low:,} to {high:,}: correct what is linked there.")
        return execute(node, *args, **inputs)

    return checked


def toolkit_directory() -> Path:
    """Our own folder in ComfyUI's user directory: the embedded library, and `config.json`."""
    import folder_paths

    return Path(folder_paths.get_user_directory()) / "diffusion_toolkit"


def config_file() -> Path:
    """The administrator's settings, see `config`; it need not be there."""
    return toolkit_directory() / "config.json"


def open_library(name: str, linked: str | None = None) -> Library:
    """The library by name, or the one that arrived over a link.

    Raises:
        ConfigurationError: the settings of this library can't be used, or others may read its password.
        LibraryError: it can't be had.
    """
    from ..db import has_password
    from ..db import open_library as connect
    from ..db.connection import VARIABLE

    wanted = linked or name
    elsewhere = wanted == "default" and bool(os.environ.get(VARIABLE, "").strip())
    named = libraries_for(config_file(), wanted, has_password, elsewhere)
    library = connect(wanted, toolkit_directory() / "library", named)
    for warning in library.warnings:
        _warn_once(warning)
    return library


def library_names() -> list[str]:
    """The names for a combo, "default" first. As with `root_names`, a broken configuration keeps no node from loading."""
    for fault in configuration_faults(config_file()):
        _warn_once(fault)
    try:
        named = configured_libraries(config_file())
    except ConfigurationError:
        named = {}
    return ["default", *sorted(named.keys() - {"default"})]  # as db.library_names, which can't be asked where psycopg is not installed


@functools.cache
def _warn_once(message: str) -> None:
    log.warning("%s", message)


def library_fingerprint(name: str) -> str:
    """Changes whenever the library does, so that a search is cached exactly as long as it stays true.

    A library that can't be opened gives a new value each time: the node then runs and shows the reason itself. So does any once the
    prompt is cancelled: ComfyUI asks this of all nodes before it runs the first, which hears it. To raise that here would end ComfyUI's queue.
    """
    try:
        from comfy.model_management import processing_interrupted

        from ..db import generation

        if processing_interrupted():
            return fresh_fingerprint()
        with open_library(name).connection() as connection:
            return generation(connection)
    except (ImportError, RuntimeError):
        return fresh_fingerprint()


def fresh_fingerprint() -> str:
    """A value never given before. Not NaN: it is saved with the prompt, where JSON has no NaN."""
    import uuid

    return uuid.uuid4().hex


def roots() -> dict[str, Path]:
    """The folders that may be indexed and read from, by name: ComfyUI's output and input, and the administrator's.

    More come from the variable DIFFUSION_TOOLKIT_ROOTS (`name=path` or plain paths, separated as in PATH) and from
    `{"roots": {"name": "path"}}` in `<user directory>/diffusion_toolkit/config.json`. Where that file can't be read, none come from it:
    the others go on, and the log and Library Status tell what is wrong.

    Raises:
        ConfigurationError: a setting can't be used.
    """
    import folder_paths

    found = {
        "output": Path(os.path.realpath(folder_paths.get_output_directory())),
        "input": Path(os.path.realpath(folder_paths.get_input_directory())),
    }
    try:
        configured, fault = configured_roots(config_file()), unknown_sections(config_file())
    except ConfigurationError as error:
        configured, fault = [], str(error)
    if fault:
        _warn_once(fault)
    for name, path in [*_roots_of_variable(), *configured]:
        try:
            folder = Path(path).expanduser()
            real = Path(os.path.realpath(folder))  # of a loop of links the link: a folder that is not there, as a drive may not be
            str(real).encode()  # Windows takes names that are no Unicode; a library does not
            if "\0" in path:  # which Windows' realpath lets pass
                raise ValueError("it has a NUL in it")
        except (OSError, RuntimeError, ValueError) as error:  # a user after ~ who is not known, a NUL
            raise ConfigurationError(f"The root {path!r} can't be used: {error}. Write its whole path.") from error
        broken = any(letter < " " for letter in path)  # JSON's C:\new has a line's end in it
        if not folder.is_absolute() or (broken and os.name == "nt"):
            hint = f" {BACKSLASHES}" if broken else ""
            raise ConfigurationError(f"The root {path!r} is not a whole path. Write it from / or a drive letter on.{hint}")
        name = name or folder.name or str(folder)
        if name in found and found[name] != real:
            raise ConfigurationError(
                f"Two roots are named {name!r}: {found[name]} and {folder}. Name one otherwise, as in other={folder}."
            )
        found[name] = real
    return found


def told_roots(named: Mapping[str, Path]) -> str:
    """Roots for a message; of one whose folder is not there, which may be misspelt, that is said."""
    return ", ".join(f"{name} ({folder}{'' if os.path.isdir(folder) else ', which is not there'})" for name, folder in named.items())


def told_faults() -> str:
    """What is wrong with the administrator's settings, to stand before a message whose cause it may be; "" where nothing is."""
    return "".join(f"{fault} " for fault in configuration_faults(config_file()))


def _roots_of_variable() -> list[tuple[str, str]]:
    items = [item.strip() for item in os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep)]
    named = []
    for item in filter(None, items):
        name, separator, path = item.partition("=")
        is_name = bool(separator) and not set(name) & {"/", "\\"}  # else the = belongs to a path
        named.append((name.strip(), path.strip()) if is_name else ("", item))
    return named


def root_folder(name: str) -> Path:
    """The root of this name; ConfigurationError when it is no longer configured."""
    found = roots()
    if name not in found:
        faults = "".join(f" {fault}" for fault in configuration_faults(config_file()))
        raise ConfigurationError(f"There is no root {name!r} any more. Choose one of: {', '.join(found)}.{faults}")
    return found[name]


def root_names() -> list[str]:
    """The names for a combo. A broken configuration is told when a node runs, not by a node that fails to load."""
    try:
        return list(roots())
    except ConfigurationError as error:
        _warn_once(str(error))
        return ["output", "input"]


class ReadableFiles:
    """Which files of images may be read now. Ask one of these of many images: it looks at each folder once."""

    def __init__(self) -> None:
        self._allowed = [os.path.normcase(root) for root in roots().values()]
        self._folders: dict[tuple[str, str], tuple[str, bool]] = {}  # where a root's folder really is, and whether that is allowed

    def of(self, image: StoredImage) -> tuple[Path | None, str]:
        """A file that still holds the image, inside a root that is configured now; else None and what became of it."""
        place, note = self.place_of(image)
        return (None if place is None else Path(place)), note

    def place_of(self, image: StoredImage) -> tuple[str | None, str]:
        """The same as text: of many files a Path each takes a third of the time."""
        note = "no file of it is known any more"
        for known in image.files:
            folder, name = os.path.split(known.path)
            if (known.root, folder) not in self._folders:
                real = os.path.realpath(os.path.join(known.root, folder))
                self._folders[known.root, folder] = os.path.join(real, ""), self._is_allowed(real)
            start, allowed = self._folders[known.root, folder]
            file = start + name  # of some hundred files: pathlib takes ten times as long
            try:
                status = os.lstat(file)
                if stat.S_ISLNK(status.st_mode):
                    file = os.path.realpath(file)
                    status, allowed = os.stat(file), self._is_allowed(file)
                trouble = ""
            except (FileNotFoundError, NotADirectoryError):
                status, trouble = None, "the file is gone"
            except OSError as error:  # nobody may look there, or its server does not answer
                status, trouble = None, f"the file can't be looked at ({error.strerror or error})"
            if not allowed:
                note = "the file is no longer under a configured root"
            elif trouble or not stat.S_ISREG(status.st_mode):
                note = trouble or "the file is gone"
            elif (status.st_size, status.st_mtime_ns) != (known.size, known.mtime_ns):
                note = "the file was changed since it was indexed"
            else:
                return file, ""
        return None, note

    def _is_allowed(self, place: str) -> bool:
        place = os.path.normcase(place)
        return any(place == root or place.startswith(os.path.join(root, "")) for root in self._allowed)


def readable_file(image: StoredImage) -> tuple[Path | None, str]:
    """`ReadableFiles.of` one image."""
    return ReadableFiles().of(image)


def show_text(node: Any, text: str) -> None:
    """Show a line on the running node while it works; `ui` text takes its place when it is done."""
    from server import PromptServer

    if node.hidden.unique_id is not None:
        PromptServer.instance.send_progress_text(text, node.hidden.unique_id)


def progress_on(node: Any) -> Callable[[str, int, int], None]:
    """A callback (stage, done, total) that moves the node's bar and text, and raises when the user cancels."""
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar

    bar = ProgressBar(1)

    def progress(stage: str, done: int, total: int) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(done, max(total, 1))
        show_text(node, f"{stage}: {done} of {total}")

    return progress
