"""What is recalled from memory is what CLIPTextEncode makes: fifty varied texts, three types of weights, and what a KSampler hears."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_toolkit import db
from host.client import PromptError
from host.node_graphs import CLIP, index, models, node, search
from host.varied_texts import VARIED
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import save_file

NOISE = 2e-5  # of the largest value: batches of another size change results by about 4e-6
TEXTS = list(VARIED.values())
TWO_TEXTS = [(text, TEXTS[(number + 17) % len(TEXTS)]) for number, text in enumerate(TEXTS)]  # text_g, text_l
LONG = {"76 tokens": "dog " * 76, "300 tokens": VARIED["300 tokens"].replace("a red boat", "a blue bird")}  # texts that are as long


def save(file, encode: dict[str, Any], seed: int) -> None:
    """A picture as SaveImage writes it, whose positive conditioning is of this node."""
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="made_with.safetensors"),
        "2": encode,
        "3": node("CLIPTextEncode", text="blurry", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=64, height=48, batch_size=1),
        "5": node(
            "KSampler", seed=seed, steps=12, cfg=6.5, sampler_name="euler", scheduler="normal", denoise=1.0,
            model=["1", 0], positive=["2", 0], negative=["3", 0], latent_image=["4", 0],
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="x"),
    }  # fmt: skip
    info = PngInfo()
    info.add_text("prompt", json.dumps(graph))
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).save(file, pnginfo=info)


def sdxl_encode(text_g: str, text_l: str, clip: list) -> dict[str, Any]:
    sizes = dict(width=1024, height=1024, crop_w=0, crop_h=0, target_width=1024, target_height=1024)
    return node("CLIPTextEncodeSDXL", **sizes, text_g=text_g, text_l=text_l, clip=clip)


@pytest.fixture(scope="session")
def spark(server) -> None:
    """The textual inversion that some of the texts name."""
    folder = server.models / "embeddings"
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(5)
    save_file({tower: random.normal(0, 0.05, (3, width)).astype(np.float32) for tower, width in (("clip_l", 768), ("clip_g", 1280))}, folder / "spark.safetensors")


@pytest.fixture(scope="session")
def varied(server, spark) -> str:
    """A folder with a picture for each text, and for those in LONG."""
    folder = server.output / "varied"
    folder.mkdir(exist_ok=True)
    for number, text in enumerate([*TEXTS, *LONG.values()]):
        save(folder / f"{number:02}.png", node("CLIPTextEncode", text=text, clip=["1", 1]), number)
    return folder.name


@pytest.fixture(scope="session")
def two_texts(server, spark) -> str:
    """A folder with a picture for each pair of texts."""
    folder = server.output / "two-texts"
    folder.mkdir(exist_ok=True)
    for number, (text_g, text_l) in enumerate(TWO_TEXTS):
        save(folder / f"{number:02}.png", sdxl_encode(text_g, text_l, ["1", 1]), 1000 + number)
    return folder.name


def ids_by_file(server, folder: str) -> dict[int, int]:
    """The id of each picture of the folder by the number in its name."""
    listed = node("DiffusionToolkitListImages", order="newest", top_k=100, library_name="default", filter_text=f"folder:{folder}")
    hits = server.queue({"list": listed}).outputs["list"]["hits"]
    return {int(hit["path"][-6:-4]): hit["image_id"] for hit in hits}


def typed_clip(dtype: str) -> dict[str, Any]:
    return node("ProbeTypedCLIP", seed={"float32": 21, "float16": 22, "bfloat16": 23}[dtype], dtype=dtype)


def load(image_id: int, **more: Any) -> dict[str, Any]:
    return node("DiffusionToolkitLoader", image_id=image_id, library_name="default", vectors="both", **more)


def beside(ids: dict[int, int], encodes: dict[int, dict[str, Any]], name: str = "", **more: Any) -> dict[str, Any]:
    """The nodes that compare the loader's conditioning with that of each of these nodes."""
    graph = {}
    for number, encode in encodes.items():
        graph |= {f"load{name}{number}": load(ids[number], **more), f"encode{name}{number}": encode}
        graph[f"probe{name}{number}"] = node("ProbeConditioning", a=[f"encode{name}{number}", 0], b=[f"load{name}{number}", 0])
    return graph


def read(outputs: dict[str, Any], encodes: dict[int, dict[str, Any]], name: str = "") -> dict[int, tuple]:
    """By number: how far apart `beside` found them, and what the loader says."""
    return {number: (outputs[f"probe{name}{number}"], outputs[f"load{name}{number}"]["text"][0]) for number in encodes}


