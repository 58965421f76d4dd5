"""What a ComfyUI graph in a file says of the image."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..graph import Origin, Settings, trace
from ..workflow import Readable, output_types, readable
from .records import MAX_TEXT_BYTES, ImageMetadata, NodeDefinitions, Pieces
from .text import clean, decode, join

_KEYS = ("prompt", "workflow")
_COMMENTS = ("comment", "Comment", "COMMENT", "UserComment", "usercomment", "Description", "description", "ImageDescription")
"""Where programs put one JSON object that holds the graphs under the keys above, as VideoHelperSuite does in videos."""

_MENTIONED = (b'"prompt"', b'"workflow"', b'"class_type"')  # in such an object; Civitai's JPEGs hold the graph itself

_MAX_WRAPPED = 4  # JSON in a JSON string, or in an object
_MAX_NODES_LISTED = 200


@dataclass
class _Found:
    """The graphs of a file, whatever they were called, each with the place where it lay."""

    prompt: Mapping[str, Any] | None = None
    workflow: Mapping[str, Any] | None = None
    prompt_place: str = ""
    workflow_place: str = ""

    def take(self, value: Any, place: str) -> None:
        """Sort what a piece holds by its shape: the first of each kind stays."""
        for graph in _unwrapped(value):
            if _is_workflow(graph) and self.workflow is None:
                self.workflow, self.workflow_place = graph, place
            elif _is_prompt(graph) and self.prompt is None:
                self.prompt, self.prompt_place = graph, place


def read_graph(pieces: Pieces, name: str | None, definitions: NodeDefinitions) -> ImageMetadata | None:
    """Trace ComfyUI's graph; `name` is the file's, which tells which of several outputs it is.

    The API graph is traced where there is one, and the workflow then only tells types; else the workflow is read as one.
    `definitions` may make their entries when they are asked for; those that are false do not lie ready, and are asked only for what
    the file does not tell. Python's JSON takes the NaN and Infinity that ComfyUI writes.
    """
    found = _graphs(pieces, definitions)
    if found is None:
        return None
    if found.prompt is not None:
        types = output_types(found.workflow)
        if definitions or not _all_told(found.prompt, types):
            types |= types_of(found.prompt, definitions)
        graph = Readable(dict(found.prompt), types)
        if (read := _traced(pieces, graph, name, found.prompt_place)) is not None:
            return read
    if found.workflow is not None:
        try:
            graph = readable(found.workflow, definitions)
        except ValueError as error:
            pieces.problems.append(f"the workflow can't be read ({clean(str(error))})")
        else:
            graph.types = {**types_of(graph.prompt, definitions), **graph.types}
            read = _traced(pieces, graph, name, found.workflow_place) if graph.prompt else None
            if read is not None:
                return read
    return ImageMetadata(generator="ComfyUI")


def graphs_in(pieces: Pieces) -> tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]:
    """The API graph and the workflow that a file holds, as they are, whatever they were called; None for what it does not hold."""
    found = _graphs(Pieces(pieces.raw, pieces.places), {})
    return (found.prompt, found.workflow) if found is not None else (None, None)


def _graphs(pieces: Pieces, definitions: NodeDefinitions) -> _Found | None:
    """None when the file holds nothing of ComfyUI's. A workflow that could not tell more than the prompt is left unread."""
    found, any_piece = _Found(), False
    for key in (*_KEYS, *_COMMENTS):
        if found.prompt is not None and _all_defined(found.prompt, definitions):
            break
        content = pieces.raw.get(key)
        if content is None or (key not in _KEYS and not content.lstrip()[:1] == b"{"):
            continue
        if key in _COMMENTS and not any(word in content for word in _MENTIONED):
            continue
        if len(content) > MAX_TEXT_BYTES:
            pieces.problems.append(f"the graph of {len(content)} bytes was left unread")
            continue
        try:
            value = json.loads(decode(content))
        except (ValueError, RecursionError) as error:
            if key in _KEYS:
                pieces.problems.append(f"the ComfyUI graph can't be read ({error})")
                any_piece = any_piece or key == "workflow"
            continue
        before = (found.prompt, found.workflow)
        found.take(value, f"{pieces.places.get(key, 'file')} {key}")
        any_piece = any_piece or before != (found.prompt, found.workflow)
    if found.prompt is None and found.workflow is None:
        if "prompt" in pieces.raw and not pieces.problems:
            pieces.problems.append("the ComfyUI graph can't be read (the ComfyUI graph holds no nodes)")
        return found if any_piece else None  # an empty one: ComfyUI wrote the file, and nothing of it can be read
    return found


