"""Run Graph: a graph that is a text, run as part of the graph that it came up in, or queued by itself."""

from __future__ import annotations

from typing import Any

from comfy_api.v0_0_2 import io

from ..blocked import blocked
from ..host import fresh_fingerprint, names_missing_requirements, show_text
from ..types import CATEGORY

QUEUE, HERE = "queue it by itself", "in this graph"
MOST_GRAPHS = 200  # of one list
NONE = "Passed over: this image has no graph that can be queued. Recall Workflow's report says why."


class RunGraph(io.ComfyNode):
    """Queued by itself, what it saves holds the graph that made it; in this graph, its picture goes on over a link."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitRunGraph",
            display_name="Run Graph",
            category=CATEGORY,
            description="Runs graphs from Fill Template or Recall Workflow: queues each as if you had opened it and pressed Run, or runs it inside "
            "this graph and gives its picture.",
            search_aliases=["more like this", "queue prompt", "execute workflow", "subgraph", "diffusion toolkit"],
            is_output_node=True,
            enable_expand=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.String.Input(
                    "graph",
                    force_input=True,
                    tooltip="A graph as JSON in API format: Fill Template's graph, or Recall Workflow's. Each of a list is run, at "
                    f"most {MOST_GRAPHS}, and none when one of them is refused. Empty ones are passed over.",
                ),
                io.Combo.Input(
                    "run",
                    options=[QUEUE, HERE],
                    default=QUEUE,
                    tooltip="queue it by itself: it is saved as its own nodes say, with the graph that made it in the file, so that Index Folder finds "
                    "it again. in this graph: nothing is saved, the picture comes out here.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The picture, at 'in this graph'. Of several that the graph saves or shows, the last that it saves."),
                io.String.Output("prompt_id", tooltip="The id of the queued prompt, for /history; empty at 'in this graph'."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, run: str | None = None, **inputs: Any) -> str:
        return fresh_fingerprint() if run == QUEUE else HERE

    @classmethod
    @names_missing_requirements
    def check_lazy_status(cls, graph: str, run: str) -> list[str]:
        """ComfyUI asks this of each graph of a list before it runs the first: so none is queued when one is refused."""
        from .running import CannotRun, checked, parsed, picture_of, place_in_list

        if place_in_list() >= MOST_GRAPHS:
            raise CannotRun(f"More than {MOST_GRAPHS} graphs came in one list, and none was run. Lower top_k or variations.")
        if graph.strip():
            ready, _ = checked(parsed(graph))
            if run == HERE:
                picture_of(ready)
        return []

    @classmethod
    @names_missing_requirements
    def execute(cls, graph: str, run: str) -> io.NodeOutput:
        from .running import checked, parsed, picture_of, prefixed, put_in_queue

        if not graph.strip():
            show_text(cls, NONE)
            return io.NodeOutput(blocked(), "", ui={"text": [NONE]} if run == QUEUE else None)
        if run == HERE:
            ready, _ = checked(parsed(graph))
            needed, link = picture_of(ready)
            expanded, link = prefixed(needed, link)
            return io.NodeOutput(link, "", expand=expanded)
        prompt_id = put_in_queue(parsed(graph))
        show_text(cls, f"Queued as {prompt_id}")
        return io.NodeOutput(blocked(), prompt_id, ui={"text": [f"Queued as {prompt_id}"]})
