"""Widgets of a subgraph's nodes that its instance shows: by an input, or by the older list, and whose value counts."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import to_api
from diffusion_toolkit.embedders.workflow.load import load
from host.handmade_workflows import INNER, OBJECT_INFO, OUTER, Workflow, definition, image, node, preview, socket, workflow

OUT = [31, 11, 0, -20, 0, "IMAGE"]
GIVEN = [("IMAGE", "IMAGE", [31])]


def shown(inner: list[Any], links: list[list[Any]], inputs: list[Any], values: Any, **properties: Any) -> Workflow:
    """An instance 2 of a subgraph whose node 11 makes the picture, with these values and properties."""
    host = node(2, INNER, [socket(name, kind) for name, kind, _ in inputs], [("IMAGE", [1])], values, properties=properties)
    made = definition(INNER, inner, [OUT, *links], inputs, GIVEN)
    return workflow([host, preview(3, 1)], [[1, 2, 0, 3, 0, "IMAGE"]], definitions={"subgraphs": [made]})


def sides(saved: Workflow, key: str = "2:11") -> tuple[Any, Any]:
    inputs = to_api(saved, OBJECT_INFO)[key]["inputs"]
    return inputs["width"], inputs["height"]


BORDER = [("side", "INT", [30])]
BORDERED = [image(11, [31], [socket("width", "INT", 30, True)])], [[30, -10, 0, 11, 0, "INT"]], BORDER


@pytest.mark.parametrize(
    ("values", "width"), [([300], 300), ({"side": 300}, 300), ({"other": 300}, 64), ([], 64), (None, 64), ([None], None), ([300, 5], 300)]
)
def test_value_of_an_input_that_leads_to_a_widget_is_the_instance_s_else_the_widget_s(values: Any, width: Any) -> None:
    assert sides(shown(*BORDERED, values)) == (width, 32)


def test_value_that_an_instance_could_not_place_goes_to_the_input_of_its_name_and_the_first_of_them_counts() -> None:
    kept = [{"originalEntry": ["-1", "side"], "hostValue": 300}, {"originalEntry": ["-1", "side"], "hostValue": 200}]
    assert sides(shown(*BORDERED, None, proxyWidgetErrorQuarantine=kept)) == (300, 32)
    for entry in ({"originalEntry": ["11", "side"], "hostValue": 300}, {"originalEntry": ["-1", "side"]}):
        assert sides(shown(*BORDERED, None, proxyWidgetErrorQuarantine=[entry])) == (64, 32)


@pytest.mark.parametrize(
    ("entries", "values", "made"),
    [
        ([["11", "height"]], [300], (64, 300)),
        ([["11", "height"], ["11", "width"]], [None, 200], (200, 32)),
        ([["11", "height"]], [], (64, 32)),
        ([["11", "height", None]], [300], (64, 300)),
        ([["77", "height"], ["11", "height"]], [1, 300], (64, 300)),
        ([["11", "gone"], ["11", "height"]], [1, 300], (64, 300)),
    ],
)
def test_value_of_the_older_list_goes_by_its_place_to_the_widget_of_its_node(entries: Any, values: Any, made: Any) -> None:
    assert sides(shown([image(11, [31])], [], [], values, proxyWidgets=entries)) == made


@pytest.mark.parametrize("entries", [[["11", "height"], ["11", "width"]], [["11", "height"], ["-1", "side"]]])
def test_widget_of_the_older_list_that_has_an_input_gets_no_second_one(entries: Any) -> None:
    saved = shown(*BORDERED, [300, 200], proxyWidgets=entries)
    assert sides(saved) == (200, 300)
    assert [slot.name for slot in load(saved, OBJECT_INFO).nodes["2"].inputs] == ["side", "height"]


def test_widget_that_the_older_list_names_becomes_an_input_of_every_instance_under_a_name_of_its_own() -> None:
    saved = shown([image(11, [31]), image(12, [])], [], [("height", "IMAGE", [])], [300, 200], proxyWidgets=[["11", "height"], ["12", "height"]])
    saved["nodes"].append(node(4, INNER, [socket("height", "IMAGE")], [("IMAGE", [])]))
    loaded = load(saved, OBJECT_INFO)
    for number, values in (("2", [300, 200]), ("4", [32, 32])):
        slots = loaded.nodes[number].inputs
        assert [slot.name for slot in slots] == ["height", "height_1", "height_2"]
        assert [slot.promoted.value for slot in slots[1:]] == values


def primitive(title: str, values: Any, entries: list[list[Any]], links: list[int] = [40], **properties: Any) -> Workflow:
    maker = node(12, "PrimitiveNode", [], [("INT", links)], [7, "fixed"], title=title, properties=properties)
    target = image(11, [31], [socket("width", "INT", 40, True)])
    return shown([target, maker], [[40, 12, 0, 11, 0, "INT"]], [], values, proxyWidgets=entries)


def test_primitive_of_the_older_list_gives_its_targets_the_instance_s_value() -> None:
    assert sides(primitive("Side", [300], [["12", "value"]])) == (300, 32)
    assert [slot.name for slot in load(primitive("Side", [300], [["12", "value"]]), OBJECT_INFO).nodes["2"].inputs] == ["Side"]
    assert [slot.name for slot in load(primitive("PrimitiveNode", [300], [["12", "value"]]), OBJECT_INFO).nodes["2"].inputs] == ["value"]
    assert sides(primitive("Side", [None, 300], [["12", "value"], ["12", "value"]])) == (300, 32)


@pytest.mark.parametrize(
    "saved",
    [
        primitive("Side", [300, 200], [["12", "value"], ["12", "other"]]),
        primitive("Side", [300], [["12", "value"]], proxyBypassedToSubgraphInput=True),
        primitive("Side", [300], [["12", "value"]], links=[]),
    ],
)
def test_primitive_that_is_named_twice_or_was_passed_by_or_leads_nowhere_gets_no_input(saved: Workflow) -> None:
    assert load(saved, OBJECT_INFO).nodes["2"].inputs == []


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        (["21", "width", "11"], (300, 64)), (["21", "width", "12"], (64, 300)), (["21", "12: width"], (64, 300)), (["21", "11 : width"], (300, 64)),
        (["21", "other"], (64, 300)), (["21", "width"], (300, 64)), (["21", "width", None], (300, 64)),
        (["21", "width", "77"], (64, 64)),
    ],
)  # fmt: skip
def test_entry_of_the_older_list_may_name_the_node_within_a_subgraph_inside(entry: list[Any], values: tuple[int, int]) -> None:
    pictures = [image(n, [], [socket("width", "INT", n, True)]) for n in (11, 12)]
    links = [[11, -10, 0, 11, 0, "INT"], [12, -10, 1, 12, 0, "INT"]]
    inside = definition(OUTER, pictures, links, [("first", "INT", [11]), ("other", "INT", [12])], [])
    host = node(2, INNER, values=[300], properties={"proxyWidgets": [entry]})
    made = definition(INNER, [node(21, OUTER, [socket("first", "INT"), socket("other", "INT")])], [], [], [])
    found = to_api(workflow([host], [], definitions={"subgraphs": [made, inside]}), OBJECT_INFO)
    assert tuple(found[f"2:21:{n}"]["inputs"]["width"] for n in (11, 12)) == values
