"""Query by Vector: a vector that something else made."""

from __future__ import annotations

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements
from ..links import KINDS, Query, QueryPart
from ..types import QUERY_CATEGORY, query_output

BY_LABEL = {label: kind for kind, label in KINDS.items()}


class QueryByVector(io.ComfyNode):
    """One ingredient of a search; Search mixes up to five."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitQueryByVector",
            display_name="Query by Vector",
            category=QUERY_CATEGORY,
            description="Asks with a vector of your own, such as the centre of a cluster or what an HTTP client made. Connect it "
            "to Search.",
            search_aliases=["raw vector", "embedding query", "diffusion toolkit"],
            inputs=[
                io.String.Input(
                    "vector",
                    multiline=True,
                    default="",
                    tooltip="Its numbers as a JSON list: [0.12, -0.5, ...], or parted by commas or spaces. Its length does not matter, only its direction.",
                ),
                io.Combo.Input(
                    "kind",
                    options=list(BY_LABEL),
                    default="image",
                    tooltip="Which vectors of the images it is compared with: 1024 numbers for prompt, negative prompt and image, 768 "
                    "for CLIP-L, 1280 for CLIP-G. It must come from the model that the library was indexed with last.",
                ),
            ],
            outputs=[query_output()],
        )

    @classmethod
    @names_missing_requirements
    def execute(cls, vector: str, kind: str) -> io.NodeOutput:
        from .vectors import read_vector

        numbers = read_vector(vector)
        label = f"a vector of {len(numbers)}"
        return io.NodeOutput(Query((QueryPart(BY_LABEL[kind], numbers, model="a vector of your own", label=label),)))
