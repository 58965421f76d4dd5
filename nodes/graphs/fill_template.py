"""Fill Template: a stored image's prompts and settings put into a graph, ready to be run: more like this."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..chosen_images import chosen_ids, chosen_inputs, open_chosen
from ..files import unquoted
from ..host import fresh_fingerprint, names_missing_requirements, numbers_in_range, progress_on, show_text
from ..library_state import chosen_state
from ..links import ImageId
from ..types import CATEGORY, library_input, library_name_input
from ..wording import first_lines, some
from .templates import AS_THEY_ARE, LEAVE_OUT, NEAREST, OWN, STOP, TOLD, models_here, read_template, template_names
from .templates import template_file as file_of

if TYPE_CHECKING:
    from ..links import Hits

FROM_SEED, OWN_SEED = "from seed on", "the image's own"
IMAGES_LORAS, BOTH_LORAS = "the image's", "the template's and the image's"
MOST_GRAPHS = 200


class MissingHere(ValueError):
    """The filled graph names what this ComfyUI does not have."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


class FillTemplate(io.ComfyNode):
    """Gives graphs as text: Run Graph runs them, POST /prompt takes them, a file keeps them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitFillTemplate",
            display_name="Fill Template",
            category=CATEGORY,
            description="Puts the prompts, checkpoint, LoRAs, sampler settings, size and seed of stored images into a graph: their own with "
            "another seed, the built-in one, or yours. Give it to Run Graph for more like this in one go.",
            search_aliases=["more like this", "variations", "remix", "apply settings", "reuse prompt", "batch queue", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                *chosen_inputs(),
                io.Combo.Input(
                    "template",
                    options=template_names(),
                    default=OWN,
                    tooltip="What is filled. the image's own graph: it stays as it is, but for the seed. text to image: ComfyUI's default graph, "
                    "for an image of any generator. Others: JSON files in ComfyUI's user folder, under diffusion_toolkit/templates.",
                ),
                io.Combo.Input(
                    "seeds",
                    options=[FROM_SEED, OWN_SEED],
                    default=FROM_SEED,
                    tooltip="from seed on: the first variation has seed, the next seed + 1. the image's own: the image again, as it was.",
                ),
                io.Int.Input(
                    "seed", default=1, min=0, max=2**64 - 1, control_after_generate=True, tooltip="The seed of the first variation."
                ),
                io.Int.Input("variations", default=1, min=1, max=100, tooltip="So many graphs an image, each with another seed; one where seeds is the image's own."),
                io.String.Input(
                    "keep",
                    default="denoise",
                    tooltip="What stays the template's, parted by commas: checkpoint, vae, loras, prompt, negative, seed, steps, cfg, guidance, "
                    "sampler, scheduler, denoise, size. An image's own graph keeps all of it but the seed.",
                ),
                io.Combo.Input(
                    "loras",
                    options=[IMAGES_LORAS, BOTH_LORAS],
                    default=IMAGES_LORAS,
                    tooltip="the image's: they take the place of the template's. both: those that it lacks are added, for a template that needs its own, "
                    "such as one for few steps. With loras in keep, only the template's.",
                ),
                io.Combo.Input(
                    "missing",
                    options=[STOP, NEAREST, AS_THEY_ARE, LEAVE_OUT],
                    default=STOP,
                    tooltip="What to do about checkpoints, LoRAs and others that are not here. stop: each is listed with the nearest names. use the "
                    "nearest: it takes their place, LoRAs with no like are left out. leave the names: for another computer. leave out such images: "
                    "the others are filled, and the report lists these.",
                ),
                io.String.Input(
                    "save_as",
                    default="",
                    tooltip="Writes each filled graph into ComfyUI's output folder, such as templates/like: like_12_seed_1.json. Empty: no files.",
                ),
                library_name_input(),
                library_input(),
                io.String.Input(
                    "template_file",
                    default="",
                    optional=True,
                    tooltip="A template by its path, in the output or input folder or another root, in place of the one chosen. Recall "
                    "Workflow's files can be connected; what is connected is read anew each time.",
                ),
            ],
            outputs=[
                io.String.Output("graph", is_output_list=True, tooltip="The filled graphs as JSON in API format: for Run Graph, or POST /prompt."),
                io.Int.Output("image_id", is_output_list=True, tooltip="The image that each was filled from, in the same order."),
                io.Int.Output("seed", is_output_list=True, tooltip="The seed of each as it stands in the graph, in the same order."),
                io.String.Output("file", is_output_list=True, tooltip="Where each was written, in the same order; empty where it was not."),
                io.String.Output("report", tooltip="What was filled, what was not and why, and what is missing here."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, template: str | None = OWN, template_file: str | None = "", missing: str | None = STOP, **inputs: Any) -> str:
        """With the models that are here, but where nothing is missing: then a new one changes nothing, and nobody waits for the same picture.

        What leaves images out is asked anew each time: one that lacks a picture in the input folder is to come back with it. So is a template
        that is linked (None): which file it is, and whether that was changed, is not known yet. A picture made once more
        is better than one of a graph that is no longer there.
        """
        if missing == LEAVE_OUT or None in (template, template_file, missing):
            return fresh_fingerprint()
        state = chosen_state(**inputs) + ("" if missing == STOP else models_here())
        file = file_of(template, template_file)  # where this raises, ComfyUI runs the node, which tells
        return f"{state} {file} {file.stat().st_mtime_ns if file is not None else ''}"

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(
        cls,
        template: str,
        seeds: str,
        seed: int,
        variations: int,
        keep: str,
        loras: str,
        missing: str,
        save_as: str,
        library_name: str,
        hits: Hits | None = None,
        image_ids: Any = "",
        library: str | None = None,
        template_file: str = "",
    ) -> io.NodeOutput:
        from ...embedders.template.fill import ADD, REPLACE
        from ..definitions import node_definitions
        from .filling import FILLABLE, Asked, fill_images, keep_of, read_images
        from .stored_graphs import write_json

        ids = chosen_ids(hits, image_ids)
        used = [(seed + number) % 2**64 for number in range(variations)] if seeds == FROM_SEED else [None]
        _check_count(len(ids), len(used))
        definitions, source = node_definitions(), file_of(template, template_file)
        own, kept = template == OWN and source is None, keep_of(keep)  # looked at in any case, for what is misspelt
        kept = [name for name in FILLABLE if name != "seed"] if own else kept
        given = None if own else read_template(source, definitions)
        opened, progress = open_chosen([hits], image_ids, library_name, library), progress_on(cls)
        images, without = read_images(opened, ids, own, definitions, progress)
        asked = Asked(given, str(source or template), used, kept, ADD if loras == BOTH_LORAS else REPLACE, missing, opened.name)
        made = fill_images(images, asked, definitions, progress)
        if made.missing and (missing in (STOP, NEAREST) or not made.graphs):
            raise MissingHere(_not_here(made.missing, missing, made.keepable, others=len(made.lacking) < len(images)))
        if missing == LEAVE_OUT:
            without += [f"Image {id_} is left out. {' '.join(lacks)}" for id_, lacks in made.lacking.items()]
        save_as = unquoted(save_as)
        written = [str(write_json(f"{save_as}_{id_}_seed_{of}", graph)) if save_as else "" for graph, id_, of in made.graphs]
        show_text(cls, f"Done: {some(len(made.graphs), 'graph')}")
        graphs, of_images, of_seeds = map(list, zip(*made.graphs))
        report = _report(of_seeds, made.lines, without, written, unheard=seeds == OWN_SEED and variations > 1)
        of_images = [ImageId(id_, opened.name) for id_ in of_images]
        return io.NodeOutput([json.dumps(graph) for graph in graphs], of_images, of_seeds, written, report, ui={"text": [report]})


def _check_count(images: int, seeds: int) -> None:
    from .running import place_in_list

    runs = place_in_list() + 1
    if (count := images * seeds * runs) > MOST_GRAPHS:
        each = f", {runs} times over, as a list came in," * (runs > 1)
        raise ValueError(f"{images} images with {seeds} variations{each} are {count} graphs, {MOST_GRAPHS} are the most. Choose fewer.")


def _report(seeds: list[int], lines: list[str], without: list[str], written: list[str], unheard: bool = False) -> str:
    """`unheard`: variations were asked for of a seed that there is one of."""
    heading = f"{some(len(seeds), 'filled graph')}, seed {seeds[0]}" + f" to {seeds[-1]}" * (seeds[-1] != seeds[0])
    heading += f"; {some(len(without), 'image')} left out" * bool(without)
    heading += f". Not used here: variations, since {OWN_SEED} is one seed" * unheard
    more = [f"... and {some(len(lines) - TOLD, 'image')} more"] * (len(lines) > TOLD)
    files = [f"Written: {written[0]}" + (f" and {len(written) - 1} more" if len(written) > 1 else "")] if written[0] else []
    return "\n".join([heading, *lines[:TOLD], *more, *first_lines(without, TOLD), *files])


def _not_here(missed: list[str], missing: str, keepable: list[str], others: bool) -> str:
    """`keepable` are the settings that need not come from the image; of an image's own graph there are none. `others`: images that lack nothing."""
    listed = "\n".join(f"- {what}" for what in missed[:50])
    steps = ["Get what is missing"]
    steps += [f"put {', '.join(keepable)} into keep"] if keepable else []
    helps = any("Nearest here" in what or what.startswith("LoRA") for what in missed)  # a LoRA without a like is left out then
    steps += [f"choose '{NEAREST}'"] if missing in (STOP, LEAVE_OUT) and helps else []
    steps += [f"choose '{LEAVE_OUT}'"] if others else []
    next_step = ", ".join(steps[:-1]) + ", or " * (len(steps) > 1) + steps[-1]
    return f"This ComfyUI does not have all that the filled graph names:\n{listed}\n{next_step}; '{AS_THEY_ARE}' gives the graph for another computer."
