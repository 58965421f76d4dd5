"""Which of a loader's files is the checkpoint, a VAE or a LoRA, where neither the file nor this ComfyUI has their names."""

from __future__ import annotations

import re
from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import readable
from host.handmade_workflows import one_node, socket

GIVEN = [("MODEL", []), ("CONDITIONING", []), ("CONDITIONING", []), ("LATENT", [])]


def inputs(kind: str, values: Any, sockets: list[Any], outputs: list[Any]) -> dict[str, Any]:
    """The inputs of one node, with the links that its sockets name."""
    return readable(one_node(kind, values, sockets, outputs)).prompt["1"]["inputs"]


def test_file_is_no_sampler_though_it_begins_as_one() -> None:
    """As a LoRA that ttN pipeLoader names, which gives a latent and takes a model."""
    read = inputs("ttN pipeLoader", ["a.safetensors", -2, "lcm_15.safetensors", 1, "a fox, asleep"], [socket("model", "MODEL", 5)], GIVEN)
    assert (read["file"], read["file2"], read["text"]) == ("a.safetensors", "lcm_15.safetensors", "a fox, asleep")
    assert not {"sampler_name", "cfg", "steps"} & read.keys()
    assert inputs("Efficient Loader", ["LCM\\turbo.safetensors", "normal", -1], [], GIVEN)["ckpt_name"] == "LCM\\turbo.safetensors"


def test_text_that_ends_with_an_embedding_s_file_is_one() -> None:
    read = inputs("Loader", ["a.safetensors", "a fox, asleep", "blurry, embedding:bad.safetensors"], [], GIVEN)
    assert (read["ckpt_name"], read["positive"], read["negative"]) == ("a.safetensors", "a fox, asleep", "blurry, embedding:bad.safetensors")


EFFICIENT = [*GIVEN, ("VAE", []), ("CLIP", []), ("DEPENDENCIES", [])]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["a.ckpt", "kl.pt", -1, "ink.pt", 0.8, -1, "a fox", "", "none", "comfy", 512, 512, 1],
         {"ckpt_name": "a.ckpt", "vae_name": "kl.pt", "lora_name": "ink.pt", "strength_model": 0.8, "strength_clip": -1}),
        (["a.ckpt", "sdxl_vae.pt", "None", 1, 1, "ink.pt", 2.5, 2, "1:1"],
         {"ckpt_name": "a.ckpt", "vae_name": "sdxl_vae.pt", "lora_name": "ink.pt", "strength_model": 2.5, "strength_clip": 2}),
        (["a_vae.ckpt", "Baked VAE", -1, "ink.pt", 1, 0, "b.pt", 0.5, 0.25, "a fox"],
         {"ckpt_name": "a_vae.ckpt", "lora_name": "ink.pt", "strength_model": 1, "strength_clip": 0,
          "lora_name2": "b.pt", "strength_model2": 0.5, "strength_clip2": 0.25}),
        (["a.ckpt", "b.ckpt", 1.0, "c.ckpt", 512, 512, "d.ckpt"], {"ckpt_name": "a.ckpt", "file": "b.ckpt", "file2": "c.ckpt", "file3": "d.ckpt"}),
    ],
)  # fmt: skip
def test_files_behind_a_loader_s_checkpoint_are_a_vae_and_loras_by_the_numbers_behind_them(values: list[Any], told: dict[str, Any]) -> None:
    read = inputs("Efficient Loader", values, [socket("lora_stack", "LORA_STACK")], EFFICIENT)
    assert {name: read[name] for name in read if re.match("ckpt|vae|lora|file|strength", name)} == told


def test_loader_of_a_bundle_begins_with_its_checkpoint_and_what_changes_a_bundle_has_none() -> None:
    values = ["a.ckpt", -2, "sd_xl_refiner_1.0_0.9vae.pt", -2, 6, 2, "kl_vae.pt", "a fox, asleep", "", 1024, 1024, 1]
    read = inputs("Eff. Loader SDXL", values, [], [("SDXL_TUPLE", []), ("LATENT", []), ("VAE", [])])
    assert (read["ckpt_name"], read["file"], read["vae_name"]) == ("a.ckpt", "sd_xl_refiner_1.0_0.9vae.pt", "kl_vae.pt")
    assert inputs("Upscaler", ["4x.pth"], [socket("basic_pipe", "BASIC_PIPE", 5)], [("BASIC_PIPE", []), ("MODEL", [])])["file"] == "4x.pth"


def test_strengths_stand_beside_a_lora_s_file_or_with_it_in_one_value() -> None:
    sockets = [socket("model", "MODEL", 5), socket("clip", "CLIP", 6)]
    read = inputs("LoraLoader", ["some.safetensors", 0.8, 0.6], sockets, [("MODEL", []), ("CLIP", [])])
    assert (read["lora_name"], read["strength_model"], read["strength_clip"]) == ("some.safetensors", 0.8, 0.6)
    stack = ["ink.pt", 0.8, "None", 1, "b.pt", 0.5, "None", 1]  # rgthree's: each strength is for both
    read = inputs("Lora Loader Stack (rgthree)", stack, sockets, [("MODEL", []), ("CLIP", [])])
    assert [read[name] for name in ("lora_name", "strength", "lora_name2", "strength2")] == ["ink.pt", 0.8, "b.pt", 0.5]
    assert not any("clip" in name or "model" in name for name in read if name not in ("model", "clip"))
    assert inputs("LoraLoaderModelOnly", ["ink.pt", 0.8], sockets[:1], [("MODEL", [])])["strength_model"] == 0.8
    lora = {"on": True, "lora": "some.safetensors", "strength": 0.7}
    read = inputs("Power Lora Loader (rgthree)", [{}, {"type": "header"}, lora, lora], sockets, [("MODEL", []), ("CLIP", [])])
    assert read["lora"] == read["lora2"] == lora and read["value2"] == {"type": "header"}
