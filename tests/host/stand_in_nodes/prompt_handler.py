"""What packs for wildcards do: a handler that changes a graph as it is queued."""

from __future__ import annotations

import copy
from typing import Any

BREAK = "{stand-in: break it}"


def changes_prompts(request: dict[str, Any]) -> dict[str, Any]:
    """Give the samplers of a graph that asks for it a sampler that there is not."""
    nodes = [node for node in (request.get("prompt") or {}).values() if isinstance(node, dict) and isinstance(node.get("inputs"), dict)]
    if not any(node["inputs"].get("text") == BREAK for node in nodes):
        return request
    changed = copy.deepcopy(request)  # a handler may answer with a request of its own
    for node in changed["prompt"].values():
        if "sampler_name" in node["inputs"]:
            node["inputs"]["sampler_name"] = "broken by another pack"
    return changed
