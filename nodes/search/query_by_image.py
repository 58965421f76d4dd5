"""Query by Image: what images shall look like, shown by one or several pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements
from ..links import Query, QueryPart
from ..types import QUERY_CATEGORY, query_output

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ...embedders.models.clip_vision import ImageEncoder


def image_query(encoder: ImageEncoder, images: Sequence[torch.Tensor | np.ndarray], label: str) -> Query:
    """The query of pictures, each [H, W, 3] as `ImageEncoder.encode` takes it; of several, the mean of their directions."""
    from .vectors import mean_direction

    vectors = encoder.encode(list(images))  # [n, 1024]
    terms = tuple((1.0, vector) for vector in vectors) if len(vectors) > 1 else ()
    return Query((QueryPart("image", mean_direction(vectors), encoder.fingerprint, encoder.name, label=label, terms=terms),))


class QueryByImage(io.ComfyNode):
    """One ingredient of a search; Search mixes up to five."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitQueryByImage",
            display_name="Query by Image",
            category=QUERY_CATEGORY,
            description="Asks for images that look like the picture you connect. Connect it to Search.",
            search_aliases=["similar images", "image query", "look alike", "diffusion toolkit"],
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="CLIP-ViT-H/14: the same model as Index Folder used."),
                io.Image.Input("image", tooltip="The picture to compare with; a batch stands for what its pictures have in common."),
            ],
            outputs=[query_output()],
        )

    @classmethod
    @names_missing_requirements
    def execute(cls, clip_vision, image) -> io.NodeOutput:
        from ...embedders.models.clip_vision import ImageEncoder

        n = len(image)
        return io.NodeOutput(image_query(ImageEncoder(clip_vision), image, "this image" if n == 1 else f"these {n} images"))
