"""What the nodes that look at a whole library share: which images they look at, pictures of what they found, a report in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from .hit_records import path_of, short_prompt
from .host import ReadableFiles
from .output_files import new_place
from .pictures import drawn, picture_of
from .types import Filter as FilterLink
from .types import library_input, library_name_input

if TYPE_CHECKING:
    import torch

    from ..db import Connection, Filter, Library


@dataclass(frozen=True)
class Pictures:
    """Stored images with their pixels: entry i of each list belongs to the same one."""

    tensors: list[torch.Tensor]  # of [1, H, W, 3] in 0..1
    paths: list[str]
    prompts: list[str]
    shown: list[dict[str, str]]  # for the front end
    lines: list[str]  # '#12  a red fox'


def library_inputs() -> list[io.Input]:
    """Which images of which library."""
    return [
        library_name_input(),
        library_input(),
        io.String.Input(
            "filter_text",
            default="",
            optional=True,
            tooltip="Only images that pass, such as: folder:2025 rating:>=3 -label:draft. Empty: all. See Filter Images.",
        ),
        FilterLink.Input("filter", optional=True, tooltip="From Filter Images: only images that pass it, and filter_text too."),
    ]


def none_passes(connection: Connection, chosen: Filter | None) -> str:
    """Why there is nothing to look at, where no image passes the filter; '' where one does."""
    from .. import db

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


def load_pictures(library: Library, ids: Sequence[int]) -> Pictures:
    """The pictures of these images, at their own sizes; of a file that is gone plain grey, and a note in its line."""
    from .. import db

    if not ids:
        return Pictures([], [], [], [], [])
    with library.connection() as connection:
        images = db.get_images(connection, ids)
    loaded, readable = Pictures([], [], [], [], []), ReadableFiles()
    for image in images:
        file, note = readable.of(image)
        tensor, note = picture_of(image, file, note)
        loaded.tensors.append(tensor)
        loaded.paths.append(path_of(image, file))
        loaded.prompts.append(image.prompt or "")
        loaded.shown.append(drawn(tensor, file))
        loaded.lines.append(f"#{image.id}  {short_prompt(image)}" + (f"  [{note}]" if note else ""))
    return loaded


def or_nothing(values: Any) -> Any:
    """An output; where it is empty, what quietly keeps the nodes after it from running, which would fail for lack of a value."""
    from comfy_execution.graph_utils import ExecutionBlocker

    return values or ExecutionBlocker(None)


def report_place(save_report_as: str) -> Path | None:
    """The file that a report would be written into now, None for an empty name: asked before the work too, so that a bad one is told at once."""
    return new_place(save_report_as, ".json", "save_report_as") if save_report_as.strip() else None


def save_report(save_report_as: str, content: dict[str, Any]) -> str:
    """Write `content` as `report_place` says; the path, '' where there is none."""
    file = report_place(save_report_as)
    if file is None:
        return ""
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    return str(file)
