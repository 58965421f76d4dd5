"""Load Embeddings: what Export Embeddings or DiffusionToolkit wrote, as conditioning, image vectors and queries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..blocked import blocked
from ..host import names_missing_requirements, numbers_in_range, open_library, progress_on, show_text
from ..library_state import library_state
from ..links import KINDS
from ..types import CONDITIONING_CATEGORY, Query, library_input, library_name_input
from ..wording import some

if TYPE_CHECKING:
    from pathlib import Path

    from comfy_execution.graph_utils import ExecutionBlocker

    from ...embedders.exchange import Embeddings, Source
    from .imported_images import Imported

MOST = 256  # images at once: their conditioning takes 1.3 MB each
_TOLD = 30  # images that are told of on the node
_PROMPT = 120  # characters of a prompt there
_WHAT = "a file that Export Embeddings wrote"


class LoadEmbeddings(io.ComfyNode):
    """Nothing of a file is used before it was checked. A library is asked only where the file alone is not enough."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitLoadEmbeddings",
            display_name="Load Embeddings",
            category=CONDITIONING_CATEGORY,
            description="Reads a file of Export Embeddings (safetensors, Parquet) or DiffusionToolkit's JSON: gives SDXL CONDITIONING, "
            "CLIP_VISION_OUTPUT, and a query for each vector, so that a library can be searched with the file. Not for textual inversions, "
            "which ComfyUI calls embeddings too: those go into models/embeddings, and into a prompt as embedding:name.",
            search_aliases=["import embeddings", "load vectors", "load conditioning", "safetensors", "json", "parquet", "diffusion toolkit"],
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.String.Input(
                    "file",
                    default="",
                    tooltip="A file, or a folder of files such as image_12_embeddings.json, below ComfyUI's output or input or one of the "
                    "administrator's roots: embeddings/export_00001_.safetensors. Export Embeddings' path can be connected.",
                ),
                io.Int.Input(
                    "first",
                    default=1,
                    min=1,
                    max=2**31 - 1,
                    tooltip="Which of its images comes first, counted from 1. A file keeps the order of the export; a folder is read by the "
                    "images' ids.",
                ),
                io.Int.Input("count", default=1, min=1, max=MOST, tooltip="The most images to load; the outputs are lists of them."),
                library_name_input(),
                library_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Optional. Chooses the encoder: the file's token states if they are of this very CLIP, else the file's prompt is "
                    "encoded with it. Without it: the file's own token states, or what this library and the file's vectors give, which is mostly "
                    "an approximation.",
                ),
            ],
            outputs=_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None, first: int | None = None, count: int | None = None, **inputs: Any) -> str:
        """A library that is not needed is not opened, and does not run the node again; nothing is seen of a file that is connected."""
        if file is None:
            return library_state(**inputs)
        state = _state(file)
        return state if _is_enough(file, first, count) else f"{library_state(**inputs)} {state}"

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(cls, file: str, first: int, count: int, library_name: str, library: str | None = None, clip: Any = None) -> io.NodeOutput:
        from ...embedders.exchange import ExchangeError
        from ..files import find_place
        from .imported_images import Imported

        place = find_place(file, _WHAT)
        source = _opened(place)
        if first > source.count:
            raise ExchangeError(f"{source.name} holds {some(source.count, 'image')}, so there is none with the number {first}. Lower first.")
        progress, rows, lines = progress_on(cls), [], []
        imported = Imported(lambda: open_library(library_name, library), clip)
        last = min(first + count - 1, source.count)
        for number in range(first, last + 1):
            progress("Loading", number - first, last - first + 1)
            [record] = source.read(number - 1, 1)
            values, told = _values(record, imported, source.name)
            rows.append(values)
            lines.append(told)
        heading = f"Image {first} of {source.count}" if last == first else f"Images {first} to {last} of {source.count}"
        text = [f"{heading} in {place}", *lines[:_TOLD], *([f"... and {some(len(lines) - _TOLD, 'image')} more"] * (len(lines) > _TOLD))]
        text += [f"Note: {note}." for note in source.notes[:_TOLD]]
        show_text(cls, f"Done: {heading}")
        return io.NodeOutput(*(list(column) for column in zip(*rows)), ui={"text": ["\n".join(text)]})


