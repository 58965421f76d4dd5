"""LoRAs are those that stand on the model's way, by a loader, a stack or a text whose tags its node loads."""

from __future__ import annotations

from typing import Any

import pytest

from diffusion_toolkit.embedders.graph import trace
from host.sampled_graphs import basic, node


def lora(stack: dict[str, Any]) -> list[dict[str, Any]]:
    graph = basic(stack=stack)
    graph["sampler"]["inputs"]["model"] = ["stack", 0]
    return trace(graph).loras


@pytest.mark.parametrize(
    "inputs",
    [
        {"switch_1": "On", "lora_name_1": "a.safetensors", "model_weight_1": 0.5, "clip_weight_1": 0.25,
         "switch_2": "Off", "lora_name_2": "b.safetensors", "model_weight_2": 1.0, "clip_weight_2": 1.0},
        {"input_mode": "advanced", "lora_count": 1, "lora_name_1": "a.safetensors", "lora_wt_1": 1.0, "model_str_1": 0.5,
         "clip_str_1": 0.25, "lora_name_2": "b.safetensors", "lora_wt_2": 1.0, "model_str_2": 1.0, "clip_str_2": 1.0},
        {"toggle": True, "num_loras": 1, "lora_1_name": "a.safetensors", "lora_1_model_strength": 0.5,
         "lora_1_clip_strength": 0.25, "lora_2_name": "None"},
        {"lora_1": {"on": True, "lora": "a.safetensors", "strength": 0.5, "strengthTwo": 0.25}, "lora_2": {"on": False, "lora": "b.pt"}},
        {"loras": {"__value__": [{"name": "a.safetensors", "strength": 0.5, "clipStrength": 0.25, "active": True},
                                 {"name": "b", "strength": 1.0, "active": False}]}},
        {"loras": [{"name": "a.safetensors", "strength": 0.5, "clipStrength": 0.25, "active": True}]},  # as ComfyUI saves them
        {"lora_name": "a.safetensors", "strength_model": 0.5, "strength_clip": 0.25},
    ],
)  # fmt: skip
def test_stack_of_loras_gives_those_that_are_on(inputs: dict[str, Any]) -> None:
    assert lora(node("Stack", model=["ckpt", 0], **inputs)) == [
        {"name": "a.safetensors", "strength_model": 0.5, "strength_clip": 0.25}
    ]


def test_simple_stack_takes_one_strength_for_both() -> None:
    stack = node(
        "Stacker",
        model=["ckpt", 0],
        input_mode="simple",
        lora_count=1,
        lora_name_1="a.safetensors",
        lora_wt_1=0.7,
        model_str_1=0.1,
        clip_str_1=0.2,
    )
    assert lora(stack) == [{"name": "a.safetensors", "strength_model": 0.7, "strength_clip": 0.7}]


TAGGED = "a fox <lora:a.safetensors:0.5:.25:LBW=1> <lora:b:0:0> <lora:A:0.7>"


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("LoraTagLoader", {"text": TAGGED}),
        ("LoraTagLoader", {"text": ["s", 0], "normalize_weight": 0}),
        ("ImpactWildcardEncode", {"wildcard_text": "<lora:{b|c}:1>", "populated_text": TAGGED}),
        ("WildcardEncode //Inspire", {"wildcard_text": "<lora:{b|c}:1>", "populated_text": TAGGED}),
        ("Power Prompt (rgthree)", {"prompt": ["s", 0], "insert_lora": "CHOOSE"}),
        ("SDXL Power Prompt - Positive (rgthree)", {"prompt_g": "", "prompt_l": TAGGED, "insert_lora": "CHOOSE"}),
        ("easy fullLoader", {"positive": TAGGED, "negative": "blurry"}),
        ("easy a1111Loader", {"positive": "a fox", "negative": TAGGED}),
        ("easy comfyLoader", {"positive": "<lora:A:0.7>", "lora_name": "a.safetensors", "lora_model_strength": 0.5, "lora_clip_strength": 0.25}),
    ],
)
def test_lora_that_a_text_tags_is_one_where_its_node_loads_them(kind: str, inputs: dict[str, Any]) -> None:
    links: dict[str, Any] = {} if kind.startswith("easy") else {"model": ["ckpt", 0], "clip": ["ckpt", 1]}
    graph = basic(stack=node(kind, **links, **inputs), s=node("String", value=TAGGED))
    graph["sampler"]["inputs"]["model"] = ["stack", 0]
    assert trace(graph).loras == [{"name": "a.safetensors", "strength_model": 0.5, "strength_clip": 0.25}]


