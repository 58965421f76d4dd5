"""Stored Image Vector in a real ComfyUI, against CLIP Vision Encode of the same pictures."""

from __future__ import annotations

import shutil

import pytest
from host.client import PromptError
from host.node_graphs import CLIP_VISION, index, models, node, search_by_prompt

FP16 = 2**-11  # relative rounding of float16
_indexed: dict[str, list[int]] = {}


@pytest.fixture(scope="module")
def folder(server) -> str:
    return "vectors"


@pytest.fixture
def ids(server, pictures, folder) -> list[int]:
    """Three indexed pictures, 0000.png to 0002.png, also in ComfyUI's input folder; indexed once."""
    if folder in _indexed:
        return _indexed[folder]
    server.queue(index(pictures(folder, 3)))
    for i in range(3):
        shutil.copyfile(server.output / folder / f"{i:04}.png", server.input / f"{folder}_{i}.png")
    hits = server.queue(found(folder)).outputs["search"]["hits"]
    by_path = {hit["path"][-8:]: hit["image_id"] for hit in hits}
    _indexed[folder] = [by_path[f"{i:04}.png"] for i in range(3)]
    return _indexed[folder]


def found(folder: str, top_k: int = 3) -> dict:
    return search_by_prompt("a picture", top_k=top_k, filter_text=f"folder:{folder}")


def stored(image_ids="", **changes) -> dict:
    inputs = dict(image_ids=image_ids, several="average", weights="", library_name="default")
    inputs.update(changes)
    return node("DiffusionToolkitStoredImageVector", **{name: value for name, value in inputs.items() if value is not None})


def encoded(folder: str, n: int) -> dict:
    graph = {"vision": models()["vision"]}
    for i in range(n):
        graph[f"picture_{i}"] = node("LoadImage", image=f"{folder}_{i}.png")
        graph[f"encoded_{i}"] = node("CLIPVisionEncode", clip_vision=CLIP_VISION, image=[f"picture_{i}", 0], crop="center")
    return graph


def compared(server, graph: dict, expected: list, slot: int = 0) -> dict:
    """What ProbeVectors says of Stored Image Vector (node `stored`) beside the encoded ones with these weights."""
    encoded = {f"encoded_{n}": [name, 0] for n, (name, _) in enumerate(expected)}
    graph["probe"] = node("ProbeVectors", stored=["stored", slot], weights=" ".join(str(weight) for _, weight in expected), **encoded)
    return server.queue(graph).outputs["probe"]


def test_one_image_gives_clip_vision_encodes_image_embeds_within_fp16_rounding(server, ids, folder):
    graph = {**encoded(folder, 1), "stored": stored(str(ids[0]))}
    for slot in (0, 1):  # as CLIP_VISION_OUTPUT and as EMBEDS
        measured = compared(server, dict(graph), [("encoded_0", 1.0)], slot)
        assert measured["shape"] == [[1, 1024]]
        assert measured["difference"][0] <= measured["largest"][0] * FP16


def test_hits_give_the_average_of_what_clip_vision_encode_gives_of_each(server, ids, folder):
    graph = {**encoded(folder, 3), **found(folder), "stored": stored(None, hits=["search", 12])}
    measured = compared(server, graph, [(f"encoded_{i}", 1.0) for i in range(3)])
    assert measured["shape"] == [[1, 1024]]
    assert measured["difference"][0] <= measured["largest"][0] * FP16


def test_weights_count_in_the_average(server, ids, folder):
    graph = {**encoded(folder, 2), "stored": stored(f"{ids[0]}, {ids[1]}", weights="1, -0.25")}
    measured = compared(server, graph, [("encoded_0", 1.0), ("encoded_1", -0.25)])
    assert measured["difference"][0] <= measured["largest"][0] * FP16 * 2


def test_each_by_itself_gives_a_batch_and_zeros_of_its_shape(server, ids):
    graph = {"stored": stored(f"{ids[0]} {ids[2]}", several="each by itself")}
    graph["shapes"] = node("ProbeValues", values=["stored", 1])
    graph["zeros"] = node("ProbeValues", values=["stored", 2])
    outputs = server.queue(graph).outputs
    assert outputs["shapes"]["values"][0]["shape"] == [2, 1024] == outputs["zeros"]["values"][0]["shape"]
    assert outputs["zeros"]["values"][0]["mean"] == 0


