"""Keep a saved prompt fresh when it is queued again."""

from __future__ import annotations

from typing import Any


def forget_saved_fingerprints() -> None:
    """Drop the fingerprints that ComfyUI left in a saved prompt, for our nodes.

    ComfyUI writes `is_changed` into the prompt that it saves in images, and takes it as the answer, without asking
    the node, when such a prompt comes back: a search would then return what an older library held.
    """
    from server import PromptServer

    if PromptServer.instance is not None:
        PromptServer.instance.add_on_prompt_handler(_without_fingerprints)


def _without_fingerprints(request: dict[str, Any]) -> dict[str, Any]:
    prompt = request.get("prompt")
    if isinstance(prompt, dict):
        for node in prompt.values():
            if isinstance(node, dict) and str(node.get("class_type", "")).startswith("DiffusionToolkit"):
                node.pop("is_changed", None)
    return request
