"""Condition Other Models in a real ComfyUI, against CLIPTextEncode with the text encoders of the refiner, Stable Diffusion 3 and Flux.

Their CLIP-L and CLIP-G have the weights of the SDXL CLIP that was indexed with, as the real ones have.
"""

from __future__ import annotations

import json

import pytest
from host.client import PromptError
from host.node_graphs import index, node, search_by_prompt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

FP16 = 2**-11  # relative rounding of float16
PROMPT = "a heron (at dawn:1.3), " + "reeds and mist over a quiet lake, " * 15  # more than 77 tokens, and weights
NEGATIVE = "ugly, (blurry:1.2)"
REFINER, FLUX, SD3 = "SDXL refiner", "Flux", "Stable Diffusion 3"
_indexed: dict[str, int] = {}
STAND_INS = {REFINER: "StandInRefiner", FLUX: "StandInFlux", SD3: "StandInSD3"}


def condition(target: str, image_ids="", **changes) -> dict:
    inputs = dict(target=target, image_ids=str(image_ids), several="each by itself", weights="", library_name="default")
    inputs.update(changes)
    return node("DiffusionToolkitConditionOtherModels", **{name: value for name, value in inputs.items() if value is not None})


def image_id(server, folder: str, top_k: int = 1):
    hits = server.queue(search_by_prompt("anything", top_k=top_k, filter_text=f"folder:{folder}")).outputs["search"]["hits"]
    return [hit["image_id"] for hit in hits] if top_k > 1 else hits[0]["image_id"]


@pytest.fixture
def heron(server, pictures) -> int:
    """The id of an indexed image with a long weighted prompt; indexed once, since nothing here uses another CLIP for it."""
    if "another-heron" not in _indexed:
        server.queue(index(pictures("another-heron", 1, prompt=PROMPT, negative=NEGATIVE)))
        _indexed["another-heron"] = image_id(server, "another-heron")
    return _indexed["another-heron"]


def compared(server, target: str, made: dict, reference: dict, slot: int = 0, **stand_in) -> tuple[dict, str]:
    """The node's conditioning beside the reference encoded by the target's own CLIP, and what the node says of it."""
    graph = {"other": node(STAND_INS[target], **stand_in), "made": made, "reference": reference}
    graph["probe"] = node("ProbeConditioning", a=["reference", 0], b=["made", slot])
    outputs = server.queue(graph).outputs
    return outputs["probe"], outputs["made"]["text"][0]


def encode(text: str) -> dict:
    return node("CLIPTextEncode", text=text, clip=["other", 1])


def assert_within_fp16(probe: dict) -> None:
    for part in ("states", "pooled"):
        measured = probe[part][0]
        assert measured["difference"] <= measured["largest"] * FP16, (part, measured)


@pytest.mark.parametrize(("slot", "text"), [(0, PROMPT), (1, NEGATIVE)])
def test_the_refiner_is_given_its_own_cliptextencodes_without_a_text_encoder(server, heron, slot, text):
    probe, said = compared(server, REFINER, condition(REFINER, heron), encode(text), slot)
    assert probe["shape"][0] == [1, 77 * (2 if slot == 0 else 1), 1280]
    assert_within_fp16(probe)
    assert "positive: exact, from stored token states" in said


@pytest.mark.parametrize(("slot", "text"), [(0, PROMPT), (1, NEGATIVE)])
def test_sd3_without_t5_is_given_what_its_clip_l_and_clip_g_give(server, heron, slot, text):
    probe, said = compared(server, SD3, condition(SD3, heron), encode(text), slot, encoders="l g")
    assert_within_fp16(probe)
    assert "exact, from stored token states" in said and "No T5" in said


@pytest.mark.parametrize("encoders", ["t5", "l g t5", "l t5", "g t5"])
def test_sd3_takes_t5_from_a_connected_clip_and_the_rest_from_the_library(server, heron, encoders):
    """Whatever else is in the connected CLIP: the reference has all three."""
    graph = {
        "whole": node("StandInSD3"), "other": node("StandInSD3", encoders=encoders), "made": condition(SD3, heron, clip=["other", 1]),
        "reference": node("CLIPTextEncode", text=PROMPT, clip=["whole", 1]),
        "probe": node("ProbeConditioning", a=["reference", 0], b=["made", 0]),
    }  # fmt: skip
    outputs = server.queue(graph).outputs
    assert outputs["probe"]["shape"][0][1] > 154 + 77
    assert_within_fp16(outputs["probe"])
    said = outputs["made"]["text"][0]
    assert "positive: exact, from stored token states" in said and "T5: by the connected CLIP" in said