def recalled_and_encoded(server, ids: dict[int, int], encodes: dict[int, dict[str, Any]], graph: dict[str, Any], **more: Any) -> dict[int, tuple]:
    return read(server.queue(graph | beside(ids, encodes, **more)).outputs, encodes)


def unequal(found: dict[int, tuple], names: list[str]) -> list[str]:
    """What is not the encoder's within float16's rounding, or not from memory."""
    wrong = []
    for number, (probe, said) in found.items():
        if "positive: exact, from stored token states" not in said:
            wrong.append(f"{names[number]}: {said}")
        for part in ("states", "pooled"):
            [measured] = probe[part]
            if measured["beyond"] > NOISE * measured["largest"]:
                wrong.append(f"{names[number]}: {part} {measured}")
    return wrong


def encode_varied(clip: list, every: int = 1) -> dict[int, dict[str, Any]]:
    """CLIPTextEncode of the texts, or of each so many-th."""
    return {number: node("CLIPTextEncode", text=text, clip=clip) for number, text in enumerate(TEXTS) if number % every == 0}


def partners() -> dict[int, int]:
    """For each text another of as many sections: what ConditioningAverage cuts or fills up is no mean of two texts."""
    long = {list(VARIED).index(name): len(TEXTS) + place for place, name in enumerate(LONG)}
    short = [number for number in range(len(TEXTS)) if number not in long]
    return {**dict(zip(short, [*short[1:], short[0]])), **long}


@dataclass(frozen=True)
class Compared:
    """What the nodes of one large graph told."""

    encoded: dict[int, tuple]
    two_texts: dict[int, tuple]
    averaged: dict[int, dict[str, Any]]


@pytest.fixture(scope="module", params=["float32", "float16"])
def compared(request, server, varied, two_texts) -> Compared:
    """All that is recalled of the fifty texts beside ComfyUI's own nodes, in one graph: then each text is encoded once."""
    clip = {"clip": typed_clip(request.param)}
    only_clip = dict(clip=["clip", 0], clip_vision=None, text_embedder=None)
    server.queue(index(varied, **only_clip) | clip)
    server.queue(index(two_texts, **only_clip) | clip)
    ids, encodes = ids_by_file(server, varied), encode_varied(["clip", 0])
    encodes |= {len(TEXTS) + place: node("CLIPTextEncode", text=text, clip=["clip", 0]) for place, text in enumerate(LONG.values())}
    both = {number: sdxl_encode(*pair, ["clip", 0]) for number, pair in enumerate(TWO_TEXTS)}
    graph = clip | beside(ids, encodes, clip=["clip", 0]) | beside(ids_by_file(server, two_texts), both, "two", clip=["clip", 0])
    for one, other in partners().items():
        two = dict(conditioning_to=[f"encode{one}", 0], conditioning_from=[f"encode{other}", 0], conditioning_to_strength=0.3)
        graph[f"average{one}"] = node("ConditioningAverage", **two)
        mixed = dict(image_ids=f"{ids[one]}, {ids[other]}", weights="0.3, 0.7", library_name="default", clip=["clip", 0])
        graph[f"mix{one}"] = node("DiffusionToolkitMixConditioning", **mixed)
        graph[f"probe_mix{one}"] = node("ProbeConditioning", a=[f"average{one}", 0], b=[f"mix{one}", 0])
    outputs = server.queue(graph).outputs
    return Compared(read(outputs, encodes), read(outputs, both, "two"), {one: outputs[f"probe_mix{one}"] for one in partners()})


def test_fifty_texts_recalled_are_clip_text_encodes(compared):
    assert unequal(compared.encoded, [*VARIED, *LONG]) == []
    assert max(probe["shape"][0][1] for probe, _ in compared.encoded.values()) >= 5 * 77


def test_fifty_pairs_of_texts_recalled_are_clip_text_encode_sdxls(compared):
    assert len(compared.two_texts) == 50
    assert unequal(compared.two_texts, [str(pair) for pair in TWO_TEXTS]) == []


def test_mixes_of_fifty_texts_recalled_are_conditioning_averages(compared):
    assert sorted(compared.averaged) == list(range(50))
    measured = [(TEXTS[one], part, probe[part][0]) for one, probe in compared.averaged.items() for part in ("states", "pooled")]
    assert [far for far in measured if far[-1]["difference"] > far[-1]["largest"] * 2**-11] == []


def test_texts_recalled_are_clip_text_encodes_at_bfloat16(server, varied):
    """Some of them: such weights are slow on a CPU."""
    clip = {"clip": typed_clip("bfloat16")}
    server.queue(index(varied, clip=["clip", 0], clip_vision=None, text_embedder=None) | clip)
    found = recalled_and_encoded(server, ids_by_file(server, varied), encode_varied(["clip", 0], 7), clip, clip=["clip", 0])
    assert unequal(found, list(VARIED)) == []


