"""Index Folder: bring the images of a folder into a library, with the vectors that the connected models make."""

from __future__ import annotations

import os
from pathlib import Path

from comfy_api.v0_0_2 import io

from ..host import (
    fresh_fingerprint,
    names_missing_requirements,
    numbers_in_range,
    open_library,
    progress_on,
    root_folder,
    root_names,
    roots,
    show_text,
    told_faults,
    told_roots,
)
from ..types import CATEGORY, Library, TextEmbedder, library_name_input
from ..wording import some
from .watch import Place


class IndexFolder(io.ComfyNode):
    """Runs each time it is queued; what has not changed costs one look at the folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitIndexFolder",
            display_name="Index Folder",
            category=CATEGORY,
            description="Remembers every image of a folder in a library: its prompt and settings, and up to five "
            "vectors made by the connected models. Queue it again whenever there are new images: only those are read.",
            search_aliases=["index images", "scan folder", "build library", "image database", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input(
                    "root",
                    options=root_names(),
                    tooltip="The folder to index: ComfyUI's output or input, or one that the administrator named in "
                    "DIFFUSION_TOOLKIT_ROOTS or in the user directory's diffusion_toolkit/config.json.",
                ),
                io.String.Input(
                    "subfolder",
                    default="",
                    tooltip="A folder below the root, such as 2025/portraits, or its whole path. Empty: the whole root.",
                ),
                io.Boolean.Input("recursive", default=True, tooltip="Also index the folders inside it."),
                io.String.Input(
                    "pattern",
                    default="",
                    tooltip="Only files whose names match, such as *.png or *cat*.webp; several are parted by a "
                    "semicolon. Empty: every image.",
                ),
                library_name_input(),
                io.Float.Input(
                    "token_state_budget",
                    default=5.0,
                    min=0.0,
                    max=100000.0,
                    step=0.5,
                    tooltip="GiB of disk for token states in the whole library. They let the Loader give back exact "
                    "CONDITIONING with no text encoder, and take about 0.25 MB for each 77 tokens. 0: keep none.",
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="An SDXL CLIP (from an SDXL checkpoint, or Load CLIP (Dual) of type sdxl): makes the CLIP-L "
                    "and CLIP-G vectors and the token states.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="CLIP-ViT-H/14 from Load CLIP Vision: makes the image vectors.",
                ),
                TextEmbedder.Input(
                    "text_embedder",
                    optional=True,
                    tooltip="From Load Text Embedder: makes the vectors of prompts and negative prompts.",
                ),
                io.String.Input(
                    "labels",
                    default="",
                    optional=True,
                    tooltip="Labels for every image of this run, also those that are known already; several are parted by "
                    "commas. Images keep the labels that they have.",
                ),
                io.String.Input(
                    "namespace",
                    default="",
                    optional=True,
                    tooltip="One of your collections, such as a project: every image of this run is moved to it. Empty: "
                    "images stay where they are.",
                ),
                io.Boolean.Input(
                    "watch",
                    default=False,
                    optional=True,
                    tooltip="Queue it once with this on, and images that ComfyUI saves in this folder are indexed as they come, "
                    "whenever its queue is empty, until this node is queued with this off or ComfyUI ends.",
                ),
                io.Int.Input(
                    "watch_after",
                    default=15,
                    min=1,
                    max=86400,
                    optional=True,
                    tooltip="Watch: for how many seconds ComfyUI's queue must have been empty before new images are indexed. "
                    "A prompt that comes meanwhile is let in after the batch at hand.",
                ),
                io.String.Input(
                    "image_list",
                    default="",
                    optional=True,
                    tooltip="A text file (.txt, .csv or .lst) that names the images to index, in the place of a folder: path,label,label2 "
                    "on each line, # before comments. Its path is below the root, or whole; paths in it are below its own folder or whole.",
                ),
            ],
            outputs=[
                Library.Output("library", tooltip="The library, for search and loader nodes that shall run after this one."),
                io.String.Output("report", tooltip="What was found, indexed and skipped, and what the library now holds."),
                io.Int.Output("added", tooltip="Images that are new in the library."),
                io.Int.Output("unchanged", tooltip="Files that were known and have not changed; they were not opened."),
                io.Int.Output("skipped", tooltip="Files that could not be read; the report names each with the reason."),
                io.Int.Output("images", tooltip="Images in the whole library."),
                io.Int.Output("texts", tooltip="Distinct texts (prompts and negative prompts) in the whole library."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return fresh_fingerprint()

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(
        cls,
        root: str,
        subfolder: str,
        recursive: bool,
        pattern: str,
        library_name: str,
        token_state_budget: float,
        clip=None,
        clip_vision=None,
        text_embedder=None,
        labels: str = "",
        namespace: str = "",
        watch: bool = False,
        watch_after: int = 15,
        image_list: str = "",
    ) -> io.NodeOutput:
        from ...embedders.models.clip_text import SDXLTextEncoder
        from ...embedders.models.clip_vision import ImageEncoder
        from ...embedders.pipeline import Encoders
        from ..definitions import node_definitions
        from .index_report import summary
        from .index_run import Job, run
        from .watched_run import WatchedRun

        image_list = image_list.strip()
        this_run = WatchedRun(Place(root, subfolder, library_name), cls.hidden.unique_id or "", watch, listed=bool(image_list))
        if this_run.is_anothers:
            return io.NodeOutput(library_name, "Watched by itself.", 0, 0, 0, 0, 0)
        folder = root_folder(root)
        over = this_run.over(folder)
        listed = _list_file(image_list, folder) if image_list else None
        show_text(cls, "Opening the library")
        library = open_library(library_name)
        encoders = Encoders(
            image=ImageEncoder(clip_vision) if clip_vision is not None else None,
            text=text_embedder,
            clip=SDXLTextEncoder(clip) if clip is not None else None,
        )
        budget = int(token_state_budget * 2**30)
        job = Job(root, folder, over.under, recursive, pattern, budget, labels, namespace, listed, over.may_be_missing)
        progress = this_run.progress(progress_on(cls))
        report, counts, text = run(library, job, encoders, node_definitions(), progress, refresh=this_run.refreshes)
        text = over.told(report, text, recursive, pattern, watch_after)
        show_text(cls, f"Done: {some(counts.images, 'image')} in the library")
        return io.NodeOutput(
            library_name,
            text,
            report.added,
            report.unchanged,
            report.skipped.total,
            counts.images,
            counts.texts,
            ui={"text": [text], "summary": [summary(report, counts)]},
        )


def _list_file(name: str, below: Path) -> Path:
    """The list of this path, whole or below the root. As every file that a graph names it lies in a root: faults quote its paths."""
    from ...embedders.folders.hidden import is_hidden
    from ...embedders.pipeline.image_list import SUFFIXES_OF_LISTS, ListError
    from ..inside import contained, resolved
    from .folders import spellings

    allowed = roots()
    files = [below / spelled for spelled in spellings(name)]
    readable = [file for file in files if contained(resolved(file, allowed.values()), allowed.values())]
    file = next(filter(os.path.isfile, readable), files[-1])
    if file.suffix.lower() not in SUFFIXES_OF_LISTS or is_hidden(file):
        endings = ", ".join(SUFFIXES_OF_LISTS)
        raise ListError(f"The image list {file} is no list by its name. Its name ends in {endings}; hidden files are not read.")
    if file not in readable:
        raise ListError(f"{told_faults()}The image list {file} lies below none of the roots: {told_roots(allowed)}. Put it beside its images.")
    return file
