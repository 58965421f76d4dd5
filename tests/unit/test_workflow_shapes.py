"""What the values of a saved node tell where neither the file nor this ComfyUI has their names."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import readable
from host.handmade_workflows import one_node, socket

PIPE = [socket("basic_pipe", "BASIC_PIPE", 5), socket("latent_image", "LATENT", 6)]
ENCODER = [socket("clip", "CLIP", 5)]
COG = [socket("pipeline", "COGVIDEOPIPE", 5), socket("positive", "CONDITIONING", 6)]  # whose first numbers are sides and frames
BOTH = [("MODEL", []), ("CONDITIONING", []), ("CONDITIONING", []), ("LATENT", [])]


def inputs(kind: str, values: Any, sockets: list[Any], outputs: list[Any], definitions: dict[str, Any] = {}) -> dict[str, Any]:
    """The inputs of one node, with the links that its sockets name."""
    return readable(one_node(kind, values, sockets, outputs), definitions).prompt["1"]["inputs"]


def test_numbers_about_a_sampler_s_and_a_schedule_s_name_are_its_settings_and_the_names_no_texts() -> None:
    values = [512, True, 768, 77, "randomize", 20, 8, "dpmpp_2m", "karras", 0.5, 5, True]
    read = inputs("Detailer", values, [*PIPE, socket("image", "IMAGE", 7)], [("BASIC_PIPE", []), ("IMAGE", [])])
    wanted = {"seed": 77, "steps": 20, "cfg": 8, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 0.5}
    assert {name: read.get(name) for name in wanted} == wanted
    assert not any("text" in name for name in read)


@pytest.mark.parametrize(
    ("behind", "denoise", "start"),
    [
        ([0.4, "GPU", 0, 0.0], 0.4, None), ([0, 10000, "disable"], None, 0), ([0, 1, "x"], None, 0), ([12, 20], None, 12), ([1], 1, None),
        ([0], 0, None), ([0, "GPU"], 0, None), ([7, "disable"], None, 7), ([7, "fixed"], None, None),
    ],  # fmt: skip
)
def test_number_behind_the_schedule_is_denoise_or_the_first_step(behind: list[Any], denoise: Any, start: Any) -> None:
    sockets = [socket("model", "MODEL", 5), socket("positive", "CONDITIONING", 6)]
    read = inputs("Sampler", ["enable", 5, "fixed", 20, 8.5, "euler", "normal", *behind], sockets, [("LATENT", [])])
    assert (read["steps"], read["cfg"], read.get("denoise"), read.get("start_at_step")) == (20, 8.5, denoise, start)
    assert read.get("end_at_step") == (behind[1] if start is not None and not isinstance(behind[1], str) else None)


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
    read = inputs("SeargeGenerationParameters", [30, "DPM++ 2M Karras", "dpmpp_2m", "karras", 0.8], [], [("SRG_DATA_STREAM", [])])
    assert (read["scheduler"], read["denoise"]) == ("karras", 0.8)
    assert "denoise" not in inputs("KSamplerAdvancedProvider", [8, "dpmpp_2m", "karras", 1], [], [("KSAMPLER_ADVANCED", [])])
    assert "scheduler" not in inputs("Upscaler", [7, "fixed", "euler", "lanczos", 0.5], SAMPLER, outputs)


def test_of_two_whole_numbers_that_a_node_hands_on_neither_is_taken_for_the_steps() -> None:
    outputs = [("INT", []), ("INT", []), ("FLOAT", []), ("COMBO", []), ("COMBO", [])]
    read = inputs("KSampler Config (rgthree)", [30, 20, 8.0, "euler", "normal"], [], outputs)
    assert read == {"value": 30, "value2": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal"}
    assert inputs("Config", [20, 8.0, "euler", "normal"], [], outputs)["steps"] == 20
    assert inputs("SeargeInput2", [1344, 768, 30, 7, "dpmpp_2m", "karras"], [], [("PARAMETER_INPUTS", [])])["steps"] == 30
    assert inputs("Config", [30, "fixed", 20, 8.0, "euler", "normal"], [], outputs)["steps"] == 20
    assert inputs("Config", [20, 8.0, "euler", "normal", 1.0], [], outputs)["steps"] == 20
    assert inputs("Sampler", [77, 20, 8.0, "euler", "normal", 1.0], SAMPLER, [("LATENT", []), ("INT", [])])["steps"] == 20


@pytest.mark.parametrize("numbers", [[12, 0, 1.0], [0.5, 7.0]])
def test_numbers_before_a_sampler_s_name_are_steps_and_cfg_only_where_the_first_can_be_steps(numbers: list[Any]) -> None:
    read = inputs("BNK_Unsampler", [*numbers, "dpmpp_2m", "simple", 4, "disable"], [socket("model", "MODEL", 5)], [("INT", [])])
    assert (read["sampler_name"], read["scheduler"]) == ("dpmpp_2m", "simple")
    assert not {"steps", "cfg", "start_at_step", "denoise"} & read.keys()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([True, 22, "fixed", 3.5], {"value": True, "seed": 22, "cfg": 3.5}),
        ([22, "fixed", 20, 7.5, "euler"], {"seed": 22, "steps": 20, "cfg": 7.5, "sampler_name": "euler"}),
        (["lcm", 1.5, 20, 0.5], {"sampler_name": "lcm", "cfg": 1.5, "steps": 20, "denoise": 0.5}),
        ([1, 1], {"steps": 1, "denoise": 1}),
        ([1], {"steps": 1}),
        (["lcm", 20, 30, 7.5, 2.0], {"sampler_name": "lcm", "steps": 20, "cfg": 30, "value": 7.5, "value2": 2.0}),
        (["lcm", 20, 7.5, 2.0], {"sampler_name": "lcm", "steps": 20, "cfg": 7.5, "value": 2.0}),
        ([20, 8.0, "euler", "normal", "lcm", 3], {"steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal", "value": "lcm", "value2": 3}),
    ],
)
def test_sampler_that_names_no_schedule_has_steps_cfg_and_denoise(values: list[Any], told: dict[str, Any]) -> None:
    read = inputs("SamplerCustom", values, SAMPLER, [("LATENT", [])])
    assert {name: value for name, value in read.items() if not isinstance(value, list)} == told


@pytest.mark.parametrize("cfg", [8, 1, 3.5])
def test_number_of_a_sampler_to_which_sigmas_come_is_its_cfg_for_they_have_the_steps(cfg: Any) -> None:
    sockets = [*SAMPLER, socket("sampler", "SAMPLER", 7), socket("sigmas", "SIGMAS", 8)]
    read = inputs("SamplerCustom", [True, 77, "fixed", cfg], sockets, [("LATENT", []), ("LATENT", [])])
    assert (read["seed"], read["cfg"]) == (77, cfg)
    assert not {"steps", "denoise"} & read.keys()
    assert not {"steps", "cfg", "denoise"} & inputs("ClownsharKSampler", [0.5, 30, 5.5], sockets, [("LATENT", [])]).keys()
    without = [*SAMPLER, socket("sigmas", "SIGMAS")]
    assert inputs("Sampler", [True, 77, "fixed", 20, 7.5], without, [("LATENT", [])])["steps"] == 20


@pytest.mark.parametrize("name", ["DPM++ 2M Karras", "Euler a", "DPM++ 2M SDE Karras"])
def test_sampler_s_name_may_be_of_several_words_but_is_no_text(name: str) -> None:
    read = inputs("Sampler", [77, "fixed", name, 20, 7.5, "a fox, asleep, in fog"], SAMPLER, [("LATENT", []), ("STRING", [])])
    assert (read["sampler_name"], read["steps"], read["cfg"], read["text"]) == (name, 20, 7.5, "a fox, asleep, in fog")
    assert inputs("Sampler", [77, "fixed", 20, 7.5, name, "karras", 1], SAMPLER, BOTH)["scheduler"] == "karras"


@pytest.mark.parametrize("text", ["lcm, a fox", "Euler paints a fox in fog"])
def test_text_that_begins_as_a_sampler_s_name_is_one(text: str) -> None:
    read = inputs("Sampler", [20, 7.5, "lcm", text], SAMPLER, [("LATENT", []), ("STRING", [])])
    assert (read["sampler_name"], read["text"]) == ("lcm", text)


@pytest.mark.parametrize("gives", ["MODEL,CONDITIONING,CONDITIONING,LATENT", "CONDITIONING,CONDITIONING,LATENT"])
def test_node_that_gives_what_samplers_take_and_names_none_only_prepares_it(gives: str) -> None:
    """BrushNet, and Lightricks' LTXVSetAudioVideoMaskByTime: its times, frames and masks are no settings of a sampler's."""
    values = [0.0, 10.0, 24.0, True, True, 0.0, 0.0, 3]
    read = inputs("LTXVSetAudioVideoMaskByTime", values, SAMPLER, [(kind, []) for kind in gives.split(",")])
    assert not {"steps", "cfg", "denoise"} & read.keys()
    assert inputs("KSampler", [20, 7.5, "euler"], SAMPLER, [(kind, []) for kind in gives.split(",")])["steps"] == 20


@pytest.mark.parametrize(
    ("kind", "values", "sockets", "gives", "told"),
    [
        ("KSamplerSelect", ["dpmpp_2m"], [], "SAMPLER", {"sampler_name": "dpmpp_2m"}),
        ("SamplerEulerAncestral", [0, 1], [], "SAMPLER", {"value": 0, "value2": 1}),  # eta and an amount of noise
        ("BasicScheduler", ["simple", 20, 1.0], [], "SIGMAS", {"scheduler": "simple", "steps": 20, "denoise": 1.0}),
        ("AlignYourStepsScheduler", ["SDXL", 10, 1.0], [], "SIGMAS", {"value": "SDXL", "value2": 10, "value3": 1.0}),
        ("SeedExplorer", ["77", 265, 1, "linear"], [], "NOISE", {"value": "77", "noise_seed": 265, "value2": 1, "value3": "linear"}),
        ("DualCFGGuider", [8.0, 5.0], [], "GUIDER", {"cfg": 8.0, "value": 5.0}),
        ("Noise And Seed", [77], [], "NOISE,INT", {"noise_seed": 77}),
        ("Schedule And Steps", ["simple", 20, 1.0], [], "SIGMAS,INT", {"scheduler": "simple", "steps": 20, "denoise": 1.0}),
        ("Sampler And Name", ["dpmpp_2m"], [], "SAMPLER,STRING", {"sampler_name": "dpmpp_2m"}),
        ("Guider And Cfg", [5.0], [], "GUIDER,FLOAT", {"cfg": 5.0}),
        ("EmptyLatentVideo", [832, 480, 1], [], "LATENT", {"width": 832, "height": 480, "value": 1}),
        ("EmptyLatentImage", [1, 832, 480], [socket("amount", "INT", 5)], "LATENT", {"value": 1, "width": 832, "height": 480}),
        ("SDXL Empty Latent", [512, 512], [], "LATENT,INT", {"value": 512, "value2": 512}),
        ("LatentBlend", [0.5, 64], [socket("a", "LATENT", 5)], "LATENT", {"value": 0.5, "value2": 64}),
        ("CogVideoSampler", [480, 720, 49, 50, 6.0, 7, "fixed", "DPM", 1.0], COG, "LATENT",
         {"value": 480, "value2": 720, "value3": 49, "value4": 50, "value5": 6.0, "seed": 7, "value6": "DPM", "value7": 1.0}),
        ("FluxGuidance", [3.5], [socket("conditioning", "CONDITIONING", 5)], "CONDITIONING", {"guidance": 3.5}),
        ("ConditioningAverage", [0.5], [socket("to", "CONDITIONING", 5)], "CONDITIONING", {"value": 0.5}),
        ("ControlNetApply", [1.2], [socket("to", "CONDITIONING", 5), socket("image", "IMAGE", 6)], "CONDITIONING", {"value": 1.2}),
        ("SetArea", [3.5, 2.0], [socket("to", "CONDITIONING", 5)], "CONDITIONING", {"value": 3.5, "value2": 2.0}),
    ],
)  # fmt: skip
def test_numbers_of_a_node_of_one_kind_are_what_such_nodes_have(kind: str, values: Any, sockets: Any, gives: str, told: Any) -> None:
    read = inputs(kind, values, sockets, [(output, []) for output in gives.split(",")])
    assert {name: value for name, value in read.items() if not isinstance(value, list)} == told


def test_node_that_gives_a_model_beside_its_sigmas_or_sigmas_beside_its_guider_is_of_no_such_kind() -> None:
    read = inputs("TCDModelSamplingDiscrete", [4, "simple", 1, 0.8], [socket("model", "MODEL", 5)], [("MODEL", []), ("SAMPLER", []), ("SIGMAS", [])])
    assert not {"steps", "denoise"} & read.keys()
    assert "cfg" not in inputs("ScheduledCFGGuider", [1, 4, "exp"], [socket("sigmas", "SIGMAS", 5)], [("GUIDER", []), ("SIGMAS", [])])


@pytest.mark.parametrize("choice", ["Baked VAE", "None", "#00FF00", "Select the LoRA to add to the text", "\U0001f3acSelect the action add to the text"])
def test_what_a_list_or_a_picker_gave_is_no_text(choice: str) -> None:
    read = inputs("Loader", ["a.safetensors", choice, 1.0, "a fox, asleep", "blurry, bad", 512], [], BOTH)
    assert (read["positive"], read["negative"]) == ("a fox, asleep", "blurry, bad")
    assert not any("text" in name for name in inputs("Encoder", [choice], ENCODER, [("CONDITIONING", [])]))


def test_text_that_begins_as_a_placeholder_but_goes_on_is_one() -> None:
    text = "Select the best of these foxes, and let it sleep in the snow under a red moon, in ink and water colours"
    assert inputs("Encoder", [text], ENCODER, [("CONDITIONING", [])])["text"] == text


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


@pytest.mark.parametrize(
    ("outputs", "name"),
    [
        (["MODEL", "CLIP", "VAE"], "ckpt_name"), (["MODEL"], "unet_name"), (["CLIP"], "clip_name"), (["VAE"], "vae_name"),
        (["CONTROL_NET"], "control_net_name"), (["CLIP_VISION"], "clip_vision_name"), (["UPSCALE_MODEL"], "file"),
    ],
)  # fmt: skip
def test_file_is_called_as_what_its_loader_gives(outputs: list[str], name: str) -> None:
    assert inputs("Loader", ["some.gguf"], [], [(kind, []) for kind in outputs]) == {name: "some.gguf"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [("Motion Loader", "file"), *((f"{kind} Loader", "lora_name") for kind in ("LoRA", "LyCORIS", "LoHa", "LoCon", "LoKr"))],
)
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


@pytest.mark.parametrize(
    ("sockets", "gives", "is_text"),
    [
        (ENCODER, ["CONDITIONING"], True),  # CLIPTextEncode
        (ENCODER, ["COND_SCHEDULE"], True),
        (ENCODER, ["STYLE"], True),
        ([], ["PIPE_LINE"], True),  # easy fullLoader
        ([], ["WANVIDEOTEXTEMBEDS"], True),  # WanVideoTextEncode
        ([], ["SRG_PROMPT_TEXT"], True),  # SeargeTextInputV2
        ([], ["STRING"], True),
        ([socket("told", "STRING", 5)], ["STRING"], False),
        ([socket("to", "CONDITIONING", 5)], ["CONDITIONING"], False),  # ConditioningSetMask's "default"
        ([socket("to", "CONDITIONING", 5), *ENCODER], ["CONDITIONING"], True),
        ([socket("told", "STRING", 5), *ENCODER], ["STRING"], True),  # TextGenerate
        (ENCODER, ["MODEL", "CLIP"], False),
        ([], ["CONTEXT"], False),
        ([], ["MESH"], False),
        ([], ["IMAGE", "STRING"], False),  # a service
        ([], ["VIDEO", "STRING"], False),
        ([], ["STRING", "AUDIO"], False),
    ],
)
def test_one_word_is_a_text_of_an_encoder_alone(sockets: list[Any], gives: list[str], is_text: bool) -> None:
    read = inputs("Encoder", ["fox"], sockets, [(kind, []) for kind in gives])
    assert ("fox" in [value for name, value in read.items() if name == "text"]) is is_text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("surface net", False), ("the surface net", True), ("fox,net", False), ("fox,net,fog", True),
        ("\u96ea\u306e\u4e2d\u306e\u8d64\u3044\u72d0\u304c\u7720\u308b", True),
    ],
)  # fmt: skip
def test_value_of_another_node_is_a_text_where_it_reads_as_language(value: str, words: bool) -> None:
    assert ("text" in inputs("VoxelToMesh", [value, 0.6], [], [("MESH", [])])) is words


@pytest.mark.parametrize(
    ("gives", "names"),
    [
        (["CONDITIONING", "CONDITIONING"], ("positive", "negative")),
        (["BASIC_PIPE"], ("positive", "negative")),
        (["WANVIDEOTEXTEMBEDS"], ("positive", "negative")),
        (["BASIC_PIPE", "MODEL"], ("text", "text2")),
        (["CONDITIONING"], ("text", "text2")),  # TextEncodeAceStepAudio's tags and lyrics
        ([], ("text", "text2")),
    ],
)
def test_two_texts_are_a_positive_and_a_negative_where_the_node_gives_both(gives: list[str], names: tuple[str, str]) -> None:
    read = inputs("Encoder", ["a fox, asleep", "blurry, bad", 1.0], ENCODER, [(kind, []) for kind in gives])
    assert tuple(read.get(name) for name in names) == ("a fox, asleep", "blurry, bad")


@pytest.mark.parametrize(
    ("texts", "positive", "negative"),
    [
        (["a fox, asleep", ""], "a fox, asleep", ""),
        (["", "a fox, asleep", ""], "a fox, asleep", ""),
        (["a fox, asleep", "Negative", ""], "a fox, asleep", ""),
        (["a fox, asleep", "comfy"], None, None),
        (["", "a fox, asleep"], None, None),
    ],
)
def test_an_empty_text_behind_the_only_one_is_the_negative(texts: list[str], positive: Any, negative: Any) -> None:
    read = inputs("Loader", ["a.safetensors", *texts, 512], [], BOTH)
    assert (read.get("positive"), read.get("negative")) == (positive, negative)


def test_two_texts_behind_six_sizes_are_sdxl_s() -> None:
    sizes = [1024, 1024, 0, 0, 1024, 1024]
    read = inputs("CLIPTextEncodeSDXL", [*sizes, "a fox, asleep", "a red fox"], ENCODER, [("CONDITIONING", [])])
    assert (read["text_g"], read["text_l"]) == ("a fox, asleep", "a red fox")
    portrait = inputs("PortraitMaster", [*sizes, "a fox, asleep", "a red fox"], ENCODER, [("STRING", []), ("STRING", [])])
    assert (portrait["text"], portrait["text2"]) == ("a fox, asleep", "a red fox")


def test_what_is_much_shorter_than_the_text_beside_it_is_none_but_in_an_encoder() -> None:
    text = "a fox that sleeps in the snow under a red moon, in ink, with a small house far behind, seen at night"
    read = inputs("ByteDanceSeedreamNode", ["seedream 5 lite", text], [], [("IMAGE", [])])
    assert (read["value"], read["text"]) == ("seedream 5 lite", text)
    assert inputs("ByteDanceSeedreamNode", ["all of it in red ink and slowly", text], [], [("IMAGE", [])])["text2"] == text
    assert inputs("Encoder", ["in ink", text], ENCODER, [("CONDITIONING", [])])["text2"] == text


def test_beside_a_text_that_a_link_brings_a_short_one_is_none() -> None:
    by_link = [socket("prompt", "STRING", 5, widget=True), socket("image", "IMAGE", 6)]
    read = inputs("LumaRay32ExtendVideoNode", ["", "Forward (continue after)", "720p"], by_link, [("VIDEO", [])])
    assert not any("text" in name for name in read)
    only_socket = [socket("style", "STRING", 5)]
    assert inputs("Video", ["a fox in the snow", "720p"], only_socket, [("VIDEO", [])])["text"] == "a fox in the snow"


def test_word_of_a_seed_is_left_out_behind_a_number_alone() -> None:
    read = inputs("Seeds", [7, "fixed", 8, "randomize", "random", "fixed", True, "fixed"], [], [("INT", [])])
    assert read == {"seed": 7, "seed2": 8, "value": "random", "value2": "fixed", "value3": True, "value4": "fixed"}
