"""SwarmUI, Easy Diffusion, Draw Things and Midjourney, and what savers of ComfyUI leave open. All texts are made by hand, after public sources."""

from __future__ import annotations

import json
from typing import Any

import pytest

from diffusion_toolkit.embedders.metadata import ImageMetadata
from host.pieces import lora, pair, read

# -- SwarmUI, Easy Diffusion, Draw Things, Midjourney ----------------------------------------------------------------

SWARM = {
    "prompt": "a red fox <lora:fur//cid=1>", "negativeprompt": "blurry", "model": "base/sd_xl", "seed": 6, "steps": "20", "cfgscale": "7.0",
    "width": 1024, "height": 768, "sampler": "euler", "scheduler": "karras", "vae": "ae.sft", "loras": ["fur"], "loraweights": ["0.8"],
    "fluxguidancescale": 3.5, "t5xxlmodel": "t5", "controlnetmodel": "canny", "controlnetstrength": 0.5, "swarm_version": "0.9.6.1",
}  # fmt: skip


@pytest.mark.parametrize("key", ["parameters", "UserComment", "Model", "stealth"])
def test_swarmui(key: str) -> None:
    found = read(**{key: {"sui_image_params": SWARM, "sui_extra_data": {"original_prompt": "a <random:red,white> fox"}}})
    assert (found.prompt, found.negative, found.steps, found.cfg) == (pair("a red fox <lora:fur>"), pair("blurry"), 20, 7.0)
    assert (found.checkpoint, found.vae, found.text_encoders, found.guidance) == ("base/sd_xl", "ae.sft", ["t5"], 3.5)
    assert (found.loras, found.controlnets) == ([lora("fur", 0.8)], [{"name": "canny", "strength": 0.5}])
    assert found.generator == "SwarmUI"


def test_swarmui_s_older_lists() -> None:
    assert read(parameters={"sui_image_params": {**SWARM, "loras": "fur,snow", "loraweights": "0.8,1"}}).loras == [
        lora("fur", 0.8),
        lora("snow", 1.0),
    ]


EASY = {
    "prompt": "a red fox", "negative_prompt": "blurry", "seed": 6, "use_stable_diffusion_model": "sd-v1-5", "clip_skip": False,
    "use_vae_model": None, "sampler_name": "euler_a", "width": 512, "height": 768, "num_inference_steps": 25, "guidance_scale": 7.5,
    "use_lora_model": ["fur", "snow"], "lora_alpha": [0.5, 1.0],
}  # fmt: skip
EASY_LABELS = {
    "Prompt": "a red fox", "Negative Prompt": "blurry", "Seed": "6", "Stable Diffusion model": "sd-v1-5", "Sampler": "euler_a",
    "Width": "512", "Height": "768", "Steps": "25", "Guidance Scale": "7.5", "LoRA model": "fur, snow", "LoRA Strength": "0.5, 1.0",
}  # fmt: skip


def is_easy(found: ImageMetadata) -> bool:
    return (
        (found.prompt, found.negative, found.seed, found.steps, found.cfg) == (pair("a red fox"), pair("blurry"), 6, 25, 7.5)
        and (found.checkpoint, found.sampler, found.width, found.height) == ("sd-v1-5", "euler_a", 512, 768)
        and (found.loras, found.vae) == ([lora("fur", 0.5), lora("snow", 1.0)], None)
        and (found.generator, found.problem) == ("Easy Diffusion", None)
    )


def test_easy_diffusion_in_png_by_its_names() -> None:
    assert is_easy(read(**{key: str(value) for key, value in EASY.items()}))


def test_easy_diffusion_in_png_by_its_labels() -> None:
    assert is_easy(read(**EASY_LABELS))


@pytest.mark.parametrize("key", ["UserComment", "sidecar.json"])
def test_easy_diffusion_as_json(key: str) -> None:
    assert is_easy(read(**{key: EASY}))


def test_easy_diffusion_s_text_file() -> None:
    assert is_easy(read(**{"sidecar.txt": "\n".join(f"{label}: {value}" for label, value in EASY_LABELS.items())}))


@pytest.mark.parametrize(
    "told",
    [
        {**EASY, "use_controlnet_model": "canny", "control_alpha": 0.5, "use_text_encoder_model": "t5"},
        {key: str(value) for key, value in {**EASY, "use_controlnet_model": "canny", "control_alpha": 0.5}.items()},
    ],
)
def test_easy_diffusion_s_other_models(told: dict[str, Any]) -> None:
    found = read(UserComment=told)
    assert found.controlnets == [{"name": "canny", "strength": 0.5}]
    assert found.text_encoders == (["t5"] if "use_text_encoder_model" in told else [])


def test_comfyui_s_graph_is_no_text_of_easy_diffusion() -> None:
    graph = {"1": {"class_type": "X", "inputs": {"text": "a fox"}}}
    found = read(prompt=graph, negative_prompt="blurry")
    assert found.prompt is None or "class_type" not in found.prompt[0]


DRAW_THINGS = {
    "c": "a red fox", "uc": "blurry", "steps": 20, "sampler": "Euler A Trailing", "scale": 7.5, "seed": 6, "size": "512x768",
    "model": "flux.ckpt", "strength": 1, "seed_mode": "Scale Alike", "lora": [{"model": "fur.ckpt", "weight": 0.6}],
    "v2": {"loras": [{"file": "fur.ckpt", "weight": 0.6}], "width": 512},
}  # fmt: skip


