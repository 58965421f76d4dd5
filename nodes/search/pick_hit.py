"""Pick Hit: one of a search's hits, so that what follows runs once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements, open_library
from ..settings import not_told
from ..types import CATEGORY, Hits
from .asking import Found
from .hits import MOST_HITS, MOST_OFFSET, hit_outputs, hit_result, hit_values

if TYPE_CHECKING:
    from ..links import Hits as HitsRecord


class PickHit(io.ComfyNode):
    """A search gives lists, after which every node runs once a hit; this gives one hit's values."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitPickHit",
            display_name="Pick Hit",
            category=CATEGORY,
            description="Takes one of a search's hits: its picture, prompts and settings, not as lists. Look at the hits, then choose "
            "a rank.",
            search_aliases=["select hit", "choose image", "nth result", "diffusion toolkit"],
            has_intermediate_output=True,
            inputs=[
                Hits.Input("hits", tooltip="The hits of a search node."),
                io.Int.Input(
                    "pick",
                    default=1,
                    min=1,
                    max=MOST_OFFSET + MOST_HITS,
                    tooltip="Which of the hits: the number before its score on the search node. 1 is the best of the first page.",
                ),
            ],
            outputs=hit_outputs(listed=False),
        )

    @classmethod
    @names_missing_requirements
    def execute(cls, hits: HitsRecord, pick: int) -> io.NodeOutput:
        from ... import db

        chosen = [hit for hit in hits.hits if hit.rank == pick]
        if not chosen:
            ranks = sorted(hit.rank for hit in hits.hits)
            raise ValueError(
                f"The search has no hit number {pick}: it gives {ranks[0]} to {ranks[-1]}. Pick one of these, or change the search's "
                "top_k or offset."
            )
        one = replace(hits, hits=tuple(chosen))
        with open_library(hits.library).connection() as connection:
            found = Found(one, db.get_images(connection, list(one.ids)))
        values, shown = hit_values(found)
        defaults = [name for name in not_told(found.images[0]) if name != "denoise"]  # which is no output
        lines = shown.lines() + ([f"Not told by its file, so a default: {', '.join(defaults)}"] if defaults else [])
        return hit_result({name: value if name == "hits" else value[0] for name, value in values.items()}, shown, lines)
