"""From a folder as a person names it in a shell to a root and a folder below it, as the library keeps them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..host import roots, told_roots
from ..indexing.folders import in_roots, why_outside
from .errors import UsageError


def below_a_root(given: str, root_name: str | None) -> tuple[str, Path, str]:
    """(name of the root, its folder, the path below it): of `root_name`, else of the deepest root that `given` lies in, else of
    the one whose name it begins with.

    Raises:
        UsageError: there is no such root, or `given` lies in none.
        ScanError: there can be no such folder.
        ConfigurationError: the roots can't be used.
    """
    if not given.strip():  # "$DIR" of a script where it is not set: else the folder that it runs in
        raise UsageError("The name of the folder is empty. Name one; . is the one that you are in, or with --root the whole root.")
    from ...embedders.folders.scan import refuse_device

    known = roots()
    if root_name is not None and root_name not in known:
        raise UsageError(f"There is no root {root_name!r}. The roots are: {told_roots(known)}.")
    given_path = Path(given).expanduser()
    if not any(map(os.path.isdir, (given_path, *(folder / given_path for folder in known.values())))):
        refuse_device(given)
    if root_name is None and not given_path.exists() and (named := _below_its_name(given_path, known)) is not None:
        root_name, given_path = named
    allowed = {root_name: known[root_name]} if root_name is not None else known
    places = [given_path.absolute()]
    if root_name is not None and not given_path.is_absolute() and (known[root_name] / given_path).exists():
        places.insert(0, known[root_name] / given_path)
    if (found := in_roots(places, allowed)) is not None:
        return found
    place = Path(os.path.realpath(places[0]))
    if not place.exists():
        raise UsageError(f"There is no folder {place}. Check its spelling, or name it by its --root: {told_roots(allowed)}.")
    raise UsageError(why_outside(place, allowed))


def _below_its_name(given: Path, known: Mapping[str, Path]) -> tuple[str, Path] | None:
    """(name of a root, path below it) where what was given begins with that name and is there, as in photos/2025."""
    first, *rest = given.parts or ("",)
    below = Path(*rest)
    return (first, below) if first in known and (known[first] / below).exists() else None


def is_list(given: str, beside: Sequence[str]) -> bool:
    """Whether it is a file, and so a list of images; unlike a node's, which anybody may queue who reaches the page, it may lie anywhere.

    Raises:
        UsageError: it is an image, or no list though called as one, or an option that is for a folder was given `beside` it.
    """
    from ...embedders.folders.scan import SUFFIXES
    from ...embedders.pipeline.image_list import SUFFIXES_OF_LISTS

    file = Path(given).expanduser()
    if not os.path.isfile(file):  # of what is no folder, such as Windows' devices, pathlib's raise errors
        if file.suffix.lower() in SUFFIXES_OF_LISTS and not os.path.exists(file) and not beside:
            raise UsageError(f"There is no list {file.absolute()}. Check its spelling, and the folder that you are in.")
        return False
    if Path(given).suffix.lower() in SUFFIXES:
        raise UsageError(f"{given} is an image. Name its folder, with --pattern for this one alone, or a list that has it on a line.")
    if beside:
        raise UsageError(f"{given} is a file, and so a list of images, each of which is indexed: leave out {' and '.join(beside)}.")
    return True
