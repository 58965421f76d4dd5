"""Convert a workflow as ComfyUI's front end saves it into the API format that `POST /prompt` takes, by the host's `/object_info`.

ComfyUI has this conversion in the browser only. The rules here were learned from front end 1.47.12 (`app.graphToPrompt`, what
happens while a graph loads, and the core extensions) and are compared with it, node by node, in `tests/browser`:

- Values are positional. Each widget of the node takes one, in the definition's `input_order`, and so do widgets that are never
  sent: `control_after_generate` behind a seed, its filter list behind a combo, upload buttons, the four numbers beside a bounding
  box. Inputs with `forceInput` and types without a widget take none. A value that is missing is the definition's default.
- A dynamic combo brings the inputs of its chosen option as `combo.input`; an autogrow group has one row of `group.name0`,
  `group.name1` ... more than it has links; links are found by socket name.
- A link wins over the widget below it. Lists in widgets are sent as `{"__value__": [...]}`, for a list of two would be a link.
- Reroutes and bypassed nodes (mode 4) hand through: a bypassed output takes the input of the same index if the types fit the
  output and the target, else the first of the target's very type, else the first that fits. Muted nodes (mode 2) give nothing.
  Links to nodes that are not sent are left out.
- Subgraphs are expanded; an inner node's id is `host:inner`. A subgraph input without a link gives its promoted widget's value,
  which comes from the instance, not from the definition. Nodes that share an id with another graph are renumbered.
- `{a|b}` is chosen and comments are stripped where the definition says `dynamicPrompts`; `filename_prefix` has its `%...%` filled.

What is left to the page: pictures that it renders when a prompt is queued (Load3D, webcam, recorder) are sent as "". Values that
a pack's own JavaScript would compute or reorder cannot be known here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from .load import load
from .nodes import Node
from .subgraphs import SUBGRAPH_INPUT, Graph
from .text import SAVE_TYPES, dynamic_prompt, replace_in_name
from .types import fits
from .widgets import UNDEFINED, UNFORESEEN, Slot, Widget, WorkflowError

MUTED, BYPASSED = 2, 4


def to_api(
    workflow: Mapping[str, Any],
    object_info: Mapping[str, Any],
    *,
    choose: Callable[[Sequence[str]], str] = random.choice,
    now: datetime | None = None,
) -> dict[str, dict[str, Any]]:
    """Return `{node_id: {"class_type", "inputs", "_meta": {"title"}}}`, ready for `POST /prompt`.

    `object_info` is the answer of the host's `/object_info`. `choose` picks among `{a|b|c}` in prompts, at random as the front end
    does; `now` fills dates in file names. The workflow is not changed. Raises WorkflowError where the front end could not queue it
    either: no workflow, node types that the host lacks, links that lead nowhere, subgraphs or links in a circle, and what is no
    workflow in some other way.
    """
    try:
        return Prompt(load(workflow, object_info), choose, now or datetime.now()).build()
    except WorkflowError:
        raise
    except UNFORESEEN as error:
        message = f"The workflow is broken in a way that was not foreseen ({error!r}). Open it in ComfyUI and save it again."
        raise WorkflowError(message) from error


class Placed:
    """A node at one place: one definition's node stands once for each instance of its subgraph."""

    def __init__(self, node: Node, graph: Graph, host: Placed | None) -> None:
        self.node, self.graph, self.host = node, graph, host
        self.id: str = f"{host.id}:{node.id}" if host else node.id


class Value:
    """A promoted widget's value in place of a link."""

    def __init__(self, widget: Widget) -> None:
        self.widget = widget


