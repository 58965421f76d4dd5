"""What is at the end of a link or of a list of values that leads nowhere, or not where it did: each is read as the front end does."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import WorkflowError, readable, to_api
from host.handmade_workflows import INNER, OBJECT_INFO, Workflow, definition, image, node, preview, primitive, rerouted, socket, workflow

CUSTOM_COMBO = {"CustomCombo": {"input": {"required": {"choice": ["COMBO", {"options": []}]}}, "output": ["STRING"], "output_name": ["STRING"]}}
NAMED = {**OBJECT_INFO["SaveImage"], "input": {"required": {"filename_prefix": ["STRING", {}], "note": ["STRING", {}]}}}


def hosting(inner: list[Any], links: list[list[Any]], inputs: list[Any], outputs: list[Any], link: int | None = None) -> Workflow:
    """One instance 2 of a subgraph, whose output goes to a preview 3, and a picture 1 for its inputs."""
    host = node(2, INNER, [socket(name, kind, link) for name, kind, _ in inputs], [(kind, [9]) for _, kind, _ in outputs])
    outer = [[9, 2, 0, 3, 0, "IMAGE"], *([[link, 1, 0, 2, 0, "IMAGE"]] if link is not None else [])]
    made = definition(INNER, inner, links, inputs, outputs)
    return workflow([image(1, []), host, preview(3, 9)], outer, definitions={"subgraphs": [made]})


def test_input_of_a_subgraph_that_nothing_feeds_leaves_out_what_it_leads_to() -> None:
    saved = hosting([preview(11, 30)], [[30, -10, 0, 11, 0, "IMAGE"]], [("picture", "IMAGE", [30])], [])
    assert to_api(saved, OBJECT_INFO)["2:11"]["inputs"] == {}


def test_link_from_an_input_that_the_subgraph_lacks_is_refused_and_left_out_of_what_is_read() -> None:
    saved = hosting([preview(11, 30)], [[30, -10, 1, 11, 0, "IMAGE"]], [("picture", "IMAGE", [])], [])
    with pytest.raises(WorkflowError, match="leads to no input of its subgraph"):
        to_api(saved, OBJECT_INFO)
    assert readable(saved, OBJECT_INFO).prompt["2:11"]["inputs"] == {}


def test_output_of_a_subgraph_that_comes_from_no_node_is_refused_and_left_out_of_what_is_read() -> None:
    saved = hosting([image(11, [])], [[31, 12, 0, -20, 0, "IMAGE"]], [], [("IMAGE", "IMAGE", [31])])
    with pytest.raises(WorkflowError, match="comes from node 12, which is not in"):
        to_api(saved, OBJECT_INFO)
    assert readable(saved, OBJECT_INFO).prompt["3"]["inputs"] == {}


@pytest.mark.parametrize(("saved", "origin"), [([31], "11"), ([77, 31], "11"), ([77], "11"), ([], "11"), ([32, 31], "12")])
def test_link_that_a_subgraph_s_output_names_counts_where_it_is_there_else_the_one_that_is(saved: list[int], origin: str) -> None:
    links = [[31, 11, 0, -20, 0, "IMAGE"], [32, 12, 0, -20, 0, "IMAGE"]]
    found = to_api(hosting([image(11, [31]), image(12, [32])], links, [], [("IMAGE", "IMAGE", saved)]), OBJECT_INFO)
    assert found["3"]["inputs"] == {"images": [f"2:{origin}", 0]}


def test_reroute_that_is_muted_hands_nothing_through() -> None:
    saved = rerouted()
    saved["nodes"][1]["mode"] = 2
    assert to_api(saved, OBJECT_INFO)["3"]["inputs"] == {}


@pytest.mark.parametrize("values", [[], None])
def test_primitive_that_has_lost_its_value_leaves_that_of_its_widget(values: Any) -> None:
    saved = primitive()
    saved["nodes"][0]["widgets_values"] = values
    assert to_api(saved, OBJECT_INFO)["1"]["inputs"]["width"] == 64


@pytest.mark.parametrize(("choice", "index"), [("a", 0), ("b", 1), ("gone", -1)])
def test_custom_combo_tells_which_of_its_options_is_chosen(choice: str, index: int) -> None:
    saved = workflow([node(1, "CustomCombo", [], [("STRING", [])], [choice, 5, "a", "b", ""])], [])
    sent = to_api(saved, CUSTOM_COMBO)["1"]["inputs"]
    assert (sent["choice"], sent["index"], sent["option1"], sent["option2"]) == (choice, index, "a", "b")


def test_only_the_text_of_a_file_name_is_filled_in() -> None:
    info = {"SaveImage": NAMED}
    for values, sent in ((["%date:yyyy%", "%date:yyyy%"], ("2025", "%date:yyyy%")), ([7, ""], (7, ""))):
        inputs = to_api(workflow([node(1, "SaveImage", values=values)], []), info, now=datetime(2025, 3, 4))["1"]["inputs"]
        assert (inputs["filename_prefix"], inputs["note"]) == sent


def test_combo_without_options_or_a_value_is_not_sent() -> None:
    info = {"Chooser": {"input": {"required": {"which": ["COMBO", {}], "text": ["STRING", {}]}}, "output": [], "output_name": []}}
    assert to_api(workflow([node(1, "Chooser")], []), info)["1"]["inputs"] == {"text": ""}
