"""Which stored images a node works on: a search's hits, one id or a list of ids. Nodes that take these make one result of all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from .host import open_library
from .links import ImageId
from .types import Hits

if TYPE_CHECKING:
    from ..db import Library
    from .links import Hits as HitsRecord

MOST = 1000
_LARGEST = 2**63 - 1  # what an id of the library can be
_WRITE = "Write the ids parted by commas or spaces, such as 12, 15 18: search nodes show them after #."


class NoSuchChoice(ValueError):
    """What was given names no images."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


def chosen_inputs(hits: str = "hits", image_ids: str = "image_ids", what: str = "images", purpose: str = "", list_inputs: bool = False) -> list[io.Input]:
    """`hits` and `image_ids`, both optional, so that either is enough; other names for a node that takes two choices.

    The ids are a widget and a socket for text, a number or a list; a list *output* runs the node once an id, as everywhere but in
    a node whose inputs are lists (`list_inputs`).
    """
    of_lists = "" if list_inputs else ", but runs this node once for each; its hits are taken together"
    return [
        Hits.Input(
            hits,
            optional=True,
            tooltip=f"The {what}{purpose}: all hits of a search, of Pick Hit or of List Images, best first. They tell their library.",
        ),
        io.MultiType.Input(
            io.String.Input(
                image_ids,
                default="",
                optional=True,
                tooltip=f"The {what} by id, such as: 12, 15 18{purpose}. They follow the hits where both are given. A search's image_id "
                f"may be connected too{of_lists}.",
            ),
            types=[io.Int],
        ),
    ]


def chosen_ids(hits: HitsRecord | None, image_ids: Any = "", what: str = "images", repeats: bool = False) -> list[int]:
    """The ids of both, hits first, each once (unless `repeats`) and in order.

    Raises:
        NoSuchChoice: there are none, more than 1,000, or something else than ids.
    """
    ids = [*(hits.ids if hits is not None else ()), *map(int, _read(image_ids))]
    ids = ids if repeats else list(dict.fromkeys(ids))
    if not ids:
        raise NoSuchChoice(f"No {what} are chosen. Connect the hits of a search node, or give ids. {_WRITE}")
    if len(ids) > MOST:
        raise NoSuchChoice(f"{len(ids):,} {what} are chosen, {MOST:,} are the most. Lower the search's top_k, or give fewer ids.")
    return ids


def counted_once(hits: HitsRecord | None, image_ids: Any = "") -> list[str]:
    """A line that tells which ids `chosen_ids` was given more than once; none where none was."""
    times = Counter([*(hits.ids if hits is not None else ()), *_read(image_ids)])
    several = [f"{id_} is there {'twice' if n == 2 else f'{n} times'}" for id_, n in times.items() if n > 1]
    more = f" and {len(several) - 6} more are repeated" if len(several) > 6 else ""
    return [", ".join(several[:6]) + f"{more}, and counted once"] if several else []


def open_chosen(hits: Sequence[HitsRecord | None], image_ids: Any, library_name: str, library: str | None = None) -> Library:
    """The library that the chosen images are of: the hits' and linked ids' own, else the linked one, else the one named."""
    return open_library(meant_library([one for one in hits if one is not None], [library] if library else [], library_name, [*_read(image_ids)]))


def meant_library(hits: Sequence[HitsRecord], linked: Sequence[str], chosen: str, ids: Sequence[int] = ()) -> str:
    """The one library that all is of: that of the hits and of ids that know it, else the linked one, else the chosen one.

    An id means another image in another library, so nothing is guessed: ValueError where they differ. The chosen name counts
    beside hits only where there are ids that somebody wrote, which are of no library by themselves.
    """
    knowing = [one.library for one in ids if isinstance(one, ImageId)]
    named = {f"the hits are of '{one.library}'": one.library for one in hits}
    named |= {f"image ids are of '{one}'": one for one in knowing}
    named |= {f"library is '{one}'": one for one in linked}
    if not linked and (len(knowing) < len(ids) or not named):
        named[f"library_name is '{chosen}'"] = chosen
    if len({*named.values()}) > 1:
        step = "Choose the library of the image ids in library_name" if chosen in named.values() and not linked else "Disconnect library"
        raise ValueError(f"The images are of several libraries: {', '.join(named)}. {step}, or use one such node for each library.")
    return next(iter(named.values()))


def read_weights(text: str, n: int, once: Sequence[str] = ()) -> list[float]:
    """A number for each of n images, 1 where nothing is written; ValueError says what is wrong, with `once` of `counted_once`."""
    words = [word for word in text.replace(",", " ").replace(";", " ").split() if word]
    if not words:
        return [1.0] * n
    numbers = []
    for word in words:
        try:
            numbers.append(float(word))
        except ValueError:
            raise ValueError(f"The weight {word!r} is no number. Write one for each image, such as: 1, 0.5.") from None
    if not all(abs(number) < 1e6 for number in numbers):  # also false for NaN
        raise ValueError("A weight is not finite, or larger than a million. Write weights such as: 1, 0.5.")
    if len(numbers) != n:
        raise ValueError(f"There are {len(numbers)} weights for {n} images{''.join(f' ({line})' for line in once)}. Write one for each image, hits first, or none.")
    return numbers


def _read(given: Any) -> Iterator[int]:
    """Ids out of a text, a number, a list of either, or None."""
    if isinstance(given, (list, tuple)):
        for one in given:
            yield from _read(one)
    elif isinstance(given, str):
        for word in re.split(r"[\s,;]+", given.strip().strip("[](){}").strip()):
            if word:
                yield _id(word, word.removeprefix("#"))
    elif given is not None:
        yield _id(given, given)


def _id(given: Any, number: Any) -> int:
    if not isinstance(number, (int, str)) or not re.fullmatch(r"[0-9]{1,19}", str(number)):
        raise NoSuchChoice(f"{given!r} is no image id. {_WRITE}")
    if not 0 < int(number) <= _LARGEST:
        raise NoSuchChoice(f"No image has the id {number}. {_WRITE}")
    return given if isinstance(given, ImageId) else int(number)
