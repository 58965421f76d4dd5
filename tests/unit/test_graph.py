"""Prompts and settings traced through graphs of every shape, read from a PNG as ComfyUI writes it."""

from __future__ import annotations

import json
import random

import pytest

from diffusion_toolkit.embedders.graph import trace
from diffusion_toolkit.embedders.metadata import ImageMetadata, read_metadata
from host.sampled_graphs import Graph, basic, node, png


def read(graph: Graph) -> ImageMetadata:
    return read_metadata(png({"prompt": json.dumps(graph)}))


def prompts(graph: Graph) -> tuple[str | None, str | None]:
    found = read(graph)
    assert found.problem is None
    return found.prompt and found.prompt[0], found.negative and found.negative[0]


def test_prompts_of_the_default_workflow() -> None:
    assert prompts(basic()) == ("a red fox", "blurry")


def test_settings_of_the_default_workflow() -> None:
    found = read(basic())
    assert (found.seed, found.steps, found.cfg, found.sampler, found.scheduler) == (5, 20, 7.5, "euler", "karras")
    assert (found.checkpoint, found.loras, found.generator) == ("sd_xl.safetensors", [], "ComfyUI")


def test_seed_of_64_bits_is_exact() -> None:
    graph = basic()
    graph["sampler"]["inputs"]["seed"] = 2**64 - 1
    assert read(graph).seed == 2**64 - 1


def test_seed_from_a_linked_primitive() -> None:
    graph = basic(number=node("PrimitiveInt", value=99))
    graph["sampler"]["inputs"]["seed"] = ["number", 0]
    assert read(graph).seed == 99


def test_dual_sdxl_prompt_is_kept_as_a_pair() -> None:
    found = read(basic(pos=node("CLIPTextEncodeSDXL", width=64, text_g="a fox", text_l="fur", clip=["ckpt", 1])))
    assert (found.prompt, found.prompt_joined) == (("a fox", "fur"), False)


def test_several_texts_are_joined_and_said_to_be() -> None:
    found = read(
        basic(
            more=node("CLIPTextEncode", text="in snow", clip=["ckpt", 1]),
            both=node("ConditioningCombine", conditioning_1=["pos", 0], conditioning_2=["more", 0]),
            sampler=node("KSampler", seed=1, model=["ckpt", 0], positive=["both", 0], negative=["neg", 0]),
        )
    )
    assert (found.prompt, found.prompt_joined) == (("a red fox\nin snow", "a red fox\nin snow"), True)
    assert found.negative_joined is False


def test_zeroed_conditioning_is_no_text() -> None:
    assert prompts(basic(neg=node("ConditioningZeroOut", conditioning=["pos", 0]))) == ("a red fox", None)


def test_an_empty_text_is_a_text() -> None:
    assert prompts(basic(neg=node("CLIPTextEncode", text="", clip=["ckpt", 1]))) == ("a red fox", "")


def test_node_with_both_sides_gives_each_at_its_output() -> None:
    graph = basic(
        control=node("ControlNetApplyAdvanced", strength=1.0, positive=["pos", 0], negative=["neg", 0], image=["x", 0])
    )
    graph["sampler"]["inputs"].update(positive=["control", 0], negative=["control", 1])
    assert prompts(graph) == ("a red fox", "blurry")


@pytest.mark.parametrize("types", [{}, {"Efficient Loader": ["MODEL", "CONDITIONING", "CONDITIONING", "LATENT"]}])
def test_loader_with_both_texts_gives_each_at_the_input_named_for_it(types: dict[str, list[str]]) -> None:
    graph = basic(loader=node("Efficient Loader", ckpt_name="a.safetensors", positive="a red fox", negative="blurry"))
    graph["sampler"]["inputs"] |= {"positive": ["loader", 1], "negative": ["loader", 2]}
    found = trace(graph, types=types)
    assert (found.positive, found.negative) == ([("a red fox", "a red fox")], [("blurry", "blurry")])
    assert (found.positive_origin.confidence, found.negative_origin.confidence) == ("exact", "exact")


def test_one_output_of_both_sides_may_feed_either_input() -> None:
    graph = basic(control=node("ControlNetApplyAdvanced", strength=1.0, positive=["pos", 0], negative=["neg", 0]))
    graph["sampler"]["inputs"].update(positive=["control", 0], negative=["control", 0])
    assert prompts(graph) == ("a red fox", "a red fox")


