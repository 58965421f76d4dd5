"""What a graph names that this computer lacks, and the nearest names that it has."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..graph.names import MODEL_FILE
from .probe import Graph

NEAREST = 3
_ALIKE = 0.5  # of difflib's ratio; two names that share nothing but an ending stay below


@dataclass(frozen=True)
class Lacking:
    """A choice that a node's input does not have here, with what it does have."""

    node: str
    kind: str
    input: str
    value: str
    choices: Sequence[str]
    upload: bool = False  # a file that a person put in, such as a picture: no other can take its place

    @property
    def nearest(self) -> tuple[str, ...]:
        return nearest(self.value, self.choices)

    def __str__(self) -> str:
        near = f"Nearest here: {', '.join(self.nearest)}" if self.nearest else f"None of the {len(self.choices)} here is like it"
        near = near if self.choices else "There is none here at all"
        return f"{self.value or 'The empty name'} is not here (node {self.node}, {self.kind}, {self.input}). {near}."


def nearest(name: str, present: Sequence[str], most: int = NEAREST) -> tuple[str, ...]:
    """The names most like this one, the most alike first; folders, endings, case and separators count little.

    Words in common count beside letters in a row: people put versions and makers before or behind a model's name.
    """
    wanted, words = _plain(name), _words(name)

    def alike(other: str) -> float:
        ratio = difflib.SequenceMatcher(None, wanted, _plain(other), autojunk=False).ratio()
        others = _words(other)
        shared = len(words & others) / max(1, min(len(words), len(others)))
        return max(ratio, 0.7 * ratio + 0.3 * shared)

    ranked = sorted(((alike(other), other) for other in dict.fromkeys(present)), key=lambda one: (-one[0], one[1]))
    return tuple(other for ratio, other in ranked[:most] if ratio >= _ALIKE)


def unknown_classes(graph: Graph, definitions: Mapping[str, Any]) -> list[str]:
    """The classes of nodes that this ComfyUI does not have."""
    kinds = dict.fromkeys(str(node.get("class_type")) for node in graph.values())
    return [kind for kind in kinds if kind not in definitions]


def lacking(
    graph: Graph, definitions: Mapping[str, Any], takes: Callable[[str, str, str], bool] = lambda kind, name, value: False
) -> list[Lacking]:
    """Values of combos that are none of their choices, in all nodes that something is saved or shown of.

    `takes` tells of a class, an input and a value whether the class takes it all the same, as image loaders do that check it themselves.
    """
    found = []
    for key in sorted(_needed(graph, definitions), key=list(graph).index):
        kind = str(graph[key].get("class_type"))
        for name, value in graph[key]["inputs"].items():
            choices = _choices(definitions.get(kind), name)
            if choices is None or not isinstance(value, str) or value in choices or takes(kind, name, value):
                continue
            found.append(Lacking(key, kind, name, value, choices, uploads(definitions.get(kind), name)))
    return found


def _needed(graph: Graph, definitions: Mapping[str, Any]) -> list[str]:
    """The nodes that run: output nodes and all upstream of them; all nodes where none is known to be an output."""
    ends = [key for key, node in graph.items() if (definitions.get(str(node.get("class_type"))) or {}).get("output_node")]
    return upstream(graph, ends or list(graph))


def upstream(graph: Graph, ends: Sequence[str]) -> list[str]:
    """These nodes and all that they take from, near before far, each once."""
    found, seen = list(ends), set(ends)
    for key in found:
        new = [source for source in dict.fromkeys(sources(graph[key])) if source in graph and source not in seen]
        found += new
        seen.update(new)
    return found


def sources(node: Mapping[str, Any]) -> Iterator[str]:
    """The ids of the nodes that this one takes from."""
    for value in node["inputs"].values():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
            yield value[0]


def uploads(definition: Mapping[str, Any] | None, name: str) -> bool:
    """Whether an input takes files that a person uploads: `image_upload`, `video_upload` and their like."""
    options = [one for entry in _entries(definition, name) for one in entry[1:] if isinstance(one, Mapping)]
    return any(key.endswith("_upload") and value for one in options for key, value in one.items())


def _entries(definition: Mapping[str, Any] | None, name: str) -> Iterator[Any]:
    for section in ((definition or {}).get("input") or {}).values():
        entry = section.get(name) if isinstance(section, Mapping) else None
        if isinstance(entry, (list, tuple)) and entry:
            yield entry


def _choices(definition: Mapping[str, Any] | None, name: str) -> list[str] | None:
    """A combo's choices: `[[...], {...}]` of older nodes, `["COMBO", {"options": [...]}]` of newer ones; None where it is none."""
    for entry in _entries(definition, name):
        options = entry[0] if isinstance(entry[0], list) else (entry[1].get("options") if len(entry) > 1 and isinstance(entry[1], Mapping) else None)
        known = isinstance(options, list) and all(isinstance(option, str) for option in options)
        return options if known and not (len(entry) > 1 and isinstance(entry[1], Mapping) and entry[1].get("multiselect")) else None
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", _stem(name)).lower()


def _words(name: str) -> set[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", _stem(name))
    return {word.lower() for word in re.split(r"[\W_]+", spaced) if len(word) > 2}


def _stem(name: str) -> str:
    return MODEL_FILE.sub("", name.replace("\\", "/").rpartition("/")[2])