def test_texts_recalled_with_no_clip_in_the_graph_are_clip_text_encodes(server, varied):
    """The states of the encoder that was last indexed with."""
    server.queue(index(varied, clip_vision=None, text_embedder=None))
    found = recalled_and_encoded(server, ids_by_file(server, varied), encode_varied(CLIP, 7), models())
    assert unequal(found, list(VARIED)) == []


@pytest.mark.parametrize("name", ["one word", "300 tokens", "nested weights", "embedding weighted", "hindi"])
def test_a_ksampler_hears_what_is_recalled_as_what_is_encoded(server, varied, name):
    """A text, encoded and recalled, moves the latent at most 1/20 of what another text does, and of what another pooled vector does."""
    server.queue(index(varied, clip_vision=None, text_embedder=None))
    number = list(VARIED).index(name)

    def sample(positive: str) -> dict[str, Any]:
        return node(
            "KSampler", model=["checkpoint", 0], positive=[positive, 0], negative=["negative", 0], latent_image=["latent", 0],
            seed=1, steps=4, cfg=7.0, sampler_name="euler", scheduler="normal", denoise=1.0,
        )  # fmt: skip

    graph = models() | {
        "recalled": load(ids_by_file(server, varied)[number]),
        "encoded": node("CLIPTextEncode", text=VARIED[name], clip=CLIP),
        "other": node("CLIPTextEncode", text="a city of glass under three moons", clip=CLIP),
        "pooled": node("ProbeWithPooledOf", states=["encoded", 0], pooled=["other", 0]),
        "negative": node("CLIPTextEncode", text="blurry", clip=CLIP),
        "latent": node("EmptyLatentImage", width=128, height=128, batch_size=1),
        "s_encoded": sample("encoded"),
    }
    for way in ("recalled", "other", "pooled"):
        graph |= {f"s_{way}": sample(way), way + "_moved": node("ProbeLatent", a=["s_encoded", 0], b=[f"s_{way}", 0])}
    outputs = server.queue(graph).outputs
    moved = {way: outputs[f"{way}_moved"]["latent"][0]["difference"] for way in ("recalled", "other", "pooled")}
    assert 0 < moved["pooled"] and 0 < moved["other"]
    assert moved["recalled"] <= min(moved["other"], moved["pooled"]) / 20


def test_recalling_loads_no_model(server, varied):
    """Not even one that an earlier prompt left there: ComfyUI holds as many afterwards as before."""
    server.queue(index(varied, clip_vision=None, text_embedder=None))
    ids = ids_by_file(server, varied)
    server.post("/free", {"unload_models": True, "free_memory": True})
    server.queue({"nothing": node("EmptyImage", width=8, height=8, batch_size=1, color=0), "show": node("ProbeValues", values=["nothing", 0])})
    graph = {"load": load(ids[3]), "models": node("ProbeLoadedModels", after=["load", 0])}
    outputs = server.queue(graph).outputs
    assert "exact, from stored token states" in outputs["load"]["text"][0]
    assert outputs["models"]["models"] == [] and outputs["models"]["gpu_bytes"] == [0]


@pytest.fixture
def library(server) -> Iterator[db.Library]:
    """The server's own library, opened beside it."""
    library = db.open_library("default", server.user / "diffusion_toolkit" / "library")
    yield library
    library.close()


def test_damaged_states_are_never_given_and_mended_by_the_clip_that_made_them(server, varied, library):
    server.queue(index(varied, clip_vision=None, text_embedder=None))
    number = list(VARIED).index("a sentence")
    image_id, shown = ids_by_file(server, varied)[number], VARIED["a sentence"][:40]
    with library.connection() as connection:
        [image] = db.get_images(connection, [image_id])
        encoder = db.active_encoder(connection, "token_states")
        # One bit, in the middle; nodes' fingerprints see that the library has changed.
        connection.execute(
            "UPDATE token_states SET states = set_bit(states, 800000, 1 - get_bit(states, 800000)) WHERE text_id = %s AND encoder_id = %s",
            [image.prompt_id, encoder.id],
        )
        connection.execute("UPDATE library SET generation = generation + 1")
    show = node("ProbeValues", values=["load", 2])
    with pytest.raises(PromptError, match=f"token states of the text '{shown}.*are damaged: their checksum.*Connect the CLIP that made them"):
        server.queue({"load": load(image_id), "show": show})
    other = {"other": node("ProbeTypedCLIP", seed=31, dtype="float32")}
    said = server.queue({**other, "load": load(image_id, clip=["other", 0]), "show": show}).outputs["load"]["text"][0]
    assert "which is another encoder" in said and "damaged" not in said
    encodes = {number: node("CLIPTextEncode", text=VARIED["a sentence"], clip=CLIP)}
    [(probe, said)] = recalled_and_encoded(server, {number: image_id}, encodes, models(), clip=CLIP).values()
    assert "encoded now with the connected CLIP; its stored token states were damaged, and are stored anew" in said
    assert unequal(recalled_and_encoded(server, {number: image_id}, encodes, models()), list(VARIED)) == []


