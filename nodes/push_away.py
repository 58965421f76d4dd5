"""Push Away: the conditioning of stored images, led away from their negative prompts or from disliked images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from .chosen_images import NoSuchChoice, chosen_ids, chosen_inputs, open_chosen
from .host import library_fingerprint, names_missing_requirements, progress_on
from .types import CONDITIONING_CATEGORY, library_input, library_name_input

if TYPE_CHECKING:
    from ..embedders.mixing import Conditioning
    from .links import Hits
    from .recalled_images import RecalledImage

WHOLE, BY_TOKEN = "whole text", "token by token"
_LINES = 12  # images told on the node


class PushAway(io.ComfyNode):
    """One conditioning for each image, all pushed from the same disliked ones, or each from its own negative prompt."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitPushAway",
            display_name="Push Away",
            category=CONDITIONING_CATEGORY,
            description="Gives the SDXL conditioning of stored images, moved away from images that you don't like, or from the images' own "
            "negative prompts.",
            search_aliases=["subtract conditioning", "less like", "unlike", "dislike", "negative direction", "diffusion toolkit"],
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                *chosen_inputs(),
                io.Float.Input(
                    "strength",
                    default=0.5,
                    min=0.0,
                    max=10.0,
                    step=0.05,
                    optional=True,
                    tooltip="How far: 0 is the image's own conditioning, 1 moves it as far again as it is away already. Begin with 0.2 to 0.5.",
                ),
                io.Combo.Input(
                    "direction",
                    options=[WHOLE, BY_TOKEN],
                    default=WHOLE,
                    optional=True,
                    tooltip="whole text: every token moves by the difference of the two texts' mean tokens. token by token: each moves by its own "
                    "difference to the token at its place, which also tells unrelated words apart.",
                ),
                library_name_input(),
                library_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Optional. Chooses the encoder, as in the Loader: what the library stored of this very CLIP, else the texts are "
                    "encoded with it. Without it: the encoder that was last indexed with.",
                ),
                *chosen_inputs("disliked_hits", "disliked_ids", "disliked images", " to move away from. Without any: each image's own negative prompt"),
            ],
            outputs=[
                io.Conditioning.Output("positive", is_output_list=True, tooltip="The pushed conditionings of the prompts, one an image."),
                io.Conditioning.Output("negative", is_output_list=True, tooltip="The conditionings of the negative prompts, as they are."),
                io.Int.Output("pushed_id", is_output_list=True, tooltip="The ids of the images, aligned with the other lists."),
                io.String.Output("label", is_output_list=True, tooltip="What was done, for titles and file names: 12 away from 15 by 0.50."),
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
        strength: float = 0.5,
        direction: str = WHOLE,
        library: str | None = None,
        clip: Any = None,
        disliked_hits: Hits | None = None,
        disliked_ids: Any = "",
    ) -> io.NodeOutput:
        from .recall import Recall, conditioning
        from .recalled_images import given, named, recall_images, sources

        ids = chosen_ids(hits, image_ids)
        disliked = chosen_ids(disliked_hits, disliked_ids, "disliked images") if given(disliked_hits, disliked_ids) else []
        if len(disliked) == 1 and disliked[0] in ids:
            raise NoSuchChoice(f"Image {disliked[0]} can't be moved away from itself. Choose other disliked images, or leave it out of the chosen ones.")
        with open_chosen([hits, disliked_hits], [image_ids, disliked_ids], library_name, library).connection() as connection:
            recall = Recall(connection, clip)
            images = recall_images(recall, ids, progress_on(cls))
            away = recall_images(recall, disliked, progress_on(cls))
        if not away and all(one.image.negative_id is None for one in images):
            raise NoSuchChoice(
                f"No negative prompt is known of {named(ids)}. Choose images to move away from, in disliked_hits or disliked_ids."
            )
        made = [push(one, away, strength, direction) for one in images]
        from_ = "their negative prompts" if not away else f"image {disliked[0]}" if len(away) == 1 else f"the mean of {len(away)} disliked images"
        lines = [f"Away from {from_}, strength {strength:g}, {direction}"]
        lines += [one.line + ("" if away or one.image.negative_id is not None else "  (no negative prompt known: left as it is)") for one in images[:_LINES]]
        lines += [f"and {len(images) - _LINES} more"] if len(images) > _LINES else []
        lines += ["disliked:", *(one.line for one in away[:_LINES])] if away else []
        everything = {one.image.id: one for one in [*images, *away]}.values()
        return io.NodeOutput(
            [conditioning(one) for one in made],
            [conditioning(one.negative) for one in images],
            ids,
            [f"{id_} away from {label(disliked)} by {strength:.2f}" for id_ in ids],
            ui={"text": ["\n".join([*lines, *sources(list(everything))])]},
        )


def push(one: RecalledImage, away: Sequence[RecalledImage], strength: float, direction: str) -> Conditioning:
    """The image's prompt, away from the disliked ones' prompts, else from its own negative prompt; as it is where it has none."""
    from ..embedders.mixing import pushed

    if not away and one.image.negative_id is None:
        return one.positive
    from_ = [other.positive for other in away if other.image.id != one.image.id] if away else [one.negative]
    return pushed(one.positive, from_, strength, direction == BY_TOKEN)


def label(disliked: Sequence[int]) -> str:
    """What was moved away from, in few letters."""
    return " and ".join(map(str, disliked)) if 0 < len(disliked) <= 3 else f"{len(disliked)} images" if disliked else "its negative"
