"""Label Images: give a search's hits, or images by id, labels, a namespace or a rating, by which filters find them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..chosen_images import meant_library
from ..host import fresh_fingerprint, names_missing_requirements, open_library
from ..types import CATEGORY, Hits, Library, library_input, library_name_input
from ..wording import some

if TYPE_CHECKING:
    from ..links import Hits as HitsRecord

LEAVE, UNRATED, REJECTED = "as it is", "none", "rejected"
RATINGS = (LEAVE, UNRATED, REJECTED, "0 stars", "1 star", "2 stars", "3 stars", "4 stars", "5 stars")
NO_NAMESPACE = "-"


class LabelImages(io.ComfyNode):
    """Changes the library only, never a file. Takes lists whole, so that one run is one change."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitLabelImages",
            display_name="Label Images",
            category=CATEGORY,
            description="Gives images of a library labels, a namespace or a rating, and takes labels from them. Filters find them by "
            "these. Files are not changed.",
            search_aliases=["tag images", "rate images", "add label", "favourite", "collection", "diffusion toolkit"],
            is_output_node=True,
            is_input_list=True,
            inputs=[
                io.String.Input("add_labels", default="", tooltip="Labels to add, parted by commas; kept in small letters."),
                io.String.Input("remove_labels", default="", tooltip="Labels to take away, parted by commas."),
                io.String.Input(
                    "namespace", default="", tooltip="The collection to move them to. Empty: they stay where they are; - takes them out of theirs. One for all."
                ),
                io.Combo.Input("rating", options=list(RATINGS), default=LEAVE, tooltip="Stars, or rejected; none takes a rating away."),
                library_name_input(),
                Hits.Input("hits", optional=True, tooltip="The hits of a search node: all of them, of the library that it searched."),
                io.Int.Input(
                    "image_id", optional=True, default=0, min=0, max=2**53, force_input=True, tooltip="Images by id, of library or library_name; a list is taken as one."
                ),
                library_input(),
            ],
            outputs=[
                Library.Output("library", tooltip="The library, for search nodes that shall run after this one."),
                io.String.Output("report", tooltip="What was changed."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return fresh_fingerprint()

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        add_labels: list[str],
        remove_labels: list[str],
        namespace: list[str],
        rating: list[str],
        library_name: list[str],
        hits: list[HitsRecord] | None = None,
        image_id: list[int] | None = None,
        library: list[str] | None = None,
    ) -> io.NodeOutput:
        from ... import db

        ids = [id_ for id_ in image_id or () if id_]
        collection, rated, chosen = _one("namespace", namespace).strip(), _one("rating", rating), _one("library_name", library_name)
        name = meant_library(hits or (), library or (), chosen, ids)
        ids = [*map(int, ids), *(id_ for one in hits or () for id_ in one.ids)]
        if not ids:
            raise ValueError("There is no image to label. Connect the hits of a search, or image ids.")
        opened = open_library(name)
        with opened.connection() as connection:
            known = db.get_images(connection, ids)
            changed = db.label_images(
                connection,
                ids,
                add=add_labels,
                remove=remove_labels,
                namespace=None if not collection else "" if collection == NO_NAMESPACE else collection,
                rating=stars(rated),
                clear_rating=rated == UNRATED,
            )
        report = f"{changed} of {some(len({image.id for image in known}), 'image')} of '{name}' changed"
        if not any(text.strip() for text in (*add_labels, *remove_labels, collection)) and rated == LEAVE:
            report += ": nothing is asked. Write labels or a namespace, or choose a rating."
        return io.NodeOutput(name, report, ui={"text": [report]})


def _one(name: str, values: Sequence[str]) -> str:
    """What a list says of all images. ValueError where it says several things: it is taken as one, and no image has its own of it."""
    several = list(dict.fromkeys(values))
    if len(several) > 1:
        told = ", ".join(map(repr, several[:3])) + ", ..." * (len(several) > 3)
        raise ValueError(f"{name} is a list of {len(several)} values ({told}), and all images are given one. Write one, and queue this node once for each.")
    return several[0]


def stars(rating: str) -> int | None:
    """The rating of a choice; None for those that are none."""
    if rating == REJECTED:
        return -1
    return int(rating[0]) if rating[0].isdigit() else None
