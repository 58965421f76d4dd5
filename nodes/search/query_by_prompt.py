"""Query by Prompt: what images' prompts, or negative prompts, shall mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements
from ..links import Query, QueryPart
from ..stored_images import in_short
from ..types import QUERY_CATEGORY, TextEmbedder, query_output

if TYPE_CHECKING:
    from ...embedders.models.text_embedder import TextEmbedder as Embedder

KINDS = {"prompt": "prompt", "negative prompt": "negative"}


def prompt_query(embedder: Embedder, text: str, kind: str) -> Query:
    """The query of words, for prompts or negative prompts. They are cleaned as stored texts are: no tokenizer takes half an emoji."""
    from ...db import clean_text

    text = clean_text(text)
    words = f"'{in_short(text)}'"
    label = words if kind == "prompt" else f"negative {words}"
    return Query((QueryPart(kind, embedder.encode_query(text), embedder.fingerprint, embedder.name, label=label),))


class QueryByPrompt(io.ComfyNode):
    """One ingredient of a search; Search mixes up to five."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitQueryByPrompt",
            display_name="Query by Prompt",
            category=QUERY_CATEGORY,
            description="Asks for images whose prompt, or whose negative prompt, means what you write. Connect it to Search.",
            search_aliases=["semantic query", "negative prompt search", "text query", "diffusion toolkit"],
            inputs=[
                TextEmbedder.Input("text_embedder", tooltip="From Load Text Embedder: the same model as Index Folder used."),
                io.String.Input("text", multiline=True, default="", tooltip="In plain words: a shark under water."),
                io.Combo.Input(
                    "compare_with",
                    options=list(KINDS),
                    default="prompt",
                    tooltip="Which text of the images it is compared with.",
                ),
            ],
            outputs=[query_output()],
        )

    @classmethod
    @names_missing_requirements
    def execute(cls, text_embedder, text: str, compare_with: str) -> io.NodeOutput:
        if not text.strip():
            raise ValueError("The text is empty. Write what the prompts shall be about, such as: a shark under water.")
        return io.NodeOutput(prompt_query(text_embedder, text, KINDS[compare_with]))
