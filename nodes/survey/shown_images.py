"""What the nodes that look at a whole library share: which images they look at, pictures of what they found, a report in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..host import ReadableFiles
from ..output_files import new_place
from ..pictures import check_memory, drawn, picture_of
from ..stored_images import image_line, path_of
from ..types import filter_inputs, library_input, library_name_input

if TYPE_CHECKING:
    import torch

    from ...db import Connection, Filter, Library

_REMOVED = (64, 64)  # height and width of the picture of an image that is no more


@dataclass(frozen=True)
class Pictures:
    """Stored images with their pixels: entry i of each list belongs to the same one."""

    tensors: list[torch.Tensor]  # of [1, H, W, 3] in 0..1
    paths: list[str]
    prompts: list[str]
    shown: list[dict[str, str]]  # for the front end
    lines: list[str]  # '#12  a red fox'

    def halves(self) -> tuple[Pictures, Pictures]:
        middle = len(self.lines) // 2
        columns = [getattr(self, column.name) for column in fields(self)]
        return Pictures(*(column[:middle] for column in columns)), Pictures(*(column[middle:] for column in columns))


def library_inputs() -> list[io.Input]:
    """Which images of which library."""
    return [library_name_input(), library_input(), *filter_inputs()]


def none_passes(connection: Connection, chosen: Filter | None) -> str:
    """Why there is nothing to look at, where no image passes the filter; '' where one does."""
    from ... import db

    if not chosen or db.count_images(connection, chosen):
        return ""
    text = f" ({chosen.text})" if chosen.text else ""
    return f"No image passes the filter{text}. {db.why_none_pass(connection, chosen) or 'Loosen the filter.'}"


def report_input(default: str) -> io.Input:
    """Where to write what was found, in full."""
    return io.String.Input(
        "save_report_as",
        default="",
        tooltip=f"Writes all of it as JSON into ComfyUI's output folder, under this name and a number, such as {default}. Empty: no file.",
    )


def load_pictures(library: Library, ids: Sequence[int], widget: str, asked: int) -> Pictures:
    """The pictures of these images, at their own sizes; of a file that is gone plain grey, and a note in its line. So too of an image
    that was removed from the library after it was found, whose size nobody knows any more. An image that is named twice is held once.
    `widget` and `asked`: what to lower where they take too much memory, as for `check_memory`.
    """
    import torch

    from ... import db

    if not ids:
        return Pictures([], [], [], [], [])
    with library.connection() as connection:
        images = {image.id: image for image in db.get_images(connection, ids, gone_ones=True)}
    check_memory(images.values(), widget, asked)
    rows, readable = {}, ReadableFiles()
    for image in images.values():
        file, note = readable.of(image)
        tensor, note = picture_of(image, file, note)
        rows[image.id] = tensor, path_of(image, file), image.prompt or "", drawn(tensor, file), image_line(image, note)
    if removed := set(ids) - rows.keys():
        grey = torch.full((1, *_REMOVED, 3), 0.5)
        rows |= {id_: (grey, "", "", drawn(grey, None), f"#{id_}  [it was removed from the library meanwhile]") for id_ in removed}
    return Pictures(*map(list, zip(*(rows[id_] for id_ in ids))))


def report_place(save_report_as: str) -> Path | None:
    """The file that a report would be written into now, None for an empty name: asked before the work too, so that a bad one is told at once."""
    return new_place(save_report_as, ".json", "save_report_as") if save_report_as.strip() else None


def save_report(save_report_as: str, content: dict[str, Any]) -> str:
    """Write `content` as `report_place` says; the path, '' where there is none. ExchangeError: the disk will not take it."""
    from ...embedders.exchange.whole_file import whole_file

    place = report_place(save_report_as)
    if place is None:
        return ""
    with whole_file(place) as file:
        file.write(json.dumps(content, ensure_ascii=False, indent=1).encode())
    return str(place)
