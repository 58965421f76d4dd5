"""Prompt from Vectors: the stored texts that lie nearest to a vector, and a prompt made of their best phrases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..blocked import all_blocked
from ..chosen_images import chosen_ids, chosen_inputs, open_chosen
from ..host import names_missing_requirements, numbers_in_range, progress_on, show_text
from ..links import Hits as HitsRecord
from ..links import ImageId, QueryPart
from ..links import Query as QueryRecord
from ..search.asking import Wanted, all_of
from ..search.hits import search_fingerprint
from ..search.query_by_stored_image import BY
from ..types import CONDITIONING_CATEGORY, DescriptionEncoder, Query, TextEmbedder, filter_inputs, library_input, library_name_input

if TYPE_CHECKING:
    from .composed_prompt import PromptFound


class PromptFromVectors(io.ComfyNode):
    """What to write to come near an image, several images, or any query."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitPromptFromVectors",
            display_name="Prompt from Vectors",
            category=CONDITIONING_CATEGORY,
            description="Finds what to write to come near an image, several images or any query: the nearest prompts of the library, and a "
            "new prompt made of their best phrases, with its score.",
            search_aliases=["clip interrogator", "image to prompt", "describe", "caption", "compose prompt", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                *_questions(),
                library_name_input(),
                library_input(),
                io.Int.Input(
                    "texts", default=32, min=1, max=200, tooltip="How many of the nearest stored texts are given, and taken apart into phrases."
                ),
                io.Int.Input("phrases", default=12, min=1, max=40, tooltip="The most phrases of the prompt that is made."),
                io.String.Input(
                    "avoid",
                    multiline=True,
                    default="",
                    tooltip="What the prompt shall not say, parted by commas: masterpiece, by greg. Phrases with these words are left out.",
                ),
                io.Boolean.Input(
                    "own_texts",
                    default=True,
                    tooltip="The prompts of the chosen images count among the stored texts. Off: only what other images' prompts say. For a "
                    "query its own leave_out decides.",
                ),
                *filter_inputs("texts of images"),
                *_encoders(),
            ],
            outputs=[
                io.String.Output("prompt", tooltip="The prompt that is made of the best phrases, most important first."),
                io.Float.Output(
                    "score",
                    tooltip="How near all of it lies to what is asked: the cosine, 1 at the most; of several kinds the mean. "
                    "Without the model an estimate, often too high: the report tells how rough.",
                ),
                io.String.Output("phrases", is_output_list=True, tooltip="Its phrases, in its order."),
                io.Float.Output("phrase_scores", is_output_list=True, tooltip="What each phrase scores alone."),
                io.String.Output("texts", is_output_list=True, tooltip="The nearest stored texts, nearest first."),
                io.Float.Output("text_scores", is_output_list=True, tooltip="Their scores: of the nearest image that has the text."),
                io.Int.Output("image_ids", is_output_list=True, tooltip="The ids of these images."),
                io.String.Output("report", tooltip="All of it in words, and how it was scored."),
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
        by: str,
        library_name: str,
        texts: int,
        phrases: int,
        avoid: str,
        own_texts: bool,
        query: QueryRecord | None = None,
        hits: HitsRecord | None = None,
        image_ids: Any = "",
        library: str | None = None,
        filter_text: str = "",
        filter=None,
        text_embedder=None,
        clip=None,
        description_encoder=None,
    ) -> io.NodeOutput:
        from ... import db
        from .composed_prompt import find_prompt, parts_of_images, report_text, why_no_texts
        from .recalled_images import given

        with_ids = given(None, image_ids)
        if query is None and hits is None and not with_ids:
            raise ValueError("Nothing is asked. Connect a query, or the hits of a search node, or write image ids into image_ids.")
        ids = chosen_ids(hits, image_ids) if hits is not None or with_ids else []
        opened = open_chosen([hits], image_ids, library_name, library)
        parts: list[QueryPart] = list(query.parts) if query is not None else []
        left_out = {image_id for name, image_id in (query.leave_out if query is not None else ()) if name == opened.name}
        left_out |= set() if own_texts else set(ids)
        note = ""
        with opened.connection() as connection:
            if ids:
                chosen, note = parts_of_images(connection, ids, BY[by])
                parts += chosen
            wanted = Wanted(k=texts, filter=all_of(filter, filter_text), leave_out=tuple(sorted(left_out)), percentiles=False)
            found = find_prompt(
                connection, parts, wanted, most_phrases=phrases, avoid=avoid, text_embedder=text_embedder, clip=clip,
                description_encoder=description_encoder, progress=progress_on(cls),
            )  # fmt: skip
            note = " ".join(one for one in (note, db.unknown_names(connection, wanted.filter)) if one)
        show_text(cls, "Done")
        if found is None:
            return all_blocked(len(cls.define_schema().outputs), why_no_texts(opened, parts, wanted))
        text = report_text(found, parts, note, phrases)
        return io.NodeOutput(*_values(found, opened.name), text, ui={"text": [text]})


def _values(found: PromptFound, library: str) -> list[Any]:
    """A value for each output but the report."""
    texts, scores, ids = zip(*((one.text, one.score, ImageId(one.image_id, library)) for one in found.near))
    return [found.prompt, found.score, found.phrases, found.phrase_scores, list(texts), list(scores), list(ids)]


def _questions() -> list[io.Input]:
    """What to come near to; any one of the three is enough."""
    return [
        Query.Input(
            "query",
            optional=True,
            tooltip="What to come near to, from any Query node: an image, a description, a vector, or a mix made by Query Arithmetic.",
        ),
        *chosen_inputs(),
        io.Combo.Input("by", options=list(BY), default="its picture", tooltip="Which vectors of the chosen images count. A query has its own."),
    ]


def _encoders() -> list[io.Input]:
    """What encodes a prompt, so that its score is the truth and no estimate."""
    return [
        TextEmbedder.Input(
            "text_embedder",
            optional=True,
            tooltip="For queries by prompt: the model that Index Folder used. With it each prompt that is tried is truly encoded.",
        ),
        io.Clip.Input("clip", optional=True, tooltip="For queries by SDXL style: the CLIP that Index Folder used, to score prompts truly."),
        DescriptionEncoder.Input(
            "description_encoder",
            optional=True,
            tooltip="For queries by image or description: from Load Description Encoder, to score how well words describe the picture.",
        ),
    ]
