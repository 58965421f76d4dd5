"""Condition Other Models: what the library keeps of a prompt for SDXL, in the slots of SDXL's refiner, Flux and Stable Diffusion 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..chosen_images import chosen_ids, chosen_inputs, counted_once, open_chosen, read_weights
from ..host import names_missing_requirements, progress_on
from ..library_state import chosen_state
from ..stored_images import asked_size
from ..types import CONDITIONING_CATEGORY, library_input, library_name_input
from ..wording import first_of
from .own_sizes import NO_SIZES, OWN_SIZES

if TYPE_CHECKING:
    from ...db import StoredImage
    from ...embedders.conditioning.other_models import OtherConditioning
    from ..links import Hits as HitsRecord
    from .other_recall import OtherRecall
    from .recalled_images import RecalledImage

REFINER, FLUX, SD3 = "SDXL refiner", "Flux", "Stable Diffusion 3"  # as in embedders.conditioning.other_models: node files import no embedders when ComfyUI starts
AVERAGE, EACH = "average", "each by itself"  # in the words of Stored Image Vector
SCORES = (6.0, 2.5)  # what the refiner takes for aesthetic score where none is given: for the positive, for the negative


class ConditionOtherModels(io.ComfyNode):
    """Exact where the other model reads what SDXL's text encoders make; T5 is none of these, and said so."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitConditionOtherModels",
            display_name="Condition Other Models",
            category=CONDITIONING_CATEGORY,
            description="Gives the CONDITIONING of stored images for SDXL's refiner, Flux or Stable Diffusion 3, of what the library keeps of "
            "their prompts for SDXL. T5, which Flux and Stable Diffusion 3 read too, is taken from a connected CLIP.",
            search_aliases=["refiner", "flux", "sd3", "clip_l pooled", "carry look", "t5", "diffusion toolkit"],
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input(
                    "target",
                    options=[REFINER, FLUX, SD3],
                    default=REFINER,
                    tooltip="The model to condition. Refiner: CLIP-G's token states and pooled vector. Flux: CLIP-L's pooled vector, and T5. "
                    "Stable Diffusion 3: all of SDXL's, and T5.",
                ),
                *chosen_inputs(),
                io.Combo.Input(
                    "several",
                    options=[EACH, AVERAGE],
                    default=EACH,
                    tooltip="What several images give: lists with one for each, after which every node runs once for each; or one average. In an "
                    "average T5 reads the first image's prompt, and sizes are the first image's: neither has an average.",
                ),
                io.String.Input(
                    "weights", default="", tooltip="For an average: a number for each image, hits first, such as: 1, 0.5. Empty: all alike."
                ),
                library_name_input(),
                library_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Optional. The CLIP of the model: of Flux, by Load CLIP (Dual), of Stable Diffusion 3 (one, two or three files), of the "
                    "refiner, or SDXL's for the refiner. It gives T5; and it chooses the encoder: where its CLIP-L and CLIP-G are not those that "
                    "the library was indexed with, the stored text is encoded with it, and the node says so.",
                ),
                io.String.Input(
                    "t5_text",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="What T5 is to read for the positive in place of the image's own prompt: another subject in the look of the image.",
                ),
                io.Combo.Input(
                    "sizes",
                    options=[NO_SIZES, OWN_SIZES],
                    default=NO_SIZES,
                    optional=True,
                    tooltip="For the refiner: what CLIP Text Encode (SDXL Refiner) adds, here the size that was asked of the image's sampler, and "
                    "aesthetic scores of 6 and 2.5; of an average the first image's size. none: as CLIP Text Encode.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("positive", is_output_list=True, tooltip="The conditioning of the prompt."),
                io.Conditioning.Output(
                    "negative", is_output_list=True, tooltip="The conditioning of the negative prompt; of the empty text where none is known."
                ),
                io.String.Output("prompt", is_output_list=True, tooltip="The prompt as text; of an average that of the first image."),
                io.String.Output("negative_prompt", is_output_list=True, tooltip="The negative prompt as text; empty where none is known."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return chosen_state(**inputs)

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        target: str,
        several: str,
        weights: str,
        library_name: str,
        hits: HitsRecord | None = None,
        image_ids: Any = "",
        library: str | None = None,
        clip: Any = None,
        t5_text: str = "",
        sizes: str = NO_SIZES,
    ) -> io.NodeOutput:
        from .other_recall import OtherRecall
        from .recalled_images import recall_images, sources, told_ids

        ids = chosen_ids(hits, image_ids)
        numbers = read_weights(weights, len(ids), counted_once(hits, image_ids)) if several == AVERAGE else []
        if several == AVERAGE and (min(numbers) < 0 or not sum(numbers)):
            raise ValueError("Weights of an average are 0 or more, and not all 0. To move away from a look use Push Away.")
        opened = open_chosen([hits], image_ids, library_name, library)
        with opened.connection() as connection:
            recall = OtherRecall(opened, connection, target, clip)
            images = recall_images(recall, ids, progress_on(cls))
            made = conditionings(recall, target, images, numbers, t5_text, (target, sizes) == (REFINER, OWN_SIZES))
        lines = [f"Image {told_ids(ids)}" if len(ids) == 1 else f"{len(ids)} images, {several}: {told_ids(ids)}", f"for {target}"]
        lines += [*sources(images), *_t5_line(target, recall.has_t5, t5_text)]
        lines += unheard(target, several, weights, t5_text, sizes, recall.has_t5) + shares(ids, numbers, recall.has_t5 and target != REFINER)
        shown = [one.image for one in images[: len(made[0])]]
        prompts, negatives = [image.prompt or "" for image in shown], [image.negative or "" for image in shown]
        return io.NodeOutput(*made, prompts, negatives, ui={"text": ["\n".join(lines)]})


def conditionings(
    recall: OtherRecall, target: str, images: Sequence[RecalledImage], weights: Sequence[float], t5_text: str, sized: bool
) -> tuple[list, list]:
    """The positives and the negatives, one an image; with weights the one average, told as of the first image."""
    from ...embedders.conditioning.other_models import average_pieces, put_together

    pieces = [(one.positive.piece, one.negative.piece) for one in images]
    pieces = [tuple(average_pieces(side, weights) for side in zip(*pieces))] if weights else pieces
    made: tuple[list, list] = [], []
    known: dict[tuple[int, str], list] = {}  # many images share a text, and what it gives takes up to 5 MB
    for one, both in zip(images, pieces):
        texts = (t5_text.strip() or one.image.prompt or "", one.image.negative or "")
        for side, piece, text, score in zip(made, both, texts, SCORES):
            if (id(piece), text) not in known:
                known[id(piece), text] = _conditioning(put_together(target, piece, recall.t5(text)))
            told = _told(one.image, score) if sized else {}
            side.append([[states, {**rest, **told}] for states, rest in known[id(piece), text]])
    return made


def _conditioning(made: OtherConditioning) -> list:
    import torch

    return [[torch.from_numpy(made.states)[None], {"pooled_output": torch.from_numpy(made.pooled)[None]}]]


def _told(image: StoredImage, score: float) -> dict[str, float]:
    width, height = asked_size(image)
    return {"aesthetic_score": score, "width": width, "height": height}


def shares(ids: Sequence[int], numbers: Sequence[float], t5_reads: bool) -> list[str]:
    """What each image is of an average of several."""
    if len(numbers) < 2:
        return []
    of = first_of([f"{number / sum(numbers):.2f} x #{id_}" for id_, number in zip(ids, numbers)], 12)
    return [f"shares: {of}"] + [f"T5 reads the prompts of #{ids[0]} alone"] * t5_reads


def unheard(target: str, several: str, weights: str, t5_text: str, sizes: str, has_t5: bool) -> list[str]:
    """A line that names what is set and changes nothing."""
    why = "the refiner has no T5" if target == REFINER else "" if has_t5 else "no CLIP with T5 is connected"
    found = [f"t5_text ({why})"] if t5_text.strip() and why else []
    found += ["sizes (for the refiner only)"] if sizes == OWN_SIZES and target != REFINER else []
    found += ["weights (for an average only)"] if weights.strip() and several != AVERAGE else []
    return ["NOT HEARD: " + ", ".join(found)] if found else []


def _t5_line(target: str, has_t5: bool, t5_text: str) -> list[str]:
    if target == REFINER:
        return []
    if has_t5:
        return ["T5: by the connected CLIP, of " + ("your t5_text" if t5_text.strip() else "the prompt")]
    if target == FLUX:
        return ["NO T5: the library keeps none of its states, and zeros stand in their place. Flux follows T5 far more than CLIP-L: connect its CLIP"]
    return ["No T5: the library keeps none of its states. Stable Diffusion 3 was trained to do without; for it connect a CLIP with T5"]
