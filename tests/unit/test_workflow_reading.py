"""Workflows read for what they say: one rule per test. The files are made by hand after those of the named front ends and packs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import Readable, WorkflowError, output_types, readable, to_api
from host import handmade_workflows as made
from host.handmade_workflows import HANDMADE, OBJECT_INFO, Workflow, node, preview, socket, workflow


def inputs(saved: Workflow, number: str, definitions: dict[str, Any] = {}) -> dict[str, Any]:
    return readable(saved, definitions).prompt[number]["inputs"]


def alone(kind: str, values: Any, sockets: list[Any] = [], outputs: list[Any] = [], **more: Any) -> Workflow:
    """One node, with the links that its sockets name coming from a node 9."""
    numbers = [s["link"] for s in sockets if s.get("link") is not None]
    origin = node(9, "Origin", [], [("X", numbers)])
    return workflow([origin, node(1, kind, sockets, outputs, values, **more)], [[n, 9, 0, 1, 0, "X"] for n in numbers])


ENCODER = [socket("clip", "CLIP", 5)]
CONDITIONING = [("CONDITIONING", [])]
SAMPLER = [socket("model", "MODEL", 5), socket("positive", "CONDITIONING", 6)]


@pytest.mark.parametrize("name", sorted(HANDMADE))
def test_known_nodes_are_read_as_the_front_end_sends_them(name: str):
    strict = to_api(HANDMADE[name], OBJECT_INFO, choose=lambda parts: parts[0])
    read = readable(HANDMADE[name], OBJECT_INFO).prompt
    for number, entry in strict.items():
        entry["inputs"].pop("filename_prefix", None)
        assert entry["inputs"].items() <= read[number]["inputs"].items()


def test_values_by_name_need_no_definition():
    assert inputs(alone("Combine", {"frame_rate": 8, "format": "video/h264-mp4"}), "1") == {
        "frame_rate": 8, "format": "video/h264-mp4"
    }  # fmt: skip


def test_sockets_name_the_widgets():
    sockets = [socket("prompt", "STRING", widget=True), socket("seed", "INT", widget=True), socket("size", "COMBO", widget=True)]
    saved = alone("Unknown", ["a cat", 7, "randomize", "large"], sockets)
    assert inputs(saved, "1") == {"prompt": "a cat", "seed": 7, "size": "large"}


def test_named_widgets_are_no_guess():
    assert readable(alone("Unknown", ["a cat"], [socket("prompt", "STRING", widget=True)])).guessed == {}


def beside(saved: Workflow, *names: str) -> Workflow:
    """The names that newer front ends save beside the values; of what is chosen at random the values there are not those of the run."""
    [found] = [one for one in saved["nodes"] if one["id"] == 1]
    found["widgets_values_named"] = {name: f"not {name}" for name in names}
    return saved


def test_names_beside_the_values_are_no_guess():
    read = readable(beside(alone("Unknown", ["a cat", 7, "randomize", "large"]), "prompt", "seed", "control_after_generate", "size"))
    assert read.prompt["1"]["inputs"] == {"prompt": "a cat", "seed": 7, "size": "large"}
    assert read.guessed == {}


@pytest.mark.parametrize("names", [("text", "2"), ("text",), ("text", "seed", "size")], ids=["numbers first", "one twice", "too many"])
def test_names_beside_the_values_that_may_be_anothers_are_not_taken(names: tuple[str, ...]):
    read = readable(beside(alone("Unknown", ["a cat", "a dog"]), *names))
    assert "names of its widgets" in read.guessed["1"]


def test_names_beside_the_values_win_over_a_definition_that_they_would_fit():
    newer = {"input": {"required": {"style": ["STRING", {}], "text": ["STRING", {}], "steps": ["INT", {}]}}, "output": []}
    saved = beside(alone("Drifted", ["a cat", "oil", 20]), "text", "style", "steps")
    assert inputs(saved, "1", {"Drifted": newer}) == {"text": "a cat", "style": "oil", "steps": 20}


def test_what_a_definition_has_since_keeps_its_default():
    numbers = {"required": {"size": ["INT", {"default": 1}], "strength": ["INT", {"default": 2}]}}
    mode = ["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "a", "inputs": {}}, {"key": "b", "inputs": numbers}]}]
    newer = {"input": {"required": {"mode": mode, "text": ["STRING", {}]}}, "output": []}
    saved = beside(alone("Drifted", ["b", 5, "a cat"]), "mode", "mode.strength", "text")
    assert inputs(saved, "1", {"Drifted": newer}) == {"mode": "b", "mode.size": 1, "mode.strength": 5, "text": "a cat"}


def test_more_names_beside_the_values_than_the_definition_has_are_the_file_s():
    """As of ModelSamplingAuraFlow, which had a sampling once."""
    other = {"input": {"required": {"model": ["MODEL", {}], "shift": ["FLOAT", {}]}}, "output": ["MODEL"]}
    saved = beside(alone("ModelSamplingAuraFlow", [1, "flow"], [socket("model", "MODEL", 5)], [("MODEL", [])]), "shift", "sampling")
    assert inputs(saved, "1", {"ModelSamplingAuraFlow": other}) == {"model": ["9", 0], "shift": 1, "sampling": "flow"}


def test_values_that_are_as_many_as_the_definition_s_and_fit_are_its_though_one_socket_alone_names_a_widget():
    known = {"input": {"required": {"json_string": ["STRING", {}], "key": ["STRING", {}]}}, "output": ["STRING"]}
    saved = alone("JsonExtractString", ["", "negative_prompt"], [socket("json_string", "STRING", 5, widget=True)], [("STRING", [])])
    assert inputs(saved, "1", {"JsonExtractString": known}) == {"json_string": ["9", 0], "key": "negative_prompt"}


def test_the_files_names_win_over_another_versions_definition():
    newer = {"input": {"required": {"mode": [["a", "b"], {}], "words": ["STRING", {}]}}, "output": []}
    saved = alone("Drifted", ["a cat"], [socket("prompt", "STRING", widget=True)])
    assert inputs(saved, "1", {"Drifted": newer}) == {"prompt": "a cat"}


def test_values_that_do_not_fit_the_definition_are_aligned_by_type_and_told():
    newer = {"input": {"required": {"mode": [["a", "b"], {}], "text": ["STRING", {}], "steps": ["INT", {}]}}, "output": []}
    read = readable(alone("Drifted", ["a cat", 20]), {"Drifted": newer})
    assert (read.prompt["1"]["inputs"]["text"], read.prompt["1"]["inputs"]["steps"]) == ("a cat", 20)
    assert "do not fit" in read.guessed["1"]
    long = readable(alone("Drifted", ["a cat in deep snow", 20]), {"Drifted": newer})
    assert (long.prompt["1"]["inputs"]["text"], long.prompt["1"]["inputs"]["steps"]) == ("a cat in deep snow", 20)


def test_a_value_that_may_be_no_widget_s_is_kept_where_nothing_names_any():
    assert inputs(alone("Unknown", ["image"]), "1") == {"value": "image"}


def test_text_of_an_encoder_is_found_without_any_name():
    read = readable(alone("CLIPTextEncode", ["cat"], ENCODER, CONDITIONING))
    assert read.prompt["1"]["inputs"] == {"clip": ["9", 0], "text": "cat"}
    assert "not in the file" in read.guessed["1"]


def test_single_words_beside_a_text_are_no_texts():
    assert "a cat, asleep" == inputs(alone("Encoder", ["mean", "a cat, asleep", "A1111"], ENCODER, CONDITIONING), "1")["text"]


def test_two_texts_behind_six_sizes_are_the_dual_encoders():
    read = inputs(alone("Dual", [1024, 1024, 0, 0, 1024, 1024, "a cat", "the cat"], ENCODER, CONDITIONING), "1")
    assert (read["text_g"], read["text_l"]) == ("a cat", "the cat")


def test_second_text_of_a_node_that_gives_both_sides_is_the_negative():
    read = inputs(alone("Encode", ["a cat sits", "bad video"], [socket("t5", "ENCODER", 5)], [("EMBEDS", [])]), "1")
    assert (read["positive"], read["negative"]) == ("a cat sits", "bad video")


def test_empty_negative_of_such_a_node_is_one():
    read = inputs(alone("Encode", ["a cat sits", ""], [socket("t5", "ENCODER", 5)], [("EMBEDS", [])]), "1")
    assert (read["positive"], read["negative"]) == ("a cat sits", "")


def test_name_of_a_model_beside_a_long_text_is_none():
    read = inputs(alone("Remote", ["Model 2 Mini", "a cat sits on a mat " * 4], [], [("VIDEO", [])]), "1")
    assert read["text"] == "a cat sits on a mat " * 4


@pytest.mark.parametrize("gives", ["VIDEO", "IMAGE", "AUDIO"])
def test_so_it_is_where_a_service_gives_a_text_beside_its_picture(gives: str):
    read = inputs(alone("Remote", ["Model 2 Mini", "a cat sits on a mat " * 4], [], [(gives, []), ("STRING", [])]), "1")
    assert (read["text"], read.get("text2")) == ("a cat sits on a mat " * 4, None)


def test_name_of_a_model_beside_a_text_that_comes_by_a_link_is_none():
    read = inputs(alone("Remote", ["Model 2 Mini", 5], [socket("model.prompt", "STRING", 5, widget=True)], [("VIDEO", [])]), "1")
    assert read == {"model.prompt": ["9", 0], "value": "Model 2 Mini", "value2": 5}


SERVICE = {
    "input": {"required": {"model": [["one", "two"], {}], "seed": ["INT", {"control_after_generate": True}], "mark": ["BOOLEAN", {}]}},
    "output": ["VIDEO"],
}


def test_node_with_a_text_that_the_hosts_definition_has_no_place_for_is_read_by_shape():
    saved = alone("Service", ["three", "a cat sits on a mat", 5, 77, "randomize", False], [], [("VIDEO", [])])
    read = inputs(saved, "1", {"Service": SERVICE})
    assert (read["text"], read["seed"]) == ("a cat sits on a mat", 77)


def test_node_beside_whose_values_a_script_shows_a_text_is_read_by_the_hosts_definition():
    saved = alone("Service", ["two", 77, "randomize", False, "shown: a cat sits on a mat"], [], [("VIDEO", [])])
    assert inputs(saved, "1", {"Service": SERVICE}) == {"model": "two", "seed": 77, "mark": False}


def test_node_with_a_linked_widget_that_the_hosts_definition_has_not_keeps_the_link():
    saved = alone("Service", ["three", 5, 77, "randomize", False], [socket("model.prompt", "STRING", 5, widget=True)], [("VIDEO", [])])
    read = readable(saved, {"Service": SERVICE})
    assert (read.prompt["1"]["inputs"]["model.prompt"], read.prompt["1"]["inputs"]["seed"]) == (["9", 0], 77)
    assert "more than this ComfyUI's definition" in read.guessed["1"]


def test_samplers_values_are_told_by_their_order_and_vocabulary():
    read = inputs(alone("KSampler", [5, "randomize", 30, 7.5, "euler", "normal", 0.5], SAMPLER, [("LATENT", [])]), "1")
    assert {key: read[key] for key in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")} == {
        "seed": 5, "steps": 30, "cfg": 7.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.5
    }  # fmt: skip


def test_file_is_named_by_what_its_node_gives():
    outputs = [("MODEL", []), ("CLIP", []), ("VAE", [])]
    assert inputs(alone("Loader", ["some.safetensors"], [], outputs), "1") == {"ckpt_name": "some.safetensors"}


def test_comments_are_stripped_where_the_definition_says_so():
    saved = alone("CLIPTextEncode", ["a cat /* or a dog */"], ENCODER, CONDITIONING)
    assert inputs(saved, "1", OBJECT_INFO)["text"] == "a cat "


def test_random_choice_keeps_its_pattern_and_is_unknown():
    read = readable(alone("CLIPTextEncode", ["a {red|blue} cat"], ENCODER, CONDITIONING), OBJECT_INFO)
    assert read.prompt["1"]["inputs"]["text"] == "a {red|blue} cat"
    assert "1" in read.unknown


def test_a_primitive_gives_its_value():
    primitive = node(2, "PrimitiveNode", [], [("STRING", [1])], ["a cat"])
    encoder = node(1, "CLIPTextEncode", [socket("text", "STRING", 1, widget=True)], CONDITIONING, [""])
    assert inputs(workflow([primitive, encoder], [[1, 2, 0, 1, 0, "STRING"]]), "1") == {"text": "a cat"}


# -- nodes of the browser only ---------------------------------------------------------------------------------------


def set_and_get(setter: str, getter: str) -> Workflow:
    return workflow(
        [
            node(1, "Maker", [], [("IMAGE", [1])]),
            node(2, setter, [socket("IMAGE", "IMAGE", 1)], [("*", [])], ["picture"]),
            node(3, getter, [], [("IMAGE", [2])], ["picture"]),
            preview(4, 2),
        ],
        [[1, 1, 0, 2, 0, "IMAGE"], [2, 3, 0, 4, 0, "IMAGE"]],
    )


@pytest.mark.parametrize(("setter", "getter"), [("SetNode", "GetNode"), ("easy setNode", "easy getNode")])
def test_a_value_is_got_from_where_its_name_was_set(setter: str, getter: str):
    prompt = readable(set_and_get(setter, getter)).prompt
    assert prompt["4"]["inputs"] == {"images": ["1", 0]}
    assert set(prompt) == {"1", "4"}


def test_a_value_is_got_inside_a_subgraph_from_the_graph_around_it():
    saved = set_and_get("SetNode", "GetNode")
    inner = made.definition(
        "inner", [node(3, "GetNode", [], [("IMAGE", [2])], ["picture"]), preview(4, 2)], [[2, 3, 0, 4, 0, "IMAGE"]], [], []
    )
    saved["nodes"][2:] = [node(8, "inner")]
    saved["definitions"] = {"subgraphs": [inner]}
    assert readable(saved).prompt["8:4"]["inputs"] == {"images": ["1", 0]}


def test_unknown_reroute_hands_through():
    prompt = readable(made.through(node(2, "Knot (pack)", [socket("", "IMAGE", 1)], [("IMAGE", [2])]))).prompt
    assert prompt["3"]["inputs"] == {"images": ["1", 0]}


def test_a_node_that_only_takes_wildcards_is_left_out():
    saved = alone("Fast Muter", None, [socket("", "*", 5), socket("", "*", 6)], [("OPT_CONNECTION", [])])
    assert "1" not in readable(saved).prompt


# -- group nodes -----------------------------------------------------------------------------------------------------


def grouped(values: list[Any], kind: str = "workflow>pair") -> Workflow:
    """Maker 1 -> group node 2 (blur -> invert, and a source of its own) -> preview 3."""
    group = {
        "nodes": [
            {"type": "Blur", "index": 0, "inputs": [{"name": "image", "type": "IMAGE", "link": None}],
             "outputs": [{"name": "IMAGE", "type": "IMAGE"}], "widgets_values": [1, "soft"]},
            {"type": "Tint", "index": 1, "inputs": [{"name": "image", "type": "IMAGE", "link": None}],
             "outputs": [{"name": "IMAGE", "type": "IMAGE"}], "widgets_values": ["red hot"]},
        ],
        "links": [[None, 0, 0, 0, 1, "IMAGE"], [0, 0, 1, 0, 7, "IMAGE"]],
        "external": [[1, 0, "IMAGE"]],
    }  # fmt: skip
    return workflow(
        [node(1, "Maker", [], [("IMAGE", [1])]), node(2, kind, [socket("image", "IMAGE", 1)], [("IMAGE", [2])], values), preview(3, 2)],
        [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
        extra={"groupNodes": {"pair": group}},
    )  # fmt: skip


def by_class(read: Readable) -> dict[str, dict[str, Any]]:
    return {entry["class_type"]: {"id": number, **entry["inputs"]} for number, entry in read.prompt.items()}


@pytest.mark.parametrize("kind", ["workflow>pair", "workflow/pair"])
def test_group_node_is_its_inner_nodes(kind: str):
    found = by_class(readable(grouped([2, "hard", "deep blue"], kind)))
    assert found["Blur"]["image"] == ["1", 0]
    assert found["Tint"]["image"] == [found["Blur"]["id"], 0]
    assert found["PreviewImage"]["images"] == [found["Tint"]["id"], 0]


def test_group_nodes_values_are_shared_out():
    found = by_class(readable(grouped([2, "hard", "deep blue"])))
    assert (list(found["Blur"].values())[-1], list(found["Tint"].values())[-1]) == (["1", 0], [found["Blur"]["id"], 0])
    assert "deep blue" in found["Tint"].values() and 2 in found["Blur"].values()


def test_group_nodes_values_that_do_not_fit_are_a_guess():
    assert any("group node" in reason for reason in readable(grouped([2, "hard"])).guessed.values())


@pytest.mark.parametrize(("of", "visible", "shown"), [("0", True, "Blur"), ("1", False, None), ("1", True, "Tint")])
def test_group_nodes_outputs_are_those_that_its_settings_show(of: str, visible: bool, shown: str | None):
    """Else those that no link inside uses, and those of `external`, of which Tint's is one."""
    saved = grouped([2, "hard", "deep blue"])
    saved["extra"]["groupNodes"]["pair"]["config"] = {of: {"output": {"0": {"visible": visible}}}}
    found = by_class(readable(saved))
    assert found["PreviewImage"].get("images") == (shown and [found[shown]["id"], 0])


