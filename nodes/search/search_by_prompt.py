"""Search by Prompt: images whose prompt means what the query says."""

from __future__ import annotations

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements, numbers_in_range, open_library
from ..types import CATEGORY, TextEmbedder
from .hits import hit_inputs, hit_outputs, search_fingerprint, search_result
from .query_by_prompt import prompt_query


class SearchByPrompt(io.ComfyNode):
    """Asks the library by meaning, through the text embedder that it was indexed with."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitSearchByPrompt",
            display_name="Search by Prompt",
            category=CATEGORY,
            description="Finds the images whose prompts mean what you write, whatever the words, and returns the "
            "pictures, their prompts and the settings that made them.",
            search_aliases=["semantic search", "find images", "similar prompt", "prompt search", "diffusion toolkit"],
            is_output_node=True,
            inputs=[
                TextEmbedder.Input(
                    "text_embedder", tooltip="From Load Text Embedder: the same model as Index Folder used."
                ),
                io.String.Input(
                    "query",
                    multiline=True,
                    default="",
                    tooltip="What to look for, in plain words: a shark under water.",
                ),
                *hit_inputs(),
            ],
            outputs=hit_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return search_fingerprint(**inputs)

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(cls, text_embedder, query: str, library_name: str, library: str | None = None, **wanted) -> io.NodeOutput:
        if not query.strip():
            raise ValueError("The query is empty. Write what to look for, such as: a shark under water.")
        opened = open_library(library_name, library)
        return search_result(opened, prompt_query(text_embedder, query, "prompt").parts, **wanted)
