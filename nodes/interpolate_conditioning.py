"""Interpolate Conditioning: from one stored image to another in steps, as a list that runs what follows once a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from .chosen_images import chosen_ids, chosen_inputs, open_chosen
from .host import library_fingerprint, names_missing_requirements, progress_on
from .types import CONDITIONING_CATEGORY, library_input, library_name_input

if TYPE_CHECKING:
    from .links import Hits

LINEAR, SPHERICAL = "linear", "spherical"


class InterpolateConditioning(io.ComfyNode):
    """A way through two or more images, in their order."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitInterpolateConditioning",
            display_name="Interpolate Conditioning",
            category=CONDITIONING_CATEGORY,
            description="Moves from one stored image's SDXL conditioning to another's in steps, or through several images. Gives lists: what is "
            "connected runs once a step.",
            search_aliases=["morph", "travel prompts", "slerp", "lerp", "sweep", "transition", "diffusion toolkit"],
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                *chosen_inputs(purpose=", from the first to the last, through all between them"),
                io.Int.Input("steps", default=5, min=2, max=256, optional=True, tooltip="How many conditionings, the first and the last image's own among them."),
                io.Combo.Input(
                    "how",
                    options=[LINEAR, SPHERICAL],
                    default=LINEAR,
                    optional=True,
                    tooltip="linear: straight on, as ConditioningAverage; in the middle, unlike texts give shorter vectors. spherical: each token turns "
                    "at an even pace from one direction to the other and keeps its length.",
                ),
                library_name_input(),
                library_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Optional. Chooses the encoder, as in the Loader: what the library stored of this very CLIP, else the texts are "
                    "encoded with it. Without it: the encoder that was last indexed with.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", is_output_list=True, tooltip="The conditionings of the prompts, a step each."),
                io.Conditioning.Output("negative", is_output_list=True, tooltip="Those of the negative prompts, at the same steps."),
                io.Float.Output("t", is_output_list=True, tooltip="How far on the way: 0 at the first image, 1 at the last."),
                io.String.Output("label", is_output_list=True, tooltip="The step in words, for titles and file names: 12 to 15 at 0.25."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, library_name: str | None = None, **inputs) -> str:
        return library_fingerprint(library_name or "default")

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        library_name: str,
        hits: Hits | None = None,
        image_ids: Any = "",
        steps: int = 5,
        how: str = LINEAR,
        library: str | None = None,
        clip: Any = None,
    ) -> io.NodeOutput:
        from ..embedders.mixing import leg_of, path
        from .recall import Recall, conditioning
        from .recalled_images import recall_images, sources

        ids = chosen_ids(hits, image_ids)
        if len(ids) < 2:
            raise ValueError(
                f"Only image {ids[0]} is chosen. Choose two or more: write both ids into image_ids, or connect one's hits (Pick Hit has "
                "them) and the other's image_id to image_ids."
            )
        with open_chosen([hits], image_ids, library_name, library).connection() as connection:
            images = recall_images(Recall(connection, clip), ids, progress_on(cls))
        at = [step / (steps - 1) for step in range(steps)]
        made = [[conditioning(path([getattr(one, side) for one in images], t, how == SPHERICAL)) for t in at] for side in ("positive", "negative")]
        labels = [f"{ids[leg]} to {ids[leg + 1]} at {within:.2f}" for leg, within in (leg_of(len(ids), t) for t in at)]
        heading = f"{steps} steps, {how}, " + (f"from {images[0].line}\nto {images[-1].line}" if len(ids) == 2 else f"through {len(ids)} images:")
        lines = [one.line for one in images] if len(ids) > 2 else []
        return io.NodeOutput(*made, at, labels, ui={"text": ["\n".join([heading, *lines[:12], *sources(images)])]})