def test_guider_without_a_negative_has_none() -> None:
    graph = basic(
        noise=node("RandomNoise", noise_seed=7),
        guider=node("BasicGuider", model=["ckpt", 0], conditioning=["guidance", 0]),
        guidance=node("FluxGuidance", guidance=3.5, conditioning=["pos", 0]),
        select=node("KSamplerSelect", sampler_name="heun"),
        sigmas=node("BasicScheduler", scheduler="simple", steps=12, denoise=1.0, model=["ckpt", 0]),
        sampler=node(
            "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["select", 0],
            sigmas=["sigmas", 0], latent_image=["latent", 0],
        ),
    )  # fmt: skip
    found = read(graph)
    assert (found.prompt, found.negative) == (("a red fox", "a red fox"), None)
    assert (found.seed, found.steps, found.cfg, found.guidance, found.sampler) == (7, 12, None, 3.5, "heun")
    assert (found.scheduler, found.checkpoint) == ("simple", "sd_xl.safetensors")


def test_cfg_guider_gives_both_sides_by_name() -> None:
    graph = basic(
        guider=node("CFGGuider", cfg=4.5, model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0]),
        sampler=node("SamplerCustomAdvanced", guider=["guider", 0], sigmas=["ckpt", 0], latent_image=["latent", 0]),
    )
    assert prompts(graph) == ("a red fox", "blurry") and read(graph).cfg == 4.5


def test_linked_strings_are_concatenated_in_order() -> None:
    graph = basic(
        front=node("PrimitiveString", value="a red"),
        whole=node("StringConcatenate", string_b="fox", delimiter=" ", string_a=["front", 0]),
    )
    graph["pos"]["inputs"]["text"] = ["whole", 0]
    assert prompts(graph)[0] == "a red fox"


def test_replaced_string_is_replaced() -> None:
    graph = basic(text=node("StringReplace", string="a red cat", find="cat", replace="fox"))
    graph["pos"]["inputs"]["text"] = ["text", 0]
    assert prompts(graph)[0] == "a red fox"


def test_switch_takes_the_chosen_branch() -> None:
    graph = basic(
        other=node("CLIPTextEncode", text="a dog", clip=["ckpt", 1]),
        switch=node("ComfySwitchNode", switch=False, on_true=["other", 0], on_false=["pos", 0]),
    )
    graph["sampler"]["inputs"]["positive"] = ["switch", 0]
    assert prompts(graph)[0] == "a red fox"


def test_pipe_carries_both_sides() -> None:
    graph = basic(
        pipe=node("ToBasicPipe", model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0]),
        sampler=node("PipeKSampler", seed=3, steps=4, basic_pipe=["pipe", 0], latent_image=["latent", 0]),
    )
    assert prompts(graph) == ("a red fox", "blurry")


def test_nodes_off_the_way_to_the_image_are_left_out() -> None:
    assert prompts(basic(stray=node("CLIPTextEncode", text="a dog", clip=["ckpt", 1])))[0] == "a red fox"


def test_saved_image_wins_over_a_preview_of_more_passes() -> None:
    graph = basic(
        other=node("CLIPTextEncode", text="a dog", clip=["ckpt", 1]),
        sampler2=node("KSampler", seed=1, positive=["other", 0], negative=["neg", 0], latent_image=["sampler", 0]),
        decode2=node("VAEDecode", samples=["sampler2", 0]),
        preview=node("PreviewImage", images=["decode2", 0]),
    )
    assert prompts(graph)[0] == "a red fox"


def test_settings_are_of_the_pass_with_whose_noise_another_goes_on() -> None:
    graph = basic()
    graph["refiner"] = node(
        "KSamplerAdvanced", add_noise="disable", noise_seed=0, steps=9, model=["ckpt", 0], positive=["pos", 0],
        negative=["neg", 0], latent_image=["sampler", 0],
    )  # fmt: skip
    graph["decode"]["inputs"]["samples"] = ["refiner", 0]
    assert (read(graph).seed, read(graph).steps) == (5, 20)


def test_settings_are_not_those_of_a_pass_that_takes_the_noise_out_of_a_picture() -> None:
    graph = basic(lora=node("LoraLoaderModelOnly", lora_name="b.safetensors", strength_model=0.75, model=["ckpt", 0]))
    graph["unsampler"] = node(
        "KSamplerAdvanced", add_noise="disable", noise_seed=0, steps=15, cfg=1.0, model=["lora", 0], positive=["pos", 0],
        negative=["neg", 0], latent_image=["latent", 0],
    )  # fmt: skip
    graph["sampler"]["inputs"]["latent_image"] = ["unsampler", 0]
    found = read(graph)
    assert (found.seed, found.steps, [made.steps for made in found.passes]) == (5, 20, [15, 20])
    assert [lora["name"] for lora in found.loras] == ["b.safetensors"]  # of whichever pass


