"""From a folder as a person names it, on a node or in a shell, to a root and the path below it, as the library keeps them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

from ..files import elsewhere, unquoted
from ..host import ROOTS_VARIABLE, config_file, root_folder, roots, told_faults, told_roots
from ..wording import HALF_A_CHARACTER


class OutsideRoots(ValueError):
    """A folder that lies below none of the roots that were meant; the message says which other has it, or how to make it one."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


def in_roots(places: Sequence[Path], allowed: Mapping[str, Path]) -> tuple[str, Path, str] | None:
    """(name of the root, its folder, the path below it) of the first of these whole paths that lies in one of the `allowed` roots, of
    nested ones the deepest; None where none does."""
    # As it was named first: what lies behind a link inside a root is known by the link's path.
    as_named = (place for place in places if ".." not in place.parts)  # where that leads is the system's to say
    for place in [*as_named, *(Path(os.path.realpath(place)) for place in places)]:
        holding = [(name, folder) for name, folder in allowed.items() if place.is_relative_to(folder)]
        if holding:
            name, folder = max(holding, key=lambda one: len(one[1].parts))
            return name, folder, "/".join(place.relative_to(folder).parts)
    return None


def why_outside(place: Path, allowed: Mapping[str, Path]) -> str:
    """What to do about a folder that lies in none of the `allowed` roots. Whether it is there is nobody's business who asks over a page."""
    known = roots()
    if (other := in_roots([place], known)) is not None:
        name, _, below = other
        return f"{place} lies in the root {name}, not in {', '.join(allowed)}. Choose that root, and {f'{below} in it' if below else 'all of it'}."
    name = place.name if place.name not in known else f"{place.parent.name} {place.name}".strip()
    line = json.dumps({"roots": {name or "all": place.as_posix()}}, ensure_ascii=False)
    return (
        f"{told_faults()}{place} lies below none of the roots: {told_roots(known)}. Add it, or a folder around it, to {config_file()}, such as "
        f"{line}, or to the environment variable {ROOTS_VARIABLE}: ComfyUI and run.py read both."
    )


def subfolder_in(root_name: str, text: str) -> str:
    """The path below a root of a folder as a person typed or pasted it: relative to the root, or whole. "" is the root.

    Raises:
        OutsideRoots, scan.ScanError: it does not lie in this root, or its name can't be kept.
        ConfigurationError: there is no such root.
    """
    from ...embedders.folders.scan import ScanError, normal_subfolder, refuse_device

    try:
        text.encode()
    except UnicodeError:
        raise ScanError(f"The sub-folder {text[:200]!r} can't be kept in the library: {HALF_A_CHARACTER}. Write its name anew, or rename the folder.") from None
    root, written = root_folder(root_name), list(spellings(text))
    for name in written:
        if not _is_whole(name) and "\0" not in name and os.path.isdir(root / name):
            return normal_subfolder(name)
    meant = written[-1]
    if away := elsewhere(meant, roots()):
        raise OutsideRoots(f"{meant[:200]} is {away}. Name a folder in one of the roots: {told_roots(roots())}.")
    if not os.path.isdir(meant):
        refuse_device(meant)
    if not _is_whole(meant) or "\0" in meant:
        return normal_subfolder(meant)
    chosen = {root_name: root}
    places = [Path(name).absolute() for name in written if _is_whole(name)]
    found = [in_roots([place], chosen) for place in places if os.path.isdir(place)]
    place = next(filter(None, found), None) or in_roots(places[::-1], chosen)
    if place is None:
        raise OutsideRoots(why_outside(places[-1], chosen))
    return normal_subfolder(place[2])


def spellings(text: str) -> Iterator[str]:
    """What a path may mean that was typed or pasted, the most literal first: as it stands, without one pair of quotation marks, and
    with Windows' separators, which elsewhere may also be letters of a name, as /."""
    plain = unquoted(text) or text.strip()
    return iter(dict.fromkeys((text.strip(), plain, plain.replace("\\", "/"))))


def _is_whole(name: str) -> bool:
    path = PurePath(name)
    return bool(path.drive or path.root)
