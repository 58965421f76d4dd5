"""Search by Image: images that look like the one given."""

from __future__ import annotations

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements, numbers_in_range, open_library
from ..types import CATEGORY
from .hits import hit_inputs, hit_outputs, search_fingerprint, search_result
from .query_by_image import image_query


class SearchByImage(io.ComfyNode):
    """Asks the library by looks, through the CLIP_VISION that it was indexed with."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitSearchByImage",
            display_name="Search by Image",
            category=CATEGORY,
            description="Finds the images that look most like the one you connect, and returns the pictures, their "
            "prompts and the settings that made them.",
            search_aliases=["similar images", "reverse image search", "image similarity", "diffusion toolkit"],
            is_output_node=True,
            inputs=[
                io.ClipVision.Input("clip_vision", tooltip="CLIP-ViT-H/14: the same model as Index Folder used."),
                io.Image.Input("image", tooltip="The picture to compare with; of a batch, the first one."),
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
    def execute(cls, clip_vision, image, library_name: str, library: str | None = None, **wanted) -> io.NodeOutput:
        from ...embedders.models.clip_vision import ImageEncoder

        opened = open_library(library_name, library)
        return search_result(opened, image_query(ImageEncoder(clip_vision), image[:1], "this image").parts, **wanted)
