"""Nodes of packs that exist in the browser only, known by their shape: what is none of them stays, and what is switched off gives nothing."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import readable
from host.handmade_workflows import Workflow, node, preview, socket, workflow


def pair(setter: dict[str, Any] = {}, getter: dict[str, Any] = {}) -> Workflow:
    """Maker 1 -> setter 2; getter 3 -> preview 4; Maker 5, which `setter` and `getter` may take links 3 and 4 of."""
    return workflow(
        [
            node(1, "Maker", [], [("IMAGE", [1])]),
            node(2, "SetNode", [socket("IMAGE", "IMAGE", 1)], [("*", [])], ["picture"]) | setter,
            node(3, "GetNode", [], [("IMAGE", [2])], ["picture"]) | getter,
            preview(4, 2),
            node(5, "Other", [], [("IMAGE", [3, 4])]),
        ],
        [[1, 1, 0, 2, 0, "IMAGE"], [2, 3, 0, 4, 0, "IMAGE"], [3, 5, 0, 2, 1, "IMAGE"], [4, 5, 0, 3, 0, "IMAGE"]],
    )


def test_a_muted_setter_or_getter_gives_nothing():
    assert readable(pair(setter={"mode": 2})).prompt["4"]["inputs"] == {}
    assert readable(pair(getter={"mode": 2})).prompt["4"]["inputs"] == {}


def test_of_two_setters_of_one_name_the_muted_one_gives_nothing():
    saved = pair(setter={"mode": 2})
    saved["nodes"].append(node(6, "SetNode", [socket("IMAGE", "IMAGE", 3)], [("*", [])], ["picture"]))
    saved["links"][2] = [3, 5, 0, 6, 0, "IMAGE"]
    assert readable(saved).prompt["4"]["inputs"] == {"images": ["5", 0]}


@pytest.mark.parametrize(
    "changed",
    [
        {"setter": {"inputs": [socket("IMAGE", "IMAGE", 1), socket("mask", "IMAGE", 3)]}},  # it makes one of two
        {"getter": {"outputs": [{"name": n, "type": "IMAGE", "links": [2][:n == "a"]} for n in "ab"]}},
        {"getter": {"inputs": [socket("image", "IMAGE", 4)]}},
        {"setter": {"widgets_values": ["other"]}},
    ],
    ids=["two inputs", "two outputs", "a link", "another name"],
)
def test_nodes_that_are_called_as_a_setter_and_a_getter_but_are_none_stay(changed: dict[str, Any]):
    read = readable(pair(**changed))
    assert read.prompt["4"]["inputs"] == {"images": ["3", 0]} and {"2", "3"} <= read.prompt.keys()


@pytest.mark.parametrize("changed", [{"outputs": [("IMAGE", [6])]}, {"values": [1]}], ids=["used output", "value"])
def test_a_node_of_wildcards_with_a_use_or_a_value_stays(changed: dict[str, Any]):
    switch = node(2, "Any Switch", [socket("any", "*", 5), socket("any2", "*")], **{"outputs": [("IMAGE", [])], **changed})
    read = readable(workflow([node(1, "Maker", [], [("IMAGE", [5])]), switch, preview(3, 6)], [[5, 1, 0, 2, 0, "IMAGE"], [6, 2, 0, 3, 0, "IMAGE"]]))
    assert read.prompt["2"]["inputs"]["any"] == ["1", 0]


def test_a_muted_primitive_gives_nothing_to_a_socket():
    nodes = [node(2, "PrimitiveNode", [], [("STRING", [1])], ["a cat"], mode=2), node(1, "Show", [socket("text", "STRING", 1)], [])]
    assert readable(workflow(nodes, [[1, 2, 0, 1, 0, "STRING"]])).prompt["1"]["inputs"] == {}
    nodes[0]["mode"] = 0
    assert readable(workflow(nodes, [[1, 2, 0, 1, 0, "STRING"]])).prompt["1"]["inputs"] == {"text": "a cat"}
