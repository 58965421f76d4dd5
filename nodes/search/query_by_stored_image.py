"""Query by Stored Image: to be like an image of the library, in any of its vectors, with no model in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..chosen_images import NoSuchChoice, open_chosen
from ..host import names_missing_requirements
from ..library_state import library_state
from ..links import KINDS, Query
from ..types import QUERY_CATEGORY, library_input, library_name_input, query_output
from .query_by_style import style_parts

if TYPE_CHECKING:
    from ...db import Connection, StoredImage

BY = {
    "its picture": ("image",),
    "its prompt": ("prompt",),
    "its negative prompt": ("negative",),
    "its SDXL style (CLIP-L and CLIP-G)": ("clip_l", "clip_g"),
    "its CLIP-L style": ("clip_l",),
    "its CLIP-G style": ("clip_g",),
}
_OF = {**KINDS, "image": "picture", "clip_l": "CLIP-L style", "clip_g": "CLIP-G style"}


def stored_query(connection: Connection, library: str, image_id: int, kinds: tuple[str, ...], leave_out: bool = True) -> Query:
    """The query of what the library's active encoders made of an image; LibraryError where there is no such vector."""
    from ... import db

    [image] = db.get_images(connection, [image_id])
    made = []
    for kind in kinds:
        encoder = db.active_encoder(connection, db.FAMILIES[kind])
        vector = None
        if encoder is not None:
            vector = _vector(connection, image, kind, encoder.id)
        if vector is None:
            raise db.LibraryError(_why_none(image, kind, encoder.name if encoder is not None else None))
        made.append((kind, vector, encoder.fingerprint, encoder.name))
    parts = style_parts(made, lambda kind: f"the {_OF[kind]} of image {image_id}")
    return Query(parts, frozenset({(library, image_id)}) if leave_out else frozenset())


def _vector(connection: Connection, image: StoredImage, kind: str, encoder_id: int):  # -> np.ndarray | None
    from ... import db

    if kind == "image":
        return db.image_vector(connection, image.id, encoder_id)
    text_id = image.negative_id if kind == "negative" else image.prompt_id
    return db.text_vector(connection, text_id, encoder_id) if text_id is not None else None


def _why_none(image: StoredImage, kind: str, encoder: str | None) -> str:
    from ... import db

    text_id = {"image": image.id, "negative": image.negative_id}.get(kind, image.prompt_id)
    if text_id is None:
        text = KINDS["negative" if kind == "negative" else "prompt"]
        return f"Image {image.id} has no {text} that is known. Choose another kind of vector."
    by = f" by {encoder}" if encoder else ""
    connect = db.words.CONNECT[db.FAMILIES[kind]]
    return f"Image {image.id} has no {KINDS[kind]} vector{by} yet. Run Index Folder on its folder with {connect} connected."


class QueryByStoredImage(io.ComfyNode):
    """One ingredient of a search; Search mixes up to five."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitQueryByStoredImage",
            display_name="Query by Stored Image",
            category=QUERY_CATEGORY,
            description="Asks for images that are like one of the library, in look, prompt or style. No model is needed: its "
            "vectors are stored. Connect it to Search.",
            search_aliases=["more like this", "similar to id", "stored query", "diffusion toolkit"],
            has_intermediate_output=True,
            inputs=[
                io.Int.Input(
                    "image_id",
                    default=0,
                    min=0,
                    max=2**53 - 1,
                    tooltip="The image's id in the library: the number after # on a search node, or its image_id output, which counts with "
                    "its own library. 0: none, which is refused.",
                ),
                io.Combo.Input("by", options=list(BY), default="its picture", tooltip="In what to be like it."),
                io.Boolean.Input("leave_out", default=True, tooltip="The image itself is not among the hits."),
                library_name_input(),
                library_input(),
            ],
            outputs=[query_output()],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return library_state(**inputs)

    @classmethod
    @names_missing_requirements
    def execute(
        cls, image_id: int, by: str, leave_out: bool, library_name: str, library: str | None = None
    ) -> io.NodeOutput:
        from ... import db
        from ..pictures import shown_picture

        if not image_id:
            raise NoSuchChoice("No image is chosen. Connect a search node's image_id, or write the number after # on a search node into image_id.")
        opened, image_id = open_chosen([], image_id, library_name, library), int(image_id)
        with opened.connection() as connection:
            query = stored_query(connection, opened.name, image_id, BY[by], leave_out)
            [image] = db.get_images(connection, [image_id])
        picture, text = shown_picture(image)
        return io.NodeOutput(query, ui={"images": [picture], "text": [text]})
