"""Outputs that keep the nodes after them from running, which would fail for lack of a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

if TYPE_CHECKING:
    from comfy_execution.graph_utils import ExecutionBlocker


def blocked(message: str | None = None) -> ExecutionBlocker:
    """In place of one output: what needs it is not run, and says the message; without one quietly."""
    from comfy_execution.graph_utils import ExecutionBlocker

    return ExecutionBlocker(message)


def or_blocked(values: Any) -> Any:
    """An output; quietly blocked where it is empty."""
    return values or blocked()


def all_blocked(outputs: int, message: str, **shown: list[Any]) -> io.NodeOutput:
    """Of a node with so many outputs, when it has nothing to give: it says why, and so does each node that it was connected to."""
    nothing = [None] * outputs  # ComfyUI blocks only the outputs that it is given
    return io.NodeOutput(*nothing, block_execution=message, ui={**shown, "text": [message]})
