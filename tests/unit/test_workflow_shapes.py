"""What the values of a saved node tell where neither the file nor this ComfyUI has their names."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import readable
from host.handmade_workflows import node, socket, workflow

PIPE = [socket("basic_pipe", "BASIC_PIPE", 5), socket("latent_image", "LATENT", 6)]
ENCODER = [socket("clip", "CLIP", 5)]
BOTH = [("MODEL", []), ("CONDITIONING", []), ("CONDITIONING", []), ("LATENT", [])]


def inputs(kind: str, values: Any, sockets: list[Any], outputs: list[Any], definitions: dict[str, Any] = {}) -> dict[str, Any]:
    """The inputs of one node, with the links that its sockets name coming from a node 9."""
    numbers = [s["link"] for s in sockets if s.get("link") is not None]
    origin = node(9, "Origin", [], [("X", numbers)])
    saved = workflow([origin, node(1, kind, sockets, outputs, values)], [[n, 9, 0, 1, 0, "X"] for n in numbers])
    return readable(saved, definitions).prompt["1"]["inputs"]


def test_numbers_about_a_sampler_s_and_a_schedule_s_name_are_its_settings_and_the_names_no_texts() -> None:
    values = [512, True, 768, 77, "randomize", 20, 8, "dpmpp_2m", "karras", 0.5, 5, True]
    read = inputs("Detailer", values, [*PIPE, socket("image", "IMAGE", 7)], [("BASIC_PIPE", []), ("IMAGE", [])])
    wanted = {"seed": 77, "steps": 20, "cfg": 8, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 0.5}
    assert {name: read.get(name) for name in wanted} == wanted
    assert not any("text" in name for name in read)


@pytest.mark.parametrize(
    ("behind", "denoise", "start"),
    [([0.4, "GPU", 0, 0.0], 0.4, None), ([0, 10000, "disable"], None, 0), ([0, 1, "x"], None, 0), ([12, 20], None, 12), ([1], 1, None)],
)
def test_number_behind_the_schedule_is_denoise_or_the_first_step(behind: list[Any], denoise: Any, start: Any) -> None:
    sockets = [socket("model", "MODEL", 5), socket("positive", "CONDITIONING", 6)]
    read = inputs("Sampler", ["enable", 5, "fixed", 20, 8.5, "euler", "normal", *behind], sockets, [("LATENT", [])])
    assert (read["steps"], read["cfg"], read.get("denoise"), read.get("start_at_step")) == (20, 8.5, denoise, start)


SAMPLER = [socket("model", "MODEL", 5), socket("positive", "CONDITIONING", 6)]


@pytest.mark.parametrize("scheduler", ["AYS SDXL", "GITS", "bong_tangent"])
def test_word_between_a_sampler_s_numbers_is_a_schedule_though_no_list_has_it(scheduler: str) -> None:
    values = [77, "randomize", 20, 7.5, "euler", scheduler, 1, "auto", "true"]
    read = inputs("KSampler (Efficient)", values, SAMPLER, BOTH)
    wanted = {"seed": 77, "steps": 20, "cfg": 7.5, "sampler_name": "euler", "scheduler": scheduler, "denoise": 1}
    assert {name: read.get(name) for name in wanted} == wanted and not any("text" in name for name in read)


@pytest.mark.parametrize("behind", [["enable", 1], ["a fox in fog", 1], ["GITS"], ["GITS", "auto"]])
def test_other_words_behind_a_sampler_s_name_are_no_schedule_and_its_numbers_its_settings(behind: list[Any]) -> None:
    read = inputs("Sampler", [77, "randomize", 20, 7.5, "euler", *behind], SAMPLER, [("MODEL", []), ("LATENT", [])])
    assert (read["steps"], read["cfg"], read["sampler_name"], "scheduler" in read) == (20, 7.5, "euler", False)


@pytest.mark.parametrize("outputs", [[("LATENT", [])], BOTH])
def test_numbers_behind_a_sampler_s_and_a_schedule_s_name_are_no_steps_to_start_at_without_settings_before(outputs: Any) -> None:
    read = inputs("Sampler", [7, "fixed", "euler", "karras", 20, 7.5, 1.0], SAMPLER, outputs)
    assert (read["steps"], read["cfg"], read["denoise"], "start_at_step" in read) == (20, 7.5, 1.0, False)
    assert inputs("Sampler", [7, "fixed", "euler", "karras", 0.5], SAMPLER, outputs)["denoise"] == 0.5


def test_of_two_whole_numbers_that_a_node_hands_on_neither_is_taken_for_the_steps() -> None:
    outputs = [("INT", []), ("INT", []), ("FLOAT", []), ("COMBO", []), ("COMBO", [])]
    read = inputs("KSampler Config (rgthree)", [30, 20, 8.0, "euler", "normal"], [], outputs)
    assert read == {"value": 30, "value2": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal"}
    assert inputs("Config", [20, 8.0, "euler", "normal"], [], outputs)["steps"] == 20
    assert inputs("Config", [30, "fixed", 20, 8.0, "euler", "normal"], [], outputs)["steps"] == 20
    assert inputs("Sampler", [77, 20, 8.0, "euler", "normal", 1.0], SAMPLER, [("LATENT", []), ("INT", [])])["steps"] == 20


@pytest.mark.parametrize("choice", ["Baked VAE", "None", "#00FF00", "Select the LoRA to add to the text", "\U0001f3acSelect the action add to the text"])
def test_what_a_list_or_a_picker_gave_is_no_text(choice: str) -> None:
    read = inputs("Loader", ["a.safetensors", choice, 1.0, "a fox, asleep", "blurry, bad", 512], [], BOTH)
    assert (read["positive"], read["negative"]) == ("a fox, asleep", "blurry, bad")
    assert not any("text" in name for name in inputs("Encoder", [choice], ENCODER, [("CONDITIONING", [])]))


def test_text_that_ends_with_an_embedding_s_file_is_one() -> None:
    read = inputs("Loader", ["a.safetensors", "a fox, asleep", "blurry, embedding:bad.safetensors"], [], BOTH)
    assert (read["ckpt_name"], read["positive"], read["negative"]) == ("a.safetensors", "a fox, asleep", "blurry, embedding:bad.safetensors")


def test_size_in_words_is_no_text_but_for_an_encoder_s_only_one() -> None:
    assert inputs("Latent", ["SDXL - 3:4 portrait 896x1152", 1], [], [("LATENT", [])])["resolution"] == "SDXL - 3:4 portrait 896x1152"
    assert inputs("Encoder", ["512x512"], ENCODER, [("CONDITIONING", [])])["text"] == "512x512"


@pytest.mark.parametrize("size", ["1024x1024 (1.0)", "512 x 512", "1152 x 896  (landscape)", "SD1.5 - 2:3 portrait 512x768", "704\u00d71408 \u2223 1:2"])
def test_whole_choice_among_sizes_is_no_text_of_a_loader(size: str) -> None:
    read = inputs("Loader", ["a.safetensors", size, "a fox, asleep", "blurry, bad", 512], [], BOTH)
    assert (read["resolution"], read["positive"], read["negative"]) == (size, "a fox, asleep", "blurry, bad")


@pytest.mark.parametrize(
    "text", ["pixel art, 32x32 sprite of a knight", "pixel art, 512x512 sprite of a knight", "512x512 pixels", "8 x 8", "6000000x6000000 1"]
)
def test_text_in_which_a_size_stands_is_one(text: str) -> None:
    read = inputs("Loader", ["a.safetensors", text, "blurry, photo, realistic", 512, 512], [], BOTH)
    assert (read["positive"], read["negative"], "resolution" in read) == (text, "blurry, photo, realistic", False)
    assert inputs("Encoder", ["a 64x64 icon of a fox", "plain"], ENCODER, [("CONDITIONING", [])])["text"] == "a 64x64 icon of a fox"


@pytest.mark.parametrize(("kind", "name"), [("Motion Loader", "file"), ("Load LoRA", "lora_name")])
def test_file_of_a_node_that_changes_a_model_is_a_lora_s_where_its_class_says_so(kind: str, name: str) -> None:
    read = inputs(kind, ["some.safetensors"], [socket("model", "MODEL", 5)], [("MODEL", [])])
    assert read[name] == "some.safetensors"


def test_what_a_script_keeps_beside_a_widget_of_a_pack_s_own_type_is_left_over() -> None:
    sockets = [*ENCODER, socket("seed", "INT"), socket("text", "AUTOCOMPLETE,STRING", widget=True)]
    known = {"Prompt": {"input": {"required": {"text": ["AUTOCOMPLETE,STRING", {}], "clip": ["CLIP", {}]}}, "output": ["CONDITIONING"]}}
    for definitions in ({}, known):
        read = inputs("Prompt", [{"version": 1, "widget": "text"}, "a fox"], sockets, [("CONDITIONING", [])], definitions)
        assert read == {"text": "a fox", "clip": ["9", 0]}


def test_numbers_of_a_node_that_prepares_a_model_for_a_sampler_are_no_settings() -> None:
    outputs = [("MODEL", []), ("CONDITIONING", []), ("CONDITIONING", []), ("LATENT", [])]
    sockets = [socket("model", "MODEL", 5), socket("positive", "CONDITIONING", 6), socket("negative", "CONDITIONING", 7)]
    assert not {"steps", "cfg", "denoise"} & inputs("BrushNet", [0.8, 0, 10000], sockets, outputs).keys()


def test_texts_that_links_have_replaced_are_none() -> None:
    sockets = [*ENCODER, socket("pos_g", "STRING", 6, widget=True), socket("neg_g", "STRING", 7, widget=True)]
    read = inputs("Encoder", ["POS_G", "NEG_G", 1024], sockets, [("CONDITIONING", []), ("CONDITIONING", [])])
    assert (read["pos_g"], read["neg_g"], "text" in read, "positive" in read) == (["9", 0], ["9", 0], False, False)
    schedule = [*ENCODER, socket("pre_text", "STRING", 6, widget=True), socket("app_text", "STRING", 7, widget=True)]
    assert inputs("Schedule", ["a fox, asleep", 72, True, "", "", 0.5, 0.5], schedule, [("CONDITIONING", [])])["text"] == "a fox, asleep"
    one = inputs("Encoder", ["a fox, asleep", "NEG_G, old"], [*ENCODER, sockets[-1]], [("CONDITIONING", []), ("CONDITIONING", [])])
    assert (one["positive"], one["neg_g"]) == ("a fox, asleep", ["9", 0])


def test_empty_value_of_a_node_that_is_brought_its_texts_is_none() -> None:
    read = inputs("Save Text", ["", "", True], [socket("question_input", "STRING", 5)], [("STRING", [])])
    assert not any("text" in name for name in read)