def test_output_that_is_used_inside_and_outside_is_shown():
    saved = grouped([2, "hard", "deep blue"])
    saved["extra"]["groupNodes"]["pair"]["external"] = [[0, 0, "IMAGE"]]
    found = by_class(readable(saved))
    assert found["PreviewImage"]["images"] == [found["Blur"]["id"], 0]


@pytest.mark.parametrize(("all_listed", "name"), [(False, "kind"), (True, "kind"), (False, "Blur kind")])
def test_group_nodes_widgets_stand_behind_its_inputs_where_it_shows_them(all_listed: bool, name: str):
    """A newer front end lists all widgets of the inner nodes; an older one those that were made inputs, as the group node does."""
    saved = grouped([2, "hard", "deep blue"])
    blur, tint = saved["extra"]["groupNodes"]["pair"]["nodes"]
    blur["inputs"][:0] = [socket("radius", "INT", widget=True)] * all_listed + [socket("kind", "STRING", widget=True)]
    tint["inputs"].append({"name": "mask", "type": "MASK", "link": None})
    for link in saved["extra"]["groupNodes"]["pair"]["links"]:
        link[3] += (1 + all_listed) * (link[2] == 0)
    saved["nodes"][1]["inputs"] += [socket("mask", "MASK", 8), socket(name, "STRING", 9, widget=True)]
    saved["nodes"].append(node(8, "Other", [], [("MASK", [8]), ("STRING", [9])]))
    saved["links"] += [[8, 8, 0, 2, 1, "MASK"], [9, 8, 1, 2, 2, "STRING"]]
    found = by_class(readable(saved))
    assert (found["Blur"]["image"], found["Tint"]["mask"], found["Blur"]["kind"]) == (["1", 0], ["8", 0], ["8", 1])


