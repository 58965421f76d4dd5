"""NovelAI, InvokeAI, Fooocus and its forks. All texts are made by hand, after the programs' public sources."""

from __future__ import annotations

import json
from typing import Any

import pytest

from host.pieces import lora, pair, read

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


def test_novelai_s_comment_itself_in_pixels() -> None:
    found = read(stealth=NOVELAI)
    assert (found.prompt, found.negative, found.seed) == (pair("a red fox"), pair("blurry"), 6)
    assert (found.generator, found.prompt_origin.confidence) == ("NovelAI", "exact")


def test_novelai_s_description_alone_in_pixels() -> None:
    found = read(stealth={"Software": "NovelAI", "Description": "a red fox"})
    assert (found.prompt, found.generator) == (pair("a red fox"), "NovelAI")


@pytest.mark.parametrize(
    "told", [{**NOVELAI, "strength": 0.7}, {"Comment": NOVELAI, "prompt": "a red fox", "strength": 0.7}]
)
def test_novelai_s_objects_are_read_as_nobody_else_s(told: dict[str, Any]) -> None:
    assert (read(stealth=told).prompt, read(stealth=told).denoise) == (pair("a red fox"), None)


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


def test_invokeai_2_from_another_image() -> None:
    made = {
        "prompt": "a red fox",
        "steps": 50,
        "cfg_scale": 7.5,
        "seed": 6,
        "type": "img2img",
        "strength": 0.75,
        "width": 512,
        "height": 768,
    }
    found = read(**{"sd-metadata": {"image": made}})
    assert (found.width, found.height) == (512, 768)
    assert (found.seed, found.steps, found.cfg, found.denoise) == (6, 50, 7.5, 0.75)


def test_invokeai_2_with_malformed_parts() -> None:
    assert read(**{"sd-metadata": {"image": [1], "model_weights": "sd-1.5"}}).checkpoint == "sd-1.5"


def test_invokeai_guidance_strength_and_one_cfg_of_several() -> None:
    found = read(invokeai_metadata={**INVOKE, "guidance": 3.5, "strength": 0.4, "cfg_scale": [6, 7]})
    assert (found.guidance, found.denoise, found.cfg) == (3.5, 0.4, 6.0)


def test_invokeai_graph_s_own_metadata_comes_first() -> None:
    core = {"id": "core", "type": "core_metadata", "positive_prompt": "as it was typed", "seed": 9}
    found = read(invokeai_graph={"nodes": {**GRAPH["nodes"], "core": core}, "edges": GRAPH["edges"]})
    assert (found.prompt, found.seed, found.steps) == (pair("as it was typed"), 9, 30)


def test_invokeai_graph_that_denoises_nothing() -> None:
    core = {"id": "core", "type": "core_metadata", "positive_prompt": "a red fox"}
    assert read(invokeai_graph={"nodes": {"core": core}, "edges": []}).prompt == pair("a red fox")


def test_invokeai_command_line() -> None:
    found = read(Dream='"a "red" fox [blurry]" -s 50 -S 6 -W 512 -H 768 -C 7.5 -A k_lms')
    assert (found.prompt, found.negative, found.seed) == (pair('a "red" fox'), pair("blurry"), 6)
    assert (found.steps, found.cfg, found.sampler, found.width, found.height) == (50, 7.5, "k_lms", 512, 768)


@pytest.mark.parametrize(("line", "prompt"), [('a "red" fox -s 50 -S 6', 'a "red" fox'), ('"a red fox -s 50 -S 6', "a red fox"), ("a red fox", "a red fox")])
def test_invokeai_command_line_without_its_quotation_marks(line: str, prompt: str) -> None:
    assert read(Dream=line).prompt == pair(prompt)


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
