"""Save Image with Prompt: Save Image, but the file's graph has the texts and settings that came over links."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements
from ..types import CATEGORY, Hits

if TYPE_CHECKING:
    import torch

    from ..links import Hits as HitsRecord


class SaveImage(io.ComfyNode):
    """ComfyUI runs no node whose outputs it still has, so a search can't write into the file what it gave; what saves always runs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitSaveImage",
            display_name="Save Image with Prompt",
            category=CATEGORY,
            description="Saves images as Save Image does, with the prompts and settings that came over links from a library written into "
            "the file, so that Index Folder finds the image by them again.",
            search_aliases=["save image", "save metadata", "save prompt", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
            inputs=[
                io.Image.Input("images", tooltip="The images to save."),
                io.String.Input(
                    "filename_prefix",
                    default="ComfyUI",
                    tooltip="The beginning of the file's name, as in Save Image: it may hold %date:yyyy-MM-dd%, or values of nodes, such as "
                    "%Empty Latent Image.width%.",
                ),
                io.String.Input(
                    "prompt",
                    force_input=True,
                    optional=True,
                    tooltip="The text that the images were made with: link what goes to CLIP Text Encode, or the Loader's prompt. Each node "
                    "that takes this link has the text in the file.",
                ),
                io.String.Input("negative_prompt", force_input=True, optional=True, tooltip="The same of the negative prompt."),
                Hits.Input(
                    "hits",
                    optional=True,
                    tooltip="The hits of the node whose settings are wired: Pick Hit's, or a search's. The seed, steps, sampler and others that "
                    "nodes take from that very node over links stand in the file as values; after a search each file has those of its own hit.",
                ),
            ],
            outputs=[io.Image.Output("images", tooltip="The images, as they came.")],
        )

    @classmethod
    @names_missing_requirements
    def execute(
        cls,
        images: torch.Tensor,  # [n, height, width, channels]
        filename_prefix: str,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        hits: HitsRecord | None = None,
    ) -> io.NodeOutput:
        import nodes

        graph, lines = for_file(cls.hidden.prompt, cls.hidden.unique_id, {"prompt": prompt, "negative_prompt": negative_prompt}, hits)
        name = re.sub("[\ud800-\udfff]", "_", filename_prefix)  # half an emoji, as a text that was cut ends with: no file's name has it
        saved = nodes.SaveImage().save_images(images, name, graph, cls.hidden.extra_pnginfo)
        return io.NodeOutput(images, ui={**saved["ui"], "text": ["\n".join(lines)]})


def for_file(graph: Any, key: str, came: Mapping[str, Any], hits: HitsRecord | None) -> tuple[Any, list[str]]:
    """The graph for the file, and what the node says of it. What can't be written never keeps a picture from being saved."""
    from comfy.cli_args import args

    from .saved_values import TEXTS, written

    if args.disable_metadata:
        return graph, ["Saved without prompt and settings: ComfyUI runs with --disable-metadata"]
    if not isinstance(graph, Mapping) or key not in graph:
        return graph, ["Saved with the graph as it is: another node made this one while the graph ran (as in a loop), so it is not in there"]
    texts = {name: text for name, text in came.items() if isinstance(text, str)}
    given, why_not = settings_of(graph, key, hits)
    done = written(graph, key, texts, {slot: value for slot, (_, value) in given.items()})
    taken = dict(given[slot] for slot in given if slot in done.taken)
    told = [name for name in TEXTS if (texts.get(name) or taken.get(name) or "").strip()] + [name for name in taken if name not in TEXTS]
    of = f", as given for image {hits.ids[hit_of_run(hits)]}" if taken else ""
    what = ", ".join(told).replace("_", " ")
    lines = [f"Saved with its {what}{of}" if what else "Saved with the graph as it is"]
    if "prompt" not in told:
        why = "What came to prompt is empty" if "prompt" in texts else "Nothing is linked to prompt"
        lines.append(f"{why}: an index knows the prompt only where it stands in the graph itself")
    if why_not:
        lines.append(why_not)
    elif given and not taken:
        lines.append("No node takes a setting over a link from the node that gave hits: none is written")
    return done.graph, lines


def settings_of(graph: Mapping[str, Any], key: str, hits: HitsRecord | None) -> tuple[dict[int, tuple[str, Any]], str]:
    """What the node behind `hits` gave of this run's hit over its other outputs, as slot -> (name, value); or nothing, and why."""
    from ..links import Hits as Record
    from .saved_values import link_of, one_for_one

    link = link_of(graph[key]["inputs"].get("hits"))
    if hits is None or link is None:
        return {}, ""
    if not isinstance(hits, Record) or not hits.given:
        return {}, "The node that gave hits gives no settings beside them: no setting is written. Wire the settings from Pick Hit, and link its hits."
    outputs = getattr(_class_of(graph, link[0]), "RETURN_NAMES", None) or ()
    slots = {slot: name for slot, name in enumerate(outputs) if name in hits.given}
    if len(slots) < len(hits.given):  # another pack's node handed the hits on
        return {}, "The hits came through another node than the one that gives their settings: none is written. Link Pick Hit's hits."
    if len(hits.hits) > 1 and not one_for_one(graph, key, link[0], slots, lambda node: _lists_of(graph, node)):
        return {}, (
            f"There are {len(hits.hits)} hits, and a node that takes or gives lists stands where their settings go, so that it can't be told which of "
            "them made this image: no setting is written. Wire the settings from Pick Hit, and link its hits."
        )
    return {slot: (name, hits.given[name][hit_of_run(hits)]) for slot, name in slots.items()}, ""


def hit_of_run(hits: HitsRecord) -> int:
    """The place of the hit that this run of the node is of: after a search each node runs once a hit, in their order."""
    from .running import place_in_list

    return min(place_in_list(), len(hits.hits) - 1)


def _class_of(graph: Mapping[str, Any], key: str) -> Any:
    import nodes

    return nodes.NODE_CLASS_MAPPINGS.get(graph.get(key, {}).get("class_type"))


def _lists_of(graph: Mapping[str, Any], key: str) -> tuple[bool, Sequence[bool]]:
    """Whether a node takes lists as a whole, and which of its outputs are lists."""
    made = _class_of(graph, key)
    return bool(getattr(made, "INPUT_IS_LIST", False)), getattr(made, "OUTPUT_IS_LIST", None) or ()
