"""Generators that write JSON or keys of their own. All texts are made by hand, after the programs' public sources."""

from __future__ import annotations

import json
from typing import Any

import pytest

from diffusion_toolkit.embedders.metadata import ImageMetadata, Pieces, interpret


def read(**texts: Any) -> ImageMetadata:
    """From texts by key; whatever is none is written as JSON. What is well formed has no problem."""
    told = {key: text if isinstance(text, str) else json.dumps(text) for key, text in texts.items()}
    found = interpret(Pieces({k: v.encode() for k, v in told.items()}, dict.fromkeys(told, "PNG text")))
    assert found.problem is None
    return found


def pair(text: str) -> tuple[str, str]:
    return text, text


def lora(name: str, strength: float) -> dict[str, Any]:
    return {"name": name, "strength_model": strength, "strength_clip": strength}


# -- NovelAI ---------------------------------------------------------------------------------------------------------

NOVELAI = {
    "prompt": "a red fox", "steps": 28, "height": 1216, "width": 832, "scale": 5.0, "seed": 6, "noise_schedule": "karras",
    "sampler": "k_euler_ancestral", "uc": "blurry", "request_type": "PromptGenerateRequest",
}  # fmt: skip


def test_novelai_before_v3_has_its_prompt_in_the_description() -> None:
    comment = {
        "steps": 28,
        "sampler": "k_euler_ancestral",
        "seed": 6,
        "strength": 0.69,
        "noise": 0.667,
        "scale": 11.0,
        "uc": "blurry",
    }
    found = read(
        Title="AI generated image",
        Description="a red fox",
        Software="NovelAI",
        Source="Stable Diffusion 81274D13",
        Comment=comment,
    )
    assert (found.prompt, found.negative, found.cfg, found.seed) == (pair("a red fox"), pair("blurry"), 11.0, 6)
    assert (found.checkpoint, found.denoise, found.generator) == ("Stable Diffusion", None, "NovelAI")


def test_novelai_by_its_name_alone() -> None:
    assert read(Description="a red fox", Software="NovelAI", Comment={"steps": 28}).steps == 28
    assert read(Description="a red fox", Software="NovelAI", Comment="none").prompt == pair("a red fox")


def test_novelai_v3() -> None:
    found = read(Description="a red fox", Software="NovelAI", Source="Stable Diffusion XL 7BCCAA2C", Comment=NOVELAI)
    assert (found.sampler, found.scheduler, found.steps) == ("k_euler_ancestral", "karras", 28)
    assert (found.width, found.height, found.prompt_origin.confidence) == (832, 1216, "exact")


V4 = {
    **NOVELAI,
    "v4_prompt": {
        "caption": {
            "base_caption": "two animals, snow",
            "char_captions": [
                {"char_caption": "a fox", "centers": [{"x": 0.3, "y": 0.5}]},
                {"char_caption": "a hare", "centers": [{"x": 0.7, "y": 0.5}]},
            ],
        },
        "use_coords": True,
    },
    "v4_negative_prompt": {
        "caption": {"base_caption": "blurry", "char_captions": [{"char_caption": "grey"}, {"char_caption": ""}]}
    },
}


def test_novelai_v4_joins_the_characters() -> None:
    found = read(Description="two animals, snow", Software="NovelAI", Source="NovelAI Diffusion V4.5 4BDE2A90", Comment=V4)
    assert (found.prompt, found.prompt_joined) == (pair("two animals, snow\na fox\na hare"), True)
    assert (found.negative, found.negative_joined) == (pair("blurry\ngrey"), True)
    assert found.checkpoint == "NovelAI Diffusion V4.5"


@pytest.mark.parametrize("key", ["UserComment", "stealth"])
@pytest.mark.parametrize("nested", [True, False])
def test_novelai_in_webp_and_in_pixels(key: str, nested: bool) -> None:
    comment = V4 if nested else json.dumps(V4)
    found = read(
        **{
            key: {
                "Comment": comment,
                "Description": "two animals, snow",
                "Software": "NovelAI",
                "Source": "NovelAI Diffusion V4 37442FCA",
            }
        }
    )
    assert (found.prompt, found.checkpoint) == (pair("two animals, snow\na fox\na hare"), "NovelAI Diffusion V4")


def test_novelai_from_another_image_has_its_strength() -> None:
    found = read(
        Description="a red fox", Software="NovelAI", Comment={**NOVELAI, "strength": 0.7, "request_type": "Img2ImgRequest"}
    )
    assert found.denoise == 0.7


# -- InvokeAI --------------------------------------------------------------------------------------------------------

