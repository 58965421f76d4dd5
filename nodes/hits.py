"""What every search node gives for its hits: aligned lists of images, prompts, scores and the settings that made them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io, ui

from .host import log, readable_file
from .settings import DEFAULT_CFG, DEFAULT_SAMPLER, DEFAULT_SCHEDULER, DEFAULT_SEED, DEFAULT_STEPS, wireable
from .types import library_input, library_name_input

if TYPE_CHECKING:
    import torch

    from ..db import Hit, Library, StoredImage

PROMPT_SHOWN = 120  # characters of a prompt in the text on the node
SHOWN_BY_BROWSERS = frozenset((".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".gif", ".bmp"))  # as an image


def hit_inputs() -> list[io.Input]:
    """The inputs that follow the query of a search node."""
    return [
        io.Int.Input("top_k", default=8, min=1, max=1000, tooltip="The most hits to return; fewer when the library has fewer."),
        io.Float.Input(
            "lowest_score",
            default=0.0,
            min=-1.0,
            max=1.0,
            step=0.01,
            tooltip="Leave out hits whose score, the cosine similarity to the query, is below this.",
        ),
        library_name_input(),
        library_input(),
    ]


def hit_outputs() -> list[io.Output]:
    """One list each, best hit first; entry i of every list belongs to the same hit."""

    def listed(kind: Any, name: str, tooltip: str) -> io.Output:
        return kind.Output(name, tooltip=tooltip, is_output_list=True)

    return [
        listed(io.Image, "image", "The pictures, at their own sizes. A file that is gone or was changed gives plain grey of its size."),
        listed(io.String, "prompt", "The prompts that made them; empty where none is known."),
        listed(io.String, "negative_prompt", "The negative prompts; empty where none is known."),
        listed(io.Float, "score", "Cosine similarity to the query, 1 at the most."),
        listed(io.Int, "image_id", "The ids in the library, for the Loader."),
        listed(io.String, "path", "Where the files are, or were."),
        listed(io.Int, "seed", f"The seeds; {DEFAULT_SEED} where none is known."),
        listed(io.Int, "steps", f"The steps; {DEFAULT_STEPS} where none are known."),
        listed(io.Float, "cfg", f"The guidance scales; {DEFAULT_CFG} where none is known."),
        listed(io.AnyType, "sampler", f"The samplers, for KSampler; {DEFAULT_SAMPLER} where none is known here."),
        listed(io.AnyType, "scheduler", f"The schedulers, for KSampler; {DEFAULT_SCHEDULER} where none is known here."),
        listed(
            io.AnyType,
            "checkpoint",
            "The checkpoints, for Load Checkpoint; the first one of this ComfyUI where none is known.",
        ),
    ]


def hit_result(library: Library, hits: Sequence[Hit], question: str) -> io.NodeOutput:
    """The node's outputs for `hits`. Without hits nothing after the node runs, and the node says why."""
    if not hits:
        message = (
            f"No hits for {question}: the library '{library.name}' has no image that scores so high. Lower "
            "lowest_score, or run Index Folder with the model that this search uses."
        )
        nothing = [None] * len(hit_outputs())  # ComfyUI blocks only the outputs that it is given
        return io.NodeOutput(*nothing, block_execution=message, ui={"images": [], "text": [message], "hits": []})
    from .. import db

    with library.connection() as connection:
        stored = db.get_images(connection, [hit.image_id for hit in hits])
    files, notes = zip(*(readable_file(image) for image in stored))
    pictures, notes = zip(*(_picture(image, file, note) for image, file, note in zip(stored, files, notes)))
    settings, replaced = zip(*(wireable(image) for image in stored))
    notes = ["; ".join(filter(None, said)) for said in zip(notes, replaced, map(_sureness, stored))]
    rows = [
        (image.prompt or "", image.negative or "", hit.score, hit.image_id, _path(image, file), *wired)
        for hit, image, file, wired in zip(hits, stored, files, settings)
    ]
    described = [_described(hit, image, file, note) for hit, image, file, note in zip(hits, stored, files, notes)]
    return io.NodeOutput(
        list(pictures),
        *(list(column) for column in zip(*rows)),  # in the order of `hit_outputs`
        ui={
            "images": [_shown(picture, file) for picture, file in zip(pictures, files)],
            "text": ["\n".join(line for line, _ in described)],
            "hits": [record for _, record in described],
        },
    )


def _path(image: StoredImage, file: Path | None) -> str:
    """Where the picture is, or was seen last."""
    if file is None and image.files:
        file = Path(image.files[0].root) / image.files[0].path
    return str(file) if file is not None else ""


def _picture(image: StoredImage, file: Path | None, note: str) -> tuple[torch.Tensor, str]:
    """The picture, [1, H, W, 3] in 0..1, and what is to be said of it."""
    import torch

    from ..embedders.decode import ImageError, decode

    if file is not None:
        try:
            return torch.from_numpy(decode(file).pixels).float().div(255.0).unsqueeze(0), ""
        except (ImageError, OSError) as error:
            note = f"the file can't be read: {error}"
    log.warning("Image %d: %s (%s)", image.id, note, _path(image, file) or "no path")
    return torch.full((1, image.height, image.width, 3), 0.5), note


def _shown(picture: torch.Tensor, file: Path | None) -> dict[str, str]:
    """What the front end needs to draw the picture on the node: the file itself where it is one and ComfyUI serves it, else a PNG."""
    import folder_paths

    if file is not None and file.suffix.lower() in SHOWN_BY_BROWSERS:
        for kind in ("output", "input"):
            folder = Path(folder_paths.get_directory_by_type(kind)).resolve()
            if file.is_relative_to(folder):
                inside = file.relative_to(folder)
                subfolder = "" if inside.parent == Path(".") else inside.parent.as_posix()
                return {"filename": inside.name, "subfolder": subfolder, "type": kind}
    return ui.ImageSaveHelper.save_images(picture, "hit", io.FolderType.temp, None)[0]


def _sureness(image: StoredImage) -> str:
    """What is to be said of the prompt where the file does not simply state it."""
    if image.prompt_confidence == "inferred":
        return "the prompt is inferred"
    if image.prompt_confidence == "unknown":
        return "the prompt was made when the graph ran, and is " + ("known in part" if image.prompt else "not known")
    return ""


def _described(hit: Hit, image: StoredImage, file: Path | None, note: str) -> tuple[str, dict[str, Any]]:
    prompt = " ".join((image.prompt or "").split()) or "(no prompt known)"
    short = prompt if len(prompt) <= PROMPT_SHOWN else prompt[: PROMPT_SHOWN - 1] + "\u2026"
    line = f"{hit.rank}. {hit.score:.3f}  #{hit.image_id}  {short}" + (f"  [{note}]" if note else "")
    record = {
        "rank": hit.rank,
        "score": hit.score,
        "image_id": hit.image_id,
        "path": _path(image, file),
        "prompt": image.prompt,
        "negative_prompt": image.negative,
        "confidence": image.prompt_confidence,
        "note": note,
    }
    return line, record
