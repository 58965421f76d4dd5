"""What every search node takes beside its query, and what it gives: aligned lists of images, prompts, scores and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..blocked import all_blocked
from ..host import ReadableFiles
from ..library_state import library_state
from ..links import ImageId, QueryPart, SearchOptions
from ..pictures import check_memory, drawn, picture_of
from ..settings import DEFAULT_CFG, DEFAULT_SAMPLER, DEFAULT_SCHEDULER, DEFAULT_SEED, DEFAULT_STEPS, wireable
from ..stored_images import asked_size, ordered_by, path_of, sureness
from ..types import Hits, filter_inputs, library_input, library_name_input
from ..types import SearchOptions as SearchOptionsLink
from ..wording import some
from .asking import Found, Wanted, all_of, find, in_words
from .filter_text import moment_of
from .hit_records import hit_line, hit_record, what_helps
from .no_hits import why_no_hits

if TYPE_CHECKING:
    import torch

    from ...db import Library


MOST_HITS, MOST_OFFSET = 1000, 1_000_000


def hit_inputs(lowest: float = -1.0, default: float = 0.0) -> list[io.Input]:
    """The inputs that follow the query of a search node. Those after `library` came later: optional, so old prompts stay valid."""
    return [
        io.Int.Input("top_k", default=8, min=1, max=MOST_HITS, tooltip="The most hits to return; fewer when the library has fewer."),
        io.Float.Input(
            "lowest_score",
            default=default,
            min=lowest,
            max=-lowest,
            step=0.01,
            tooltip="Leave out hits whose score is below this. The score is the cosine similarity to the query; of several "
            f"queries, the sum of weight x cosine. {lowest:g}: none is left out. Search Options has a percentile instead.",
        ),
        library_name_input(),
        library_input(),
        io.Int.Input(
            "offset",
            default=0,
            min=0,
            max=MOST_OFFSET,
            optional=True,
            tooltip="How many of the best hits to pass over. For the next page add top_k.",
        ),
        *filter_inputs(),
        SearchOptionsLink.Input(
            "options", optional=True, tooltip="From Search Options: order, diversity, collapsing of variants, percentile, exactness."
        ),
    ]


def hit_outputs(listed: bool = True) -> list[io.Output]:
    """Lists, best hit first; entry i of every list belongs to the same hit. `listed` False: the values of one hit."""

    def output(kind: Any, name: str, tooltip: str) -> io.Output:
        return kind.Output(name, tooltip=tooltip, is_output_list=listed)

    return [
        output(io.Image, "image", "The pictures, at their own sizes. A file that is gone or was changed gives plain grey of its size."),
        output(io.String, "prompt", "The prompts that made them; empty where none is known."),
        output(io.String, "negative_prompt", "The negative prompts; empty where none is known."),
        output(io.Float, "score", "Cosine similarity to the query, 1 at the most; of several queries the weighted sum."),
        output(io.Int, "image_id", "The ids in the library, for the Loader; a node of ours that takes them knows which library."),
        output(io.String, "path", "Where the files are, or were."),
        output(io.Int, "seed", f"The seeds; {DEFAULT_SEED} where none is known."),
        output(io.Int, "steps", f"The steps; {DEFAULT_STEPS} where none are known."),
        output(io.Float, "cfg", f"The guidance scales; {DEFAULT_CFG} where none is known."),
        output(io.AnyType, "sampler", f"The samplers, for KSampler; {DEFAULT_SAMPLER} where none is known here."),
        output(io.AnyType, "scheduler", f"The schedulers, for KSampler; {DEFAULT_SCHEDULER} where none is known here."),
        output(
            io.AnyType,
            "checkpoint",
            "The checkpoints, for Load Checkpoint; the first one of this ComfyUI where none is known.",
        ),
        Hits.Output("hits", tooltip="All hits as one object, for Pick Hit, Label Images and others: they run once, not once a hit."),
        output(io.Int, "width", "The widths that were asked of the sampler, for Empty Latent Image; the picture's own where none is known."),
        output(io.Int, "height", "The heights that were asked of the sampler; the picture's own where none is known."),
    ]


def search_fingerprint(filter_text: str | None = "", **inputs: Any) -> str:
    """Changes with the library, and with the time where the filter text hangs on it, or may since it is linked."""
    return f"{library_state(**inputs)} {moment_of([filter_text])}"


def search_result(
    library: Library,
    parts: Sequence[QueryPart],
    *,
    top_k: int,
    lowest_score: float,
    offset: int = 0,
    filter_text: str = "",
    filter: Any | None = None,
    options: SearchOptions | None = None,
    lowest: float = -1.0,
    leave_out: tuple[int, ...] = (),
) -> io.NodeOutput:
    """Ask, with the values of `hit_inputs`, and give the node's outputs. Without hits nothing after it runs, and it says why."""
    wanted = Wanted(
        top_k,
        offset,
        lowest_score if lowest_score > lowest else None,
        all_of(filter, filter_text),
        options or SearchOptions(),
        leave_out,
    )
    found = find(library, parts, wanted)
    if not found.hits.hits:
        return nothing_found(why_no_hits(library, parts, wanted, found.hits.note))
    values, shown = hit_values(found)
    meaning = " (score \u00b7 share of the library that is farther)" if found.hits.hits[0].percentile is not None else ""
    lines = [f"{_range(offset, len(found.images))} for {in_words(found.hits.parts)}{meaning}"]
    lines += [f"Found by: {found.hits.method}"] if found.hits.method else []
    lines += [found.hits.note] if found.hits.note else []
    lines += shown.lines(wanted.options.order)
    return hit_result(values, shown, ["\n".join(lines)])


