"""From a stored image to a filled template: which of its settings are known, under which names they are here, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...db import Connection, Library, StoredImage, get_text
from ...embedders.graph.names import recalling
from ...embedders.graph.saved_texts import SAVER
from ...embedders.metadata.comfyui import types_of
from ...embedders.template import Filled, Lacking, fill, nearest
from ...embedders.template.fill import FILLABLE
from ...embedders.template.probe import Place, Probe, changed
from ..settings import name_here, sampler_and_scheduler
from .stored_graphs import Graph, NoGraph, stored_graphs
from .templates import BUILT_IN, LEAVE_OUT, NEAREST, TOLD, missing_here

OF_A_PASS = ("seed", "steps", "cfg", "sampler", "scheduler", "denoise")  # settings that tell one pass of an image from another
NAMES = ("checkpoint", "vae", "sampler", "scheduler")  # settings that are names of what a computer has, beside LoRAs
_LEAST = 16  # pixels of a side, in Empty Latent Image


@dataclass(frozen=True)
class Asked:
    """What Fill Template was asked for: `template` None is each image's own graph, a seed None the image's own.

    `library` is the name of the library that the images are of.
    """

    template: Graph | None
    name: str
    seeds: Sequence[int | None]
    keep: Collection[str]
    loras: str
    missing: str
    library: str


@dataclass
class Made:
    """Filled graphs as (graph, image id, seed), what is said of each image, and what this ComfyUI lacks for all of them and, by its id, for each.

    `keepable` are the settings that brought what is lacking into a template: in keep, they would not.
    """

    graphs: list[tuple[Graph, int, int]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    lacking: dict[int, list[str]] = field(default_factory=dict)
    keepable: list[str] = field(default_factory=list)


@dataclass
class FilledFor:
    """One image's filled template, what came into it, and what this ComfyUI has under other names or lacks.

    `seed` is the one that a reader finds in the filled graph.
    """

    filled: Filled
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    keepable: list[str] = field(default_factory=list)
    seed: int | None = None


def keep_of(text: str) -> list[str]:
    """The settings that a person names to stay the template's; ValueError names one that there is not, with what was meant."""
    import difflib

    names = [name.strip().lower() for name in text.replace(";", ",").split(",") if name.strip()]
    for name in names:
        if name not in FILLABLE:
            near = difflib.get_close_matches(name, FILLABLE, 1)
            meant = f" Was {near[0]} meant?" if near else ""
            raise ValueError(f"'{name}' in keep is no setting.{meant} There are: {', '.join(FILLABLE)}.")
    return names


