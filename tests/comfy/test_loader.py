"""DiffusionToolkitLoader in a real ComfyUI, against CLIPTextEncode with the same CLIP."""

from __future__ import annotations

import json
import shutil

import pytest
from host.client import PromptError
from host.node_graphs import CLIP, index, models, node, search_by_image, search_by_prompt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

FP16 = 2**-11  # relative rounding of float16
PROMPT = "a fox (in the snow:1.3), " + "very detailed painting of a forest, " * 15  # more than 77 tokens, and weights
NEGATIVE = "ugly, (blurry:1.2)"


def load(image_id, **changes) -> dict:
    inputs = dict(image_id=image_id, library_name="default", vectors="both")
    inputs.update(changes)
    return node("DiffusionToolkitLoader", **inputs)


@pytest.fixture(scope="module")
def fox(server, pictures) -> int:
    """The id of an indexed image with a long weighted prompt."""
    server.queue(index(pictures("fox", 1, prompt=PROMPT, negative=NEGATIVE)))
    return image_id(server, PROMPT)


def image_id(server, prompt: str) -> int:
    return server.queue(search_by_prompt(prompt, top_k=1)).outputs["search"]["hits"][0]["image_id"]


def compared(server, loader: dict, text: str, slot: int = 0, clip=CLIP, extra: dict | None = None) -> tuple[dict, str]:
    """The loader's conditioning beside CLIPTextEncode's, and what the loader says of it."""
    graph = {**models(), **(extra or {}), "load": loader, "encode": node("CLIPTextEncode", text=text, clip=clip)}
    graph["probe"] = node("ProbeConditioning", a=["encode", 0], b=["load", slot])
    outputs = server.queue(graph).outputs
    return outputs["probe"], outputs["load"]["text"][0]


def assert_within_fp16(probe: dict) -> None:
    for part in ("states", "pooled"):
        measured = probe[part][0]
        assert measured["difference"] <= measured["largest"] * FP16, (part, measured)


def test_stored_states_are_cliptextencodes_within_fp16_rounding(server, fox):
    probe, said = compared(server, load(fox), PROMPT)
    assert probe["shape"][0][1] >= 154
    assert_within_fp16(probe)
    assert "positive: exact, from stored token states" in said


def test_the_negative_is_cliptextencodes_too(server, fox):
    probe, said = compared(server, load(fox), NEGATIVE, slot=1)
    assert_within_fp16(probe)
    assert "negative: exact, from stored token states" in said


def test_recall_needs_no_clip_in_the_graph(server, fox):
    graph = {"load": load(fox), "probe": node("ProbeConditioning", a=["load", 0], b=["load", 0])}
    assert "exact, from stored" in server.queue(graph).outputs["load"]["text"][0]


def test_a_connected_clip_that_was_indexed_with_gives_its_stored_states(server, fox):
    probe, said = compared(server, load(fox, clip=CLIP), PROMPT)
    assert_within_fp16(probe)
    assert "from stored token states" in said


def test_another_clip_encodes_the_stored_text_itself(server, fox):
    extra = {"other": node("StandInCheckpoint", seed=7)}
    probe, said = compared(server, load(fox, clip=["other", 1]), PROMPT, clip=["other", 1], extra=extra)
    assert_within_fp16(probe)
    assert "encoded now with the connected CLIP" in said


def test_another_clip_skip_is_another_encoder(server, fox):
    extra = {"skip": node("CLIPSetLastLayer", clip=CLIP, stop_at_clip_layer=-3)}
    probe, said = compared(server, load(fox, clip=["skip", 0]), PROMPT, clip=["skip", 0], extra=extra)
    assert_within_fp16(probe)
    assert "encoded now" in said


def test_clip_l_only_zeroes_clip_g_and_the_pooled_output(server, fox):
    probe, _ = compared(server, load(fox, vectors="CLIP-L only"), PROMPT)
    for part in ("clip_g", "pooled"):  # zero on the loader's side: the whole of CLIPTextEncode's is the difference
        assert probe[part][0]["difference"] == probe[part][0]["largest"] > 0
    assert probe["clip_l"][0]["difference"] <= probe["clip_l"][0]["largest"] * FP16


def test_clip_g_only_zeroes_clip_l_and_keeps_the_pooled_output(server, fox):
    probe, _ = compared(server, load(fox, vectors="CLIP-G only"), PROMPT)
    assert probe["clip_l"][0]["difference"] == probe["clip_l"][0]["largest"] > 0
    for part in ("clip_g", "pooled"):
        assert probe[part][0]["difference"] <= probe[part][0]["largest"] * FP16


