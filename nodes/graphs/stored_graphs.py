"""The graphs that stored images were made by, fit to be opened or queued again, and as files in the output folder."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...db import Connection, StoredImage, get_images, stored_pieces
from ...embedders.metadata import Pieces
from ...embedders.metadata.comfyui import graphs_in
from ...embedders.metadata.records import NodeDefinitions
from ...embedders.workflow import WorkflowError, to_api
from .saved_values import link_of

Graph = dict[str, dict[str, Any]]
MAX_DEPTH = 200  # of lists and objects in each other; people's graphs have a dozen. Python reads more than it can copy and write


class NoGraph(ValueError):
    """An image, or a file, has no graph that could be given back or filled; the message says what to do."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


@dataclass(frozen=True)
class StoredGraphs:
    """What an image's file holds of ComfyUI's; None for what it does not. `note` is empty, or why there is no prompt."""

    image: StoredImage
    prompt: Graph | None  # API format, as `POST /prompt` takes it
    workflow: dict[str, Any] | None  # as the page saves it
    note: str = ""


def stored_graphs(connection: Connection, ids: Sequence[int], definitions: NodeDefinitions) -> list[StoredGraphs]:
    """The graphs of these images. One that was saved as a workflow only is converted, where this ComfyUI has all of its nodes."""
    images = get_images(connection, ids)
    pieces = stored_pieces(connection, ids)
    return [graphs_of(image, Pieces(pieces[image.id].metadata, pieces[image.id].places), definitions) for image in images]


def graphs_of(image: StoredImage, pieces: Pieces, definitions: NodeDefinitions) -> StoredGraphs:
    """The graphs in what an image's file carried."""
    prompt, workflow = graphs_in(pieces)
    try:
        workflow = _plain(workflow)
        if prompt is not None:
            return StoredGraphs(image, queueable(prompt), workflow)
    except NoGraph as error:
        return StoredGraphs(image, None, None, f"Image {image.id} has a graph that can't be given back: {error}")
    if workflow is None:
        made_by = f"{image.generator} made it" if image.generator else "nothing tells what made it"
        return StoredGraphs(image, None, None, f"Image {image.id} has no graph of ComfyUI: {made_by}")
    try:
        return StoredGraphs(image, to_api(workflow, definitions), workflow)
    except WorkflowError as error:
        return StoredGraphs(image, None, workflow, f"Image {image.id} has a workflow that can't be queued here: {error}")


def queueable(prompt: Mapping[str, Any]) -> Graph:
    """A saved API graph as it was queued: without the fingerprints that ComfyUI leaves in it, without NaN, which no JSON has, and with
    lists told from links.

    NoGraph where it is nested deeper than any.
    """
    graph: Graph = {}
    for key, node in prompt.items():
        if isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping):
            inputs = {str(name): _plain(value) for name, value in node["inputs"].items()}
            graph[str(key)] = {"class_type": str(node.get("class_type")), "inputs": {n: _link(v) for n, v in inputs.items()}}
            if isinstance(node.get("_meta"), Mapping):
                graph[str(key)]["_meta"] = _plain(node["_meta"])
    return graph


def write_json(name: str, content: Any) -> Path:
    """Write into ComfyUI's output folder as `name`.json; with a number behind it where another content has that name.

    Raises:
        PlaceRefused: the name leads out of the output folder, or can't be a file's.
        ExchangeError: the disk will not take it, or somebody else writes it now.
    """
    from ...embedders.exchange.whole_file import whole_file
    from ..output_files import new_place

    numbered = new_place(name.strip().removesuffix(".json"), ".json", "save_as")
    stem = re.sub(r"_[0-9]+_\.json$", "", numbered.name)  # the same graph again gets no new file, so the number is ours
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, indent=1)
    number = 1
    file = numbered.with_name(f"{stem}.json")
    while os.path.exists(file) and not _holds(file, text):
        number += 1
        file = numbered.with_name(f"{stem}_{number}.json")
    if not os.path.exists(file):
        with whole_file(file) as opened:
            opened.write(text.encode("utf-8"))
    return file


def _holds(file: Path, text: str) -> bool:
    try:
        return file.is_file() and file.stat().st_size == len(text) and file.read_text(encoding="utf-8") == text
    except (OSError, ValueError):
        return False


def _plain(value: Any, left: int = MAX_DEPTH) -> Any:
    """JSON that every program reads: NaN and the infinities, which Python writes, become null. NoGraph beyond MAX_DEPTH."""
    if isinstance(value, (Mapping, list, tuple)) and not left:
        raise NoGraph(f"it is nested more than {MAX_DEPTH} levels deep, as no graph of ComfyUI's is. Choose another.")
    if isinstance(value, Mapping):
        return {str(key): _plain(one, left - 1) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one, left - 1) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _link(value: Any) -> Any:
    """As ComfyUI is given it: ids of nodes, which some programs write as numbers, are strings, and a list that is no link is wrapped,
    which ComfyUI has taken off when it saves the graph."""
    if not isinstance(value, list):
        return value
    link = link_of(value)
    return list(link) if link is not None else {"__value__": value}