def _unwrapped(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects in a value that was encoded twice, or wrapped in an object with the keys of the two graphs."""
    waiting = [(value, 0)]
    while waiting:
        item, depth = waiting.pop(0)
        if isinstance(item, str) and item.lstrip()[:1] in ("{", '"') and depth < _MAX_WRAPPED:
            try:
                waiting.append((json.loads(item), depth + 1))
            except (ValueError, RecursionError):
                continue
        elif isinstance(item, Mapping):
            yield item
            if depth < _MAX_WRAPPED and not _is_workflow(item) and not _is_prompt(item):
                waiting += [(item[key], depth + 1) for key in (*_KEYS, "output", "extra_pnginfo", "extra_data") if key in item]


def _is_workflow(value: Mapping[str, Any]) -> bool:
    """InvokeAI's workflows have `edges` for links."""
    nodes = value.get("nodes")
    return (
        "edges" not in value
        and isinstance(nodes, list)
        and any(isinstance(node, Mapping) and "type" in node for node in nodes[:_MAX_NODES_LISTED])
    )


def _is_prompt(value: Mapping[str, Any]) -> bool:
    return any(isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping) for node in value.values())


def _classes(prompt: Mapping[str, Any]) -> set[str]:
    kinds = (node.get("class_type") for node in prompt.values() if isinstance(node, Mapping))
    return {kind for kind in kinds if isinstance(kind, str)}


def _all_defined(prompt: Mapping[str, Any], definitions: NodeDefinitions) -> bool:
    return bool(definitions) and all(kind in definitions for kind in _classes(prompt))


def _all_told(prompt: Mapping[str, Any], types: Mapping[str, Sequence[str]]) -> bool:
    """Whether `types` has that of each output from which a link leads."""
    nodes = {key: node for key, node in prompt.items() if isinstance(node, Mapping)}
    for node in nodes.values():
        inputs = node.get("inputs")
        for value in inputs.values() if isinstance(inputs, Mapping) else ():
            if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], (str, int)) and isinstance(value[1], int)):
                continue
            if (source := nodes.get(str(value[0]))) is not None:
                kind = source.get("class_type")
                if not isinstance(kind, str) or value[1] >= len(types.get(kind, ())):
                    return False
    return True


def types_of(prompt: Mapping[str, Any], definitions: NodeDefinitions) -> dict[str, list[str]]:
    """The outputs' types of the graph's classes, as the running ComfyUI has them."""
    types = {}
    for kind in _classes(prompt):
        definition = definitions.get(kind)
        outputs = definition.get("output") if isinstance(definition, Mapping) else None
        if isinstance(outputs, (list, tuple)):
            types[kind] = [output if isinstance(output, str) else "COMBO" for output in outputs]
    return types


def _traced(pieces: Pieces, graph: Readable, name: str | None, place: str) -> ImageMetadata | None:
    try:
        traced = trace(graph.prompt, types=graph.types, saved_as=name, size=pieces.size)
    except (ValueError, RecursionError) as error:
        pieces.problems.append(f"the ComfyUI graph can't be read ({error})")
        return None
    prompt, prompt_joined = join(traced.positive)
    negative, negative_joined = join(traced.negative)
    settings = {field.name: getattr(traced, field.name) for field in fields(Settings)}
    settings |= {key: clean(settings[key]) for key in ("sampler", "scheduler", "checkpoint", "vae")}
    settings["text_encoders"] = [clean(encoder) or "" for encoder in traced.text_encoders]
    for key in ("loras", "controlnets"):
        settings[key] = [{**entry, "name": clean(entry["name"])} for entry in settings[key]]
    return ImageMetadata(
        **settings,
        prompt=prompt,
        negative=negative,
        prompt_joined=prompt_joined,
        negative_joined=negative_joined,
        prompt_origin=_origin(traced.positive_origin, graph, place),
        negative_origin=_origin(traced.negative_origin, graph, place),
        settings_origin=_origin(traced.settings_origin, graph, place),
        passes=traced.passes,
        loads_no_lora=traced.loads_no_lora,
        generator="ComfyUI",
    )


def _origin(traced: Origin, graph: Readable, place: str) -> Origin:
    """The tracer's origin, with the place in the file, and no surer than the nodes that it names."""
    confidence, where = traced.confidence, traced.where
    if not where:
        return traced
    nodes = re.findall(r"\bnode ([^\s;,()]+)", where)
    unknown = next((graph.unknown[node] for node in nodes if node in graph.unknown), None)
    guessed = next((graph.guessed[node] for node in nodes if node in graph.guessed), None)
    if unknown is not None:
        confidence = "unknown"
    elif guessed is not None and confidence == "exact":
        confidence = "inferred"
    reason = unknown or guessed
    return Origin(confidence, clean(f"{place}: {where}" + (f" ({reason})" if reason else "")) or "")