INVOKE = {
    "app_version": "6.0.0", "generation_mode": "sdxl_txt2img", "positive_prompt": "a red fox", "negative_prompt": "blurry",
    "seed": 6, "steps": 30, "cfg_scale": 7.5, "scheduler": "euler_a", "width": 1024, "height": 768,
    "model": {"key": "k", "hash": "h", "name": "dream XL", "base": "sdxl", "type": "main"},
    "loras": [{"model": {"name": "fur"}, "weight": 0.7}],
    "controlnets": [{"control_model": {"name": "canny"}, "control_weight": 0.5}],
    "vae": {"name": "vae fix"}, "t5_encoder": {"name": "t5"},
}  # fmt: skip


def test_invokeai() -> None:
    found = read(invokeai_metadata=INVOKE)
    assert (found.prompt, found.negative, found.seed, found.steps) == (pair("a red fox"), pair("blurry"), 6, 30)
    assert (found.sampler, found.checkpoint, found.vae, found.text_encoders) == ("euler_a", "dream XL", "vae fix", ["t5"])
    assert (found.loras, found.controlnets) == ([lora("fur", 0.7)], [{"name": "canny", "strength": 0.5}])
    assert (found.width, found.height, found.generator) == (1024, 768, "InvokeAI")


def test_invokeai_3_names_its_models_otherwise() -> None:
    told = {
        **INVOKE,
        "model": {"model_name": "dream", "base_model": "sd-1"},
        "loras": [{"lora": {"model_name": "fur"}, "weight": 1}],
    }
    found = read(invokeai_metadata=told)
    assert (found.checkpoint, found.loras) == ("dream", [lora("fur", 1.0)])


def test_invokeai_style_goes_to_the_second_encoder() -> None:
    found = read(invokeai_metadata={**INVOKE, "positive_style_prompt": "oil painting", "negative_style_prompt": ""})
    assert (found.prompt, found.negative) == (("oil painting", "a red fox"), pair("blurry"))


def test_invokeai_2() -> None:
    made = {"prompt": [{"prompt": "a red fox [blurry] in snow", "weight": 1.0}], "steps": 50, "cfg_scale": 7.5, "seed": 6,
            "width": 512, "height": 512, "sampler": "k_lms", "type": "txt2img"}  # fmt: skip
    found = read(
        **{
            "sd-metadata": {
                "model": "stable diffusion",
                "model_weights": "sd-1.5",
                "app_id": "invoke-ai/InvokeAI",
                "image": made,
            }
        }
    )
    assert (found.prompt, found.negative, found.sampler) == (pair("a red fox in snow"), pair("blurry"), "k_lms")
    assert (found.checkpoint, found.generator) == ("sd-1.5", "InvokeAI")


def test_invokeai_command_line() -> None:
    found = read(Dream='"a "red" fox [blurry]" -s 50 -S 6 -W 512 -H 768 -C 7.5 -A k_lms')
    assert (found.prompt, found.negative, found.seed) == (pair('a "red" fox'), pair("blurry"), 6)
    assert (found.steps, found.cfg, found.sampler, found.width, found.height) == (50, 7.5, "k_lms", 512, 768)


GRAPH = {
    "nodes": {
        "p": {"id": "p", "type": "sdxl_compel_prompt", "prompt": "a red fox", "style": ""},
        "n": {"id": "n", "type": "sdxl_compel_prompt", "prompt": "blurry", "style": ""},
        "c": {"id": "c", "type": "collect"},
        "noise": {"id": "noise", "type": "noise", "seed": 6, "width": 1024, "height": 768},
        "m": {"id": "m", "type": "sdxl_model_loader", "model": {"name": "dream XL"}},
        "d": {
            "id": "d",
            "type": "denoise_latents",
            "steps": 30,
            "cfg_scale": 7,
            "scheduler": "euler",
            "denoising_start": 0.4,
        },
    },
    "edges": [
        {"source": {"node_id": "p", "field": "conditioning"}, "destination": {"node_id": "c", "field": "item"}},
        {
            "source": {"node_id": "c", "field": "collection"},
            "destination": {"node_id": "d", "field": "positive_conditioning"},
        },
        {
            "source": {"node_id": "n", "field": "conditioning"},
            "destination": {"node_id": "d", "field": "negative_conditioning"},
        },
        {"source": {"node_id": "noise", "field": "noise"}, "destination": {"node_id": "d", "field": "noise"}},
    ],
}


def test_invokeai_graph_where_the_metadata_has_no_prompt() -> None:
    found = read(invokeai_metadata={"app_version": "4.0.0"}, invokeai_graph=GRAPH)
    assert (found.prompt, found.negative, found.seed) == (pair("a red fox"), pair("blurry"), 6)
    assert (found.steps, found.sampler, found.checkpoint, found.denoise) == (30, "euler", "dream XL", 0.6)
    assert found.prompt_origin.confidence == "exact"


