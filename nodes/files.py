"""Which file a person means, by a path or by a link, and whether it may be read: only what lies under a configured root."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from .host import roots, told_faults, told_roots
from .inside import contained, resolved

CARRIES_A_PICTURE = frozenset(("IMAGE", "MASK", "VIDEO", "STRING", "COMBO", "*"))  # or a file's name
Node = Mapping[str, Any]


class FileRefused(ValueError):
    """There is no such file, or none that may be read; the message says what to do."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


@dataclass(frozen=True)
class LinkedFile:
    """The file behind a link: the classes of the nodes between it and us, and other files that are as near."""

    file: Path
    passed: tuple[str, ...]
    others: tuple[Path, ...]


def find_file(text: str) -> Path:
    """The file of a path as a person or a node writes it: whole, below a root, `root/...`, or `name.png [output]`.

    Raises:
        FileRefused: it lies outside the configured roots, is missing, is no regular file, or could be one of two.
    """
    return regular(find_place(text))


def find_place(text: str, what: str = "an image") -> Path:
    """The same, also of a folder; `what` is looked for, in words. FileRefused but for what is no regular file."""
    allowed = roots()
    name = unquoted(text)
    if not name or "\0" in name:
        raise FileRefused(f"Write the path of {what} below one of the roots: {told_roots(allowed)}.")
    if away := elsewhere(name, allowed):
        raise FileRefused(f"{name[:200]} is {away}. Name a file under one of the folders that may be read: {told_roots(allowed)}.")
    folders = allowed.values()
    candidates = list(dict.fromkeys(resolved(path, folders) for path in _candidates(name, allowed)))
    inside = [file for file in candidates if contained(file, folders)]
    found = [file for file in inside if _exists(file)]
    if not found and len(inside) < len(candidates):  # whether there is such a file elsewhere is nobody's business
        raise FileRefused(
            f"{told_faults()}{name} is under none of the folders that may be read: {told_roots(allowed)}. Move the file there, or have its folder made a "
            "root (see the README)."
        )
    if not found:
        looked_for = [str(file) for file in inside if "\\" not in file.name] or [str(file) for file in inside]
        raise FileRefused(
            f"There is no file {name}. Looked for: {', '.join(looked_for)}. Check the spelling, or write the whole path, or the "
            "file as Load Image has it: name.png [input], name.png [output]."
        )
    if len(found) > 1:
        raise FileRefused(f"{name} could be any of {', '.join(map(str, found))}. Write the whole path of the one you mean.")
    return found[0]


