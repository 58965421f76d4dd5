"""InvokeAI's graph, and its workflow as the editor saves it: the texts that reach the node which denoises."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from .told import Json, first, items

_POSITIVE = ("positive_conditioning", "positive_text_conditioning", "positive_prompt_conditioning")
_NEGATIVE = ("negative_conditioning", "negative_text_conditioning", "negative_prompt_conditioning")
_TEXT = (
    "prompt",
    "value",
    "string",
    "text",
    "string_left",
    "string_right",
    "collection",
)  # fields that hold or pass on a text
_STEPS = 10_000  # of a walk; a graph may be a ring

Links = dict[tuple[str, str], list[str]]


def read_invokeai_graph(told: Json) -> tuple[Json | None, dict[str, Any], bool]:
    """(the node that collects metadata, the fields for `image`, whether every text stood in its encoder itself)."""
    nodes, links = _nodes(told)
    core = next(
        (
            node
            for node in nodes.values()
            if node.get("type") == "core_metadata" and isinstance(node.get("positive_prompt"), str)
        ),
        None,
    )
    sampler = next((key for key in nodes if any((key, field) in links for field in _POSITIVE)), None)
    if sampler is None:
        return core, {}, True
    prompt, plain = _texts(nodes, links, sampler, _POSITIVE)
    negative, also_plain = _texts(nodes, links, sampler, _NEGATIVE)
    node = nodes[sampler]
    noise = next((nodes[source] for source in links.get((sampler, "noise"), []) if source in nodes), node)
    start = node.get("denoising_start")
    loaders = [
        one["model"] for one in nodes.values() if "loader" in str(one.get("type")) and isinstance(one.get("model"), Mapping)
    ]
    fields = {
        "prompt": prompt,
        "negative": negative,
        "steps": node.get("steps", node.get("num_steps")),
        "cfg": node.get("cfg_scale"),
        "guidance": node.get("guidance"),
        "sampler": node.get("scheduler"),
        "denoise": 1 - start if isinstance(start, (int, float)) and 0 <= start <= 1 else None,
        "seed": noise.get("seed"),
        "width": noise.get("width"),
        "height": noise.get("height"),
        "checkpoint": next(iter(loaders), None),
        "loras": [
            (node.get("lora"), node.get("weight")) for node in nodes.values() if isinstance(node.get("lora"), Mapping)
        ],
    }
    return core, fields, plain and also_plain


def _nodes(told: Json) -> tuple[dict[str, dict[str, Any]], Links]:
    """Both forms as one: nodes by id with their literal fields, and for each field the nodes that feed it."""
    nodes: dict[str, dict[str, Any]] = {}
    listed = told.get("nodes")
    for key, node in listed.items() if isinstance(listed, Mapping) else ((first(one, "id"), one) for one in items(listed)):
        if not isinstance(node, Mapping) or not isinstance(key, str):
            continue
        data = node.get("data")
        inputs = data.get("inputs") if isinstance(data, Mapping) else None
        if isinstance(data, Mapping) and isinstance(inputs, Mapping):
            nodes[key] = {**{name: first(value, "value") for name, value in inputs.items()}, "type": data.get("type")}
        else:
            nodes[key] = dict(node)
    links: Links = {}
    for edge in items(told.get("edges")):
        source, target = first(edge, "source"), first(edge, "destination", "target")
        start, end = (first(source, "node_id") or source), (first(target, "node_id") or target)
        field = first(target, "field") or first(edge, "targetHandle")
        if isinstance(start, str) and isinstance(end, str) and isinstance(field, str):
            links.setdefault((end, field), []).append(start)
    return nodes, links


def _texts(nodes: dict[str, dict[str, Any]], links: Links, sampler: str, fields: tuple[str, ...]) -> tuple[list[Any], bool]:
    """The encoders behind the fields, each one's text with SDXL's style, whatever collects conditionings in between."""
    found: list[Any] = []
    plain = True
    fed: dict[str, list[str]] = {}
    for key, field in links:
        fed.setdefault(key, []).append(field)
    waiting = deque(source for field in fields for source in links.get((sampler, field), []))
    seen = {sampler}
    while waiting:
        key = waiting.popleft()
        if key in seen or key not in nodes:
            continue
        seen.add(key)
        node = nodes[key]
        if "prompt" in node or (key, "prompt") in links:
            prompt, literal = _text(nodes, links, key, "prompt")
            style, styled = _text(nodes, links, key, "style") if "style" in node or (key, "style") in links else (None, True)
            plain = plain and literal and styled
            if prompt is not None:
                found.append((style, prompt) if style and style.strip() else prompt)
        else:
            waiting += [source for field in fed.get(key, []) for source in links[key, field]]
    return found, plain


def _text(nodes: dict[str, dict[str, Any]], links: Links, key: str, field: str) -> tuple[str | None, bool]:
    """A field's literal text, or what the string nodes behind it hold, left before right."""
    if (key, field) not in links:
        value = nodes[key].get(field)
        return (value if isinstance(value, str) else None), True
    parts, waiting, left = [], [(key, field)], _STEPS
    while waiting and left:
        left -= 1
        place = waiting.pop()
        if place in links:
            waiting += [(source, inner) for source in reversed(links[place][:100]) for inner in reversed(_TEXT)]
        elif isinstance(value := nodes.get(place[0], {}).get(place[1]), str):
            parts.append(value)
    return ("".join(parts) if parts else None), False
