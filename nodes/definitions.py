"""The definitions of the classes that this ComfyUI has, each made when it is asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any

log = logging.getLogger("diffusion_toolkit")


class NodeDefinitions(Mapping[str, Mapping[str, Any]]):
    """What `/object_info` answers, by class. Making an entry may list folders of models, so only those asked for are made.

    A class that cannot tell its inputs counts as unknown, as it is left out of `/object_info`.
    """

    def __init__(self, classes: Mapping[str, Any], titles: Mapping[str, str]) -> None:
        self._classes, self._titles = classes, titles
        self._made: dict[str, Mapping[str, Any] | None] = {}

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        if name not in self._made:
            self._made[name] = self._make(name) if name in self._classes else None
        if (found := self._made[name]) is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def _make(self, name: str) -> Mapping[str, Any] | None:
        try:
            # As JSON, since that is what a converter takes: lists for tuples, strings for their subclasses.
            made = json.loads(json.dumps(_definition(name, self._classes[name], self._titles.get(name, name))))
        except Exception as error:  # whatever a stranger's class raises
            log.debug("the node class %s can't tell its inputs: %s", name, error)
            return None
        return made if isinstance(made, dict) else None


def node_definitions() -> NodeDefinitions:
    """The classes registered now, those of custom nodes included."""
    import nodes

    return NodeDefinitions(nodes.NODE_CLASS_MAPPINGS, nodes.NODE_DISPLAY_NAME_MAPPINGS)


def _definition(name: str, made: Any, title: str) -> dict[str, Any]:
    """The parts of `/object_info`'s entry that say how a workflow is read: inputs, outputs, names."""
    if callable(getattr(made, "GET_NODE_INFO_V1", None)):
        return made.GET_NODE_INFO_V1()
    inputs, outputs = made.INPUT_TYPES(), made.RETURN_TYPES
    return {
        "input": inputs,
        "input_order": {section: list(entries) for section, entries in inputs.items()},
        "is_input_list": getattr(made, "INPUT_IS_LIST", False),
        "output": outputs,
        "output_is_list": getattr(made, "OUTPUT_IS_LIST", [False] * len(outputs)),
        "output_name": getattr(made, "RETURN_NAMES", outputs),
        "name": name,
        "display_name": title,
        "output_node": getattr(made, "OUTPUT_NODE", False) is True,
    }