@pytest.mark.parametrize(("slot", "text"), [(0, PROMPT), (1, NEGATIVE)])
def test_flux_is_given_the_stored_clip_l_vector_and_the_connected_clips_t5(server, heron, slot, text):
    probe, said = compared(server, FLUX, condition(FLUX, heron, clip=["other", 1]), encode(text), slot)
    assert probe["shape"][0][1] >= 256
    assert_within_fp16(probe)
    assert "positive: exact, the stored CLIP-L vector" in said and "T5: by the connected CLIP, of the prompt" in said


def test_flux_without_its_clip_keeps_the_pooled_output_and_says_that_t5_is_lacking(server, heron):
    graph = {
        "other": node("StandInFlux"), "made": condition(FLUX, heron), "encode": encode(PROMPT),
        "zero": node("ConditioningZeroOut", conditioning=["encode", 0]),
        "reference": node("ProbeWithPooledOf", states=["zero", 0], pooled=["encode", 0]),
        "probe": node("ProbeConditioning", a=["reference", 0], b=["made", 0]),
    }  # fmt: skip
    outputs = server.queue(graph).outputs
    probe, said = outputs["probe"], outputs["made"]["text"][0]
    assert probe["states"][0]["difference"] == probe["states"][0]["largest"] == 0
    assert probe["pooled"][0]["difference"] <= probe["pooled"][0]["largest"] * FP16
    assert "NO T5" in said


def test_flux_reads_another_text_with_t5_beside_the_images_clip_l_vector(server, heron):
    made = condition(FLUX, heron, clip=["other", 1], t5_text="a city of glass")
    reference = node("CLIPTextEncodeFlux", clip=["other", 1], clip_l=PROMPT, t5xxl="a city of glass", guidance=3.5)
    probe, said = compared(server, FLUX, made, reference)
    assert_within_fp16(probe)
    assert "of your t5_text" in said


@pytest.fixture
def two_texts(server) -> int:
    """The id of an image that CLIP-G and CLIP-L were given different texts for, of different length."""
    folder = server.output / "two-texts-for-others"
    folder.mkdir(exist_ok=True)
    info = PngInfo()
    texts = dict(text_g="a wide valley", text_l="oil on canvas, " * 30)
    graph = {
        "2": {"class_type": "CLIPTextEncodeSDXL", "inputs": {**texts, "width": 64, "height": 64, "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["1", 1]}},
        "5": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["2", 0], "negative": ["3", 0]}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0]}},
    }
    info.add_text("prompt", json.dumps(graph))
    Image.new("RGB", (32, 32), (90, 1, 200)).save(folder / "one.png", pnginfo=info)
    server.queue(index("two-texts-for-others"))
    return image_id(server, "two-texts-for-others")


def test_two_texts_go_to_the_towers_that_they_were_for(server, two_texts):
    texts = dict(clip_g="a wide valley", clip_l="oil on canvas, " * 30, t5xxl="anything", empty_padding="none")
    reference = node("CLIPTextEncodeSD3", clip=["other", 1], **texts)
    probe, _ = compared(server, SD3, condition(SD3, two_texts, clip=["other", 1], t5_text="anything"), reference)
    assert_within_fp16(probe)


@pytest.mark.parametrize("target", [REFINER, FLUX, SD3])
def test_another_encoder_is_said_and_encodes_all_of_it(server, heron, target):
    probe, said = compared(server, target, condition(target, heron, clip=["other", 1]), encode(PROMPT), seed=7)
    assert_within_fp16(probe)
    assert "encoded now with the connected CLIP, whose CLIP-" in said and "nothing stored was used" in said


def test_another_clip_layer_of_the_refiner_is_another_encoder(server, heron):
    graph = {
        "other": node("StandInRefiner"), "skip": node("CLIPSetLastLayer", clip=["other", 1], stop_at_clip_layer=-3),
        "made": condition(REFINER, heron, clip=["skip", 0]), "reference": node("CLIPTextEncode", text=PROMPT, clip=["skip", 0]),
        "probe": node("ProbeConditioning", a=["reference", 0], b=["made", 0]),
    }  # fmt: skip
    outputs = server.queue(graph).outputs
    assert_within_fp16(outputs["probe"])
    assert "encoded now" in outputs["made"]["text"][0]


