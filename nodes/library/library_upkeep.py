"""Library Upkeep: verify a library against its files and itself, repair what needs no model, remove what is gone."""

from __future__ import annotations

from comfy_api.v0_0_2 import io

from ..host import fresh_fingerprint, names_missing_requirements, open_library, progress_on, show_text
from ..types import CATEGORY, Library, library_input, library_name_input
from ..wording import some
from .upkeep_actions import PRUNE, REPAIR, VERIFY, WOULD_PRUNE


class LibraryUpkeep(io.ComfyNode):
    """Runs each time it is queued: folders and libraries change outside the graph."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitLibraryUpkeep",
            display_name="Library Upkeep",
            category=CATEGORY,
            description="Looks at every file that a library knows and at everything it keeps: verifies it, repairs what needs no model, or "
            "removes what is gone from the disk. No image file is opened, changed or deleted.",
            search_aliases=["prune library", "verify library", "repair library", "missing files", "clean up database", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                library_name_input(),
                io.Combo.Input(
                    "action",
                    options=[VERIFY, REPAIR, WOULD_PRUNE, PRUNE],
                    default=VERIFY,
                    tooltip=f"{VERIFY}: look, change nothing. {REPAIR}: also mend what needs no model, and say what Index Folder has "
                    f"to do. {WOULD_PRUNE}: name the images that have no file any more, with what you gave them, and the files that "
                    f"were only moved; change nothing. {PRUNE}: remove these from the library, for good; of what was moved the former "
                    "place alone.",
                ),
                io.Boolean.Input(
                    "thorough",
                    default=True,
                    tooltip="Also read every vector and every token state: about a second for each GB of them. prune does without.",
                ),
                io.Boolean.Input(
                    "even_if_all_are_gone",
                    default=False,
                    tooltip="Let files count as gone where a folder is there and empty, or a root has none of its known files left, though "
                    "it may be a drive that is not mounted. Turn it on when you have really deleted them all.",
                ),
                io.Boolean.Input(
                    "unused_texts",
                    default=False,
                    tooltip="prune also removes texts that no image has any more, with their vectors and token states. Kept, they spare "
                    "their encoding when an image brings them back.",
                ),
                library_input(),
            ],
            outputs=[
                Library.Output("library", tooltip="The library, for nodes that shall run after this one."),
                io.String.Output("report", tooltip="What is shown on the node."),
                io.Int.Output("problems", tooltip="How many problems there are, after repairing or pruning."),
                io.Int.Output("removed", tooltip="Images that were removed."),
                io.String.Output("json", tooltip="The same for programs, as JSON."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return fresh_fingerprint()

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        library_name: str,
        action: str,
        thorough: bool = True,
        even_if_all_are_gone: bool = False,
        unused_texts: bool = False,
        library: str | None = None,
    ) -> io.NodeOutput:
        import json

        from .upkeep import attend
        from .upkeep_report import problems, upkeep_record, upkeep_text

        opened, progress = open_library(library_name, library), progress_on(cls)
        show_text(cls, "Looking at the library")
        found, pruned = attend(opened, action, thorough, even_if_all_are_gone, unused_texts, progress)
        text, record = upkeep_text(found, action, pruned), upkeep_record(found, action, pruned)
        count = len(problems(found))
        show_text(cls, f"Done: {some(count, 'problem') if count else 'no problem found'}")
        removed = pruned.gone.images + pruned.fileless if pruned is not None and action == PRUNE else 0
        return io.NodeOutput(opened.name, text, count, removed, json.dumps(record), ui={"text": [text], "upkeep": [record]})
