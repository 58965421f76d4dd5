"""Sockets and widgets that a node gains with its values and links: a dynamic combo's, and the rows of an autogrow group."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import readable, to_api
from diffusion_toolkit.embedders.workflow.nodes import build_node
from host.handmade_workflows import node, socket, workflow


def grown(template: dict[str, Any], linked: list[str]) -> list[str]:
    """The sockets of an autogrow group `g`, with links to those named."""
    info = {"input": {"required": {"g": ["COMFY_AUTOGROW_V3", {"template": template}]}}}
    saved = node(1, "Grows", [socket(name, "IMAGE", n) for n, name in enumerate(linked)])
    made = build_node(saved, info)
    made.configure(saved, {n: None for n, _ in enumerate(linked)}, info)
    return [slot.name for slot in made.inputs]


ONE = {"input": {"required": {"image": ["IMAGE", {}]}}, "prefix": "part"}
TWO = {"input": {"required": {"image": ["IMAGE", {}], "mask": ["MASK", {}]}}, "prefix": "pair"}


@pytest.mark.parametrize(
    ("template", "linked", "sockets"),
    [
        (ONE, [], ["g.part0", "g.part1"]),
        ({**ONE, "min": 0}, [], ["g.part0"]),
        ({**ONE, "min": 2}, [], ["g.part0", "g.part1", "g.part2"]),
        (ONE, ["g.part0", "g.part1"], ["g.part0", "g.part1", "g.part2"]),
        ({**ONE, "max": 2}, ["g.part0", "g.part1"], ["g.part0", "g.part1"]),
        ({**ONE, "names": ["a", "b", "c"]}, ["g.a"], ["g.a", "g.b"]),
        ({**ONE, "names": ["a", "b", "c"]}, ["g.a", "g.b"], ["g.a", "g.b", "g.c"]),
        ({**ONE, "names": ["a", "b"]}, ["g.a", "g.b"], ["g.a", "g.b"]),
        ({**TWO, "min": 0}, [], ["g.image0", "g.mask0"]),
    ],
)
def test_group_has_one_row_more_than_links_within_its_bounds(template: dict[str, Any], linked: list[str], sockets: list[str]) -> None:
    assert grown(template, linked) == sockets


def test_link_of_a_dynamic_combo_s_input_stays_with_the_name_of_it() -> None:
    options = [{"key": key, "inputs": {"required": {"mask": ["MASK", {}], name: ["INT", {}]}}} for key, name in (("a", "x"), ("b", "y"))]
    info = {
        "Mask": {"input": {}, "output": ["MASK"], "output_name": ["MASK"]},
        "Combo": {"input": {"required": {"how": ["COMFY_DYNAMICCOMBO_V3", {"options": options}]}}, "output": [], "output_name": []},
    }
    saved = workflow([node(9, "Mask", [], [("MASK", [1])]), node(1, "Combo", [socket("how.mask", "MASK", 1)], [], ["b", 5])], [[1, 9, 0, 1, 0, "MASK"]])
    assert to_api(saved, info)["1"]["inputs"] == {"how": "b", "how.y": 5, "how.mask": ["9", 0]}


@pytest.mark.parametrize(("kind", "value", "sent"), [("STRING", None, ""), ("STRING", "a", "a"), ("PREVIEW_3D", "a.glb", "")])
def test_value_that_a_widget_does_not_take(kind: str, value: Any, sent: Any) -> None:
    info = {"Holds": {"input": {"required": {"w": [kind, {"multiline": True}]}}, "output": [], "output_name": []}}
    assert to_api(workflow([node(1, "Holds", values=[value])], []), info)["1"]["inputs"] == {"w": sent}


def test_of_two_nodes_of_one_id_the_first_is_read() -> None:
    assert readable(workflow([node(1, "First"), node(1, "Second")], [])).prompt["1"]["class_type"] == "First"
