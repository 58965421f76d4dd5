"""Library Status: what a library holds, how healthy it is, and what to do about each problem."""

from __future__ import annotations

from comfy_api.v0_0_2 import io

from ..host import fresh_fingerprint, names_missing_requirements, open_library
from ..indexing.watch import watcher
from ..types import CATEGORY, Library, library_input, library_name_input


class LibraryStatus(io.ComfyNode):
    """Runs each time it is queued: a library changes outside the graph too."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitLibraryStatus",
            display_name="Library Status",
            category=CATEGORY,
            description="Shows what a library holds, how complete its vectors are, its indexes, encoders, sizes and versions, and "
            "what to do about each problem found.",
            search_aliases=["library health", "database status", "index health", "diffusion toolkit"],
            is_output_node=True,
            inputs=[library_name_input(), library_input()],
            outputs=[
                Library.Output("library", tooltip="The library, for nodes that shall run after this one."),
                io.String.Output("report", tooltip="What is shown on the node."),
                io.Int.Output("problems", tooltip="How many problems were found."),
                io.Int.Output("images", tooltip="Images in the whole library."),
                io.String.Output("json", tooltip="The same for programs, as JSON."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return fresh_fingerprint()

    @classmethod
    @names_missing_requirements
    def execute(cls, library_name: str, library: str | None = None) -> io.NodeOutput:
        import json

        from .status_report import read_status, status_record, status_text

        opened = open_library(library_name, library)
        status = read_status(opened)
        text, record = status_text(status), status_record(status)
        record["watched"] = watcher().folders(opened.name)
        if watched := record["watched"]:
            text += f"\nWatched by Index Folder: {', '.join(watched)}."
        return io.NodeOutput(
            opened.name, text, len(status.problems), status.images, json.dumps(record), ui={"text": [text], "status": [record]}
        )
