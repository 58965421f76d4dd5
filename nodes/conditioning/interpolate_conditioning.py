"""Interpolate Conditioning: from one stored image to another in steps, as a list that runs what follows once a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..chosen_images import chosen_ids, chosen_inputs, open_chosen
from ..host import names_missing_requirements, numbers_in_range, progress_on
from ..library_state import chosen_state
from ..types import CONDITIONING_CATEGORY, encoder_inputs

if TYPE_CHECKING:
    from ..links import Hits
    from .recall import Recalled
    from .recalled_images import RecalledImage

LINEAR, SPHERICAL = "linear", "spherical"
MOST_BYTES = 2 * 10**9  # of token states, both sides together


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
                io.Int.Input("steps", default=5, min=2, max=256, optional=True, tooltip="How many conditionings, the first and the last image's own among them. At least as many as images."),
                io.Combo.Input(
                    "how",
                    options=[LINEAR, SPHERICAL],
                    default=LINEAR,
                    optional=True,
                    tooltip="linear: straight on, as Conditioning (Average); in the middle, unlike texts give shorter vectors. spherical: each token turns "
                    "at an even pace from one direction to the other and keeps its length.",
                ),
                *encoder_inputs(),
            ],
            outputs=[
                io.Conditioning.Output("positive", is_output_list=True, tooltip="The conditionings of the prompts, a step each."),
                io.Conditioning.Output("negative", is_output_list=True, tooltip="Those of the negative prompts, at the same steps."),
                io.Float.Output("t", is_output_list=True, tooltip="How far on the way: 0 at the first image, 1 at the last."),
                io.String.Output("label", is_output_list=True, tooltip="The step in words, for titles and file names: 12 to 15 at 0.25."),
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
        steps: int = 5,
        how: str = LINEAR,
        library: str | None = None,
        clip: Any = None,
    ) -> io.NodeOutput:
        from ...embedders.conditioning.mixing import leg_of
        from .recall import Recall
        from .recalled_images import recall_images, sources

        ids = chosen_ids(hits, image_ids, repeats=True)
        if len(set(ids)) < 2:
            raise ValueError(
                f"Only image {ids[0]} is chosen. Choose two or more: write both ids into image_ids, or connect one's hits (Pick Hit has "
                "them) and the other's image_id to image_ids."
            )
        if steps < len(ids):
            raise ValueError(f"{steps} steps pass over some of {len(ids)} images. Raise steps to {len(ids)} or more, or give fewer images.")
        progress = progress_on(cls)
        opened = open_chosen([hits], image_ids, library_name, library)
        with opened.connection() as connection:
            images = recall_images(Recall(opened, connection, clip), ids, progress)
        at = [step / (steps - 1) for step in range(steps)]
        made = steps_through([[getattr(one, side) for one in images] for side in ("positive", "negative")], at, how == SPHERICAL, progress)
        labels = [f"{ids[leg]} to {ids[leg + 1]} at {within:.2f}" for leg, within in (leg_of(len(ids), t) for t in at)]
        heading = f"{steps} steps, {how}, " + (f"from {images[0].line}\nto {images[-1].line}" if len(ids) == 2 else f"through {len(ids)} images:")
        lines = [one.line for one in images] if len(ids) > 2 else []
        lines = lines[:12] + not_met(steps, len(ids)) + unmoved(images)
        return io.NodeOutput(*made, at, labels, ui={"text": ["\n".join([heading, *lines, *sources(images)])]})


def not_met(steps: int, images: int) -> list[str]:
    """A line where the steps pass closely by images between the ends, with the next number that meets all."""
    uneven = (steps - 1) % (images - 1)
    fitting = steps - uneven + images - 1
    return [f"{steps} steps pass closely by images between the ends: {fitting} steps would meet each"] if uneven else []


def unmoved(images: Sequence[RecalledImage]) -> list[str]:
    """A line where neighbours have one prompt, as variants by other seeds have: there is no way between them."""
    pairs = [f"#{a.image.id} and #{b.image.id}" for a, b in zip(images, images[1:]) if a.positive is b.positive]
    more = f" and {len(pairs) - 6} more pairs" if len(pairs) > 6 else ""
    return [f"The positive stays the same between {', '.join(pairs[:6])}{more}: they have the same prompt"] if pairs else []


def steps_through(
    sides: Sequence[Sequence[Recalled]], at: Sequence[float], spherical: bool, progress: Callable[[str, int, int], None]
) -> list[list[list]]:
    """The CONDITIONINGs at each `t` of `at` on the ways through all images, for each side; one that stays the same is shared.

    ValueError where they would take more memory than a node should.
    """
    from ...embedders.conditioning.mixing import path
    from .recall import conditioning

    takes = sum(map(_bytes, sides, [at] * len(sides)))
    if takes > MOST_BYTES:
        fewer = max(int(len(at) * MOST_BYTES / takes), len(sides[0]))
        raise ValueError(
            f"{len(at)} steps through texts this long would take {takes / 1e9:.1f} GB of memory, {MOST_BYTES / 1e9:g} GB are the most. Lower "
            f"steps to about {fewer}, or choose images whose prompts have the same number of tokens: unlike lengths are repeated until they meet."
        )
    made: list[list[list]] = [[] for _ in sides]
    whole = {id(stop): stop for stops in sides for stop in stops}
    known: dict[int, list] = {}  # of those
    for done, t in enumerate(at):
        progress("Interpolated", done, len(at))  # hears cancel too
        for side, stops in zip(made, sides):
            one = path(stops, t, spherical)
            side.append(known[id(one)] if id(one) in known else conditioning(one))
            if id(one) in whole:
                known[id(one)] = side[-1]
    progress("Interpolated", len(at), len(at))
    return made


def _bytes(stops: Sequence[Recalled], at: Sequence[float]) -> int:
    """What the token states of one side take, in float32."""
    from ...embedders.conditioning.mixing import common_length, leg_of

    tokens, shared = 0, {}
    for t in at:
        leg, within = leg_of(len(stops), t)
        a, b = stops[leg], stops[leg + 1]
        if a is b or within in (0, 1):
            one = b if within == 1 else a
            shared[id(one)] = len(one.states)
        else:
            tokens += common_length([len(a.states), len(b.states)])
    return (tokens + sum(shared.values())) * 2048 * 4
