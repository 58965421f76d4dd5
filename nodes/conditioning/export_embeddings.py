"""Export Embeddings: the vectors and token states of stored images as files, to keep, to share, or to compute with elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..chosen_images import chosen_ids, chosen_inputs, open_chosen
from ..host import names_missing_requirements, open_library, progress_on, show_text
from ..search.asking import all_of
from ..search.hits import search_fingerprint
from ..types import CONDITIONING_CATEGORY, filter_inputs, library_input, library_name_input
from ..wording import some
from .export_formats import EACH, JSON, ONE, PARQUET, SUFFIXES, WITH_STATES, Tally, writer

if TYPE_CHECKING:
    from ... import db
    from ...db import Connection
    from ..links import Hits

CHOSEN, ALL = "the hits and image_ids", "all that pass the filter"


class ExportEmbeddings(io.ComfyNode):
    """Some images are in memory at a time, whatever their number; a file is there whole or not at all."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitExportEmbeddings",
            display_name="Export Embeddings",
            category=CONDITIONING_CATEGORY,
            description="Writes the stored vectors, token states and metadata of images into ComfyUI's output folder: as safetensors, as "
            "DiffusionToolkit's JSON, or as Parquet. Load Embeddings reads them again.",
            search_aliases=["save embeddings", "export vectors", "save conditioning", "dataset", "safetensors", "parquet", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.String.Input(
                    "save_as",
                    default="embeddings/export",
                    tooltip="The name below ComfyUI's output folder; a number follows it, so nothing is ever written over. %year%, %month% and "
                    "%day% become today's.",
                ),
                io.Combo.Input(
                    "format",
                    options=[ONE, EACH, JSON, PARQUET],
                    default=ONE,
                    tooltip="safetensors: all vectors, token states and metadata. DiffusionToolkit JSON: CLIP-L, CLIP-G and image vector and the "
                    "size, as that program writes them. Parquet: all vectors and metadata as a table; needs the package pyarrow.",
                ),
                io.Boolean.Input(
                    "token_states",
                    default=True,
                    tooltip="Into safetensors also the token states, from which Load Embeddings gives exact CONDITIONING anywhere: about "
                    "0.32 MB for each 77 tokens of a distinct text. Without them it mostly gives an approximation.",
                ),
                io.Combo.Input(
                    "images",
                    options=[CHOSEN, ALL],
                    default=CHOSEN,
                    tooltip="Which images: those that are connected or written below; or all of the library that pass filter and "
                    "filter_text, which with no filter is the whole library.",
                ),
                library_name_input(),
                library_input(),
                *chosen_inputs(),
                *filter_inputs(also=f"Heard with '{ALL}' alone. "),
            ],
            outputs=[
                io.String.Output("path", tooltip="The file that was written, or the folder of the files, which Load Embeddings reads by id."),
                io.Int.Output("count", tooltip="How many images are in it."),
                io.String.Output("report", tooltip="What was written, what is missing, and which encoders made it."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> str:
        return search_fingerprint(**inputs)

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        save_as: str,
        format: str,
        token_states: bool,
        images: str,
        library_name: str,
        library: str | None = None,
        hits: Hits | None = None,
        image_ids: Any = "",
        filter_text: str = "",
        filter: db.Filter | None = None,
    ) -> io.NodeOutput:
        from ... import db
        from ..output_files import new_place
        from .exported_images import encoders_told, exported

        place = new_place(save_as, SUFFIXES[format], "save_as")
        opened = open_chosen([hits], image_ids, library_name, library) if images == CHOSEN else open_library(library_name, library)
        progress, tally, with_states = progress_on(cls), Tally(), token_states and format in WITH_STATES
        with opened.connection() as connection:
            db.keep_still(connection)  # the library may be written meanwhile
            wanted = None if images == CHOSEN else all_of(filter, filter_text)
            ids = chosen_ids(hits, image_ids) if images == CHOSEN else _all(connection, wanted)
            note = db.unknown_names(connection, wanted)
            encoders = db.active_encoders(connection)
            with writer(format, place, len(ids), encoders_told(encoders)) as add:
                for done, (image, record) in enumerate(exported(connection, ids, encoders, with_states, tally.tell)):
                    progress("Exporting", done, len(ids))
                    add(image, record)
                    tally.add(record)
        written = f"{some(len(ids), 'image')} of {opened.name!r} to {place} ({_size(place)})"
        idle = not_heard(images, hits, image_ids, filter_text, filter)
        text = "\n".join([written, *idle, *([note] if note else []), *tally.lines(format, encoders, token_states)])
        show_text(cls, f"Done: {some(len(ids), 'image')}")
        return io.NodeOutput(str(place), len(ids), text, ui={"text": [text]})


def not_heard(images: str, hits: Hits | None, image_ids: Any, filter_text: str, filter: db.Filter | None) -> list[str]:
    """A line that names what is connected or written, and chooses nothing."""
    from .recalled_images import given

    if images == ALL:
        idle = "hits and image_ids" if given(hits, image_ids) else ""
    else:
        idle = "filter and filter_text" if filter or filter_text.strip() else ""
    return [f"NOT HEARD: {idle}, since images is '{images}'"] if idle else []


def _all(connection: Connection, wanted: db.Filter | None) -> list[int]:
    """Ids of what passes, in order; LibraryError where nothing does."""
    from ... import db

    ids = sorted(db.list_images(connection, wanted, k=2**31))
    if not ids:
        passing = f" that pass {wanted.text}" if wanted else ""
        helps = "Loosen the filter." if wanted else "Run Index Folder."
        raise db.LibraryError(f"There are no images{passing} to export. {db.why_none_pass(connection, wanted) or helps}")
    return ids


def _size(place: Path) -> str:
    files = [place] if place.is_file() else list(place.iterdir())
    return f"{sum(file.stat().st_size for file in files) / 1e6:.2f} MB"
