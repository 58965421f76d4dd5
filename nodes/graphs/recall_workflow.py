"""Recall Workflow: the graph that made a stored image, as files ready to open, even when the picture itself is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..chosen_images import chosen_ids, chosen_inputs, open_chosen
from ..files import unquoted
from ..host import names_missing_requirements, progress_on, show_text
from ..library_state import chosen_state
from ..links import ImageId
from ..types import CATEGORY, library_input, library_name_input
from ..wording import some
from .templates import models_here

if TYPE_CHECKING:
    from ..links import Hits
    from .stored_graphs import StoredGraphs

TOLD = 30  # images that the node tells of
BATCH = 20


class RecallWorkflow(io.ComfyNode):
    """Gives what the library keeps of the file's metadata: the file itself is not opened."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitRecallWorkflow",
            display_name="Recall Workflow",
            category=CATEGORY,
            description="Gives back the ComfyUI graph that made stored images, as files in the output folder that ComfyUI's page opens, and "
            "says which of its nodes and models are not here. It needs the library only: the picture may be gone.",
            search_aliases=["extract workflow", "restore workflow", "workflow from image", "open workflow", "diffusion toolkit"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                *chosen_inputs(),
                io.String.Input(
                    "save_as",
                    default="workflows/image",
                    tooltip="Where in ComfyUI's output folder the files go: workflows/image gives workflows/image_12_workflow.json and "
                    "workflows/image_12_prompt.json. Empty: no files.",
                ),
                library_name_input(),
                library_input(),
            ],
            outputs=[
                io.String.Output(
                    "workflow_file",
                    is_output_list=True,
                    tooltip="The files to open in ComfyUI: drag one onto the page, or use Open. An image that was saved with the queued prompt "
                    "alone gives that; the page opens it too.",
                ),
                io.String.Output("prompt_file", is_output_list=True, tooltip="The same as it was queued, for POST /prompt; empty where it can't be had."),
                io.String.Output("graph", is_output_list=True, tooltip="The queued graph as JSON, for Run Graph; empty where it can't be had."),
                io.Int.Output("image_id", is_output_list=True, tooltip="The ids of the images, aligned with the other lists."),
                io.String.Output("report", tooltip="What was written, and what is missing here."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: Any) -> str:
        return f"{chosen_state(**inputs)} {models_here()}"  # of what is missing, as the report tells it

    @classmethod
    @names_missing_requirements
    def execute(
        cls, save_as: str, library_name: str, hits: Hits | None = None, image_ids: Any = "", library: str | None = None
    ) -> io.NodeOutput:
        from ..definitions import node_definitions
        from .stored_graphs import NoGraph, stored_graphs

        ids, definitions, progress = chosen_ids(hits, image_ids), node_definitions(), progress_on(cls)
        opened, save_as = open_chosen([hits], image_ids, library_name, library), unquoted(save_as)
        rows: list[tuple[str, str, str, int]] = []
        lines: list[str] = []
        without: list[str] = []
        known = False  # something of those without
        for start in range(0, len(ids), BATCH):  # written at once: a thousand graphs as objects would be gigabytes
            progress("Reading graphs", start, len(ids))
            with opened.connection() as connection:
                found = stored_graphs(connection, ids[start : start + BATCH], definitions)
            for one in found:
                progress("Writing graphs", start, len(ids))
                if one.workflow is None and one.prompt is None:
                    without.append(one.note)
                    known |= one.image.prompt_id is not None or one.image.seed is not None or bool(one.image.checkpoint)
                    continue
                workflow, prompt = _write(one, save_as)
                lines += _told(one, workflow, prompt, definitions) if len(rows) < TOLD else []
                rows.append((workflow, prompt, json.dumps(one.prompt) if one.prompt is not None else "", ImageId(one.image.id, opened.name)))
        if not rows:
            step = "Fill Template makes a graph from the settings that are known."
            step = step if known else "No prompt, seed or checkpoint is known either: choose another image."
            raise NoGraph(f"{'; '.join(without[:TOLD])}. There is nothing to give back. {step}")
        lines += [f"... and {some(len(rows) - TOLD, 'image')} more."] * (len(rows) > TOLD)
        show_text(cls, f"Done: {some(len(rows), 'image')}")
        report = "\n".join([*lines, *without[:TOLD]])
        return io.NodeOutput(*map(list, zip(*rows)), report, ui={"text": [report]})


def _write(one: StoredGraphs, save_as: str) -> tuple[str, str]:
    """The paths of both files; the prompt stands in for a workflow that was not saved."""
    from .stored_graphs import write_json

    if not save_as.strip():
        return "", ""
    prompt = str(write_json(f"{save_as}_{one.image.id}_prompt", one.prompt)) if one.prompt is not None else ""
    if one.workflow is None:
        return prompt, prompt
    return str(write_json(f"{save_as}_{one.image.id}_workflow", one.workflow)), prompt


def _told(one: StoredGraphs, workflow: str, prompt: str, definitions: Any) -> list[str]:
    from .templates import missing_here

    kind = "workflow" if one.workflow is not None else "queued prompt; no workflow was saved with it, the page lays it out itself"
    nodes = len(one.prompt) if one.prompt is not None else len(one.workflow["nodes"])
    lines = [f"Image {one.image.id}: {workflow or 'not written'} ({kind}, {nodes} nodes)"]
    if prompt and prompt != workflow:
        lines.append(f"    To be queued: {prompt}")
    lines += [f"    {one.note}."] if one.note else []
    if one.prompt is not None:
        unknown, lacking = missing_here(one.prompt, definitions)
        lines += [f"    This ComfyUI has no node {kind}: install the pack that it is from." for kind in unknown]
        lines += [f"    {what}" for what in lacking]
    return lines