@pytest.mark.parametrize(("kind", "name", "clip"), [("LoraTagLoader", "text", 0.5), ("easy fullLoader", "positive", 1.0)])
def test_tag_of_one_number_gives_the_clip_what_its_node_gives_it(kind: str, name: str, clip: float) -> None:
    stack = node(kind, model=["ckpt", 0], clip=["ckpt", 1], **{name: "<lora:fox:0.5>"})
    assert lora(stack) == [{"name": "fox", "strength_model": 0.5, "strength_clip": clip}]


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("Efficient Loader", {"positive": TAGGED, "negative": TAGGED, "clip": ["ckpt", 1]}),
        ("LoraLoader", {"text": TAGGED, "description": TAGGED, "text_notes": TAGGED, "positive_text": TAGGED, "clip": ["ckpt", 1]}),
        ("LoraTagLoader", {"text_notes": TAGGED, "clip": ["ckpt", 1]}),
        ("LoraTagLoader", {"text": TAGGED, "normalize_weight": 0.5, "clip": ["ckpt", 1]}),
        ("LoraTagLoader", {"text": "{<lora:a:1>|a fox}", "clip": ["ckpt", 1]}),
        ("LoraTagLoader", {"text": "#<lora:a:1>", "clip": ["ckpt", 1]}),
        ("LoraTagLoader", {"text": ["drawn", 0], "clip": ["ckpt", 1]}),
        ("LoraTagLoader", {"text": ["half", 0], "clip": ["ckpt", 1]}),
        ("Power Prompt (rgthree)", {"prompt": TAGGED, "insert_lora": "DISABLE LORAS", "clip": ["ckpt", 1]}),
        ("Power Prompt (rgthree)", {"prompt": TAGGED, "insert_lora": "CHOOSE"}),  # loads none without a CLIP
        ("easy zero123Loader", {"positive": TAGGED, "clip": ["ckpt", 1]}),
    ],
)
def test_lora_that_a_text_tags_is_none_where_its_node_may_not_load_it(kind: str, inputs: dict[str, Any]) -> None:
    graph = basic(stack=node(kind, model=["ckpt", 0], **inputs), drawn=node("Wildcards", text="{<lora:fox:0.5>|a fox}", seed=4))
    graph["llm"] = node("Enhance", prompt="a fox", max_tokens=90, temperature=0.7)
    graph["half"] = node("StringConcatenate", string_a=TAGGED, string_b=["llm", 0], delimiter=" ")
    graph["sampler"]["inputs"] |= {"model": ["stack", 0], "positive_text": TAGGED}
    graph["ckpt"]["inputs"]["text_notes"] = TAGGED
    graph["pos"]["inputs"]["text"] = TAGGED  # an encoder loads nothing
    assert trace(graph).loras == []


def test_lora_of_a_text_from_which_another_node_takes_a_name_is_not_loaded_by_it() -> None:
    graph = basic(stack=node("LoraLoader", model=["ckpt", 0], lora_name=["reader", 0]), reader=node("Reader", text="<lora:fox:0.5>"))
    graph["sampler"]["inputs"]["model"] = ["stack", 0]
    assert trace(graph).loras == []


@pytest.mark.parametrize(
    "inputs", [{"strength_model": 0.0, "strength_clip": 0.0}, {"strength_model": 1.0, "toggle": False}]
)
def test_lora_without_effect_is_left_out(inputs: dict[str, Any]) -> None:
    assert lora(node("LoraLoader", model=["ckpt", 0], lora_name="a.safetensors", **inputs)) == []