def test_invokeai_graph_with_a_text_from_another_node_is_inferred() -> None:
    nodes = {**GRAPH["nodes"], "s": {"id": "s", "type": "string", "value": "a white hare"}}
    edge = {"source": {"node_id": "s", "field": "value"}, "destination": {"node_id": "p", "field": "prompt"}}
    found = read(invokeai_graph={"nodes": nodes, "edges": [*GRAPH["edges"], edge]})
    assert (found.prompt, found.prompt_origin.confidence) == (pair("a white hare"), "inferred")


def test_invokeai_workflow_as_its_editor_saves_it() -> None:
    inputs = {"prompt": {"name": "prompt", "value": "a red fox"}}
    nodes = [
        {"id": "p", "type": "invocation", "data": {"type": "compel", "inputs": inputs}},
        {"id": "d", "type": "invocation", "data": {"type": "denoise_latents", "inputs": {"steps": {"value": 9}}}},
    ]
    edge = {"source": "p", "sourceHandle": "conditioning", "target": "d", "targetHandle": "positive_conditioning"}
    found = read(invokeai_workflow={"nodes": nodes, "edges": [edge]})
    assert (found.prompt, found.steps) == (pair("a red fox"), 9)


def test_invokeai_graph_in_a_ring_ends() -> None:
    edges = [
        {"source": {"node_id": a, "field": "value"}, "destination": {"node_id": b, "field": field}}
        for a in "xyp" for b in "xyp" for field in ("prompt", "value", "string", "text", "collection")
    ]  # fmt: skip
    edges.append(
        {"source": {"node_id": "p", "field": "c"}, "destination": {"node_id": "d", "field": "positive_conditioning"}}
    )
    assert read(invokeai_graph={"nodes": {key: {} for key in "xypd"}, "edges": edges}).prompt is None


# -- Fooocus and its forks -------------------------------------------------------------------------------------------

FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "juggernaut", "base_model_hash": "aeb7e9e689", "full_prompt": ["cinematic a red fox"],
    "full_negative_prompt": ["anime"], "guidance_scale": 4, "loras": [["offset", 0.1, "4852686128"]], "metadata_scheme": "fooocus",
    "lora_combined_1": "offset : 0.1", "negative_prompt": "blurry", "performance": "Speed", "prompt": "a red fox", "prompt_expansion": "x",
    "resolution": "(896, 1152)", "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "seed": "6", "steps": 30, "vae": "Default (model)",
    "styles": "['Fooocus V2']", "version": "Fooocus v2.5.5",
}  # fmt: skip


@pytest.mark.parametrize("key", ["parameters", "UserComment"])
def test_fooocus(key: str) -> None:
    found = read(**{key: FOOOCUS}, fooocus_scheme="fooocus")
    assert (found.prompt, found.negative, found.seed, found.cfg) == (pair("a red fox"), pair("blurry"), 6, 4.0)
    assert (found.sampler, found.scheduler, found.checkpoint, found.vae) == (
        "dpmpp_2m_sde_gpu",
        "karras",
        "juggernaut",
        None,
    )
    assert (found.width, found.height, found.loras, found.generator) == (896, 1152, [lora("offset", 0.1)], "Fooocus")


def test_fooocus_without_a_list_of_loras() -> None:
    told = {key: value for key, value in FOOOCUS.items() if key != "loras"}
    assert read(parameters=told).loras == [lora("offset", 0.1)]


def test_fooocus_with_loras_of_wrong_types() -> None:
    told = {
        **FOOOCUS,
        "loras": [1, [2], [[], 3], ["fur", {}], ["fur", "x"], ["fur", 0.5, "h"]],
        "lora_combined_1": 4,
        "l1": [],
        "w1": 1,
    }
    assert read(parameters=told).loras == [lora("fur", 0.5)]


def test_ruinedfooocus() -> None:
    told = {
        "Prompt": "a red fox", "Negative": "blurry", "steps": 30, "cfg": 8, "width": 1152, "height": 896, "seed": 6, "denoise": None,
        "sampler_name": "dpmpp_2m_sde_gpu", "scheduler": "karras", "base_model_name": "sd_xl.safetensors", "base_model_hash": "x",
        "loras": [["sha", "0.5 - fur - v2.safetensors"]], "clip_skip": 1, "software": "RuinedFooocus",
    }  # fmt: skip
    found = read(parameters=told)
    assert (found.prompt, found.negative, found.cfg, found.checkpoint) == (
        pair("a red fox"),
        pair("blurry"),
        8.0,
        "sd_xl.safetensors",
    )
    assert (found.loras, found.generator, found.width) == ([lora("fur - v2.safetensors", 0.5)], "RuinedFooocus", 1152)


