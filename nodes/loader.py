"""Diffusion Toolkit Loader: the CONDITIONING of images that the library remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from .chosen_images import chosen_ids, chosen_inputs, open_chosen
from .host import library_fingerprint, names_missing_requirements, progress_on
from .types import CATEGORY, library_input, library_name_input

if TYPE_CHECKING:
    from ..db import StoredImage
    from .links import Hits
    from .recall import Recalled

BOTH, CLIP_L_ONLY, CLIP_G_ONLY = "both", "CLIP-L only", "CLIP-G only"
NO_SIZES, OWN_SIZES = "none", "the image's own"


class Loader(io.ComfyNode):
    """Exact where the token states are stored, re-encoded where a CLIP is connected, else an approximation, said so."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitLoader",
            display_name="Diffusion Toolkit Loader",
            category=CATEGORY,
            description="Gives back the SDXL CONDITIONING of stored images, positive and negative, without running a "
            "text encoder where the library kept the token states.",
            search_aliases=["load conditioning", "recall prompt", "conditioning from image", "stored embedding"],
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Int.Input(
                    "image_id",
                    default=1,
                    min=1,
                    max=2**53 - 1,
                    tooltip="The image's id in the library: connect a search node's image_id. Not asked where hits or image_ids are given.",
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
                *chosen_inputs(purpose=", in place of image_id"),
                io.Combo.Input(
                    "sizes",
                    options=[NO_SIZES, OWN_SIZES],
                    default=NO_SIZES,
                    optional=True,
                    tooltip="What CLIP Text Encode (SDXL) adds: width, height, target width and target height, here those that were "
                    "asked of the image's sampler (its picture's own where none is known), and no crop. none: as CLIP Text Encode.",
                ),
            ],
            outputs=[  # lists of one where one image is loaded, which is the same as no list
                io.Conditioning.Output("positive", is_output_list=True, tooltip="The conditioning of the prompt."),
                io.Conditioning.Output(
                    "negative",
                    is_output_list=True,
                    tooltip="The conditioning of the negative prompt; of the empty text where none is known.",
                ),
                io.String.Output("prompt", is_output_list=True, tooltip="The prompt as text."),
                io.String.Output(
                    "negative_prompt", is_output_list=True, tooltip="The negative prompt as text; empty where none is known."
                ),
                io.Int.Output("loaded_id", is_output_list=True, tooltip="The ids of the images, aligned with the other lists."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, library_name: str | None = None, **inputs) -> str:
        return library_fingerprint(library_name or "default")

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        image_id: int,
        library_name: str,
        vectors: str,
        library: str | None = None,
        clip: Any = None,
        hits: Hits | None = None,
        image_ids: Any = "",
        sizes: str = NO_SIZES,
    ) -> io.NodeOutput:
        from .recall import Recall
        from .recalled_images import given, named, recall_images, sources

        opened = open_chosen([hits], image_ids, library_name, library)
        ids = chosen_ids(hits, image_ids) if given(hits, image_ids) else [image_id]
        with opened.connection() as connection:
            images = recall_images(Recall(connection, clip), ids, progress_on(cls))
        texts = {id(recalled): recalled for one in images for recalled in (one.positive, one.negative)}  # many images share one
        made = {key: half(recalled, vectors) for key, recalled in texts.items()}
        heading = f"{len(ids)} images: {named(ids)}" if len(ids) > 1 else f"Image {ids[0]}"
        return io.NodeOutput(
            [with_sizes(made[id(one.positive)], one.image, sizes) for one in images],
            [with_sizes(made[id(one.negative)], one.image, sizes) for one in images],
            [one.image.prompt or "" for one in images],
            [one.image.negative or "" for one in images],
            ids,
            ui={"text": ["\n".join([heading, *sources(images)])]},
        )


def half(recalled: Recalled, vectors: str) -> list:
    """The CONDITIONING with the other half zero, where only one is wanted."""
    from .recall import conditioning

    [[states, told]] = made = conditioning(recalled)  # [1, T, 768 of CLIP-L + 1280 of CLIP-G]
    if vectors == CLIP_L_ONLY:
        states[..., 768:] = 0
        told["pooled_output"].zero_()
    elif vectors == CLIP_G_ONLY:
        states[..., :768] = 0
    return made


def with_sizes(conditioning: list, image: StoredImage, sizes: str) -> list:
    """With the sizes of CLIPTextEncodeSDXL, which SDXL was trained to hear; the tensors are shared, not copied."""
    if sizes == NO_SIZES:
        return conditioning
    width, height = image.asked_width or image.width, image.asked_height or image.height
    told = {"width": width, "height": height, "crop_w": 0, "crop_h": 0, "target_width": width, "target_height": height}
    return [[states, {**rest, **told}] for states, rest in conditioning]
