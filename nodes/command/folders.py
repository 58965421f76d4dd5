"""From a folder as a person names it in a shell to a root and a folder below it, as the library keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..host import ROOTS_VARIABLE, config_file, roots
from .errors import UsageError


def below_a_root(given: str, root_name: str | None) -> tuple[str, Path, str]:
    """(name of the root, its folder, the path below it): of `root_name`, else of the deepest root that `given` lies in.

    Raises:
        UsageError: there is no such root, or `given` lies in none.
        ConfigurationError: the roots can't be used.
    """
    if not given.strip():  # "$DIR" of a script where it is not set: else the folder that it runs in
        raise UsageError("The name of the folder is empty. Name one; . is the one that you are in, or with --root the whole root.")
    known = roots()
    if root_name is not None and root_name not in known:
        raise UsageError(f"There is no root {root_name!r}. The roots are: {_told(known)}.")
    allowed = {root_name: known[root_name]} if root_name is not None else known
    given_path = Path(given).expanduser()
    places = [given_path.absolute()]
    if root_name is not None and not given_path.is_absolute() and (known[root_name] / given_path).exists():
        places.insert(0, known[root_name] / given_path)
    # As it was named first: what lies behind a link inside a root is known by the link's path.
    as_named = (place for place in places if ".." not in place.parts)  # where that leads is the system's to say
    for place in [*as_named, *(place.resolve() for place in places)]:
        holding = [(name, folder) for name, folder in allowed.items() if place.is_relative_to(folder)]
        if holding:
            name, folder = max(holding, key=lambda one: len(one[1].parts))
            return name, folder, place.relative_to(folder).as_posix().removeprefix(".")
    place = places[0].resolve()
    if not place.exists():
        raise UsageError(f"There is no folder {place}. Check its spelling, or name it by its --root: {', '.join(allowed)}.")
    raise UsageError(
        f"{place} lies below none of the roots: {_told(allowed)}. Add it, or a folder around it, to {config_file()}, such as "
        f'{{"roots": {{"{place.name}": "{place.as_posix()}"}}}}, or to {ROOTS_VARIABLE}, for ComfyUI and for this command.'
    )


def is_list(given: str, beside: Sequence[str]) -> bool:
    """Whether it is a file, and so a list of images; unlike a node's, which anybody may queue who reaches the page, it may lie anywhere.

    Raises:
        UsageError: it is an image, or no list though called as one, or an option that is for a folder was given `beside` it.
    """
    from ...embedders.image_list import SUFFIXES_OF_LISTS
    from ...embedders.scan import SUFFIXES

    file = Path(given).expanduser()
    if not file.is_file():
        if file.suffix.lower() in SUFFIXES_OF_LISTS and not file.exists() and not beside:
            raise UsageError(f"There is no list {file.absolute()}. Check its spelling, and the folder that you are in.")
        return False
    if Path(given).suffix.lower() in SUFFIXES:
        raise UsageError(f"{given} is an image. Name its folder, with --pattern for this one alone, or a list that has it on a line.")
    if beside:
        raise UsageError(f"{given} is a file, and so a list of images, each of which is indexed: leave out {' and '.join(beside)}.")
    return True


def _told(known: dict[str, Path]) -> str:
    return ", ".join(f"{name} ({folder})" for name, folder in known.items())
