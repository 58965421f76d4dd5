"""Query by Description: what pictures shall show, in words, whatever their prompts were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements
from ..links import Query, QueryPart
from ..stored_images import in_short
from ..types import QUERY_CATEGORY, DescriptionEncoder, query_output

if TYPE_CHECKING:
    from ...embedders.models.description import DescriptionEncoder as Encoder


def description_query(encoder: Encoder, text: str) -> Query:
    """The query of words for image vectors: which encoder made those, its own picture tower tells."""
    from ...db import clean_text

    text = clean_text(text)
    details = {"picture_tower": encoder.picture_tower}
    part = QueryPart("image", encoder.encode_query(text), None, encoder.name, label=f"shows '{in_short(text)}'", details=details)
    return Query((part,))


class QueryByDescription(io.ComfyNode):
    """One ingredient of a search; Search mixes up to five."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitQueryByDescription",
            display_name="Query by Description",
            category=QUERY_CATEGORY,
            description="Asks for images that show what you write, by their pixels: their prompts need not be known. Connect it to "
            "Search.",
            search_aliases=["text to image search", "clip search", "what a picture shows", "diffusion toolkit"],
            inputs=[
                DescriptionEncoder.Input(
                    "description_encoder",
                    tooltip="From Load Description Encoder: the text half of the CLIP vision model that Index Folder used.",
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    default="",
                    tooltip="What the picture shows, as a caption has it: a photo of two cats on a sofa. At most 77 tokens count.",
                ),
            ],
            outputs=[query_output()],
        )

    @classmethod
    @names_missing_requirements
    def execute(cls, description_encoder, text: str) -> io.NodeOutput:
        if not text.strip():
            raise ValueError("The text is empty. Write what the pictures shall show, such as: a photo of two cats on a sofa.")
        return io.NodeOutput(description_query(description_encoder, text))