@pytest.mark.parametrize("junk", [7, {}, {"nodes": 3}])
def test_group_that_is_none_leaves_the_rest(junk: Any):
    saved = grouped([])
    saved["extra"]["groupNodes"]["pair"] = junk
    assert "1" in readable(saved).prompt


def test_group_that_is_not_in_the_file_leaves_the_rest():
    saved = grouped([])
    saved["extra"] = {}
    assert "1" in readable(saved).prompt


# -- types and hostile files -----------------------------------------------------------------------------------------


def test_types_are_those_of_the_outputs_in_every_graph():
    saved = made.subgraph()
    assert output_types(saved)["EmptyImage"] == ["IMAGE"]


def test_types_that_disagree_are_wild():
    saved = workflow([node(1, "Any", [], [("A", []), ("IMAGE", [])]), node(2, "Any", [], [("A", []), ("MASK", [])])], [])
    assert output_types(saved) == {"Any": ["A", "*"]}


def test_a_value_nested_too_deep_is_left_out():
    value: Any = []
    for _ in range(900):
        value = [value]
    assert readable(alone("Any", {"deep": value})).prompt["1"]["inputs"] == {"deep": None}


@pytest.mark.parametrize("part", ["nodes", "links", "extra", "definitions"])
@pytest.mark.parametrize("junk", [None, True, -1, "x", [None, [], {}, "x", 1.5], {"a": {"b": []}}])
def test_wrong_types_never_raise_anything_else(part: str, junk: Any):
    saved = {**copy.deepcopy(grouped([1])), part: junk}
    try:
        readable(saved, OBJECT_INFO)
    except WorkflowError:
        pass


def test_the_workflow_is_not_changed():
    saved = grouped([2, "hard", "deep blue"])
    before = copy.deepcopy(saved)
    readable(saved, OBJECT_INFO)
    assert saved == before