def regular(file: Path, what: str = "an image file") -> Path:
    """`file` itself; FileRefused when opening it would not give a file's content (a folder, a device, a pipe)."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise FileRefused(f"{file} is {'a folder' if file.is_dir() else 'no regular file'}. Name {what}.")
    return file


def inside_roots(file: Path, what: str) -> Path:
    """`file` of a folder that may be read, which by itself says nothing of it: FileRefused for a link out of the roots, and as `regular`."""
    allowed = roots().values()
    if not contained(resolved(file, allowed), allowed):
        raise FileRefused(f"{file} leads to a place under none of the folders that may be read. Put the file itself there, or take the link away.")
    try:
        return regular(file, what)
    except OSError as error:  # a link to nothing
        raise FileRefused(f"{file} can't be read ({error.strerror or error}). Name {what}.") from error


def state_of(file: Path) -> str:
    """Changes when the file does, or a text beside it that is read with it."""
    from ..embedders.metadata.containers.sidecar import sidecar_names

    states = []
    for name in (file.name, *(beside for _, beside in sidecar_names(file.name))):
        try:
            status = file.with_name(name).lstat()
        except OSError:
            continue
        states.append(f"{name} {status.st_size} {status.st_mtime_ns}")
    return f"{file.parent}: {', '.join(states)}"


def linked_file(graph: Any, link: list, suffixes: frozenset[str]) -> LinkedFile | None:
    """The nearest file upstream of `link` that a node names; `graph` is ComfyUI's DynamicPrompt.

    Followed are links that can carry a picture or a name: what was sampled in this graph has no file. A node that is
    given a picture and names a file itself (to blend in, to save to) counts only where nothing lies behind it.
    """
    level, seen, second_choice = [(link, ())], set(), None
    while level:
        sources, following = [], []
        for (node_id, _), passed in level:
            if str(node_id) in seen or not graph.has_node(node_id):
                continue
            seen.add(str(node_id))
            node = graph.get_node(node_id)
            links = [value for value in node.get("inputs", {}).values() if _is_link(value)]
            behind = [value for value in links if graph.has_node(value[0]) and _carries(graph.get_node(value[0]), value[1])]
            files = list(_files_named_in(node, suffixes))
            if files and not behind:
                sources += [(file, passed) for file in files]
            elif files and second_choice is None:
                second_choice = LinkedFile(files[0], passed, tuple(files[1:]))
            following += [(value, (*passed, _title(node))) for value in behind]
        if sources:
            (file, passed), *rest = sources
            return LinkedFile(file, passed, tuple(dict.fromkeys(other for other, _ in rest if other != file)))
        level = following
    return second_choice


def _candidates(name: str, allowed: Mapping[str, Path]) -> Iterator[Path]:
    import folder_paths

    plain, folder = folder_paths.annotated_filepath(name)
    if folder is not None:
        yield from _below(Path(folder), plain.strip())
    elif PurePath(name).is_absolute():
        yield Path(name)
    else:
        first, _, rest = name.replace("\\", "/").partition("/")
        if first in allowed and rest:
            yield allowed[first] / rest
        for root in allowed.values():
            yield from _below(root, name)


def _below(folder: Path, name: str) -> Iterator[Path]:
    """Windows' separators are understood everywhere; elsewhere they may also be letters of a file's name."""
    yield folder / name.replace("\\", "/")
    if os.sep == "/" and "\\" in name:
        yield folder / name


def elsewhere(name: str, allowed: Mapping[str, Path]) -> str | None:
    """What a name is that no file of this computer has; None for one that may be looked for."""
    from ..embedders.folders.scan import on_another_host

    if re.match(r"[A-Za-z][\w+.-]+://", name):
        return "an address, not a file here"
    if re.match(r"~[\\/]", name):
        return "a path from the home folder, which differs between users; write the whole path"
    if os.name != "nt" and re.match(r"[A-Za-z]:[\\/]", name):
        return "a path of another computer"
    return "a path of another computer, over the network" if on_another_host(name, allowed.values()) else None


def _files_named_in(node: Node, suffixes: frozenset[str]) -> Iterator[Path]:
    """Image files that a node's own values name, as ComfyUI's loaders take them: in the input folder unless they say where."""
    import folder_paths

    allowed = roots()
    for value in node.get("inputs", {}).values():
        if not isinstance(value, str) or len(value) > 4096:
            continue
        plain, folder = folder_paths.annotated_filepath(value.strip())
        if PurePath(plain).suffix.strip().lower() not in suffixes:
            continue
        bases = [Path(folder)] if folder is not None else [allowed["input"], *allowed.values()]
        for base in bases:
            file = resolved(base / plain.strip(), allowed.values())
            if contained(file, allowed.values()) and _exists(file):
                yield file
                break


def _carries(node: Node, slot: int) -> bool:
    """Whether an output of a node can be a picture, or the name of one."""
    import nodes

    types = getattr(nodes.NODE_CLASS_MAPPINGS.get(node.get("class_type")), "RETURN_TYPES", None) or ()
    kind = types[slot] if isinstance(slot, int) and 0 <= slot < len(types) else None
    return isinstance(kind, list) or kind in CARRIES_A_PICTURE or "MATCHTYPE" in str(kind)


def _title(node: Node) -> str:
    return str((node.get("_meta") or {}).get("title") or node.get("class_type"))


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def unquoted(text: str) -> str:
    """Without the quotes that Windows' "Copy as path" puts around it."""
    name = text.strip()
    return name[1:-1].strip() if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # a name too long
        return False