def test_it_says_which_encoder_made_them_and_that_a_stand_in_is_not_vit_h(server, ids):
    graph = {"stored": stored(str(ids[0])), "probe": node("ProbeValues", values=["stored", 1])}
    said = server.queue(graph).outputs["stored"]["text"][0]
    assert f"Image #{ids[0]}" in said and "NOT BY CLIP-ViT-H/14" in said


def sampled(positive: list) -> dict:
    """A small unCLIP model samples one latent."""
    return {
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sampled": node(
            "KSampler", model=["unclip", 0], positive=positive, negative=["text", 0], latent_image=["latent", 0], seed=3, steps=2, cfg=4.0,
            sampler_name="euler", scheduler="normal", denoise=1.0,
        ),
    }  # fmt: skip


def test_unclip_conditioning_hears_it_as_it_hears_the_picture(server, ids, folder):
    """The stored vector moves the latent at most 1/20 of what another picture's does."""
    graph = {
        **encoded(folder, 2),
        "unclip": node("StandInUnCLIP"),
        "text": node("CLIPTextEncode", text="a thing", clip=["unclip", 1]),
        "stored": stored(str(ids[0]), unclip_model=["unclip", 0]),
    }
    for name, vector in (("recalled", "stored"), ("seen", "encoded_0"), ("other", "encoded_1")):
        graph[f"conditioned_{name}"] = node(
            "unCLIPConditioning", conditioning=["text", 0], clip_vision_output=[vector, 0], strength=1.0, noise_augmentation=0.0
        )
        made = sampled([f"conditioned_{name}", 0])
        graph["latent"], graph[f"sampled_{name}"] = made["latent"], made["sampled"]
    for name in ("recalled", "other"):
        graph[f"moved_{name}"] = node("ProbeLatent", a=["sampled_seen", 0], b=[f"sampled_{name}", 0])
    outputs = server.queue(graph).outputs
    moved = {name: outputs[f"moved_{name}"]["latent"][0]["difference"] for name in ("recalled", "other")}
    assert 0 < moved["other"] and moved["recalled"] <= moved["other"] / 20
    assert "Fits a model (SD21UNCLIP) that takes 1024 numbers" in outputs["stored"]["text"][0]


def refusal(server, graph: dict) -> str:
    graph["probe"] = node("ProbeValues", values=["stored", 1])
    with pytest.raises(PromptError) as caught:
        server.queue(graph)
    return str(caught.value)


def test_a_model_of_another_dimension_is_named(server, ids):
    graph = {"checkpoint": node("StandInCheckpoint"), "stored": stored(str(ids[0]), unclip_model=["checkpoint", 0])}
    said = refusal(server, graph)
    assert "(SDXL) takes image vectors of 1280 numbers (CLIP-ViT-bigG/14)" in said and "unCLIP-h" in said


def test_a_node_that_asks_for_hidden_states_is_told_what_to_connect(server, ids):
    graph = {"stored": stored(str(ids[0])), "wants": node("ProbeHiddenStates", vision=["stored", 0])}
    with pytest.raises(PromptError, match="image_embeds alone.*'penultimate_hidden_states'.*CLIP Vision Encode"):
        server.queue(graph)


def test_another_clip_vision_is_named_and_never_mixed_in(server, ids):
    graph = {"other": node("StandInCLIPVision", seed=9), "stored": stored(str(ids[0]), clip_vision=["other", 0])}
    assert "indexed by another model" in refusal(server, graph)


def test_the_clip_vision_that_was_indexed_with_is_accepted(server, ids):
    graph = {"vision": models()["vision"], "stored": stored(str(ids[0]), clip_vision=CLIP_VISION)}
    graph["probe"] = node("ProbeValues", values=["stored", 1])
    assert server.queue(graph).outputs["probe"]["values"][0]["shape"] == [1, 1024]


def test_an_image_without_a_vector_is_named(server, pictures):
    server.queue(index(pictures("no-vectors", 1), clip_vision=None))
    hit = server.queue(found("no-vectors", 1)).outputs["search"]["hits"][0]["image_id"]
    assert f"Image #{hit}: no image vector" in refusal(server, {"stored": stored(str(hit))})


@pytest.mark.parametrize(("weights", "says"), [("1", "1 weights for 2 images"), ("1, x", "'x' is no number"), ("1, -1", "sum to zero or less")])
def test_weights_that_make_no_sense_are_refused(server, ids, weights, says):
    assert says in refusal(server, {"stored": stored(f"{ids[0]} {ids[1]}", weights=weights)})
