"""Export Embeddings: the vectors and token states of stored images as files, to keep, to share, or to compute with elsewhere."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from .asking import all_of
from .chosen_images import chosen_ids, chosen_inputs, open_chosen
from .hits import search_fingerprint
from .host import names_missing_requirements, open_library, progress_on, show_text
from .types import CONDITIONING_CATEGORY, Filter, library_input, library_name_input

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..db import Connection, StoredImage
    from ..embedders.exchange import Embeddings
    from .links import Hits

ONE, EACH, JSON, PARQUET = (
    "safetensors, one file",
    "safetensors, one file for each image",
    "DiffusionToolkit JSON, one file for each image",
    "Parquet, one file",
)
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
                    tooltip="Into safetensors also the token states, from which Load Embeddings gives exact CONDITIONING: about 0.33 MB for "
                    "each distinct text. Without them it gives an approximation.",
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
                io.String.Input(
                    "filter_text",
                    default="",
                    optional=True,
                    tooltip="With 'all that pass the filter': such as folder:2025 rating:>=3. See Filter Images.",
                ),
                Filter.Input("filter", optional=True, tooltip="From Filter Images: only images that pass it, and filter_text too."),
            ],
            outputs=[
                io.String.Output("path", tooltip="The file that was written, or the folder of the files, for Load Embeddings."),
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
        filter: Any = None,
    ) -> io.NodeOutput:
        from .. import db
        from .exported_images import encoders_told, exported
        from .output_files import new_place

        suffix = {ONE: ".safetensors", PARQUET: ".parquet"}.get(format, "")
        place = new_place(save_as, suffix, "save_as")
        opened = open_chosen([hits], image_ids, library_name, library) if images == CHOSEN else open_library(library_name, library)
        progress, tally = progress_on(cls), _Tally()
        with opened.connection() as connection:
            db.keep_still(connection)  # the library may be written meanwhile
            ids = chosen_ids(hits, image_ids) if images == CHOSEN else _all(connection, all_of(filter, filter_text))
            encoders = db.active_encoders(connection)
            with _writer(format, place, len(ids), encoders_told(encoders)) as add:
                for done, (image, record) in enumerate(exported(connection, ids, encoders, token_states and format in (ONE, EACH))):
                    progress("Exporting", done, len(ids))
                    add(image, record)
                    tally.add(record)
        text = "\n".join([f"{_images(len(ids))} of {opened.name!r} to {place} ({_size(place)})", *tally.lines(format, encoders)])
        show_text(cls, f"Done: {_images(len(ids))}")
        return io.NodeOutput(str(place), len(ids), text, ui={"text": [text]})


def _all(connection: Connection, wanted: Any) -> list[int]:
    from .. import db

    ids = sorted(db.list_images(connection, wanted, k=2**31))
    if not ids:
        passing = f" that pass {wanted.text}" if wanted else ""
        raise db.LibraryError(f"There are no images{passing} to export. {db.longer_words(connection, wanted) if wanted else ''}".strip())
    return ids


class _EachAlone:
    """A file of its own for each image, in a new folder; those that are written stay when the rest is cancelled."""

    def __init__(self, write: Callable[[Path, StoredImage, Embeddings], None], folder: Path) -> None:
        self._write, self._folder = write, folder
        folder.mkdir(parents=True)

    def __call__(self, image: StoredImage, record: Embeddings) -> None:
        self._write(self._folder, image, record)


def _writer(format: str, place: Path, n: int, made_by: Any) -> Any:
    """A context manager that gives a function of (image, record)."""
    from contextlib import contextmanager
    from datetime import datetime, timezone

    from ..embedders.exchange import ParquetWriter, SafetensorsWriter, write_json

    @contextmanager
    def one_file(writer: Any) -> Any:
        with writer:
            yield lambda image, record: writer.add(record)

    def one_json(folder: Path, image: StoredImage, record: Embeddings) -> None:
        write_json(folder, record, image.width, image.height, datetime.now(timezone.utc))

    def one_safetensors(folder: Path, image: StoredImage, record: Embeddings) -> None:
        with SafetensorsWriter(folder / f"image_{image.id}.safetensors", 1, made_by) as writer:
            writer.add(record)

    if format == ONE:
        return one_file(SafetensorsWriter(place, n, made_by))
    if format == PARQUET:
        return one_file(ParquetWriter(place, made_by))
    return nullcontext(_EachAlone(one_json if format == JSON else one_safetensors, place))


class _Tally:
    """What a run has written, for the report."""

    def __init__(self) -> None:
        self.images = 0
        self.vectors: Counter[str] = Counter()
        self.sides: Counter[str] = Counter()
        self.texts: set[int | None] = set()
        self.without: list[int] = []  # ids of images without any vector

    def add(self, record: Embeddings) -> None:
        self.images += 1
        self.vectors.update(record.vectors.keys())
        self.sides.update(record.states.keys())
        self.texts.update(states.key for states in record.states.values())
        self.without += [] if record.vectors else [record.image_id]

    def lines(self, format: str, encoders: Any) -> list[str]:
        """What is in it, what is not, and by which encoders."""
        from ..embedders.exchange import VECTORS

        names = [name for name in VECTORS if format != JSON or name in ("clip_l", "clip_g", "image")]
        lines = ["Images with a vector: " + ", ".join(f"{name} {self.vectors[name]}" for name in names) + "."]
        if format in (ONE, EACH):
            missing = self.images - self.sides["positive"]
            lines.append(f"Token states: {len(self.texts)} distinct texts; {missing} images without those of their prompt.")
        else:
            lines.append("Token states: none, this format has no place for them: conditioning from it is an approximation.")
        if format == JSON:
            lines.append("This format does not tell which encoders made the vectors, and has no prompts.")
        if self.without:
            shown = ", ".join(f"#{image_id}" for image_id in self.without[:20]) + (" ..." if len(self.without) > 20 else "")
            lines.append(f"{len(self.without)} images have no vector: {shown}. Run Index Folder on them with the models connected.")
        families = dict.fromkeys(VECTORS[name][0] for name in names)
        told = [f"{family} by {encoders[family].name} [{encoders[family].fingerprint[:8]}]" for family in families if family in encoders]
        return [*lines, f"Made by: {'; '.join(told) or 'no encoder yet'}."]


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n} images"


def _size(place: Path) -> str:
    files = [place] if place.is_file() else list(place.iterdir())
    return f"{sum(file.stat().st_size for file in files) / 1e6:.2f} MB"
