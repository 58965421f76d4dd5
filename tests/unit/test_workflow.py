"""Workflows to the API format: one rule of ComfyUI's front end per test. The browser tests hold the same workflows against it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import WorkflowError, to_api
from host import handmade_workflows as made
from host.handmade_workflows import OBJECT_INFO, Workflow, image, invert, node, preview, socket, workflow


def convert(saved: Workflow, **options: Any) -> dict[str, dict[str, Any]]:
    """Inputs by node id."""
    return {number: entry["inputs"] for number, entry in to_api(saved, OBJECT_INFO, **options).items()}


def test_node_has_class_inputs_and_title():
    expected = {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}, "_meta": {"title": "ImageInvert"}}
    assert to_api(invert(), OBJECT_INFO)["2"] == expected


def test_widget_values_are_positional():
    assert convert(invert())["1"] == {"width": 64, "height": 32, "batch_size": 1, "color": 255}


def test_value_behind_a_seed_is_its_control_and_not_sent():
    inputs = convert(made.sampler([5, "randomize", 30, 7.5, "euler", "normal", 0.5]))["1"]
    assert inputs == {"seed": 5, "steps": 30, "cfg": 7.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.5}


def test_missing_values_are_the_definitions_defaults():
    inputs = convert(made.sampler([5, "fixed"]))["1"]
    assert inputs == {"seed": 5, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}


def test_combo_without_a_value_takes_its_first_option():
    assert convert(made.sampler([5, "fixed", 30, 7.5, None, "normal", 1]))["1"]["sampler_name"] == "euler"


def test_combo_keeps_a_value_that_is_no_option():
    assert (
        convert(made.sampler([5, "fixed", 30, 7.5, "of another host", "normal", 1]))["1"]["sampler_name"] == "of another host"
    )


def test_seed_beyond_javascripts_integers_keeps_its_digits():
    assert convert(made.sampler([2**64 - 1, "fixed"]))["1"]["seed"] == 2**64 - 1


def test_values_by_name_are_taken_by_name():
    assert convert(made.sampler({"steps": 3, "seed": 9}))["1"]["steps"] == 3


def test_value_of_an_input_forced_to_be_a_socket_is_dropped():
    definition = {
        "input": {"required": {"a": ["INT", {"forceInput": True}], "b": ["INT", {}]}},
        "output": [],
        "output_name": [],
    }
    saved = workflow([node(1, "Forced", values=[111, 222])], [])
    assert to_api(saved, {"Forced": definition})["1"]["inputs"] == {"b": 222}


def test_input_order_decides_where_values_go():
    definition = {
        "input": {"required": {"a": ["INT", {}], "b": ["INT", {}]}},
        "input_order": {"required": ["b", "a"]},
        "output": [],
    }
    saved = workflow([node(1, "Ordered", values=[1, 2])], [])
    assert to_api(saved, {"Ordered": definition})["1"]["inputs"] == {"a": 2, "b": 1}


def test_upload_button_takes_a_value_but_is_not_sent():
    assert convert(made.loaded())["1"] == {"image": "photo.png"}


def test_list_in_a_widget_is_wrapped_lest_it_be_read_as_a_link():
    definition = {"input": {"required": {"colors": ["COLORS", {}]}}, "output": [], "output_name": []}
    saved = workflow([node(1, "Palette", values=[["#fff", 0]])], [])
    assert to_api(saved, {"Palette": definition})["1"]["inputs"] == {"colors": {"__value__": ["#fff", 0]}}


def test_link_wins_over_the_widget_below_it():
    assert convert(made.linked_widget())["1"] == {"width": 64, "height": ["5", 0], "batch_size": 1, "color": 255}


def test_primitive_writes_its_value_into_every_widget_it_feeds():
    converted = convert(made.primitive())
    assert (converted["1"]["width"], converted["1"]["height"], "5" in converted) == (7, 7, False)


def test_primitive_value_is_rounded_by_the_widget():
    assert convert(made.primitive(7.6))["1"]["width"] == 8


def test_primitive_value_for_several_widgets_is_within_their_range():
    assert convert(made.primitive(99999))["1"]["width"] == 16384


def test_reroutes_are_followed():
    assert convert(made.rerouted()) == {
        "1": {"width": 64, "height": 32, "batch_size": 1, "color": 255},
        "3": {"images": ["1", 0]},
    }


def test_reroute_points_of_links_change_nothing():
    assert convert(made.native_reroutes())["3"] == {"images": ["1", 0]}


def test_notes_are_left_out():
    assert set(convert(made.notes())) == {"1", "3"}


def test_muted_node_is_left_out_with_the_links_to_it():
    assert convert(invert(2)) == {"1": {"width": 64, "height": 32, "batch_size": 1, "color": 255}, "3": {}}


def test_bypassed_node_hands_its_input_through():
    assert convert(invert(4))["3"] == {"images": ["1", 0]}


def test_bypassed_node_hands_through_the_input_at_the_outputs_place():
    assert convert(made.bypassed_blend())["3"] == {"images": ["1", 0]}


def test_bypassed_node_gives_a_wildcard_target_what_it_has():
    assert convert(made.bypassed_without_match())["3"] == {"source": ["1", 0]}


def test_dynamic_combo_brings_the_inputs_of_its_option():
    inputs = convert(made.resized(["scale by multiplier", 2.5, "lanczos"]))["2"]
    assert inputs == {
        "input": ["1", 0],
        "resize_type": "scale by multiplier",
        "resize_type.multiplier": 2.5,
        "scale_method": "lanczos",
    }


def test_autogrow_group_has_a_socket_for_each_link():
    assert convert(made.batched())["2"] == {f"images.image{i}": ["1", 0] for i in range(3)}


def test_comments_are_stripped_from_dynamic_prompts():
    assert convert(made.text("a /* not this */ cat // nor this"))["1"]["text"] == "a  cat "


def test_one_of_several_texts_is_chosen_inside_out():
    chosen = convert(made.text("a {red|{dark|light} blue} cat"), choose=lambda parts: parts[-1])
    assert chosen["1"]["text"] == "a light blue cat"


def test_escaped_braces_stay():
    assert convert(made.text(r"a \{b|c\} cat"))["1"]["text"] == "a {b|c} cat"


@pytest.mark.parametrize("by", ["SaveImage", "DiffusionToolkitSaveImage"])
def test_file_name_takes_dates_and_widget_values(by: str):
    now = datetime(2031, 2, 3, 4, 5, 6)
    saved = made.saved_as("%date:yyyy-MM-dd hhmmss%/%EmptyImage.width%x%Canvas.height%_%nobody.x%_%width%", by)
    assert convert(saved, now=now)["3"]["filename_prefix"] == "2031-02-03 040506/64x32_%nobody.x%_%width%"


def test_subgraph_is_expanded_with_the_instances_value():
    assert convert(made.subgraph([300])) == {
        "2:11": {"width": 300, "height": 32, "batch_size": 1, "color": 255},
        "3": {"images": ["2:11", 0]},
        "5": {"value": 128},
    }


def test_subgraph_without_a_value_keeps_the_definitions():
    assert convert(made.subgraph())["2:11"]["width"] == 64


def test_link_into_a_subgraph_wins_over_its_value():
    assert convert(made.subgraph([300], link=7))["2:11"]["width"] == ["5", 0]


def test_two_instances_of_a_subgraph_have_their_own_values():
    converted = convert(made.two_instances())
    assert (converted["2:11"]["width"], converted["4:11"]["width"]) == (100, 200)


def test_value_goes_down_through_nested_subgraphs():
    assert convert(made.nested([77]))["2:21:11"]["width"] == 77


def test_nested_subgraph_keeps_the_inner_instances_value():
    assert convert(made.nested())["2:21:11"]["width"] == 100


def test_muted_subgraph_is_left_out_whole():
    assert convert(made.subgraph([300], mode=2)) == {"3": {}, "5": {"value": 128}}


def test_bypassed_subgraph_hands_its_input_through():
    assert convert(made.bypassed_subgraph())["3"] == {"images": ["1", 0]}


def test_inner_node_with_an_id_of_the_root_graph_gets_another():
    assert convert(made.same_ids())["3"] == {"images": ["2:100", 0]}


def test_values_promoted_by_the_old_list_go_to_the_widgets_it_names():
    inputs = convert(made.proxy_widgets())["2:11"]
    assert (inputs["width"], inputs["height"]) == (300, 9)


def test_version_1_links_are_read():
    saved = invert()
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    newer = saved | {"version": 1, "links": [dict(zip(keys, link, strict=True)) for link in saved["links"]]}
    assert convert(newer)["3"] == {"images": ["2", 0]}


def test_workflow_is_not_changed():
    saved, same = made.proxy_widgets(), made.proxy_widgets()
    convert(saved)
    assert saved == same


@pytest.mark.parametrize("value", [None, [], {}, {"nodes": 3}])
def test_what_is_no_workflow_is_refused(value: Any):
    with pytest.raises(WorkflowError, match="not a UI-format workflow"):
        to_api(value, OBJECT_INFO)


def test_api_format_is_recognised_and_refused():
    with pytest.raises(WorkflowError, match="API format already"):
        to_api(to_api(invert(), OBJECT_INFO), OBJECT_INFO)


def test_unknown_node_type_is_named_with_its_node():
    with pytest.raises(WorkflowError, match=r"'Nowhere' \(node 7 in the workflow\)"):
        to_api(workflow([node(7, "Nowhere")], []), OBJECT_INFO)


def test_unknown_node_type_that_is_muted_does_no_harm():
    assert set(convert(workflow([node(7, "Nowhere", mode=2), preview(3, None)], []))) == {"3"}


def test_unknown_node_type_in_a_subgraph_names_the_subgraph():
    part = made.maker_definition()
    part["nodes"][0]["type"] = "Nowhere"
    with pytest.raises(WorkflowError, match=r"'Nowhere' \(node 11 in the subgraph 'Part'\)"):
        to_api(made.subgraph() | {"definitions": {"subgraphs": [part]}}, OBJECT_INFO)


def test_old_group_node_says_what_to_do():
    with pytest.raises(WorkflowError, match="old group node.*save it again"):
        to_api(workflow([node(7, "workflow>mine")], []), OBJECT_INFO)


def test_input_whose_link_is_gone_is_named():
    with pytest.raises(WorkflowError, match=r"'images' of node 3 \(PreviewImage\) has link 1"):
        to_api(workflow([image(1, [1]), preview(3, 1)], []), OBJECT_INFO)


def test_link_from_a_node_that_is_gone_is_named():
    with pytest.raises(WorkflowError, match=r"'images' of node 3 \(PreviewImage\) comes from node 1"):
        to_api(workflow([preview(3, 1)], [[1, 1, 0, 3, 0, "IMAGE"]]), OBJECT_INFO)


def test_broken_link_is_shown():
    with pytest.raises(WorkflowError, match=r"link \[1, 1\] is broken"):
        to_api(workflow([preview(3, 1)], [[1, 1]]), OBJECT_INFO)


def test_reroutes_in_a_circle_are_refused():
    circle = [
        node(1, "Reroute", [socket("", "*", 2)], [("*", [1, 3])]),
        node(2, "Reroute", [socket("", "*", 1)], [("*", [2])]),
        preview(3, 3),
    ]
    links = [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 1, 0, 3, 0, "*"]]
    with pytest.raises(WorkflowError, match="run in a circle"):
        to_api(workflow(circle, links), OBJECT_INFO)


def test_subgraph_inside_itself_is_refused():
    part = made.maker_definition()
    part["nodes"].append(node(12, made.INNER))
    with pytest.raises(WorkflowError, match="^The subgraph .* holds itself"):
        to_api(made.subgraph() | {"definitions": {"subgraphs": [part]}}, OBJECT_INFO)


def _promoting(entries: Any) -> Workflow:
    saved = made.proxy_widgets()
    saved["nodes"][0]["properties"] = {"proxyWidgets": entries}
    return saved


@pytest.mark.parametrize(
    "broken",
    [
        *(workflow([{**preview(1, None), "outputs": outputs}], []) for outputs in ([{"name": "I", "type": "I", "links": 5}], 7, [None])),
        workflow([image(1, [1]), preview(2, 1)], [[1, 1, 1e999, 2, 0, "IMAGE"]]),
        _promoting("x"),
    ],
)
def test_node_that_is_broken_in_any_way_is_refused(broken: Workflow):
    with pytest.raises(WorkflowError, match="not foreseen.*save it again"):
        to_api(broken, OBJECT_INFO)
