"""Diffusion Toolkit Loader: the CONDITIONING of an image that the library remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from .host import library_fingerprint, names_missing_requirements, open_library
from .types import CATEGORY, library_input, library_name_input

if TYPE_CHECKING:
    from .recall import Recalled

BOTH, CLIP_L_ONLY, CLIP_G_ONLY = "both", "CLIP-L only", "CLIP-G only"


class Loader(io.ComfyNode):
    """Exact where the token states are stored, re-encoded where a CLIP is connected, else an approximation, said so."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitLoader",
            display_name="Diffusion Toolkit Loader",
            category=CATEGORY,
            description="Gives back the SDXL CONDITIONING of a stored image, positive and negative, without running a "
            "text encoder where the library kept the token states.",
            search_aliases=["load conditioning", "recall prompt", "conditioning from image", "stored embedding"],
            has_intermediate_output=True,
            inputs=[
                io.Int.Input(
                    "image_id",
                    default=1,
                    min=1,
                    max=2**53 - 1,
                    tooltip="The image's id in the library: connect a search node's image_id.",
                ),
                library_name_input(),
                io.Combo.Input(
                    "vectors",
                    options=[BOTH, CLIP_L_ONLY, CLIP_G_ONLY],
                    default=BOTH,
                    tooltip="Which half of SDXL's conditioning to keep; the other is zero. With CLIP-L only, the pooled "
                    "output is zero too, since it is CLIP-G's.",
                ),
                library_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Optional. Chooses the encoder: what the library stored of this very CLIP, else the stored "
                    "text is encoded with it. Without it: the states of the encoder that was last indexed with.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", tooltip="The conditioning of the prompt."),
                io.Conditioning.Output(
                    "negative", tooltip="The conditioning of the negative prompt; of the empty text where none is known."
                ),
                io.String.Output("prompt", tooltip="The prompt as text."),
                io.String.Output("negative_prompt", tooltip="The negative prompt as text; empty where none is known."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, library_name: str | None = None, **inputs) -> str:
        return library_fingerprint(library_name or "default")

    @classmethod
    @names_missing_requirements
    def execute(
        cls, image_id: int, library_name: str, vectors: str, library: str | None = None, clip=None
    ) -> io.NodeOutput:
        from .. import db
        from .recall import Recall

        opened = open_library(library_name, library)
        with opened.connection() as connection:
            [image] = db.get_images(connection, [image_id])
            recall = Recall(connection, clip)
            positive = recall.text(image.prompt_id, f"image {image_id} has no stored prompt")
            negative = recall.text(image.negative_id)
        lines = [
            f"Image {image_id}",
            f"positive: {positive.source}" + (" (joined from several texts)" if image.prompt_joined else ""),
            f"negative: {negative.source}"
            + (" (joined from several texts)" if image.negative_joined else "")
            + (" (none known: the empty text)" if image.negative_id is None else ""),
        ]
        return io.NodeOutput(
            conditioning(positive, vectors),
            conditioning(negative, vectors),
            image.prompt or "",
            image.negative or "",
            ui={"text": ["\n".join(lines)]},
        )


def conditioning(recalled: Recalled, vectors: str) -> list:
    """ComfyUI's CONDITIONING: `[[states [1, T, 2048], {"pooled_output": [1, 1280]}]]`, float32 as CLIPTextEncode gives it."""
    import torch

    states = torch.from_numpy(recalled.states).float().unsqueeze(0)  # [1, T, 768 of CLIP-L + 1280 of CLIP-G]
    pooled = torch.from_numpy(recalled.pooled).float().unsqueeze(0)  # [1, 1280]
    if vectors == CLIP_L_ONLY:
        states[..., 768:] = 0
        pooled.zero_()
    elif vectors == CLIP_G_ONLY:
        states[..., :768] = 0
    return [[states, {"pooled_output": pooled}]]