def test_settings_of_two_noisy_passes_are_of_the_first_with_which_the_picture_began() -> None:
    graph = basic()
    graph["again"] = node(
        "KSampler", seed=8, steps=9, model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0],
        latent_image=["sampler", 0],
    )  # fmt: skip
    graph["decode"]["inputs"]["samples"] = ["again", 0]
    found = read(graph)
    assert (found.seed, found.steps) == (5, 20) and [made.seed for made in found.passes] == [5, 8]


def test_loras_come_in_the_order_they_were_applied() -> None:
    graph = basic(
        one=node("LoraLoader", lora_name="a.safetensors", strength_model=0.5, strength_clip=0.25, model=["ckpt", 0]),
        two=node("LoraLoaderModelOnly", lora_name="b.safetensors", strength_model=0.75, model=["one", 0]),
    )
    graph["sampler"]["inputs"]["model"] = ["two", 0]
    assert read(graph).loras == [
        {"name": "a.safetensors", "strength_model": 0.5, "strength_clip": 0.25},
        {"name": "b.safetensors", "strength_model": 0.75, "strength_clip": 0.0},
    ]
    assert read(graph).checkpoint == "sd_xl.safetensors"


def test_lora_stack_reads_each_lora_with_its_own_strength() -> None:
    stack = {"lora_1": {"on": True, "lora": "a.safetensors", "strength": 0.5}, "lora_2": {"on": False, "lora": "b.pt"}}
    graph = basic(stack=node("Power Lora Loader", model=["ckpt", 0], **stack))
    graph["sampler"]["inputs"]["model"] = ["stack", 0]
    assert read(graph).loras == [{"name": "a.safetensors", "strength_model": 0.5, "strength_clip": 0.5}]


def test_remote_model_without_sampler_gives_its_prompt() -> None:
    graph = {
        "api": node("SomeRemoteImageNode", prompt="a red fox", seed=4, model="big-one"),
        "save": node("SaveImage", filename_prefix="x", images=["api", 0]),
    }
    assert prompts(graph) == ("a red fox", None) and read(graph).seed == 4


def test_nan_in_the_graph_breaks_nothing() -> None:
    graph = basic()
    graph["sampler"]["inputs"]["cfg"] = float("nan")
    graph["sampler"]["is_changed"] = [float("nan")]
    found = read(graph)
    assert (found.prompt, found.cfg, found.problem) == (("a red fox", "a red fox"), None, None)


def test_nul_and_lone_surrogates_leave_the_text() -> None:
    assert prompts(basic(pos=node("CLIPTextEncode", text="a\0 fox \ud800", clip=["ckpt", 1])))[0] == "a fox \ufffd"


def test_cyclic_graph_ends() -> None:
    graph = basic(
        pos=node("ConditioningCombine", conditioning_1=["pos", 0], conditioning_2=["neg", 0]),
        text=node("StringConcatenate", string_a=["text", 0], string_b=["text", 0]),
        neg=node("CLIPTextEncode", text=["text", 0], clip=["ckpt", 1]),
        latent=node("LatentUpscale", samples=["sampler", 0]),
    )
    assert read(graph).problem is None


def test_doubling_strings_do_not_fill_the_memory() -> None:
    graph = basic()
    graph["s0"] = node("PrimitiveString", value="fox " * 100)
    for i in range(60):
        graph[f"s{i + 1}"] = node("StringConcatenate", string_a=[f"s{i}", 0], string_b=[f"s{i}", 0])
    graph["pos"]["inputs"]["text"] = ["s60", 0]
    assert read(graph).problem is None


def test_long_chain_of_nodes_is_followed() -> None:
    graph = basic(**{f"n{i}": node("Reroute", **{"": [f"n{i + 1}", 0]}) for i in range(15_000)})
    graph["n15000"] = graph["pos"]
    graph["sampler"]["inputs"]["positive"] = ["n0", 0]
    assert prompts(graph)[0] == "a red fox"


def test_wrong_types_everywhere_raise_nothing() -> None:
    chance = random.Random(7)
    wrong = [None, True, -1, 10**400, 1e308, float("inf"), "", "x.safetensors", [], ["ckpt"], ["pos", "0"], [[], 0], {}]
    for _ in range(3_000):
        graph = basic()
        for entry in graph.values():
            for name in entry["inputs"]:
                if chance.random() < 0.2:
                    entry["inputs"][name] = chance.choice([*wrong, [chance.choice(list(graph)), 0]])
        for key in list(graph):
            if chance.random() < 0.05:
                graph[key] = chance.choice(wrong)
        read(graph)
