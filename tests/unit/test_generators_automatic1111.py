"""AUTOMATIC1111's parameters and its kin. The texts are made by hand, after what the programs' public sources write."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from diffusion_toolkit.embedders.metadata import ImageMetadata, Pieces, interpret
from host.pieces import pair


def read(text: str, key: str = "parameters", **others: Any) -> ImageMetadata:
    told = {key: text, **others}
    return interpret(
        Pieces({k: v.encode("utf-8", "surrogatepass") for k, v in told.items()}, dict.fromkeys(told, "PNG text"))
    )


SETTINGS = "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 12345, Size: 512x768, Model: dream"


def test_prompt_negative_and_settings() -> None:
    found = read(f"a red fox\nin snow\nNegative prompt: blurry,\nugly\n{SETTINGS}")
    assert (found.prompt, found.negative) == (pair("a red fox\nin snow"), pair("blurry,\nugly"))
    assert (found.seed, found.steps, found.cfg, found.sampler, found.scheduler) == (12345, 20, 7.0, "DPM++ 2M", "Karras")
    assert (found.width, found.height, found.checkpoint, found.generator) == (512, 768, "dream", "AUTOMATIC1111")


def test_origin_says_where_it_stood() -> None:
    found = read(f"a red fox\n{SETTINGS}")
    assert (found.prompt_origin.confidence, found.settings_origin.confidence) == ("exact", "exact")
    assert found.prompt_origin.where == "AUTOMATIC1111 parameters in PNG text 'parameters'"


@pytest.mark.parametrize(("key", "place"), [("UserComment", "EXIF UserComment"), ("sidecar.txt", "x.txt")])
def test_origin_names_a_place_once(key: str, place: str) -> None:
    found = interpret(Pieces({key: f"a red fox\n{SETTINGS}".encode()}, {key: place}))
    assert found.prompt_origin.where == f"AUTOMATIC1111 parameters in {place}"


def test_prompt_alone_is_inferred() -> None:
    found = read("a red fox")
    assert (found.prompt, found.negative, found.prompt_origin.confidence) == (pair("a red fox"), None, "inferred")


def test_no_settings_but_a_negative_prompt() -> None:
    found = read("a red fox\nNegative prompt: blurry")
    assert (found.prompt, found.negative, found.prompt_origin.confidence) == (pair("a red fox"), pair("blurry"), "exact")


def test_steps_alone() -> None:
    found = read("a red fox\nSteps: 8")
    assert (found.prompt, found.steps) == (pair("a red fox"), 8)


def test_empty_prompt_is_an_empty_text() -> None:
    found = read(f"Negative prompt: blurry\n{SETTINGS}")
    assert (found.prompt, found.negative) == (("", ""), pair("blurry"))


def test_no_negative_prompt_is_none() -> None:
    assert read(f"a red fox\n{SETTINGS}").negative is None


def test_prompt_may_speak_of_negative_prompts_and_steps() -> None:
    prompt = "a sign saying 'Negative prompt: none'\nSteps: 3 of a stair,\n- one\n- two"
    found = read(f"{prompt}\nNegative prompt: blurry\n{SETTINGS}")
    assert (found.prompt, found.negative, found.steps) == (pair(prompt), pair("blurry"), 20)


def test_prompt_that_looks_like_settings_is_a_prompt() -> None:
    prompt = "style: noir, mood: dark, lens: 35mm"
    assert read(prompt).prompt == pair(prompt)


def test_windows_line_ends() -> None:
    found = read(f"a red fox\r\nin snow\r\nNegative prompt: blurry\r\n{SETTINGS}")
    assert (found.prompt, found.negative) == (pair("a red fox\nin snow"), pair("blurry"))


def test_lines_that_a_site_joined() -> None:
    found = read(f"a red fox. Negative prompt: blurry. {SETTINGS}")
    assert (found.prompt, found.negative, found.seed) == (pair("a red fox"), pair("blurry"), 12345)


def test_one_line_that_speaks_of_negative_prompts_is_a_prompt() -> None:
    found = read(f"a sign saying 'Negative prompt: none'\n{SETTINGS}")
    assert (found.prompt, found.negative) == (pair("a sign saying 'Negative prompt: none'"), None)


def test_a_line_of_steps_in_a_bare_prompt_is_no_setting() -> None:
    prompt = "a recipe\nSteps: 1 mix"
    assert (read(prompt).prompt, read(prompt).steps) == (pair(prompt), None)


def test_a_template_line_in_a_bare_prompt_is_of_the_prompt() -> None:
    assert read("a page\nTemplate: none").prompt == pair("a page\nTemplate: none")


def test_settings_that_do_not_begin_with_steps() -> None:
    found = read("a red fox\nSeed: 5, Steps: 9, Sampler: Euler, App: SD.Next")
    assert (found.prompt, found.seed, found.generator) == (pair("a red fox"), 5, "SD.Next")


@pytest.mark.parametrize(
    "value",
    ['"a: b, c: d"', '{"model": "x", "lora:y": "z, 1"}', '[{"type": "lora", "x": [1, 2]}]', '"open, Seed: 4', "{open"],
)
def test_settings_behind_a_quoted_value_are_read(value: str) -> None:
    found = read(f"a red fox\nSteps: 9, Sampler: Euler, TI hashes: {value}, Seed: 5")
    assert (found.prompt, found.steps) == (pair("a red fox"), 9)
    assert found.seed == (4 if value == '"open, Seed: 4' else 5)


def test_a_quoted_value_that_is_no_json_ends_at_its_quote() -> None:
    assert read('a fox\nSteps: 9, Sampler: Euler, Template file: "C:\\path, Seed: 4", Seed: 5').seed == 5


def test_prompts_of_extensions_are_not_the_prompt() -> None:
    found = read(f'a red fox\n{SETTINGS}, ADetailer prompt: "a face, Seed: 9", Hires prompt: "sharp\\nfur"')
    assert (found.prompt, found.seed) == (pair("a red fox"), 12345)


def test_template_behind_the_settings_is_not_the_prompt() -> None:
    found = read(f"a red fox\nNegative prompt: blurry\n{SETTINGS}\nTemplate: a {{red|blue}} fox\nNegative Template: x")
    assert (found.prompt, found.negative, found.checkpoint) == (pair("a red fox"), pair("blurry"), "dream")


def test_template_before_the_settings_is_not_the_prompt() -> None:
    found = read(f"a red fox\nNegative prompt: blurry\nTemplate: a {{red|blue}} fox\n{SETTINGS}")
    assert (found.prompt, found.negative, found.seed) == (pair("a red fox"), pair("blurry"), 12345)


def test_denoising_strength() -> None:
    assert read(f"a red fox\n{SETTINGS}, Denoising strength: 0.4").denoise == 0.4


def test_denoising_strength_of_a_hires_fix_is_not_the_image_s() -> None:
    assert read(f"a red fox\n{SETTINGS}, Denoising strength: 0.4, Hires upscale: 2").denoise is None


def test_vae_and_no_vae() -> None:
    assert read(f"a fox\n{SETTINGS}, VAE: kl.pt").vae == "kl.pt"
    assert read(f"a fox\n{SETTINGS}, VAE: Automatic").vae is None


# -- LoRAs and ControlNets -------------------------------------------------------------------------------------------


def lora(name: str, model: float, clip: float | None = None) -> dict[str, Any]:
    return {"name": name, "strength_model": model, "strength_clip": model if clip is None else clip}


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("<lora:fur:0.8>", lora("fur", 0.8)),
        ("<lyco:fur:0.8>", lora("fur", 0.8)),
        ("<lora:fur>", lora("fur", 1.0)),
        ("<lora:fur v2, best:0.5:0.7>", lora("fur v2, best", 0.7, 0.5)),  # the text encoder's comes first
        ("<lora:fur:te=0.5:unet=0.7>", lora("fur", 0.7, 0.5)),
        ("<lora:fur:0.8:lbw=OUTALL:stop=20>", lora("fur", 0.8)),
        ("<LORA:fur:-1>", lora("fur", -1.0)),
    ],
)
def test_lora_tags(tag: str, expected: dict[str, Any]) -> None:
    found = read(f"a red fox {tag}\n{SETTINGS}")
    assert (found.loras, found.prompt) == ([expected], pair(f"a red fox {tag}"))


def test_comfyui_s_tags_have_the_model_first() -> None:
    assert read(f"a fox <lora:fur:0.5:0.7>\n{SETTINGS}, Version: ComfyUI").loras == [lora("fur", 0.5, 0.7)]


def test_a_lora_tag_given_twice_is_one() -> None:
    assert read(f"<lora:fur:1> a fox <lora:fur:1>\n{SETTINGS}").loras == [lora("fur", 1.0)]


def test_additional_networks() -> None:
    more = "AddNet Enabled: True, AddNet Module 1: LoRA, AddNet Model 1: fur(abcdef012345), AddNet Weight A 1: 0.6, AddNet Weight B 1: 0.5"
    assert read(f"a fox\n{SETTINGS}, {more}").loras == [lora("fur", 0.6, 0.5)]


def test_controlnet_units() -> None:
    unit = '"Module: canny, Model: control_canny [d14c016b], Weight: 0.7, Resize Mode: Crop and Resize"'
    found = read(f"a fox\n{SETTINGS}, ControlNet 0: {unit}")
    assert found.controlnets == [{"name": "control_canny", "strength": 0.7}]


def test_older_controlnet_settings() -> None:
    found = read(
        f"a fox\n{SETTINGS}, ControlNet-0 Enabled: True, ControlNet-0 Model: depth [aabbccdd], ControlNet-0 Weight: 0.5"
    )
    assert found.controlnets == [{"name": "depth", "strength": 0.5}]


# -- kin -------------------------------------------------------------------------------------------------------------


def test_forge_with_flux() -> None:
    more = "Distilled CFG Scale: 3.5, Module 1: ae, Module 2: clip_l, Module 3: t5xxl_fp16, Version: f2.0.1v1.10.1"
    found = read(f"a fox\n{SETTINGS}, {more}")
    assert (found.generator, found.guidance, found.vae) == ("Forge", 3.5, "ae")
    assert found.text_encoders == ["clip_l", "t5xxl_fp16"]


@pytest.mark.parametrize(
    ("more", "generator"),
    [
        ("Version: f1.0.0v1.9.3", "Forge"),
        ("Version: neo", "Forge"),
        ("Version: f0.1, Distilled CFG Scale: 3", "Forge"),
        ("Pipeline: StableDiffusionXLPipeline", "SD.Next"),
        ("App: SD.Next, Version: abc", "SD.Next"),
        ("Version: ComfyUI", "ComfyUI"),
        ("Version: reForge 1.0", "reForge"),
        ("Version: v1.10.1", "AUTOMATIC1111"),
    ],
)
def test_who_wrote_it(more: str, generator: str) -> None:
    assert read(f"a fox\n{SETTINGS}, {more}").generator == generator


def test_stability_matrix_by_its_project() -> None:
    assert read(f"a fox\n{SETTINGS}", smproj="{}").generator == "Stability Matrix"


@pytest.mark.parametrize("place", ["extra", None])
def test_civitai_s_metadata_in_a_workflow(place: str | None) -> None:
    inner = {
        "extraMetadata": {
            "prompt": "a fox",
            "seed": 5,
            "workflowId": "txt2img",
            "resources": [{"type": "checkpoint", "modelName": "Pony"}],
        }
    }
    found = read(json.dumps({"nodes": [], **({place: inner} if place else inner)}), "workflow")
    assert (found.prompt, found.seed, found.checkpoint, found.generator) == (pair("a fox"), 5, "Pony", "Civitai")


def test_civitai_resources() -> None:
    resources = [
        {"type": "checkpoint", "modelVersionId": 1, "modelName": "Pony", "modelVersionName": "V6"},
        {"type": "lora", "weight": 0.8, "modelVersionId": 2, "modelName": "Fur", "modelVersionName": "v1"},
    ]
    settings = "Steps: 25, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 832x1216, Clip skip: 2, Created Date: 2024-05-05T10:10:10.1Z"
    found = read(
        f"a fox\nNegative prompt: blurry\n{settings}, Civitai resources: {json.dumps(resources)}, Civitai metadata: {{}}"
    )
    assert (found.generator, found.checkpoint, found.loras) == ("Civitai", "Pony", [lora("Fur", 0.8)])
    assert (found.width, found.height, found.sampler) == (832, 1216, "Euler a")


def test_civitai_resources_by_address() -> None:
    air = "urn:air:sdxl:lora:civitai:12@34"
    found = read(f"a fox\n{SETTINGS}, Civitai resources: {json.dumps([{'air': air, 'weight': 0.5}], indent=1)}")
    assert found.loras == [lora(air, 0.5)]


def test_civitai_s_metadata_in_its_graph() -> None:
    extra = {
        "prompt": "a fox", "negativePrompt": "blurry", "cfgScale": 4, "steps": 30, "seed": 5, "sampler": "euler",
        "resources": [{"modelVersionId": 1, "strength": 0.5, "air": "urn:air:x:lora:civitai:1@2", "type": "lora"}],
    }  # fmt: skip
    found = read(json.dumps({"1": {"class_type": "X", "inputs": {}}, "extraMetadata": json.dumps(extra)}), "UserComment")
    assert (found.prompt, found.negative, found.cfg, found.generator) == (pair("a fox"), pair("blurry"), 4.0, "Civitai")
    assert found.loras == [lora("urn:air:x:lora:civitai:1@2", 0.5)]


STABILITY_MATRIX = {
    "PositivePrompt": "a fox", "NegativePrompt": "blurry", "Steps": 9, "CfgScale": 5, "Seed": 5, "ModelName": "dream",
}  # fmt: skip


def test_stability_matrix() -> None:
    found = read(f"a fox\nNegative prompt: blurry\n{SETTINGS}", **{"parameters-json": json.dumps(STABILITY_MATRIX), "smproj": "{}"})
    assert (found.prompt, found.negative, found.generator) == (pair("a fox"), pair("blurry"), "Stability Matrix")


def test_parameters_json_alone() -> None:
    found = read(json.dumps(STABILITY_MATRIX), "parameters-json")
    assert (found.prompt, found.cfg, found.checkpoint) == (pair("a fox"), 5.0, "dream")


def test_fooocus_s_scheme_keeps_the_prompt_that_was_typed() -> None:
    more = 'Scheduler: karras, Raw prompt: "a fox, red", Raw negative prompt: blurry, Lora weights: "fur: 0.5, snow: 1.0", Version: Fooocus v2.5.5'
    found = read(f"cinematic a fox, red\nNegative prompt: anime, blurry\n{SETTINGS}, {more}")
    assert (found.prompt, found.negative, found.generator) == (pair("a fox, red"), pair("blurry"), "Fooocus")
    assert found.loras == [lora("fur", 0.5), lora("snow", 1.0)]


def test_draw_things_description() -> None:
    found = read(
        "a fox\n-blurry\nSteps: 20, Sampler: Euler a, Guidance Scale: 7.5, Seed: 5, Size: 512x512, Model: m.ckpt, Strength: 1.0, Seed Mode: Scale Alike",
        "Description",
    )
    assert (found.prompt, found.negative, found.cfg, found.generator) == (pair("a fox"), pair("blurry"), 7.5, "Draw Things")


@pytest.mark.parametrize("key", ["UserComment", "stealth", "sidecar.txt", "comment"])
def test_other_places(key: str) -> None:
    found = read(f"a fox\nNegative prompt: blurry\n{SETTINGS}", key)
    assert (found.prompt, found.negative, found.prompt_origin.confidence) == (pair("a fox"), pair("blurry"), "exact")


def test_tensor_art() -> None:
    told = {
        "prompt": "a fox", "negativePrompt": "blurry", "seed": "5", "steps": 25, "cfgScale": 7, "samplerName": "Euler a",
        "baseModel": {"label": "Dream", "modelFileName": "dream_v8"},
        "models": [{"type": "LORA", "modelFileName": "fur", "weight": 0.7}, {"type": "BASE_MODEL", "modelFileName": "dream_v8"}],
    }  # fmt: skip
    found = read(json.dumps(told) + "\0", "generation_data")
    assert (found.prompt, found.seed, found.checkpoint, found.generator) == (pair("a fox"), 5, "dream_v8", "Tensor.Art")
    assert found.loras == [lora("fur", 0.7)]


# -- what is malformed or huge ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "Seed: -1",
        "Seed: 1e999",
        "Seed: " + "9" * 5000,
        "Seed: NaN",
        "Size: x",
        "Size: 1x2x3",
        "Model: \0",
        "Seed:",
        ": : :, ,,",
        "Model: \ud800",
    ],
)
def test_odd_settings_are_left_out(line: str) -> None:
    found = read(f"a fox\nSteps: 9, Sampler: Euler, CFG scale: NaN, {line}")
    assert (found.prompt, found.seed, found.cfg, found.width, found.steps) == (pair("a fox"), None, None, None, 9)
    (found.checkpoint or "").encode("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "{" * 100_000,
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"seed": ' + "9" * 100_000 + "}",
        '{"prompt": [], "seed": {}, "steps": "x", "cfg": []}',
        "\0",
    ],
)
def test_malformed_json_raises_nothing(text: str) -> None:
    interpret(
        Pieces({key: text.encode() for key in ("parameters", "UserComment", "Comment", "sd-metadata", "sidecar.json")})
    )


def test_malformed_json_is_no_prompt() -> None:
    found = read('{"prompt": "a fox", ')
    assert found.prompt is None and "parameters" in (found.problem or "")


def test_braces_of_a_prompt_are_no_json() -> None:
    found = read("{red|blue} fox")
    assert (found.prompt, found.problem) == (pair("{red|blue} fox"), None)


@pytest.mark.parametrize("unit", ["[],", '"a":{},', "1,", '"k":1,'])
def test_json_that_would_unfold_in_memory_is_left_unread(unit: str) -> None:
    found = read('{"prompt": "a fox", "seed": 5, "steps": 2, "x": [' + unit * 1_100_000 + "1]}")
    assert "too many parts" in (found.problem or "")


@pytest.mark.parametrize("key", ["parameters", "Description", "Dream", "sidecar.txt"])  # each alone: the first that tells ends the reading
@pytest.mark.parametrize(
    "unit",
    [" ", ",", "a:", "Steps: 1\n", "Steps: 1, ", '"', "<lora:", "Negative prompt:\n", "a: {", 'a: "', "\n", "[", " --ar"],
)
def test_time_grows_with_the_length_and_no_faster(unit: str, key: str) -> None:
    """Half a megabyte of any of these takes minutes where a pattern goes back over what it has seen; some readers take no more than 0.1."""
    for length in (90_000, 500_000):
        text = f"a fox\nSteps: 9, Sampler: x, {unit * (length // len(unit))}"
        before = time.thread_time()  # of this thread alone, however busy the machine and the others are
        interpret(Pieces({key: text.encode()}))
        assert time.thread_time() - before < 2
