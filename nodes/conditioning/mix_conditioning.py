"""Mix Conditioning: one conditioning of several stored images, by weights or by score, or of one's CLIP-L and another's CLIP-G."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..chosen_images import chosen_ids, chosen_inputs, counted_once, open_chosen, read_weights
from ..host import names_missing_requirements, progress_on
from ..library_state import chosen_state
from ..types import CONDITIONING_CATEGORY, encoder_inputs
from ..wording import first_lines

if TYPE_CHECKING:
    from ...embedders.conditioning.mixing import Conditioning
    from ..links import Hits
    from .recall import Recall
    from .recalled_images import RecalledImage

AVERAGE, AVERAGE_KEPT = "average", "average, length kept"
BY_WEIGHTS, BY_SCORE = "weights", "weights x score"
_LINES = 12  # images told on the node


class MixConditioning(io.ComfyNode):
    """Positive and negative alike; every image recalled by one encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitMixConditioning",
            display_name="Mix Conditioning",
            category=CONDITIONING_CATEGORY,
            description="Gives one SDXL conditioning of any number of stored images: their weighted average. Or CLIP-L's side of some and "
            "CLIP-G's of others. No text encoder is needed where the library kept the token states.",
            search_aliases=["blend prompts", "average conditioning", "combine images", "style and content", "diffusion toolkit"],
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                *chosen_inputs(),
                io.String.Input(
                    "weights",
                    default="",
                    optional=True,
                    tooltip="A number for each image, hits first, such as: 1, 0.5. Only their ratio counts. Empty: all alike.",
                ),
                io.Combo.Input(
                    "weigh_by",
                    options=[BY_WEIGHTS, BY_SCORE],
                    default=BY_WEIGHTS,
                    optional=True,
                    tooltip="weights x score: each weight times the hit's score, so that better hits count more. A score below 0 counts as 0.",
                ),
                io.Combo.Input(
                    "how",
                    options=[AVERAGE, AVERAGE_KEPT],
                    default=AVERAGE,
                    optional=True,
                    tooltip="average: as Conditioning (Average). length kept: each token and the pooled output are brought to the average of the images' "
                    "lengths, which an average of many unlike texts falls short of.",
                ),
                *encoder_inputs(),
                *chosen_inputs("clip_l_hits", "clip_l_ids", purpose=" that give CLIP-L's side, as their equal average, while the others give CLIP-G's"),
            ],
            outputs=[
                io.Conditioning.Output("positive", tooltip="The mixed conditioning of the prompts."),
                io.Conditioning.Output("negative", tooltip="That of the negative prompts, mixed alike; the empty text's where none is known."),
                io.String.Output("label", tooltip="What was mixed, for file names and titles: 0.67 x 12 + 0.33 x 15."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return chosen_state(**inputs)

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        library_name: str,
        hits: Hits | None = None,
        image_ids: Any = "",
        weights: str = "",
        weigh_by: str = BY_WEIGHTS,
        how: str = AVERAGE,
        library: str | None = None,
        clip: Any = None,
        clip_l_hits: Hits | None = None,
        clip_l_ids: Any = "",
    ) -> io.NodeOutput:
        from .recall import Recall, conditioning
        from .recalled_images import given, recall_images, sources

        ids, split = chosen_ids(hits, image_ids), given(clip_l_hits, clip_l_ids)
        shares = image_shares(ids, hits, weights, weigh_by, once := counted_once(hits, image_ids))
        clip_l = chosen_ids(clip_l_hits, clip_l_ids) if split else []
        opened = open_chosen([hits, clip_l_hits], [image_ids, clip_l_ids], library_name, library)
        with opened.connection() as connection:
            recall = Recall(opened, connection, clip)
            images = recall_images(recall, ids, progress_on(cls))
            style = recall_images(recall, clip_l, progress_on(cls))
            mixed, notes = zip(*(mix(images, shares, style, how, side, recall) for side in ("positive", "negative")))
        lines = first_lines([f"{share:.2f} x {one.line}" for share, one in zip(shares, images)], _LINES)
        if split:
            of_style = first_lines([f"{1 / len(style):.2f} x {one.line}" for one in style], _LINES)
            lines = ["CLIP-G and the pooled output of", *lines, "CLIP-L of", *of_style]
        lines += sources([*images, *(one for one in style if one.image.id not in ids)])
        text = "\n".join([*lines, *once, *dict.fromkeys(filter(None, notes))])
        return io.NodeOutput(*map(conditioning, mixed), label(ids, shares, clip_l), ui={"text": [text]})


def image_shares(ids: Sequence[int], hits: Hits | None, weights: str, weigh_by: str, once: Sequence[str] = ()) -> list[float]:
    """Each image's share; all together are 1. ValueError says what is wrong with the weights."""
    numbers = read_weights(weights, len(ids), once)
    if min(numbers) < 0:
        raise ValueError("A weight of Mix Conditioning is 0 or more. To lead away from an image, use Push Away.")
    if weigh_by == BY_SCORE:
        scores = {hit.image_id: hit.score for hit in hits.hits} if hits is not None else {}
        without = [str(id_) for id_ in ids if id_ not in scores]
        if without:
            raise ValueError(
                f"There is no score of {', '.join(without[:6])}: only hits have one. Connect the hits of a search, or choose to weigh by weights."
            )
        numbers = [number * max(scores[id_], 0.0) for id_, number in zip(ids, numbers)]
    total = sum(numbers)
    if total <= 0:
        scored = " and a score above 0, which hits of List Images have not" if weigh_by == BY_SCORE else ""
        raise ValueError(f"All weights are 0. Give at least one image a weight above 0{scored}.")
    return [number / total for number in numbers]


def mix(
    images: Sequence[RecalledImage], shares: Sequence[float], style: Sequence[RecalledImage], how: str, side: str, recall: Recall
) -> tuple[Conditioning, str]:
    """The mix of all images' positives or negatives; with `style`, which gives CLIP-L's side, as CLIPTextEncodeSDXL joins two texts.

    The note tells where the shorter of the two sides could not be filled up as there, within what is stored.
    """
    from ...embedders.conditioning.mixing import average, two_sides

    keep_norm = how == AVERAGE_KEPT
    mixed = average([getattr(one, side) for one in images], shares, keep_norm)
    if not style:
        return mixed, ""
    clip_l = average([getattr(one, side) for one in style], [1.0] * len(style), keep_norm)
    if len(clip_l.states) == len(mixed.states):
        return two_sides(clip_l, mixed, None), ""
    empty = recall.empty()
    made_of = f"the empty text: {empty.source}" if empty is not None else "repeats of itself, since nothing of the empty text is stored"
    note = "" if empty is not None and empty.source.startswith("exact") else f"The shorter side is filled up with {made_of}"
    return two_sides(clip_l, mixed, empty), note


def label(ids: Sequence[int], shares: Sequence[float], clip_l: Sequence[int]) -> str:
    """`0.67 x 12 + 0.33 x 15`, in letters that file names take; of many images how many."""
    words = " + ".join(f"{share:.2f} x {id_}" for id_, share in zip(ids, shares)) if len(ids) <= 6 else f"{len(ids)} images"
    style = " + ".join(map(str, clip_l)) if len(clip_l) <= 6 else f"{len(clip_l)} images"
    return f"{words} with CLIP-L of {style}" if clip_l else words
