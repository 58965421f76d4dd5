"""Diffusion Toolkit Loader: the CONDITIONING of images that the library remembers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..chosen_images import NoSuchChoice, chosen_ids, chosen_inputs, open_chosen
from ..host import names_missing_requirements, progress_on
from ..library_state import chosen_state
from ..links import ImageId
from ..stored_images import asked_size, short_prompt
from ..types import CATEGORY, library_input, library_name_input
from .own_sizes import NO_SIZES, OWN_SIZES

if TYPE_CHECKING:
    from ...db import StoredImage
    from ..links import Hits
    from .recall import Recalled
    from .recalled_images import RecalledImage

    Progress = Callable[[str, int, int], None]

BOTH, CLIP_L_ONLY, CLIP_G_ONLY = "both", "CLIP-L only", "CLIP-G only"


class Loader(io.ComfyNode):
    """Exact where the token states are stored, re-encoded where a CLIP is connected, else an approximation, said so."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitLoader",
            display_name="Diffusion Toolkit Loader",
            category=CATEGORY,
            description="Gives back the SDXL CONDITIONING of stored images, positive and negative, without running a "
            "text encoder where the library kept the token states.",
            search_aliases=["load conditioning", "recall prompt", "conditioning from image", "stored embedding"],
            is_input_list=True,  # else a list of ids beside hits would load all hits once an id
            has_intermediate_output=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Int.Input(
                    "image_id",
                    default=0,
                    min=0,
                    max=2**53 - 1,
                    tooltip="The image's id in the library: connect a search node's image_id, which counts with its own library. Not heard where "
                    "hits or image_ids are given; 0 there. 0 without these is refused.",
                ),
                library_name_input(),
                io.Combo.Input(
                    "vectors",
                    options=[BOTH, CLIP_L_ONLY, CLIP_G_ONLY],
                    default=BOTH,
                    tooltip="Which half of SDXL's conditioning to keep; the other is zero. With CLIP-L only, the pooled "
                    "output is zero too, since it is CLIP-G's.",
                ),
                library_input(),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Optional. Chooses the encoder: what the library stored of this very CLIP, else the stored "
                    "text is encoded with it. Without it: the states of the encoder that was last indexed with.",
                ),
                *chosen_inputs(purpose=", in place of image_id", list_inputs=True),
                io.Combo.Input(
                    "sizes",
                    options=[NO_SIZES, OWN_SIZES],
                    default=NO_SIZES,
                    optional=True,
                    tooltip="What CLIP Text Encode (SDXL) adds: width, height, target width and target height, here those that were "
                    "asked of the image's sampler (its picture's own where none is known), and no crop. none: as CLIP Text Encode.",
                ),
            ],
            outputs=[  # lists of one where one image is loaded, which is the same as no list
                io.Conditioning.Output("positive", is_output_list=True, tooltip="The conditioning of the prompt."),
                io.Conditioning.Output(
                    "negative",
                    is_output_list=True,
                    tooltip="The conditioning of the negative prompt; of the empty text where none is known.",
                ),
                io.String.Output("prompt", is_output_list=True, tooltip="The prompt as text."),
                io.String.Output(
                    "negative_prompt", is_output_list=True, tooltip="The negative prompt as text; empty where none is known."
                ),
                io.Int.Output("loaded_id", is_output_list=True, tooltip="The ids of the images, aligned with the other lists."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Sequence[Any]) -> str:
        return chosen_state(**{name: values[0] for name, values in inputs.items()})  # lists of one: a widget's value, or None

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        image_id: list[int],
        library_name: list[str],
        vectors: list[str],
        library: list[str | None] | None = None,
        clip: list[Any] | None = None,
        hits: list[Hits | None] | None = None,
        image_ids: list[Any] | None = None,
        sizes: list[str] | None = None,
    ) -> io.NodeOutput:
        from .recalled_images import sources, told_ids

        hits, image_ids = hits or [None], image_ids or [""]
        others = [library_name, library or [None], clip or [None], vectors, sizes or [NO_SIZES]]
        ids, names, linked, clips, halves, own = aligned(loaded_ids(image_id, hits, image_ids), *others)
        written = image_ids if instead(hits, image_ids) else None
        ids, images = recall_each(ids, list(zip(names, linked, clips)), hits, written, progress_on(cls))
        rows = list(zip(images, halves, own))
        of_library = f"of '{ids[0].library}': {told_ids(ids) if len(ids) > 1 else short_prompt(images[0].image)}"
        heading = f"{len(ids)} images {of_library}" if len(ids) > 1 else f"Image {ids[0]} {of_library}"
        return io.NodeOutput(
            *conditionings(rows),
            [one.image.prompt or "" for one in images],
            [one.image.negative or "" for one in images],
            ids,
            ui={"text": ["\n".join([heading, *sources(images), *changes(rows)])]},
        )