def test_without_states_the_approximation_keeps_the_pooled_output_and_says_what_it_is(server, pictures):
    prompt = "a windmill without token states"
    server.queue(index(pictures("approximate", 1, prompt=prompt), token_state_budget=0.0))
    found = image_id(server, prompt)
    probe, said = compared(server, load(found), prompt)
    assert "APPROXIMATION" in said
    pooled = probe["pooled"][0]
    assert pooled["difference"] <= pooled["largest"] * FP16
    probe, said = compared(server, load(found, clip=CLIP), prompt)
    assert "encoded now" in said
    assert_within_fp16(probe)


def test_an_image_without_a_negative_prompt_gives_the_empty_text(server, pictures):
    folder = server.output / "no-negative"
    folder.mkdir(exist_ok=True)
    info = PngInfo()
    prompt = "an orchard in bloom"
    graph = {
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": ["1", 1]}},
        "3": {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["2", 0]}},
        "5": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["2", 0], "negative": ["3", 0]}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0]}},
    }
    info.add_text("prompt", json.dumps(graph))
    Image.new("RGB", (32, 32), (1, 200, 90)).save(folder / "one.png", pnginfo=info)
    server.queue(index("no-negative"))
    probe, said = compared(server, load(image_id(server, prompt)), "", slot=1)
    assert_within_fp16(probe)
    assert "none known: the empty text" in said


def test_an_id_that_does_not_exist_says_so(server, fox):
    with pytest.raises(PromptError, match="999999"):
        server.queue({"load": load(999999), "show": node("ProbeConditioning", a=["load", 0], b=["load", 0])})


def test_an_image_without_a_prompt_is_named(server):
    folder = server.output / "promptless"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (30, 30), (9, 9, 200)).save(folder / "blue.png")
    server.queue(index("promptless"))
    shutil.copyfile(folder / "blue.png", server.input / "blue.png")
    hits = server.queue(search_by_image("blue.png", top_k=500)).outputs["search"]["hits"]
    found = next(hit["image_id"] for hit in hits if hit["path"].endswith("blue.png"))
    with pytest.raises(PromptError, match="no stored prompt"):
        server.queue({"load": load(found), "show": node("ProbeConditioning", a=["load", 0], b=["load", 0])})


def test_several_hits_give_one_conditioning_each(server, fox, pictures):
    graph = {**search_by_prompt("a fox", top_k=2), "load": load(["search", 4])}
    graph["probe"] = node("ProbeValues", values=["load", 2])
    assert len(server.queue(graph).outputs["probe"]["values"]) == 2


def test_ksampler_hears_the_recalled_conditioning_as_it_hears_the_encoded(server, fox):
    """The same prompt, encoded and recalled, moves the latent at most 1/20 of what another prompt or pooled vector does."""

    def sample(positive: list) -> dict:
        return node(
            "KSampler", model=["checkpoint", 0], positive=positive, negative=["load", 1], latent_image=["latent", 0],
            seed=1, steps=4, cfg=7.0, sampler_name="euler", scheduler="normal", denoise=1.0,
        )  # fmt: skip

    graph = {
        **models(),
        "load": load(fox),
        "encode": node("CLIPTextEncode", text=PROMPT, clip=CLIP),
        "other": node("CLIPTextEncode", text="a city of glass under three moons", clip=CLIP),
        "other_pooled": node("ProbeWithPooledOf", states=["encode", 0], pooled=["other", 0]),
        "latent": node("EmptyLatentImage", width=128, height=128, batch_size=1),
        "s_recalled": sample(["load", 0]),
        "s_encoded": sample(["encode", 0]),
        "s_other": sample(["other", 0]),
        "s_pooled": sample(["other_pooled", 0]),
    }
    for name in ("recalled", "other", "pooled"):
        graph[f"d_{name}"] = node("ProbeLatent", a=["s_encoded", 0], b=[f"s_{name}", 0])
    outputs = server.queue(graph).outputs
    moved = {name: outputs[f"d_{name}"]["latent"][0]["difference"] for name in ("recalled", "other", "pooled")}
    assert moved["other"] > 0 and moved["pooled"] > 0
    assert moved["recalled"] <= min(moved["other"], moved["pooled"]) / 20
