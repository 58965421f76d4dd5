"""What a switch does not hand on made no picture: no text, sampler, LoRA or size is taken from there."""

from __future__ import annotations

from typing import Any

import pytest

from diffusion_toolkit.embedders.graph import Trace, trace
from host.sampled_graphs import Graph, basic, node

YES, NO = node("PrimitiveBoolean", value=True), node("PrimitiveBoolean", value=False)


def with_lora(switch: dict[str, Any], **nodes: dict[str, Any]) -> Graph:
    """The default workflow, its model by a switch with or without a LoRA."""
    lora = node("LoraLoaderModelOnly", lora_name="few_steps.safetensors", strength_model=1.0, model=["ckpt", 0])
    graph = basic(lora=lora, switch=switch, **nodes)
    graph["sampler"]["inputs"]["model"] = ["switch", 0]
    return graph


def with_upscaling(switch: dict[str, Any]) -> Graph:
    """The default workflow, or a second pass over its picture, by a switch before the saving node."""
    graph = basic(
        again=node("KSampler", seed=6, steps=9, model=["ckpt", 0], positive=["dog", 0], latent_image=["sampler", 0]),
        dog=node("CLIPTextEncode", text="a dog", clip=["ckpt", 1]),
        decode2=node("VAEDecode", samples=["again", 0], vae=["ckpt", 2]),
        switch=switch,
    )
    graph["save"]["inputs"]["images"] = ["switch", 0]
    return graph


def passes(found: Trace) -> list[str]:
    return [one.node for one in found.passes]


@pytest.mark.parametrize(
    ("inputs", "used"),
    [
        ({"switch": False, "on_false": ["ckpt", 0], "on_true": ["lora", 0]}, False),
        ({"switch": True, "on_false": ["ckpt", 0], "on_true": ["lora", 0]}, True),
        ({"switch": ["no", 0], "on_false": ["ckpt", 0], "on_true": ["lora", 0]}, False),
        ({"switch": ["yes", 0], "on_false": ["ckpt", 0], "on_true": ["lora", 0]}, True),
        ({"boolean": False, "model_a": ["lora", 0], "model_b": ["ckpt", 0]}, False),
        ({"select": 1, "sel_mode": False, "input1": ["ckpt", 0], "input2": ["lora", 0]}, False),
        ({"select": 2, "sel_mode": False, "input1": ["ckpt", 0], "input2": ["lora", 0]}, True),
        ({"select": "model_a", "model_a": ["ckpt", 0], "model_b": ["lora", 0]}, False),
    ],
)
def test_lora_on_the_other_side_of_a_switch_is_none_of_the_image(inputs: dict[str, Any], used: bool) -> None:
    found = trace(with_lora(node("Switch", **inputs), yes=YES, no=NO), types={"Switch": ["*"]})
    assert ([lora["name"] for lora in found.loras] == ["few_steps.safetensors"]) == used
    assert found.checkpoint == "sd_xl.safetensors"


@pytest.mark.parametrize("turned", [node("ComfyNotNode", value=["no", 0]), node("LogicNot", value=False), node("RandomBool", value=False), node("Or", a=False, b=True)])
def test_a_switch_whose_chooser_is_worked_out_hands_on_either_side(turned: dict[str, Any]) -> None:
    graph = with_lora(node("Switch", switch=["turned", 0], on_false=["ckpt", 0], on_true=["lora", 0]), turned=turned, no=NO)
    assert [lora["name"] for lora in trace(graph).loras] == ["few_steps.safetensors"]


def test_sampler_on_the_other_side_of_a_switch_is_no_pass() -> None:
    off = trace(with_upscaling(node("Switch", switch=False, on_false=["decode", 0], on_true=["decode2", 0])))
    on = trace(with_upscaling(node("Switch", switch=True, on_false=["decode", 0], on_true=["decode2", 0])))
    assert (passes(off), passes(on)) == (["sampler"], ["sampler", "again"])
    assert ([text for text, _ in off.positive], [text for text, _ in on.positive]) == (["a red fox"], ["a red fox", "a dog"])


@pytest.mark.parametrize(("switch", "order"), [(False, ["sampler"]), (True, ["sampler", "again"])])
def test_switch_of_latents_is_followed_both_ways(switch: bool, order: list[str]) -> None:
    graph = with_upscaling(node("Switch", switch=switch, on_false=["sampler", 0], on_true=["again", 0]))
    graph |= {"vae": node("VAELoader", vae_name="other.safetensors"), "decode": node("VAEDecode", samples=["switch", 0], vae=["vae", 0])}
    graph["save"]["inputs"]["images"] = ["decode", 0]
    found = trace(graph)
    assert (passes(found), found.vae) == (order, "other.safetensors")


@pytest.mark.parametrize(
    "inputs",
    [
        {"index": 1, "factor": 0.5, "image1": ["decode", 0], "image2": ["decode2", 0]},
        {"enable": True, "image_a": ["decode", 0], "image_b": ["decode2", 0]},
        {"switch": ["decode", 1], "on_false": ["decode", 0], "on_true": ["decode2", 0]},
        {"select": 1, "image1": ["decode", 0], "base_image": ["decode2", 0]},
        {"switch": True, "image": ["decode", 0], "other": ["decode2", 0]},
    ],
)
def test_node_that_may_take_both_is_no_switch(inputs: dict[str, Any]) -> None:
    assert passes(trace(with_upscaling(node("Blend", **inputs)))) == ["sampler", "again"]


def test_switch_that_chooses_by_itself_ends() -> None:
    graph = with_lora(node("Switch", switch=["switch", 0], on_false=["ckpt", 0], on_true=["lora", 0]))
    assert trace(graph).checkpoint == "sd_xl.safetensors"


@pytest.mark.parametrize(("before", "more"), [(1000, {}), (0, {f"x{number}": ["decode", 0] for number in range(100)})])
def test_no_more_switches_and_inputs_are_looked_at_than_people_have(before: int, more: dict[str, Any]) -> None:
    graph = {f"s{number}": node("Switch", switch=True, on_true=["decode", 0], on_false=["decode", 0]) for number in range(before)}
    graph |= with_lora(node("Switch", switch=False, on_false=["ckpt", 0], on_true=["lora", 0], **more))
    found = trace(graph)
    assert (found.positive, len(found.loras)) == ([("a red fox", "a red fox")], 1)