@pytest.mark.parametrize("key", ["Comment", "jpeg:comment", "sidecar.json"])
def test_fooocus_mre(key: str) -> None:
    told = {
        "prompt": "a red fox", "negative_prompt": "blurry", "styles": [], "real_prompt": ["cinematic a red fox"], "seed": 6, "width": 1024,
        "height": 1024, "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras", "steps": 30, "cfg": 7.0, "scale": 0.5,
        "base_model": "sd_xl.safetensors", "l1": "fur.safetensors", "w1": 0.5, "l2": "None", "w2": 1, "software": "Fooocus-MRE v2.0.78.5",
    }  # fmt: skip
    found = read(**{key: told})
    assert (found.prompt, found.cfg, found.generator) == (pair("a red fox"), 7.0, "Fooocus-MRE")
    assert found.loras == [lora("fur.safetensors", 0.5)]


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


def test_midjourney_without_a_job() -> None:
    found = read(**{"iptc:caption": "a red fox --ar 3:2 --v 7"})
    assert (found.prompt, found.generator) == (pair("a red fox"), "Midjourney")


def test_one_dash_word_makes_no_midjourney() -> None:
    found = read(Description="how to use --no in git")
    assert (found.prompt, found.generator) == (pair("how to use --no in git"), None)


# -- writers without a name, and beside the image --------------------------------------------------------------------


def test_json_of_an_unknown_writer() -> None:
    found = read(
        UserComment={"prompt": "a red fox", "negative_prompt": "blurry", "num_steps": 3, "seed": 6, "guidance-scale": 7.0}
    )
    assert (found.prompt, found.negative, found.seed, found.cfg) == (pair("a red fox"), pair("blurry"), 6, 7.0)


def test_civitai_s_interface_as_a_side_car() -> None:
    resources = [{"type": "model", "name": "dream"}, {"type": "lora", "name": "fur", "weight": 0.6}]
    meta = {
        "prompt": "a red fox",
        "negativePrompt": "blurry",
        "cfgScale": 7,
        "steps": 20,
        "seed": 6,
        "sampler": "Euler a",
        "resources": resources,
    }
    found = read(**{"sidecar.json": {"id": 1, "meta": meta}})
    assert (found.prompt, found.checkpoint, found.loras) == (pair("a red fox"), "dream", [lora("fur", 0.6)])


def test_invokeai_s_metadata_as_a_side_car() -> None:
    found = read(**{"sidecar.json": INVOKE})
    assert (found.prompt, found.generator) == (pair("a red fox"), "InvokeAI")


@pytest.mark.parametrize("key", ["sidecar.txt", "sidecar.caption"])
def test_captions_beside_the_image_are_inferred(key: str) -> None:
    found = read(**{key: "a red fox in snow"})
    assert (found.prompt, found.prompt_origin.confidence) == (pair("a red fox in snow"), "inferred")


@pytest.mark.parametrize("told", [{"caption": "a red fox", "tags": "fox, red"}, {"tags": "a red fox"}])
def test_training_metadata_as_a_side_car(told: dict[str, str]) -> None:
    assert read(**{"sidecar.json": told}).prompt == pair("a red fox")


def test_a_downloader_s_side_car_is_no_prompt() -> None:
    assert read(**{"sidecar.json": {"category": "gallery", "description": "a red fox", "tags": "fox"}}).prompt is None


# -- photographs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["iptc:caption", "ImageDescription", "XPComment", "UserComment", "Description", "gif:comment", "XPTitle"]
)
def test_captions_of_photographs_are_inferred(key: str) -> None:
    found = read(**{key: "A red fox in snow"})
    assert (found.prompt, found.prompt_origin.confidence, found.generator) == (pair("A red fox in snow"), "inferred", None)


@pytest.mark.parametrize(
    "text",
    [
        "OLYMPUS DIGITAL CAMERA", "SONY DSC", "DSC_0042.JPG", "IMG_2034", "Created with GIMP", "Screenshot", "2024-05-05 10:10",
        "CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90", "https://example.org/a-red-fox", "<?xml version='1.0'?><a/>",
        "Processed with VSCO with a6 preset", "\x01\x02bytes", "File written by Adobe Photoshop 4.0", "....", "AppleMark", "ok", "hdrpl",
    ],
)  # fmt: skip
def test_boilerplate_is_no_caption(text: str) -> None:
    assert read(ImageDescription=text).prompt is None


def test_a_program_s_name_is_no_caption() -> None:
    assert read(ImageDescription="Some Camera App 3", Software="Some Camera App 3").prompt is None


def test_iptc_s_field_for_the_prompt_is_exact() -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" e:AIPromptInformation="a red fox" e:AISystemUsed="Paint 5"/></rdf:RDF></x:xmpmeta>'
    )
    found = read(xmp=packet)
    assert (found.prompt, found.prompt_origin.confidence, found.generator) == (pair("a red fox"), "exact", "Paint 5")
