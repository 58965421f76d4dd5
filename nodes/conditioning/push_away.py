"""Push Away: the conditioning of stored images, led away from their negative prompts or from disliked images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..chosen_images import NoSuchChoice, chosen_ids, chosen_inputs, open_chosen
from ..host import names_missing_requirements, numbers_in_range, progress_on
from ..library_state import chosen_state
from ..links import ImageId
from ..types import CONDITIONING_CATEGORY, encoder_inputs
from ..wording import first_lines

if TYPE_CHECKING:
    from ..links import Hits
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
                *encoder_inputs(),
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
    def fingerprint_inputs(cls, **inputs) -> str:
        return chosen_state(**inputs)

    @classmethod
    @names_missing_requirements
    @numbers_in_range
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
        from .recalled_images import given, recall_images, told_ids

        ids = chosen_ids(hits, image_ids)
        disliked = chosen_ids(disliked_hits, disliked_ids, "disliked images") if given(disliked_hits, disliked_ids) else []
        if len(disliked) == 1 and disliked[0] in ids:
            raise NoSuchChoice(f"Image {disliked[0]} can't be moved away from itself. Choose other disliked images, or leave it out of the chosen ones.")
        opened = open_chosen([hits, disliked_hits], [image_ids, disliked_ids], library_name, library)
        with opened.connection() as connection:
            recall = Recall(opened, connection, clip)
            images = recall_images(recall, ids, progress_on(cls))
            away = recall_images(recall, disliked, progress_on(cls))
        if not away and not any(map(has_negative, images)):
            raise NoSuchChoice(
                f"No negative prompt is known of {told_ids(ids)}, or only a blank one. Choose images to move away from, in disliked_hits or disliked_ids."
            )
        shared = {id(one.negative): one.negative for one in images}  # by many images
        negatives = {key: conditioning(negative) for key, negative in shared.items()}
        stays = [why_it_stays(one, away, strength) for one in images]
        return io.NodeOutput(
            push_all(images, away, strength, direction, progress_on(cls)),
            [negatives[id(one.negative)] for one in images],
            [ImageId(id_, opened.name) for id_ in ids],
            [f"{id_} as it is" if why else f"{id_} away from {label(disliked, id_)} by {strength:.2f}" for id_, why in zip(ids, stays)],
            ui={"text": ["\n".join(told(images, away, stays, f"strength {strength:g}, {direction}"))]},
        )


def has_negative(one: RecalledImage) -> bool:
    """Whether there is a negative prompt to push from: a blank one is the empty text, which is no direction."""
    return one.image.negative_id is not None and bool((one.image.negative or "").strip())


def same_text(one: RecalledImage, away: Sequence[RecalledImage]) -> bool:
    """Whether all that it is to be moved away from is its own text, which is no direction."""
    others = [other.positive for other in away if other.image.id != one.image.id] if away else [one.negative]
    return all(other is one.positive for other in others)


def why_it_stays(one: RecalledImage, away: Sequence[RecalledImage], strength: float) -> str:
    """Empty for an image that is moved."""
    if not away and not has_negative(one):
        return "no negative prompt known"
    return "the same text" if strength > 0 and same_text(one, away) else ""


def told(images: Sequence[RecalledImage], away: Sequence[RecalledImage], stays: Sequence[str], how: str) -> list[str]:
    """What all are moved away from, the images line by line, and where their conditionings came from."""
    from .recalled_images import sources

    itself = ", of which none counts for itself" * any(one.image.id == other.image.id for one in images for other in away)
    of_several = f"the mean of {len(away)} disliked images{itself}"
    lines = [f"Away from {of_several if len(away) > 1 else f'image {away[0].image.id}' if away else 'their negative prompts'}, {how}"]
    lines += first_lines([one.line + (f"  ({why}: left as it is)" if why else "") for one, why in zip(images, stays)], _LINES)
    lines += ["disliked:", *first_lines([one.line for one in away], _LINES)] if away else []
    return lines + sources(list({one.image.id: one for one in [*images, *away]}.values()))


def push_all(
    images: Sequence[RecalledImage], away: Sequence[RecalledImage], strength: float, direction: str, progress: Callable[[str, int, int], None]
) -> list[list]:
    """Each image's prompt as CONDITIONING, away from the disliked ones' prompts, else from its own negative prompt; as it is where it has none."""
    from ...embedders.conditioning.mixing import Disliked, pushed
    from .recall import conditioning

    disliked, among = Disliked([other.positive for other in away]), {other.image.id for other in away}
    made = []
    for done, one in enumerate(images):
        progress("Pushed", done, len(images))  # hears cancel too
        if away:
            moved = pushed(one.positive, disliked, strength, direction == BY_TOKEN, one.image.id in among)
        elif has_negative(one):
            moved = pushed(one.positive, [one.negative], strength, direction == BY_TOKEN)
        else:
            moved = one.positive
        made.append(conditioning(moved))
    progress("Pushed", len(images), len(images))
    return made


def label(disliked: Sequence[int], pushed: int) -> str:
    """What an image was moved away from, in few letters: never from itself."""
    others = [id_ for id_ in disliked if id_ != pushed]
    return " and ".join(map(str, others)) if 0 < len(others) <= 3 else f"{len(others)} images" if others else "its negative"
