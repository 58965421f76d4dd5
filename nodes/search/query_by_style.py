"""Query by Style: prompts as SDXL's own text encoders understand them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements
from ..links import KINDS, Query, QueryPart
from ..stored_images import in_short
from ..types import QUERY_CATEGORY, query_output

if TYPE_CHECKING:
    from ...embedders.models.clip_text import SDXLTextEncoder

STYLES = {"both": ("clip_l", "clip_g"), "CLIP-L only": ("clip_l",), "CLIP-G only": ("clip_g",)}


def style_parts(vectors: list[tuple[str, Any, str | None, str]], label: Callable[[str], str]) -> tuple[QueryPart, ...]:
    """One part for each (kind, vector, fingerprint, model), which share a weight of 1; its label is that of the kind."""
    return tuple(
        QueryPart(kind, vector, fingerprint, model, weight=1 / len(vectors), label=label(kind)) for kind, vector, fingerprint, model in vectors
    )


def style_query(encoder: SDXLTextEncoder, text: str, kinds: tuple[str, ...]) -> Query:
    """The query of a prompt in the words of SDXL's CLIP: its pooled CLIP-L and CLIP-G vectors."""
    from ...db import clean_text

    text = clean_text(text)
    encoded = encoder.encode([(text, text)])
    made = {
        "clip_l": (encoded.clip_l[0], encoder.clip_l_fingerprint),
        "clip_g": (encoded.clip_g[0], encoder.clip_g_fingerprint),
    }
    return Query(style_parts([(kind, *made[kind], encoder.name) for kind in kinds], lambda kind: f"style of '{in_short(text)}' ({KINDS[kind]})"))


class QueryByStyle(io.ComfyNode):
    """One ingredient of a search; Search mixes up to five."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitQueryByStyle",
            display_name="Query by Style",
            category=QUERY_CATEGORY,
            description="Asks for images whose prompts are near to this one for SDXL itself, by its CLIP-L and CLIP-G: artists, "
            "media and tags weigh more there than in plain meaning. Connect it to Search.",
            search_aliases=["sdxl style", "clip_l", "clip_g", "style search", "diffusion toolkit"],
            inputs=[
                io.Clip.Input("clip", tooltip="The SDXL CLIP that Index Folder used, with the same LoRAs if there were any."),
                io.String.Input(
                    "text", multiline=True, default="", tooltip="A prompt, as you would give it to SDXL: oil painting, Monet, soft light."
                ),
                io.Combo.Input(
                    "vectors",
                    options=list(STYLES),
                    default="both",
                    tooltip="CLIP-L, CLIP-G, or the mean of what both say.",
                ),
            ],
            outputs=[query_output()],
        )

    @classmethod
    @names_missing_requirements
    def execute(cls, clip, text: str, vectors: str) -> io.NodeOutput:
        if not text.strip():
            raise ValueError("The text is empty. Write a prompt, such as: oil painting, Monet, soft light.")
        from ...embedders.models.clip_text import SDXLTextEncoder

        return io.NodeOutput(style_query(SDXLTextEncoder(clip), text, STYLES[vectors]))