def wanted_of(connection: Connection, image: StoredImage) -> dict[str, Any]:
    """What is known of an image, as `fill` takes it. Its settings are those that the reader took, of the pass that began the picture.

    Its prompts and LoRAs are that pass's too, unless it does not tell: then all of its texts. A size is the one that was asked for,
    else the picture's, but for one that is smaller than ComfyUI makes any.
    """
    passes = [one for one in image.reading.get("passes") or () if isinstance(one, Mapping)]
    begun = max(passes, key=lambda one: sum(one.get(name) == getattr(image, name) for name in OF_A_PASS)) if len(passes) > 1 else {}

    def text(name: str, text_id: int | None) -> tuple[str, str] | None:
        told = begun.get(name) or ()
        if len(told) == 1 and len(told[0]) == 2:
            return (str(told[0][0]), str(told[0][1]))
        pair = get_text(connection, text_id) if text_id is not None else None
        return (pair.text_g, pair.text_l) if pair is not None else None

    asked = image.asked_width and image.asked_height
    return {
        **{name: getattr(image, name) for name in (*OF_A_PASS, "guidance", "checkpoint", "vae")},
        "loras": [one for one in begun.get("loras", image.loras) if one.get("name")],
        "prompt": text("positive", image.prompt_id),
        "negative": text("negative", image.negative_id),
        "size": (image.asked_width, image.asked_height) if asked else tuple(max(_LEAST, side // 8 * 8) for side in (image.width, image.height)),
    }


def read_images(
    library: Library, ids: Sequence[int], own: bool, definitions: Any, progress: Callable[[str, int, int], None]
) -> tuple[list[tuple[int, Graph | None, dict[str, Any]]], list[str]]:
    """The images as `fill_images` takes them; with `own` without those that have no graph of their own, and why these have none."""
    images, without = [], []
    for start in range(0, len(ids), 20):
        progress("Reading graphs", start, len(ids))
        with library.connection() as connection:
            for one in stored_graphs(connection, ids[start : start + 20], definitions):
                if own and one.prompt is None:
                    without.append(one.note)
                else:
                    images.append((one.image.id, one.prompt, wanted_of(connection, one.image)))
    if not images:
        raise NoGraph(f"{'; '.join(without[:TOLD])}. Choose another template, such as {BUILT_IN}: it is filled with what is known of the image.")
    return images, without


def names_of_here(wanted: dict[str, Any]) -> None:
    """Samplers and schedulers as this ComfyUI calls them, also those of other generators; what it does not know stays."""
    import comfy.samplers

    host = comfy.samplers.KSampler
    sampler, scheduler = sampler_and_scheduler(wanted["sampler"], wanted["scheduler"], host.SAMPLERS, host.SCHEDULERS)
    wanted["sampler"], wanted["scheduler"] = sampler or wanted["sampler"], scheduler or wanted["scheduler"]


def fill_images(
    images: Sequence[tuple[int, Graph | None, dict[str, Any]]], asked: Asked, definitions: Any, progress: Callable[[str, int, int], None]
) -> Made:
    """A graph for each image and seed, but for images to be left out; an image is its id, its own graph and what is wanted of it."""
    made, of = Made(), len(images) * len(asked.seeds)
    template = of_library(asked.template, asked.library) if asked.template is not None else None
    own_seed = seed_of(template, definitions) if template is not None else None
    for image_id, own, wanted in images:
        names_of_here(wanted)
        for number, seed in enumerate(asked.seeds):
            progress("Filling", len(made.graphs), of)
            used = seed if seed is not None else wanted["seed"]
            comes = used if used is not None and "seed" not in asked.keep else own_seed
            graph, marks = template, {"image_id": str(image_id), "library": asked.library}
            marks |= {"seed": str(comes)} if comes is not None else {}
            if graph is None:  # what an image's own graph holds between % is no mark of ours
                graph, marks = own, {}
            how = {"keep": asked.keep, "loras": asked.loras, "missing": asked.missing}
            done = filled_for(graph, {**wanted, "seed": used}, definitions, marks=marks, **how)
            if number == 0 and done.missing:
                made.missing += [what for what in done.missing if what not in made.missing]
                made.keepable += [name for name in done.keepable if name not in made.keepable]
                made.lacking[image_id] = done.missing
                if asked.missing == LEAVE_OUT:
                    break
            made.graphs.append((done.filled.graph, image_id, done.seed if done.seed is not None else used or 0))
            if number == 0:
                made.lines.append("\n".join([f"Image {image_id} in {asked.name}", *summary(done, wanted, asked.template is None)]))
    return made


def of_library(template: Graph, library: str) -> Graph:
    """The template with the images' library in every node that is told %image_id%: in another the id is another image's."""
    new = dict(template)
    for key, node in template.items():
        inputs = node["inputs"]
        if isinstance(inputs.get("library_name"), str) and any(isinstance(value, str) and "%image_id%" in value for value in inputs.values()):
            new[key] = {**node, "inputs": {**inputs, "library_name": library}}
    return new


def seed_of(graph: Graph, definitions: Any, types: Mapping[str, Sequence[str]] = {}) -> int | None:
    """The seed of the first sampler, where a reader finds one."""
    try:
        seed = Probe(graph, types or types_of(graph, definitions)).first.seed
    except ValueError:  # `fill` says why
        return None
    return int(seed) if seed is not None else None


def filled_for(
    template: Graph,
    wanted: Mapping[str, Any],
    definitions: Any,
    *,
    marks: Mapping[str, str],
    keep: Collection[str],
    loras: str,
    missing: str,
) -> FilledFor:
    """Fill, then put the names that this ComfyUI has in the place of those that it lacks, as `missing` says."""
    wanted, notes, gone = dict(wanted), [], []
    types = types_of(template, definitions)
    if wanted.get("loras") and "loras" not in keep:
        wanted["loras"], notes, gone = loras_here(wanted["loras"], missing)
        types |= {"LoraLoader": ["MODEL", "CLIP"], "LoraLoaderModelOnly": ["MODEL"]}
    done = FilledFor(fill(template, wanted, types, keep=keep, loras=loras, marks=marks), notes, gone, ["loras"] if gone else [])
    done.seed = seed_of(done.filled.graph, definitions, types)
    unknown, lacking = missing_here(done.filled.graph, definitions)
    done.missing += [f"This ComfyUI has no node {kind}. Install the pack that it is from." for kind in unknown]
    changes: dict[Place, str] = {}
    for one in lacking:
        here = None if one.upload else name_here(one.value, one.choices) or (one.nearest[0] if missing == NEAREST and one.nearest else None)
        if here is not None:
            changes[Place(one.node, one.input)] = here
            done.notes.append(f"{one.value} is {here} here")
        elif str(one) not in done.missing and not _told(one, done.missing):
            done.missing.append(str(one))
            brought = [name for name in NAMES if name in done.filled.filled and wanted.get(name) == one.value] if one.choices else []
            done.keepable += [name for name in brought if name not in done.keepable]
    done.filled.graph = changed(done.filled.graph, changes)
    return done


def loras_here(loras: Sequence[Mapping[str, Any]], missing: str) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """The LoRAs under the names of this ComfyUI, what was said of them, and those that it lacks.

    With `NEAREST` one without a like is left out: LoRAs that have nothing to do with the image do more harm than none.
    """
    import folder_paths

    present = folder_paths.get_filename_list("loras")
    found, notes, gone = [], [], []
    for lora in loras:
        name, near = lora["name"], nearest(lora["name"], present)
        here = name_here(name, present)
        if here is None and missing == NEAREST:
            if not near:
                notes.append(f"LoRA {name} is not here, nor one like it: it is left out")
                continue
            here = near[0]
        if here is None:
            gone.append(f"LoRA {name} is not here. " + (f"Nearest here: {', '.join(near)}." if near else "There is none like it here."))
        elif here != name:
            notes.append(f"{name} is {here} here")
        found.append({**lora, "name": here or name})
    return found, notes, gone


def _told(one: Lacking, missing: Sequence[str]) -> bool:
    """A LoRA that was told of before it was put in."""
    return any(line.startswith(f"LoRA {one.value} is not here") for line in missing)


def summary(done: FilledFor, wanted: Mapping[str, Any], own: bool) -> list[str]:
    """What came into a template and what did not, in lines; of what the image's file does not tell only what people look for.

    Of an image's `own` graph only the seed is asked.
    """
    filled = [name for name in FILLABLE if name in done.filled.filled]
    lines = [f"    filled: {', '.join(filled) or 'nothing'}"]
    lines += [f"    marks: {', '.join(f'%{name}%' for name in done.filled.marks)}"] if done.filled.marks else []
    if own and "seed" not in filled:
        lines.append("    No place of the seed was found: it comes from a node that makes it when it runs, so it may be another each time, or never")
    if own and (asking := ours_in(done.filled.graph)):
        lines.append(f"    It asks a library when it runs ({', '.join(asking)}), and what that gives now may be of another image. Choose text to image for this one's prompt")
    unknown = [name for name in FILLABLE if name in done.filled.left and wanted.get(name) is None]
    lines += [f"    {name} is left: {why}" for name, why in done.filled.left.items() if name not in unknown and not own]
    if "prompt" in unknown and not own:
        lines.insert(1, "    The image's prompt is not known: what the template says itself is made")
    told = [name for name in unknown if name not in ("prompt", "vae", "guidance", "denoise")]
    lines += [f"    not known of the image, so the template's: {', '.join(told)}"] if told and not own else []
    return lines + [f"    {note}" for note in done.notes] + [f"    {what}" for what in done.missing]


def ours_in(graph: Graph) -> list[str]:
    """Our nodes in a graph, but those that save, by the names that the page shows."""
    import nodes

    kinds = {str(node.get("class_type")) for node in graph.values()}
    return sorted(nodes.NODE_DISPLAY_NAME_MAPPINGS.get(kind, kind) for kind in kinds if recalling(kind) and kind != SAVER)