def test_weights_rounded_to_bfloat16_are_another_encoder(server, varied):
    clip, rounded = {"clip": node("ProbeTypedCLIP", seed=31, dtype="float32")}, {"rounded": node("ProbeTypedCLIP", seed=31, dtype="bfloat16")}
    server.queue(index(varied, clip=["clip", 0], clip_vision=None, text_embedder=None, pattern="07.png") | clip)
    graph = {**rounded, "load": load(ids_by_file(server, varied)[7], clip=["rounded", 0]), "show": node("ProbeValues", values=["load", 2])}
    assert "encoded now with the connected CLIP, which is another encoder" in server.queue(graph).outputs["load"]["text"][0]


def test_what_each_of_two_encoders_made_is_kept_and_recalled(server, varied):
    """Index Folder stores the second's beside the first's, and a connected CLIP is given its own."""
    clips = {name: node("ProbeTypedCLIP", seed=seed, dtype="float32") for name, seed in (("first", 41), ("second", 42))}
    for name in clips:
        server.queue(index(varied, clip=[name, 0], clip_vision=None, text_embedder=None, pattern="07.png") | clips)
    ids = ids_by_file(server, varied)
    graph = {**clips, "between": node("ProbeConditioning", a=["encodefirst7", 0], b=["encodesecond7", 0])}
    encodes = {name: {7: node("CLIPTextEncode", text=TEXTS[7], clip=[name, 0])} for name in clips}
    for name in clips:
        graph |= beside(ids, encodes[name], name, clip=[name, 0])
    outputs = server.queue(graph).outputs
    for name in clips:
        assert unequal(read(outputs, encodes[name], name), list(VARIED)) == []
    assert outputs["between"]["states"][0]["difference"] > outputs["between"]["states"][0]["largest"] / 100


TOLD_APART = {  # by each node that takes a CLIP: the test that another encoder than the stored one is said or refused
    "DiffusionToolkitLoader": "test_loader.py::test_another_clip_encodes_the_stored_text_itself",
    "DiffusionToolkitMixConditioning": "test_mixing.py::test_another_clip_encodes_all_texts_itself_and_each_node_says_so",
    "DiffusionToolkitInterpolateConditioning": "test_mixing.py::test_another_clip_encodes_all_texts_itself_and_each_node_says_so",
    "DiffusionToolkitPushAway": "test_mixing.py::test_another_clip_encodes_all_texts_itself_and_each_node_says_so",
    "DiffusionToolkitLoadEmbeddings": "test_exchange.py::test_the_clip_that_made_the_states_gives_them_and_another_encodes_the_text",
    "DiffusionToolkitConditionOtherModels": "test_condition_other_models.py::test_another_encoder_is_said_and_encodes_all_of_it",
    "DiffusionToolkitPromptFromVectors": "test_prompt_from_vectors.py::test_another_clip_is_refused_by_name",
    "DiffusionToolkitQueryByStyle": "test_recall_equality.py::test_a_style_by_another_clip_is_refused_by_name",
    "DiffusionToolkitIndexFolder": "test_recall_equality.py::test_what_each_of_two_encoders_made_is_kept_and_recalled",
}


def test_each_node_that_takes_a_clip_tells_encoders_apart_in_a_test(server):
    taking = set()
    for name, info in server.object_info().items():
        inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        if name.startswith("DiffusionToolkit") and any(kind[0] == "CLIP" for kind in inputs.values()):
            taking.add(name)
    assert taking == set(TOLD_APART)


@pytest.mark.parametrize("node_id", sorted(set(TOLD_APART.values())))
def test_the_tests_that_tell_encoders_apart_are_collected(node_id, request):
    file, name = node_id.split("::")
    module = pytest.Module.from_parent(request.session, path=Path(__file__).with_name(file))
    assert any(getattr(item, "originalname", None) == name for item in module.collect())


def test_a_style_by_another_clip_is_refused_by_name(server, varied):
    server.queue(index(varied, clip_vision=None, text_embedder=None, pattern="07.png"))
    graph = search((1.0, node("DiffusionToolkitQueryByStyle", clip=["other", 0], text="a fox", vectors="both")))
    graph["other"] = node("ProbeTypedCLIP", seed=32, dtype="float32")
    with pytest.raises(PromptError, match="The library was indexed by another model"):
        server.queue(graph)