class Prompt:
    """Walks the loaded graphs, following each link to the node that really makes the data."""

    def __init__(self, root: Graph, choose: Callable[[Sequence[str]], str], now: datetime) -> None:
        self.root, self.choose, self.now = root, choose, now

    def build(self) -> dict[str, dict[str, Any]]:
        """The whole prompt, in the order of the saved nodes."""
        prompt = {placed.id: self._entry(placed) for placed in self._place(self.root, None)}
        for entry in prompt.values():
            inputs = entry["inputs"]
            entry["inputs"] = {k: v for k, v in inputs.items() if not (isinstance(v, list) and v[0] not in prompt)}
        return prompt

    def _place(self, graph: Graph, host: Placed | None) -> list[Placed]:
        found = []
        for node in graph.nodes.values():
            placed = Placed(node, graph, host)
            active = node.mode not in (MUTED, BYPASSED)
            if node.subgraph is not None:
                # As seen: a subgraph node's mode counts at the root only; deeper down, its inner nodes' own modes decide.
                found += self._place(node.subgraph, placed) if active or host else []
            elif active and not node.virtual:
                found.append(placed)
        return found

    def _entry(self, placed: Placed) -> dict[str, Any]:
        node = placed.node
        inputs: dict[str, Any] = {}
        for widget in node.widgets:
            if widget.sent and widget.name:
                _send(inputs, widget.name, self._sent(placed, widget))
        for index, slot in enumerate(node.inputs):
            source = self._source(placed, index, slot.type)
            if isinstance(source, Value):
                _send(inputs, slot.name, source.widget.value)
            elif source is not None:
                inputs[slot.name] = [source[0], source[1]]
        return {"class_type": node.type, "inputs": inputs, "_meta": {"title": node.title}}

    def _sent(self, placed: Placed, widget: Widget) -> Any:
        node, value = placed.node, widget.value
        if widget.kind == "CUSTOM_INDEX":
            options = [w.value for w in node.widgets[2:]]
            return options.index(node.widgets[0].value) if node.widgets[0].value in options else -1
        if isinstance(value, str):
            if widget.name == "filename_prefix" and node.type in SAVE_TYPES:
                return replace_in_name(value, self.root.all_nodes(), self.now)
            if widget.kind == "STRING" and widget.options.get("dynamicPrompts") is True:
                return dynamic_prompt(value, self.choose)
        return value

    def _source(self, placed: Placed, index: int, kind: Any) -> tuple[str, int] | Value | None:
        """What feeds an input of a node that is sent."""
        return self._input(placed, index, kind, set())

    def _input(self, placed: Placed, index: int, kind: Any, seen: set[tuple[str, str, int]]) -> tuple[str, int] | Value | None:
        """What feeds an input: a node id and its output index, a promoted value, or nothing."""
        self._guard(placed, "input", index, seen)
        slot = placed.node.inputs[index]
        if slot.link is None:
            return None
        link = placed.graph.links.get(slot.link)
        if link is None:
            raise WorkflowError(
                f"The input '{slot.name}' of node {placed.id} ({placed.node.type}) has link {slot.link}, which {placed.graph.name} "
                "does not have. Connect it anew in ComfyUI and save the workflow."
            )
        if link.origin == SUBGRAPH_INPUT and placed.host is not None:
            outer = placed.host.node.inputs
            if link.origin_slot >= len(outer):
                raise WorkflowError(
                    f"The input '{slot.name}' of node {placed.id} ({placed.node.type}) leads to no input of its subgraph."
                )
            border: Slot = outer[link.origin_slot]
            if border.link is None:
                return Value(border.promoted) if border.promoted else None
            return self._input(placed.host, link.origin_slot, border.type, seen)
        origin = placed.graph.nodes.get(link.origin)
        if origin is None:
            raise WorkflowError(
                f"The input '{slot.name}' of node {placed.id} ({placed.node.type}) comes from node {link.origin}, which is not in "
                f"{placed.graph.name}. Connect it anew in ComfyUI and save the workflow."
            )
        return self._output(Placed(origin, placed.graph, placed.host), link.origin_slot, kind, seen)

    def _output(self, placed: Placed, index: int, kind: Any, seen: set[tuple[str, str, int]]) -> tuple[str, int] | Value | None:
        """What an output really is, seen from a target of type `kind`: itself, or what it hands through."""
        self._guard(placed, "output", index, seen)
        node = placed.node
        if node.mode == MUTED:
            return None
        if node.mode == BYPASSED:
            through = _bypass(node, index, kind)
            return None if through is None else self._input(placed, through, node.inputs[through].type, seen)
        if node.subgraph is not None:
            return self._inner_output(placed, index, kind, seen)
        if node.virtual:
            return self._input(placed, index, kind, seen) if index < len(node.inputs) else None
        return placed.id, index

    def _inner_output(
        self, placed: Placed, index: int, kind: Any, seen: set[tuple[str, str, int]]
    ) -> tuple[str, int] | Value | None:
        definition: Graph = placed.node.subgraph
        border = definition.outputs[index] if index < len(definition.outputs) else None
        link = definition.links.get(border.links[0]) if border and border.links else None
        if link is None:
            return None
        if link.origin == SUBGRAPH_INPUT:  # an input wired straight to an output
            return self._input(placed, link.origin_slot, kind, seen)
        inner = definition.nodes.get(link.origin)
        if inner is None:
            raise WorkflowError(
                f"Output {index} of node {placed.id} comes from node {link.origin}, which is not in {definition.name}."
            )
        return self._output(Placed(inner, definition, placed), link.origin_slot, kind, seen)

    def _guard(self, placed: Placed, side: str, index: int, seen: set[tuple[str, str, int]]) -> None:
        step = (placed.id, side, index)
        if step in seen:
            raise WorkflowError(
                f"The links through {side} {index} of node {placed.id} ({placed.node.type}) run in a circle. Cut one of them."
            )
        seen.add(step)


def _send(inputs: dict[str, Any], name: str, value: Any) -> None:
    """Put a widget value under its name; a list is wrapped, since a bare one would be read as a link."""
    if value is UNDEFINED:
        inputs.pop(name, None)
    else:
        inputs[name] = {"__value__": value} if isinstance(value, list) else value


def _bypass(node: Node, index: int, kind: Any) -> int | None:
    """The input that a bypassed node's output hands through to a target of type `kind`."""
    inputs = node.inputs
    if kind in ("*", ""):
        return (index if len(inputs) > index else 0) if inputs else None
    output = node.outputs[index].type if index < len(node.outputs) else kind
    if index < len(inputs) and fits(inputs[index].type, output) and fits(inputs[index].type, kind):
        return index
    exact = next((i for i, slot in enumerate(inputs) if slot.type == kind), None)
    if exact is not None:
        return exact
    return next((i for i, slot in enumerate(inputs) if fits(slot.type, output) and fits(slot.type, kind)), None)