def recall_each(
    ids: Sequence[int], of: Sequence[tuple[str, str | None, Any]], hits: Sequence[Hits | None], image_ids: Sequence[Any] | None, progress: Progress
) -> tuple[list[ImageId], list[RecalledImage]]:
    """The ids with their library, and their images. `of` is each one's library by name and by link, and its CLIP; `image_ids` the
    input, None where it is not what chose the images."""
    from .recall import Recall
    from .recalled_images import recall_images

    places: dict[tuple, list[int]] = {}  # of the images that are of one library, recalled by one encoder
    for place, (name, link, clip) in enumerate(of):
        places.setdefault((name, link, id(clip)), []).append(place)
    found: dict[int, tuple[ImageId, RecalledImage]] = {}
    for (name, link, _), here in places.items():
        wanted = [ids[place] for place in here]
        opened = open_chosen(hits, wanted if image_ids is None else image_ids, name, link)
        with opened.connection() as connection:
            recalled = recall_images(Recall(opened, connection, of[here[0]][2]), wanted, progress)
        found |= {place: (ImageId(one.image.id, opened.name), one) for place, one in zip(here, recalled)}
    return tuple(map(list, zip(*(found[place] for place in range(len(ids))))))


def conditionings(rows: Sequence[tuple[RecalledImage, str, str]]) -> tuple[list, list]:
    """The positives and the negatives of images, each with its half and sizes."""
    sides: tuple[list, list] = [], []
    made: dict[tuple[int, str], list] = {}  # many images share a text
    for one, vectors, sizes in rows:
        for side, recalled in zip(sides, (one.positive, one.negative)):
            if (key := (id(recalled), vectors)) not in made:
                made[key] = half(recalled, vectors)
            side.append(with_sizes(made[key], one.image, sizes))
    return sides


def instead(hits: Sequence[Hits | None], image_ids: Sequence[Any]) -> bool:
    """Whether the images are chosen by these, so that image_id is not heard."""
    from .recalled_images import given

    return any(given(*row) for row in zip(*aligned(hits, image_ids)))


def loaded_ids(image_id: Sequence[int], hits: Sequence[Hits | None], image_ids: Sequence[Any]) -> list[int]:
    """The images to load, of inputs that are lists: the hits and image_ids, else the list of image_id.

    All ids follow one link of hits once, and not each of them the hits again.
    """
    rows = list(zip(*aligned(hits, image_ids)))
    if not instead(hits, image_ids):
        if not image_id:  # other packs' nodes give empty lists
            raise NoSuchChoice("The list that is connected to image_id is empty, so there is nothing to load. Connect a search node's image_id, or its hits.")
        if not all(image_id):
            raise NoSuchChoice("No image is chosen. Connect the hits or the image_id of a search node, or write ids into image_ids.")
        return list(image_id)
    if len(hits) == 1 and hits[0] is not None:
        return chosen_ids(hits[0], image_ids)
    return [id_ for of, written in rows for id_ in chosen_ids(of, written, repeats=of is None)]


def aligned(*lists: Sequence) -> list[list]:
    """The lists at the length of the longest, their last value repeated, as ComfyUI pairs the lists of a node's inputs."""
    longest = max(map(len, lists))
    return [[*of, *[of[-1]] * (longest - len(of))] for of in lists]


def changes(rows: Sequence[tuple[RecalledImage, str, str]]) -> list[str]:
    """What is not as it was recalled, a line for each: the half that is zero, the sizes that are told beside."""
    from .recalled_images import told_ids

    lines: dict[str, list[int]] = {}
    for one, vectors_of, sizes_of in rows:
        if vectors_of == CLIP_L_ONLY:
            lines.setdefault("CLIP-L only: CLIP-G's half and the pooled output are zero", []).append(one.image.id)
        elif vectors_of == CLIP_G_ONLY:
            lines.setdefault("CLIP-G only: CLIP-L's half is zero", []).append(one.image.id)
        if sizes_of != NO_SIZES:
            width, height = asked_size(one.image)
            lines.setdefault(f"with the size {width} x {height}", []).append(one.image.id)
    return [line if len(ids) == len(rows) else f"{line} ({told_ids(ids)})" for line, ids in lines.items()]


def half(recalled: Recalled, vectors: str) -> list:
    """The CONDITIONING with the other half zero, where only one is wanted."""
    from .recall import conditioning

    [[states, told]] = made = conditioning(recalled)  # [1, T, 768 of CLIP-L + 1280 of CLIP-G]
    if vectors == CLIP_L_ONLY:
        states[..., 768:] = 0
        told["pooled_output"].zero_()
    elif vectors == CLIP_G_ONLY:
        states[..., :768] = 0
    return made


def with_sizes(conditioning: list, image: StoredImage, sizes: str) -> list:
    """With the sizes of CLIPTextEncodeSDXL, which SDXL was trained to hear; the tensors are shared, not copied."""
    if sizes == NO_SIZES:
        return conditioning
    width, height = asked_size(image)
    told = {"width": width, "height": height, "crop_w": 0, "crop_h": 0, "target_width": width, "target_height": height}
    return [[states, {**rest, **told}] for states, rest in conditioning]