@pytest.mark.parametrize("clip", [["other", 1], ["checkpoint", 1]])
def test_the_refiners_or_sdxls_clip_that_was_indexed_with_gives_its_stored_states(server, heron, clip):
    graph = {
        "other": node("StandInRefiner"), "checkpoint": node("StandInCheckpoint"), "made": condition(REFINER, heron, clip=clip),
        "reference": node("CLIPTextEncode", text=PROMPT, clip=["other", 1]), "probe": node("ProbeConditioning", a=["reference", 0], b=["made", 0]),
    }  # fmt: skip
    outputs = server.queue(graph).outputs
    assert_within_fp16(outputs["probe"])
    assert "positive: exact, from stored token states" in outputs["made"]["text"][0]


def test_a_clip_of_another_model_is_named(server, heron):
    graph = {"checkpoint": node("StandInCheckpoint"), "made": condition(FLUX, heron, clip=["checkpoint", 1])}
    graph["probe"] = node("ProbeValues", values=["made", 2])
    with pytest.raises(PromptError, match="SDXLClipModel: clip_l, clip_g.*not that of Flux.*Load CLIP \\(Dual\\) of type flux"):
        server.queue(graph)


def test_without_states_the_refiner_keeps_the_pooled_output_and_the_node_says_what_it_is(server, pictures):
    prompt = "a lighthouse without token states"
    server.queue(index(pictures("refiner-approximate", 1, prompt=prompt), token_state_budget=0.0))
    probe, said = compared(server, REFINER, condition(REFINER, image_id(server, "refiner-approximate")), encode(prompt))
    assert "APPROXIMATION" in said
    assert probe["pooled"][0]["difference"] <= probe["pooled"][0]["largest"] * FP16


def test_hits_give_aligned_lists_of_one_each(server, pictures):
    folder = pictures("herons", 3)
    server.queue(index(folder))
    graph = search_by_prompt("a picture", top_k=3, filter_text=f"folder:{folder}")
    graph["made"] = condition(SD3, hits=["search", 12])
    graph["prompts"] = node("ProbeValues", values=["made", 2])
    graph["found"] = node("ProbeValues", values=["search", 1])
    outputs = server.queue(graph).outputs
    assert len(outputs["prompts"]["values"]) == 3 and outputs["prompts"]["values"] == outputs["found"]["values"]


def test_an_average_of_two_is_conditioning_averages(server, pictures):
    folder = pictures("average-herons", 2)
    server.queue(index(folder))
    ids = sorted(image_id(server, folder, top_k=2))
    graph = {
        "other": node("StandInSD3", encoders="l g"),
        "made": condition(SD3, " ".join(map(str, ids)), several="average", weights="3 1"),
        "one": condition(SD3, ids[0]), "two": condition(SD3, ids[1]),
        "reference": node("ConditioningAverage", conditioning_to=["one", 0], conditioning_from=["two", 0], conditioning_to_strength=0.75),
        "probe": node("ProbeConditioning", a=["reference", 0], b=["made", 0]),
    }  # fmt: skip
    assert_within_fp16(server.queue(graph).outputs["probe"])


@pytest.mark.parametrize("target", [REFINER, FLUX, SD3])
def test_ksampler_hears_the_recalled_as_it_hears_the_encoded(server, heron, target):
    """The same prompt, encoded and recalled, moves the latent at most 1/20 of what another prompt does."""

    def sample(positive: list) -> dict:
        return node(
            "KSampler", model=["other", 0], positive=positive, negative=["made", 1], latent_image=["latent", 0], seed=1, steps=2, cfg=3.0,
            sampler_name="euler", scheduler="normal", denoise=1.0,
        )  # fmt: skip

    graph = {
        "other": node(STAND_INS[target]),
        "made": condition(target, heron, clip=["other", 1], sizes="the image's own"),
        "encode": encode(PROMPT),
        "another": encode("a city of glass under three moons"),
        "latent": node("EmptyLatentImage" if target == REFINER else "EmptySD3LatentImage", width=64, height=64, batch_size=1),
        "s_made": sample(["made", 0]), "s_encode": sample(["encode", 0]), "s_another": sample(["another", 0]),
    }  # fmt: skip
    if target == REFINER:  # with what CLIPTextEncodeSDXLRefiner adds
        for name, text in (("encode", PROMPT), ("another", "a city of glass under three moons")):
            graph[name] = node("CLIPTextEncodeSDXLRefiner", ascore=6.0, width=64, height=48, text=text, clip=["other", 1])
    for name in ("made", "another"):
        graph[f"d_{name}"] = node("ProbeLatent", a=["s_encode", 0], b=[f"s_{name}", 0])
    outputs = server.queue(graph).outputs
    moved = {name: outputs[f"d_{name}"]["latent"][0]["difference"] for name in ("made", "another")}
    assert moved["another"] > 0 and moved["made"] <= moved["another"] / 20
