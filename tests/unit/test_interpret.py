"""Which answer counts where several readers find one in the same file."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from diffusion_toolkit.embedders.graph import Origin
from diffusion_toolkit.embedders.metadata import ImageMetadata, Pieces, interpret
from host.pieces import pair
from host.sampled_graphs import basic, node

PARAMETERS = "a white hare\nNegative prompt: grey\nSteps: 9, Sampler: Euler a, Seed: 7"


def read(**texts: Any) -> ImageMetadata:
    told = {key: text if isinstance(text, str) else json.dumps(text) for key, text in texts.items()}
    return interpret(Pieces({k: v.encode() for k, v in told.items()}))


def run_time_text() -> dict[str, dict[str, Any]]:
    """The default workflow, but its text comes out of a node that keeps none."""
    return basic(pos=node("CLIPTextEncode", text=["llm", 0], clip=["ckpt", 1]), llm=node("SomeLanguageModel", seed=3))


def test_exact_graph_comes_before_exact_parameters() -> None:
    found = read(prompt=basic(), parameters=PARAMETERS)
    assert (found.prompt, found.negative, found.seed, found.steps) == (pair("a red fox"), pair("blurry"), 5, 20)
    assert found.generator == "ComfyUI"


def test_text_made_when_the_graph_ran_yields_to_the_parameters_beside_it() -> None:
    found = read(prompt=run_time_text(), parameters=PARAMETERS)
    assert (found.prompt, found.negative) == (pair("a white hare"), pair("grey"))
    assert (found.prompt_origin.confidence, found.generator) == ("exact", "ComfyUI")


def test_settings_that_the_parameters_lack_come_from_the_graph() -> None:
    found = read(prompt=run_time_text(), parameters=PARAMETERS)
    assert (found.seed, found.steps, found.sampler) == (7, 9, "Euler a")
    assert (found.cfg, found.checkpoint, found.scheduler) == (7.5, "sd_xl.safetensors", "karras")
    assert found.settings_origin.confidence == "exact"
    assert "parameters" in found.settings_origin.where and len(found.passes) == 1


def test_a_setting_that_a_node_made_is_taken_from_the_parameters_and_is_as_sure_as_they_are() -> None:
    graph = basic(number=node("SomeModel", image=["ckpt", 0]))
    graph["sampler"]["inputs"]["seed"] = ["number", 0]
    alone, both = read(prompt=graph), read(prompt=graph, parameters=PARAMETERS)
    assert (alone.seed, alone.settings_origin.confidence) == (None, "unknown")
    assert (both.seed, both.steps, both.settings_origin.confidence) == (7, 20, "exact")


def test_a_graph_beside_a_text_that_another_program_writes_under_its_own_name_is_read() -> None:
    found = read(prompt=basic(), negative_prompt="grey")
    assert (found.prompt, found.negative, found.generator) == (pair("a red fox"), pair("blurry"), "ComfyUI")


def test_settings_of_several_sources_are_as_sure_as_the_least_sure() -> None:
    graph = run_time_text() | {
        "select": node("SamplerDPMPP_2M_SDE", eta=1.0), "guider": node("BasicGuider", model=["ckpt", 0], conditioning=["pos", 0]),
        "noise": node("RandomNoise", noise_seed=7), "sigmas": node("BasicScheduler", scheduler="simple", steps=12, denoise=0.5, model=["ckpt", 0]),
        "sampler": node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["select", 0], sigmas=["sigmas", 0], latent_image=["latent", 0]),
    }  # fmt: skip
    found = read(prompt=graph, parameters=PARAMETERS)
    assert (found.steps, found.denoise) == (9, 0.5)
    assert (read(parameters=PARAMETERS).settings_origin.confidence, found.settings_origin.confidence) == ("exact", "inferred")


def test_what_a_text_adds_to_a_graph_that_is_followed_exactly_is_inferred_but_for_files() -> None:
    graph = basic(sampler=node("KSampler", seed=5, steps=20, positive=["pos", 0], negative=["neg", 0], latent_image=["latent", 0]))
    graph["latent"] = node("VAEEncode", pixels=["picture", 0])
    files = "Steps: 9, Seed: 7, VAE: kl.pt, Model: dream"
    found = read(prompt=graph, parameters=f"a red fox\n{files}")
    assert (found.seed, found.steps, found.checkpoint, found.vae, found.settings_origin.confidence) == (5, 20, "dream", "kl.pt", "exact")
    found = read(prompt=graph, parameters=f"a red fox <lora:fur:1>\n{files}, CFG scale: 7, Size: 512x512, Sampler: Euler a")
    assert (found.seed, found.cfg, found.sampler, found.width, len(found.loras)) == (5, 7.0, "Euler a", 512, 1)
    assert found.settings_origin.confidence == "inferred"


TAGGED = "a red fox <lora:fur:1>\nSteps: 20, Seed: 5"


def test_tag_in_the_text_of_a_graph_that_loads_no_lora_is_a_word_of_it() -> None:
    found = read(prompt=basic(pos=node("CLIPTextEncode", text="a red fox <lora:fur:1>", clip=["ckpt", 1])), parameters=TAGGED)
    assert (found.loras, found.settings_origin.confidence) == ([], "exact")
    assert read(prompt=run_time_text(), parameters=TAGGED).loras == []
    assert len(read(parameters=TAGGED).loras) == 1


@pytest.mark.parametrize(
    "nodes",
    [
        {"ckpt": node("SomeLoader", ckpt_name="sd_xl.safetensors")},
        {"pos": node("PCTextEncode", text="a red fox <lora:fur:1>", clip=["ckpt", 1])},
        {"pos": node("CLIPTextEncode", text="a red fox", clip=["hooks", 0]), "hooks": node("SetClipHooks", clip=["ckpt", 1], hooks=["made", 0]),
         "made": node("LoraHooksFromText", text="<lora:fur:1>")},
        {"pos": node("CLIPTextEncodeLora", text="a red fox", clip=["ckpt", 1])},
        {"sampler": node("KSampler", seed=5, steps=20, basic_pipe=["pipe", 0], model=["ckpt", 0]), "pipe": node("Pipe", name="fur")},
        {"sampler": node("TagSampler", seed=5, steps=20, model=["ckpt", 0], positive=["pos", 0], latent_image=["latent", 0])},
        {"sampler": node("KSampler", seed=5, steps=20, positive=["pos", 0], latent_image=["latent", 0])},
    ],
)  # fmt: skip
def test_lora_of_the_text_is_one_where_a_node_of_any_pack_may_have_loaded_it(nodes: dict[str, Any]) -> None:
    assert [lora["name"] for lora in read(prompt=basic(**nodes), parameters=TAGGED).loras] == ["fur"]


def test_what_nodes_before_the_sampler_s_made_at_run_time_comes_from_the_text() -> None:
    made = {"made": node("SomeModel", image=["ckpt", 0])}
    sampler = node("SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], latent_image=["latent", 0])
    guider = node("CFGGuider", cfg=["made", 0], model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0])
    graph = basic(sampler=sampler, guider=guider, noise=node("RandomNoise", noise_seed=["made", 0])) | made
    found = read(prompt=graph, parameters="a red fox\nSteps: 20, Seed: 777, CFG scale: 7.5")
    assert (found.seed, found.cfg) == (777, 7.5)
    graph = basic(latent=node("EmptyLatentImage", width=["made", 0], height=["made", 1])) | made
    assert read(prompt=graph, parameters="a red fox\nSteps: 9, Seed: 7, Size: 832x1216").height == 1216


def test_graph_without_an_encoder_yields_too() -> None:
    graph = {"1": node("LoadImage", image="x.png"), "2": node("SaveImage", images=["1", 0])}
    found = read(prompt=graph, parameters=PARAMETERS)
    assert found.prompt == pair("a white hare")


def test_bare_parameters_do_not_replace_a_graph_s_text() -> None:
    assert read(prompt=basic(), parameters="something else").prompt == pair("a red fox")


def test_an_exact_text_comes_before_an_exact_empty_one() -> None:
    graph = basic(pos=node("CLIPTextEncode", text="", clip=["ckpt", 1]))
    assert read(prompt=graph, parameters=PARAMETERS).prompt == pair("a white hare")


def test_empty_text_that_was_encoded_stays_where_nothing_else_is() -> None:
    graph = basic(pos=node("CLIPTextEncode", text="", clip=["ckpt", 1]))
    assert read(prompt=graph, **{"sidecar.caption": "a hare in snow"}).prompt == ("", "")


def test_negative_prompt_comes_with_its_prompt() -> None:
    found = read(prompt=run_time_text(), parameters="a white hare\nSteps: 9, Sampler: Euler a, Seed: 7")
    assert (found.prompt, found.negative) == (pair("a white hare"), None)


def test_width_and_height_come_together() -> None:
    found = read(
        parameters=f"{PARAMETERS}, Width: 512", UserComment={"prompt": "x", "seed": 1, "steps": 2, "width": 64, "height": 96}
    )
    assert (found.width, found.height) == (512, None)


def test_size_comes_whole_from_the_next_that_knows_it() -> None:
    found = read(parameters=PARAMETERS, UserComment={"prompt": "x", "seed": 1, "steps": 2, "width": 64, "height": 96})
    assert (found.width, found.height, found.seed) == (64, 96, 7)


def test_settings_say_all_places_they_come_from() -> None:
    found = read(parameters=PARAMETERS, UserComment={"prompt": "x", "seed": 1, "steps": 2, "width": 64, "height": 96})
    assert found.settings_origin == Origin("exact", "AUTOMATIC1111 parameters in 'parameters'; JSON in 'UserComment'")


def test_what_the_file_holds_is_handed_on() -> None:
    pieces = Pieces({"parameters": b"a fox"}, {"parameters": "PNG text"}, datetime(2025, 3, 4))
    found = interpret(pieces)
    assert (found.raw, found.places, found.created) == (pieces.raw, pieces.places, pieces.created)


def test_own_text_comes_before_the_one_beside_the_file() -> None:
    found = read(parameters=PARAMETERS, **{"sidecar.txt": "a fox\nSteps: 5, Sampler: Euler, Seed: 1"})
    assert (found.prompt, found.steps) == (pair("a white hare"), 9)


def test_exact_text_beside_the_file_comes_before_a_bare_one_in_it() -> None:
    assert read(parameters="something", **{"sidecar.txt": PARAMETERS}).prompt == pair("a white hare")


def test_captions_count_only_where_nothing_else_has_a_text() -> None:
    assert read(parameters=PARAMETERS, **{"sidecar.caption": "a fox in snow"}).prompt == pair("a white hare")
    assert read(ImageDescription="a fox in snow", **{"sidecar.caption": "a hare in snow"}).prompt == pair("a hare in snow")


def test_pieces_stay_as_they_are() -> None:
    pieces = Pieces({"parameters": b'{"x', "prompt": b"{"}, problems=["before"])
    first = interpret(pieces)
    assert (pieces.problems, interpret(pieces)) == (["before"], first)
    assert "before" in (first.problem or "")


def test_problem_is_fit_for_a_database() -> None:
    problem = interpret(Pieces({"prompt": b"{"}, problems=["x\0\ud800" + "y" * 100_000])).problem
    assert problem is not None and "\0" not in problem and len(problem.encode("utf-8")) < 10_000


def test_nothing_at_all() -> None:
    assert read() == ImageMetadata()


def test_a_sentence_under_comfyui_s_key_is_a_prompt() -> None:
    found = read(prompt="a red fox, in snow")
    assert (found.prompt, found.prompt_origin.confidence) == (pair("a red fox, in snow"), "inferred")
    assert (found.generator, found.problem) == (None, None)


def test_a_sentence_under_comfyui_s_key_yields_to_what_is_sure() -> None:
    assert read(prompt="a red fox", parameters=PARAMETERS).prompt == pair("a white hare")
    assert read(prompt="a red fox", parameters="a white hare").prompt == pair("a white hare")


@pytest.mark.parametrize("text", ["", "null", "None", "123", "\x01\x02ab"])
def test_what_is_no_words_under_comfyui_s_key_is_no_prompt(text: str) -> None:
    assert read(prompt=text).prompt is None


@pytest.mark.parametrize("text", ['{"3": {', "[1, ", '"a red', '\ufeff{"3": {'])
def test_a_broken_graph_is_a_problem_and_no_prompt(text: str) -> None:
    found = read(prompt=text)
    assert found.prompt is None and "graph can't be read" in (found.problem or "")