def hit_result(values: Mapping[str, Any], shown: Shown, text: list[str]) -> io.NodeOutput:
    """What a node with `hit_outputs` gives: each output the value of its name."""
    ui = {"images": shown.images, "text": text, "hits": shown.records}
    return io.NodeOutput(*(values[output.id] for output in hit_outputs()), ui=ui)


def nothing_found(message: str) -> io.NodeOutput:
    """What a node without hits gives: nothing after it runs, and it says why."""
    return all_blocked(len(hit_outputs()), message, images=[], hits=[])


class Shown:
    """What a node shows of its hits."""

    def __init__(self, found: Found, pictures: Sequence[torch.Tensor], files: Sequence[Path | None], notes: Sequence[str]) -> None:
        self._found, self.notes = found, notes
        self.images = [drawn(picture, file) for picture, file in zip(pictures, files)]
        self.records = [
            hit_record(hit, image, path_of(image, file), note, found.hits.parts)
            for hit, image, file, note in zip(found.hits.hits, found.images, files, notes)
        ]

    def lines(self, order: str = "score") -> list[str]:
        """What helps where files are gone, above the hits, of which a node shows the first; then one a hit, with what it was put in order by."""
        of = zip(self._found.hits.hits, self._found.images, self.notes)
        lines = [hit_line(hit, image, note, self._found.hits.parts, ordered_by(image, order)) for hit, image, note in of]
        return what_helps(self.notes) + lines


def hit_values(found: Found) -> tuple[dict[str, Any], Shown]:
    """The values of `hit_outputs` by their names, lists but for the hits themselves; and what is to be shown.

    ValueError where the pictures would take more memory than a node should.
    """
    check_memory(found.images, "top_k", len(found.images))
    readable = ReadableFiles()
    files, notes = zip(*map(readable.of, found.images))
    pictures, notes = zip(*(picture_of(image, file, note) for image, file, note in zip(found.images, files, notes)))
    settings, replaced = zip(*(wireable(image) for image in found.images))
    notes = ["; ".join(filter(None, said)) for said in zip(notes, replaced, map(sureness, found.images))]
    widths, heights = zip(*map(asked_size, found.images))
    given = {
        "prompt": [image.prompt or "" for image in found.images],
        "negative_prompt": [image.negative or "" for image in found.images],
        **{name: [one[name] for one in settings] for name in settings[0]},
        "width": list(widths),
        "height": list(heights),
    }
    values = {
        "image": list(pictures),
        "score": [hit.score for hit in found.hits.hits],
        "image_id": [ImageId(hit.image_id, found.hits.library) for hit in found.hits.hits],
        "path": [path_of(image, file) for image, file in zip(found.images, files)],
        "hits": replace(found.hits, given=given),
    }
    return {**values, **given}, Shown(found, pictures, files, notes)


def _range(offset: int, n: int) -> str:
    if offset:
        return f"Hits {offset + 1} to {offset + n}"
    return some(n, "hit")