def _outputs() -> list[io.Output]:
    """Saved workflows know outputs by their place: append only."""

    def listed(kind: Any, name: str, tooltip: str) -> io.Output:
        return kind.Output(name, tooltip=tooltip, is_output_list=True)

    lacking = "; where the file has none, what follows is not run, and says why"
    return [
        listed(io.Conditioning, "positive", f"The conditioning of the prompt{lacking}."),
        listed(io.Conditioning, "negative", f"The conditioning of the negative prompt; of the empty text where none is known{lacking}."),
        listed(io.String, "prompt", "The prompt as text; empty where the file has none."),
        listed(io.String, "negative_prompt", "The negative prompt as text; empty where the file has none."),
        listed(io.ClipVisionOutput, "clip_vision_output", f"The image vector, for unCLIPConditioning: image_embeds alone, no hidden states{lacking}."),
        *(listed(Query, f"query_{name}", f"For Search: like the {label} vector{lacking}.") for name, label in KINDS.items()),
        listed(io.Int, "image_id", "The ids that the images had where they were exported. Another library has its own."),
        listed(io.Int, "width", "The widths that were asked of the sampler, else the pictures' own; 1024 where none is known."),
        listed(io.Int, "height", "The heights."),
        listed(io.String, "about", "All that the file tells of the image beside its vectors, as JSON."),
    ]


def _values(record: Embeddings, imported: Imported, file: str) -> tuple[list[Any], str]:
    """A value for each output, and a line for the person. What the file lacks blocks the nodes that would need it."""
    import torch

    from ...embedders.conditioning.image_vectors import StoredVision
    from .imported_images import query
    from .recall import NothingStored, conditioning

    there = [label for name, label in KINDS.items() if name in record.vectors]
    instead = f"Use what it has ({', '.join(there)})" if there else "It has none at all: use its text"

    def lacking(what: str) -> ExecutionBlocker:
        return blocked(f"Image {record.image_id} in {file} has no {what} vector. {instead}, or another image, or a file in a format that keeps it.")

    made, told = [], []
    for side in ("positive", "negative"):
        try:
            recalled = imported.conditioning(record, side)
        except NothingStored as error:
            made.append(blocked(str(error)))
            told.append(f"    {side}: none. {error}")
        else:
            made.append(conditioning(recalled))
            told.append(f"    {side}: {recalled.source}")
    vector = record.vectors.get("image")
    vision = StoredVision(torch.from_numpy(vector.copy())[None]) if vector is not None else lacking("image")
    queries = [query(record, name, file) or lacking(label) for name, label in KINDS.items()]
    about = record.about
    texts = [about.get(name) if isinstance(about.get(name), str) else "" for name in ("prompt", "negative_prompt")]
    size = [_size(about, name) for name in ("width", "height")]
    told.append(f"    vectors: {', '.join(KINDS.get(name, name) for name in record.vectors) or 'none'}{_made_by(record)}")
    if absent := [label for name, label in KINDS.items() if name not in record.vectors]:
        told.append(f"    not in the file, so what needs it is not run: the vectors {', '.join(absent)}")
    line = f"#{record.image_id}  {' '.join(texts[0].split())[:_PROMPT] or '(no prompt in the file)'}"
    values = [*made, *texts, vision, *queries, record.image_id, *size, json.dumps(about, ensure_ascii=False, default=str)]
    return values, "\n".join([line, *told])


def _made_by(record: Embeddings) -> str:
    """Which encoders the file says made its vectors."""
    from ...db import told_encoder

    told = dict.fromkeys(told_encoder(encoder.name, encoder.fingerprint) for family, encoder in record.made_by.items() if family != "token_states")
    return f"; by {', '.join(told)}" if told else "; the file does not tell by which encoders: they are taken for this library's own"


def _size(about: Any, name: str) -> int:
    for value in (about.get(f"asked_{name}"), about.get(name)):
        if isinstance(value, int) and 0 < value <= 2**20:
            return value
    return 1024


def _opened(place: Path) -> Source:
    """The file or folder, none of whose files lies outside the roots, or is a pipe that would be waited for."""
    from ...embedders.exchange import open_source
    from ..files import inside_roots, regular

    if not place.is_dir():
        regular(place, _WHAT)
    return open_source(place, lambda one: inside_roots(one, _WHAT))


def _is_enough(file: str, first: int | None, count: int | None) -> bool:
    """Whether the wanted images have their own token states, so that no library is asked; of a connected number, all of the file."""
    from ..files import find_place

    place = find_place(file)
    if place.suffix.lower() in (".json", ".parquet"):
        return False
    source = _opened(place)
    return source.has_states((first or 1) - 1, count if first and count else source.count)


def _state(file: str) -> str:
    """Changes when the file does, or a file of the folder."""
    from ..files import find_place

    place = find_place(file)  # where this raises, ComfyUI runs the node, which tells
    files: list[Path] = sorted(place.iterdir()) if place.is_dir() else [place]
    return "; ".join(f"{one} {one.stat().st_size} {one.stat().st_mtime_ns}" for one in files)