def is_draw_things(found: ImageMetadata) -> bool:
    return (
        (found.prompt, found.negative, found.cfg, found.seed) == (pair("a red fox"), pair("blurry"), 7.5, 6)
        and (found.width, found.height, found.checkpoint, found.denoise) == (512, 768, "flux.ckpt", 1.0)
        and (found.loras, found.generator) == ([lora("fur.ckpt", 0.6)], "Draw Things")
    )


def test_draw_things_second_form_fills_up_the_first() -> None:
    found = read(
        Comment={"c": "a red fox", "v2": {"steps": 4, "loras": [{"file": "fur.ckpt", "weight": 0.6}], "controls": []}}
    )
    assert (found.steps, found.loras) == (4, [lora("fur.ckpt", 0.6)])


def test_draw_things_controls() -> None:
    found = read(Comment={**DRAW_THINGS, "control": [{"file": "canny.ckpt", "weight": 0.5}]})
    assert found.controlnets == [{"name": "canny.ckpt", "strength": 0.5}]


@pytest.mark.parametrize("key", ["Comment", "UserComment"])
def test_draw_things(key: str) -> None:
    assert is_draw_things(read(**{key: DRAW_THINGS}, Software="Draw Things"))


def test_draw_things_in_xmp() -> None:
    from xml.sax.saxutils import escape

    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"><exif:UserComment><rdf:Alt>'
        f'<rdf:li xml:lang="x-default">{escape(json.dumps(DRAW_THINGS))}</rdf:li></rdf:Alt></exif:UserComment></rdf:Description></rdf:RDF></x:xmpmeta>'
    )
    assert is_draw_things(read(xmp=packet))


JOB = "Job ID: a7421d2f-b262-44f9-977c-ac23e9c7d3e3"


def test_midjourney() -> None:
    found = read(
        Description=f"a red fox -- in snow --ar 3:2 --no grass, trees --seed 6 --stylize 80 --v 6.1 {JOB}", Author="someone"
    )
    assert (found.prompt, found.negative, found.seed) == (pair("a red fox -- in snow"), pair("grass, trees"), 6)
    assert (found.generator, found.prompt_origin.confidence) == ("Midjourney", "exact")


def test_midjourney_without_parameters() -> None:
    assert read(Description=f"a red fox {JOB}").prompt == pair("a red fox")


@pytest.mark.parametrize("shown", ["https://s.mj.run/x.png", "<https://s.mj.run/x> http://a.b/c.jpg"])
def test_midjourney_s_images_before_the_words_are_no_words(shown: str) -> None:
    assert read(Description=f"{shown} a sign of https://a.b {JOB}").prompt == pair("a sign of https://a.b")
    assert read(Description=f"{shown} --ar 3:2 {JOB}").prompt == pair("")


def test_midjourney_without_a_job() -> None:
    found = read(**{"iptc:caption": "a red fox --ar 3:2 --v 7"})
    assert (found.prompt, found.generator) == (pair("a red fox"), "Midjourney")


def test_one_dash_word_makes_no_midjourney() -> None:
    found = read(Description="how to use --no in git")
    assert (found.prompt, found.generator) == (pair("how to use --no in git"), None)


SETTINGS = "Steps: 20, Sampler: DPM++ 2M, CFG scale: 7, Seed: 12345, Size: 512x768, Model: dream"


@pytest.mark.parametrize("negative", ["unknown", "blurry"])
def test_what_a_comfyui_saver_calls_unknown_is_not_the_prompt_nor_are_its_settings_sure(negative: str) -> None:
    text = f"unknown\nNegative prompt: {negative}\n{SETTINGS}, Version: ComfyUI"
    found = read(UserComment=text)
    assert (found.prompt, found.negative) == (None, None if negative == "unknown" else pair(negative))
    assert (found.seed, found.settings_origin.confidence) == (12345, "inferred")
    assert read(parameters=f"unknown\n{SETTINGS}").prompt == pair("unknown")


@pytest.mark.parametrize(("text", "sure"), [("\nNegative prompt: ", "inferred"), ("\nNegative prompt: blurry", "exact"), ("", "exact")])
def test_no_prompt_beside_an_empty_negative_prompt_may_be_one_that_was_not_found(text: str, sure: str) -> None:
    found = read(parameters=f"{text}\n{SETTINGS}")
    assert (found.prompt, found.prompt_origin.confidence) == (("", ""), sure)


def test_settings_on_a_line_each_are_read_and_are_no_prompt() -> None:
    text = "Positive prompt:\na red fox\nNegative prompt:\nblurry, grey\nModel: dream\nSeed: 5\nSteps: 21\nCFG scale: 7.00\nSampler: euler\nScheduler: karras"
    found = read(parameters=text)
    assert (found.prompt, found.negative, found.prompt_origin.confidence) == (pair("a red fox"), pair("blurry, grey"), "exact")
    assert (found.checkpoint, found.seed, found.steps, found.cfg, found.sampler, found.scheduler) == ("dream", 5, 21, 7.0, "euler", "karras")
    plain = read(parameters=f"a fox\nModel: T\nNegative prompt: x\nSeed: 4\n{SETTINGS}")
    assert (plain.prompt, plain.negative, plain.seed) == (pair("a fox\nModel: T"), pair("x\nSeed: 4"), 12345)


def test_krita_s_names_for_what_it_does_not_know_are_none() -> None:
    text = "a red fox\nNegative prompt: \nSteps: 0, Sampler: , CFG scale: 7.0, Seed: 5, Size: 512x768, Model hash: unknown, Model: Unknown"
    found = read(parameters=text)
    assert (found.prompt, found.seed, found.steps, found.sampler, found.checkpoint) == (pair("a red fox"), 5, None, None, None)
