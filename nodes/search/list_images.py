"""List Images: images by filter alone, without a search: all that are labelled so, the newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements, numbers_in_range, open_library
from ..links import Hits
from ..stored_images import ORDERS, image_line, ordered_by
from ..types import CATEGORY
from ..wording import some
from .asking import Found, all_of, list_by_filter
from .hit_records import what_helps
from .hits import hit_inputs, hit_outputs, hit_result, hit_values, nothing_found, search_fingerprint

if TYPE_CHECKING:
    from ... import db


class ListImages(io.ComfyNode):
    """Needs no model. Gives what a search gives, so that what follows a search follows this."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitListImages",
            display_name="List Images",
            category=CATEGORY,
            description="Gives the images of a library that pass a filter, in order of date, rating or seed, without asking for "
            "anything alike. Needs no model.",
            search_aliases=["browse library", "gallery", "images by label", "newest images", "diffusion toolkit"],
            is_output_node=True,
            inputs=[
                io.Combo.Input("order", options=list(ORDERS), default=ORDERS[0], tooltip="What is not known comes last."),
                *(entry for entry in hit_inputs() if entry.id not in ("lowest_score", "options")),
            ],
            outputs=hit_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return search_fingerprint(**inputs)

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(
        cls,
        order: str,
        top_k: int,
        library_name: str,
        library: str | None = None,
        offset: int = 0,
        filter_text: str = "",
        filter: db.Filter | None = None,
    ) -> io.NodeOutput:
        from ... import db

        opened, wanted = open_library(library_name, library), all_of(filter, filter_text)
        listed = list_by_filter(opened, wanted, order, top_k, offset)
        images, passing, why = listed.images, listed.total, listed.note
        if not images:
            return nothing_found(listed.why_nothing(wanted, offset))
        hits = Hits(opened.name, tuple(db.Hit(image.id, 0.0, rank) for rank, image in enumerate(images, offset + 1)), method=f"listed, {order} first")
        values, shown = hit_values(Found(hits, images))
        of = f"{some(passing, 'image')} that pass{'es' * (passing == 1)} {wanted.text}" if wanted else some(passing, "image")
        lines = [f"{offset + 1} to {offset + len(images)} of {of}", *([why] if why else []), *what_helps(shown.notes)]
        lines += [f"{hit.rank}. {image_line(image, note, ordered_by(image, order))}" for hit, image, note in zip(hits.hits, images, shown.notes)]
        return hit_result(values, shown, ["\n".join(lines)])
