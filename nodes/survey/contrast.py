"""Contrast: pairs of images that look alike though their prompts differ, or that one prompt made though they look different."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..blocked import or_blocked
from ..chosen_images import open_chosen
from ..host import names_missing_requirements, numbers_in_range, progress_on, show_text
from ..links import Hits as HitsRecord
from ..links import ImageId
from ..search.asking import all_of, just_below
from ..search.hits import search_fingerprint
from ..types import CATEGORY, Hits
from ..wording import some
from .shown_images import Pictures, library_inputs, load_pictures, none_passes

if TYPE_CHECKING:
    from ... import db

LOOK, PROMPT = "alike look, other prompt", "same prompt, other look"  # as db.contrast has them
LIBRARY = "in the library"


class Contrast(io.ComfyNode):
    """Of one image, or of the whole library."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitContrast",
            display_name="Contrast",
            category=CATEGORY,
            description="Finds pairs that tell what a prompt does: images that look alike though their prompts differ, or images of "
            "one prompt that look different. Of one image, or of the whole library.",
            search_aliases=["compare prompts", "same prompt", "counterexample", "prompt influence", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input("how", options=[LOOK, PROMPT], default=LOOK, tooltip="In what the two images are alike, and in what not."),
                io.Int.Input(
                    "image_id",
                    default=0,
                    min=0,
                    max=2**53 - 1,
                    tooltip="The image to contrast with others, by its id. 0: all pairs of the library.",
                ),
                io.Float.Input(
                    "lowest_similarity",
                    default=0.9,
                    min=0.5,
                    max=1.0,
                    step=0.01,
                    tooltip="How alike they must be in what is alike: the least cosine similarity. In the whole library, one prompt "
                    "means the very same text.",
                ),
                io.Int.Input("pairs", default=8, min=1, max=200, tooltip="How many pairs to give, the most different first."),
                *library_inputs(),
            ],
            outputs=[
                io.Image.Output("image_a", is_output_list=True, tooltip="The first picture of each pair, at its own size."),
                io.Image.Output("image_b", is_output_list=True, tooltip="The second one."),
                io.Int.Output("id_a", is_output_list=True, tooltip="The first one's id in the library."),
                io.Int.Output("id_b", is_output_list=True, tooltip="The second one's."),
                io.String.Output("prompt_a", is_output_list=True, tooltip="The first one's prompt."),
                io.String.Output("prompt_b", is_output_list=True, tooltip="The second one's."),
                io.Float.Output("look", is_output_list=True, tooltip="The cosine similarity of the two pictures."),
                io.Float.Output("prompts", is_output_list=True, tooltip="The cosine similarity of the two prompts; 1 for the same one."),
                Hits.Output("hits", tooltip="The second ones as one object."),
                io.String.Output("report", tooltip="The pairs in words."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return search_fingerprint(**inputs)

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(
        cls,
        how: str,
        image_id: int,
        lowest_similarity: float,
        pairs: int,
        library_name: str,
        library: str | None = None,
        filter_text: str = "",
        filter=None,
    ) -> io.NodeOutput:
        from ... import db

        opened, chosen = open_chosen([], image_id or None, library_name, library), all_of(filter, filter_text)
        lowest = just_below(lowest_similarity)
        with opened.connection() as connection:
            why, note = none_passes(connection, chosen), db.unknown_names(connection, chosen)
            if why:
                found = []
            elif image_id:
                found = db.contrasts_of_image(connection, int(image_id), how, lowest, pairs, chosen)
            else:
                found = db.contrasts_of_library(connection, how, lowest, pairs, chosen, progress=progress_on(cls))
        show_text(cls, f"Done: {some(len(found), 'pair')}")
        ids = [one.first for one in found] + [one.second for one in found]
        first, second = load_pictures(opened, ids, "pairs", len(found)).halves()
        text = why or report_text(found, first, second, how, f"with image {image_id}" if image_id else LIBRARY, note)
        hits = tuple(db.Hit(one.second, one.prompt if how == PROMPT else one.look, rank) for rank, one in enumerate(found, start=1))
        columns: list[list[Any]] = [
            first.tensors,
            second.tensors,
            [ImageId(one.first, opened.name) for one in found],
            [ImageId(one.second, opened.name) for one in found],
            first.prompts,
            second.prompts,
            [one.look for one in found],
            [one.prompt for one in found],
        ]
        return io.NodeOutput(
            *(or_blocked(column) for column in columns),
            or_blocked(hits and HitsRecord(opened.name, hits, method=how)),
            text,
            ui={"images": [shown for both in zip(first.shown, second.shown) for shown in both], "text": [text]},
        )


def report_text(found: Sequence[db.Contrast], first: Pictures, second: Pictures, how: str, where: str, note: str = "") -> str:
    """Two lines a pair, after their similarities."""
    if not found:
        of_texts = how == PROMPT and where == LIBRARY  # where lowest_similarity says nothing
        helps = "Choose an image_id, to which near prompts are compared too" if of_texts else "Lower lowest_similarity"
        return f"No pairs of {how} {where}. {helps}, or let the filter pass more images. {note}".rstrip()
    lines = [f"{some(len(found), 'pair')} of {how} {where}, the most different first.", *filter(None, [note])]
    for number, (one, a, b) in enumerate(zip(found, first.lines, second.lines), start=1):
        lines += [f"{number}. look {one.look:.3f}, prompts {one.prompt:.3f}", f"    {a}", f"    {b}"]
    return "\n".join(lines)
