"""Export Embeddings and Load Embeddings in a real ComfyUI: what comes back is what the Loader gives, and what is lacking is said."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from host.client import PromptError
from host.links import make_link
from host.node_graphs import CLIP, index, models, node
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import load_file

FP16 = 2**-11  # relative rounding of float16
PROMPTS = ("a fox (in the snow:1.3)", "a ship on a calm sea", "bread and cheese")
NEGATIVE = "ugly, (blurry:1.2)"
ONE, EACH, JSON, PARQUET = (
    "safetensors, one file",
    "safetensors, one file for each image",
    "DiffusionToolkit JSON, one file for each image",
    "Parquet, one file",
)


@pytest.fixture(scope="module")
def folder(server) -> str:
    """Three indexed pictures of three prompts and one negative prompt; nothing after it needs a model."""
    for number, prompt in enumerate(PROMPTS):
        save(server.output / "exchange" / f"{number}.png", prompt, number)
    server.queue(index("exchange"))
    return "folder:exchange"


def save(file: Path, prompt: str, number: int) -> None:
    """A picture like no other, with the graph that made it."""
    texts = {side: node("CLIPTextEncode", text=text, clip=["model", 1]) for side, text in (("positive", prompt), ("negative", NEGATIVE))}
    sampler = node(
        "KSampler", seed=number, steps=12, cfg=6.5, sampler_name="euler", scheduler="normal", denoise=1.0, model=["model", 0],
        positive=["positive", 0], negative=["negative", 0], latent_image=["latent", 0],
    )  # fmt: skip
    graph = {
        **texts, "sampler": sampler, "model": node("CheckpointLoaderSimple", ckpt_name="made_with.safetensors"),
        "latent": node("EmptyLatentImage", width=64, height=48, batch_size=1), "decoded": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
        "saved": node("SaveImage", images=["decoded", 0], filename_prefix="x"),
    }  # fmt: skip
    info = PngInfo()
    info.add_text("prompt", json.dumps(graph))
    pixels = np.random.default_rng([77, number]).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)  # [48, 64, 3]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, pnginfo=info)


def listed(folder: str) -> dict:
    """Search for all of them, by filter alone; `hits` is output 12 and `image_id` 4."""
    return {"list": node("DiffusionToolkitListImages", order="oldest", top_k=50, library_name="default", offset=0, filter_text=folder)}


def export(**changes) -> dict:
    inputs = dict(
        save_as="embeddings/test", format=ONE, token_states=True, images="the hits and image_ids",
        library_name="default", hits=["list", 12],
    )  # fmt: skip
    inputs.update(changes)
    return node("DiffusionToolkitExportEmbeddings", **{name: value for name, value in inputs.items() if value is not None})


def load(**changes) -> dict:
    inputs = dict(file=["export", 0], first=1, count=50, library_name="default")
    inputs.update(changes)
    return node("DiffusionToolkitLoadEmbeddings", **inputs)


def search(slot: int, folder: str) -> dict:
    """For what an output of Load Embeddings is like."""
    weights = {f"weight_{number}": 1.0 for number in range(1, 6)}
    return node("DiffusionToolkitSearch", top_k=1, lowest_score=-10.0, library_name="default", query_1=["load", slot], filter_text=folder, **weights)


def exported(server, folder: str, **changes) -> tuple[Path, str]:
    """The path that was written, and what the node says of it."""
    graph = {**listed(folder), "export": export(**changes)}
    graph["probe"] = node("ProbeValues", values=["export", 0])
    outputs = server.queue(graph).outputs
    return Path(outputs["probe"]["values"][0]), outputs["export"]["text"][0]


def image_ids(server, folder: str) -> list[int]:
    return [hit["image_id"] for hit in server.queue(listed(folder)).outputs["list"]["hits"]]


@pytest.fixture(scope="module")
def written(server, folder) -> dict[str, tuple[Path, str]]:
    """An export in each format: its path, and what the node says of it."""
    graph = listed(folder)
    for name in (ONE, EACH, JSON, PARQUET):
        graph[name] = export(format=name, save_as="embeddings/each format")
        graph[f"path of {name}"] = node("ProbeValues", values=[name, 0])
    outputs = server.queue(graph).outputs
    return {name: (Path(outputs[f"path of {name}"]["values"][0]), outputs[name]["text"][0]) for name in (ONE, EACH, JSON, PARQUET)}


def read(server, path: Path | str, **changes) -> str:
    """What Load Embeddings says of a file, with its positive wanted by another node."""
    graph = {"load": load(file=str(path), **changes), "show": node("ProbeValues", values=["load", 2])}
    if changes.get("clip"):
        graph |= models()
    return server.queue(graph).outputs["load"]["text"][0]


def test_a_search_goes_to_one_file_and_comes_back_as_the_loader_gives_it(server, folder):
    """Positive and negative of each image, equal in every number."""
    [first, *_] = image_ids(server, folder)
    graph = {**listed(folder), "export": export(), "load": load(count=1)}
    graph["loader"] = node("DiffusionToolkitLoader", image_id=first, library_name="default", vectors="both")
    for side, slot in (("positive", 0), ("negative", 1)):
        graph[side] = node("ProbeConditioning", a=["loader", slot], b=["load", slot])
    outputs = server.queue(graph).outputs
    for side in ("positive", "negative"):
        assert outputs[side]["states"][0]["difference"] == 0 and outputs[side]["pooled"][0]["difference"] == 0
        assert outputs[side]["states"][0]["largest"] > 0
    said = outputs["load"]["text"][0]
    assert "Image 1 of 3 in " in said and "positive: exact, from the file's token states by " in said
    assert server.output / "embeddings" in Path(said.split(" in ")[1].splitlines()[0]).parents


def test_an_exported_prompt_is_cliptextencodes_within_fp16_rounding(server, folder):
    graph = {**models(), **listed(folder), "export": export(), "load": load(count=1)}
    prompt = server.queue(listed(folder)).outputs["list"]["hits"][0]["prompt"]
    graph["encode"] = node("CLIPTextEncode", text=prompt, clip=CLIP)
    graph["probe"] = node("ProbeConditioning", a=["encode", 0], b=["load", 0])
    probe = server.queue(graph).outputs["probe"]
    for part in ("states", "pooled"):
        assert probe[part][0]["difference"] <= probe[part][0]["largest"] * FP16


def test_the_file_holds_every_vector_and_each_text_once(server, folder, written):
    path, said = written[ONE]
    tensors = load_file(path)
    assert path.suffix == ".safetensors" and path.is_relative_to(server.output / "embeddings")
    for name, dims in (("prompt", 1024), ("negative", 1024), ("image", 1024), ("clip_l", 768), ("clip_g", 1280), ("negative_clip_g", 1280)):
        assert tensors[name].shape == (3, dims) and tensors[name].any(axis=1).all(), name
    assert len(tensors["token_states"]) == 4 * 77  # three prompts, one negative
    assert np.array_equal(tensors["pooled_output"], tensors["clip_g"])
    assert "4 distinct texts; 0 images without" in said and "3 images of 'default'" in said


def test_a_misspelt_folder_to_leave_out_is_told_beside_what_was_exported(server, folder):
    text = f"{folder} -folder:exchagne"
    _, told = exported(server, folder, hits=None, images="all that pass the filter", filter_text=text, save_as="embeddings/misspelt")
    assert told.splitlines()[1] == "-folder:exchagne leaves nothing out. No file lies in the folder 'exchagne'. Did you mean 'exchange'?"


def test_every_export_has_a_number_of_its_own(server, folder):
    (one, _), (other, _) = exported(server, folder, save_as="embeddings/again"), exported(server, folder, save_as="embeddings/again", token_states=False)
    assert [path.name for path in (one, other)] == ["again_00001_.safetensors", "again_00002_.safetensors"]
    assert other.stat().st_size < one.stat().st_size / 10 and not list(one.parent.glob("*.part"))


def test_diffusion_toolkits_json_is_written_by_image_and_read_again(server, folder, written):
    ids = image_ids(server, folder)
    path, said = written[JSON]
    assert sorted(file.name for file in path.iterdir()) == sorted(f"image_{image_id}_embeddings.json" for image_id in ids)
    content = json.loads((path / f"image_{ids[0]}_embeddings.json").read_text(encoding="utf-8"))
    assert list(content) == ["ImageId", "ClipL", "ClipG", "ImageEmbedding", "Width", "Height", "Timestamp"]
    assert (len(content["ClipL"]), len(content["ClipG"]), len(content["ImageEmbedding"])) == (768, 1280, 1024)
    assert (content["Width"], content["Height"]) == (64, 48)
    assert "does not tell which encoders" in said
    graph = {"load": load(file=str(path)), "ids": node("ProbeValues", values=["load", 10]), "widths": node("ProbeValues", values=["load", 11])}
    outputs = server.queue(graph).outputs
    assert outputs["ids"]["values"] == sorted(ids) and outputs["widths"]["values"] == [64] * 3
    assert "the file does not tell which encoder made the vectors" in outputs["load"]["text"][0]


def test_one_safetensors_file_for_each_image(server, folder, written):
    ids = image_ids(server, folder)
    path, _ = written[EACH]
    assert sorted(file.name for file in path.iterdir()) == sorted(f"image_{image_id}.safetensors" for image_id in ids)
    assert read(server, path).count("positive: exact, from the file's token states") == 3


def estimated(said: str) -> int:
    """How many sides have no states of their own; where other tests' texts stand in the library, some are exact by these."""
    return said.count("APPROXIMATION") + said.count("exact, from the stored token states of texts with the same tokens")


def test_parquet_is_a_table_of_prompts_settings_and_vectors(server, folder):
    import pyarrow.parquet

    path, said = exported(server, folder, format=PARQUET, images="all that pass the filter", hits=None, filter_text=folder)
    table = pyarrow.parquet.read_table(path)
    assert sorted(table.column("prompt_text").to_pylist()) == sorted(PROMPTS)
    assert table.column("steps").to_pylist() == [12] * 3 and len(table.column("clip_g")[0].as_py()) == 1280
    assert "no place for them" in said
    assert estimated(read(server, path)) == 6


@pytest.mark.parametrize("format", [ONE, JSON, PARQUET])
@pytest.mark.parametrize(("slot", "kind"), [(7, "image"), (8, "CLIP-L"), (9, "CLIP-G")])
def test_a_file_finds_its_own_image_in_the_library(server, folder, written, format, slot, kind):
    """Each kind of vector that the format has, without any model."""
    graph = {"load": load(file=str(written[format][0]), count=1), "search": search(slot, folder), "id": node("ProbeValues", values=["load", 10])}
    outputs = server.queue(graph).outputs
    [hit] = outputs["search"]["hits"]
    assert hit["image_id"] == outputs["id"]["values"][0] and hit["score"] == pytest.approx(1, abs=1e-3)
    assert f"{kind} of image {hit['image_id']} in " in hit["parts"][0]["label"]


def test_an_image_vector_is_the_clip_vision_output_that_was_stored(server, folder, written):
    [first, *_] = image_ids(server, folder)
    graph = {"load": load(file=str(written[ONE][0]), count=1), "chosen": node("ProbeValues", values=["load", 10])}
    graph["stored"] = node("DiffusionToolkitStoredImageVector", image_ids=str(first), several="average", weights="", library_name="default")
    graph["probe"] = node("ProbeVectors", stored=["load", 4], encoded_0=["stored", 0], weights="1")
    outputs = server.queue(graph).outputs
    assert outputs["chosen"]["values"] == [first]
    assert outputs["probe"]["shape"] == [[1, 1024]] and outputs["probe"]["difference"] == [0] and outputs["probe"]["largest"][0] > 0


def test_the_clip_that_made_the_states_gives_them_and_another_encodes_the_text(server, folder, written):
    path, _ = written[ONE]
    assert "exact, from the file's token states" in read(server, path, clip=CLIP, count=1)
    graph = {"other": node("StandInCheckpoint", seed=7), "load": load(file=str(path), count=1, clip=["other", 1])}
    graph["prompt"] = node("ProbeValues", values=["load", 2])
    prompt = server.queue(graph).outputs["prompt"]["values"][0]
    graph["encode"] = node("CLIPTextEncode", text=prompt, clip=["other", 1])
    graph["probe"] = node("ProbeConditioning", a=["encode", 0], b=["load", 0])
    outputs = server.queue(graph).outputs
    for part in ("states", "pooled"):
        assert outputs["probe"][part][0]["difference"] <= outputs["probe"][part][0]["largest"] * FP16
    assert "encoded now with the connected CLIP, which is another encoder (" in outputs["load"]["text"][0]


def of_another_encoder(path: Path, name: str) -> Path:
    """The file as another CLIP and CLIP vision would have made it, beside it."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    encoders = json.loads(header["__metadata__"]["encoders"])
    for place, family in enumerate(("image", "clip_l", "clip_g", "token_states")):
        encoders[family]["fingerprint"] = str(place) * 64
    header["__metadata__"]["encoders"] = json.dumps(encoders)
    path.with_name(name).write_bytes(raw[:8] + json.dumps(header, separators=(",", ":")).encode().ljust(size) + raw[8 + size :])
    return path.with_name(name)


def test_vectors_of_another_encoder_are_not_searched_with(server, folder, written):
    foreign = of_another_encoder(written[ONE][0], "foreign.safetensors")
    with pytest.raises(PromptError, match="indexed by another model"):
        server.queue({"load": load(file=str(foreign), count=1), "search": search(7, folder)})


def test_an_approximation_takes_nothing_of_a_library_of_another_encoder(server, folder):
    path, _ = exported(server, folder, token_states=False)
    assert "not this library's encoder" not in (own := read(server, path, count=1)) and estimated(own) == 2
    said = read(server, of_another_encoder(path, "foreign_without_states.safetensors"), count=1)
    assert "positive: APPROXIMATION, the file's CLIP-L and CLIP-G vectors repeated at every position" in said
    assert "[33333333] is not this library's encoder, so nothing of the library is used" in said


def test_what_a_file_lacks_stops_only_what_needs_it(server, folder, written):
    """A JSON file has no prompt to ask with; its picture's vector can be asked with all the same."""
    path, _ = written[JSON]
    with pytest.raises(PromptError, match="has no prompt vector"):
        server.queue({"load": load(file=str(path), count=1), "search": search(5, folder)})
    assert server.queue({"load": load(file=str(path), count=1), "search": search(7, folder)}).outputs["search"]["hits"]


def test_normalised_vectors_are_told_and_brought_to_their_usual_length(server, folder, written):
    """DiffusionToolkit itself stores its vectors at length 1, which as SDXL's pooled output would say next to nothing."""
    path, _ = written[JSON]
    content = json.loads(sorted(path.iterdir())[0].read_text(encoding="utf-8"))
    for name in ("ClipL", "ClipG"):
        content[name] = list(np.array(content[name]) / np.linalg.norm(content[name]))
    file = path.with_name("image_5_embeddings.json")
    file.write_text(json.dumps(content), encoding="utf-8")
    assert "they were normalised: brought to this library's usual lengths" in read(server, file)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../escape", "not in ComfyUI's output folder"),
        ("/tmp/escape", "not in ComfyUI's output folder"),
        ("a/../../escape", "not in ComfyUI's output folder"),
        ("C:\\escape", "not in ComfyUI's output folder"),
        ("", "names no file"),
        ("embeddings/", "names no file"),
        ("x" * 300, "Nothing can be written|too long"),
        ("a\0b", "names no file"),
    ],
)
def test_nothing_is_written_outside_the_output_folder(server, folder, name, said):
    with pytest.raises(PromptError, match=said):
        exported(server, folder, save_as=name)


def test_a_link_out_of_the_output_folder_is_not_written_through(server, folder, tmp_path):
    make_link(server.output / "leads_out", tmp_path)
    try:
        with pytest.raises(PromptError, match="not in ComfyUI's output folder"):
            exported(server, folder, save_as="leads_out/x")
    finally:
        (server.output / "leads_out").unlink()
    assert list(tmp_path.iterdir()) == []


def test_a_file_outside_the_roots_is_not_read(server, tmp_path):
    (tmp_path / "secret.safetensors").write_bytes(b"x")
    with pytest.raises(PromptError, match="none of the folders that may be read"):
        read(server, tmp_path / "secret.safetensors")


def test_a_damaged_file_names_the_image_and_the_vector(server, folder, written):
    path, _ = written[ONE]
    raw = bytearray(path.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    start = 8 + size + json.loads(raw[8 : 8 + size])["clip_g"]["data_offsets"][0]
    raw[start : start + 2] = np.array([np.nan], np.float16).tobytes()
    damaged = path.with_name("damaged.safetensors")
    damaged.write_bytes(raw)
    with pytest.raises(PromptError, match="clip_g of image .* in damaged.safetensors has 1 numbers that are NaN"):
        read(server, damaged)


def test_without_a_choice_nothing_is_exported(server, folder):
    with pytest.raises(PromptError, match="No images are chosen"):
        server.queue({"export": export(hits=None)})
    with pytest.raises(PromptError, match="There are no images that pass"):
        server.queue({"export": export(hits=None, images="all that pass the filter", filter_text="folder:no-such-folder")})
    with pytest.raises(PromptError, match="no image 999999"):
        server.queue({"export": export(hits=None, image_ids="999999")})


def test_a_number_beyond_the_file_is_told(server, folder, written):
    path, _ = written[ONE]
    with pytest.raises(PromptError, match="holds 3 images, so there is none with the number 4"):
        read(server, path, first=4)


def test_a_file_that_changed_is_read_again(server, folder, written):
    path, _ = written[JSON]
    file = path.with_name("image_6_embeddings.json")
    file.write_bytes(sorted(path.iterdir())[0].read_bytes())
    graph = {"load": load(file=str(file)), "widths": node("ProbeValues", values=["load", 11])}
    assert server.queue(graph).outputs["widths"]["values"] == [64]
    file.write_text(file.read_text(encoding="utf-8").replace('"Width": 64', '"Width": 640'), encoding="utf-8")
    assert server.queue(graph).outputs["widths"]["values"] == [640]


def test_a_library_is_asked_only_where_the_file_is_not_enough(server, folder, written, pictures):
    """What is indexed meanwhile runs nothing again that needs nothing of the library."""
    graph = index(pictures("unrelated to any exchange", 1))
    for name, format in (("exact", ONE), ("by image", EACH), ("approximated", PARQUET)):
        graph[name] = load(file=str(written[format][0]))
        graph[f"ids of {name}"] = node("ProbeValues", values=[name, 10])
    assert {"exact", "by image", "approximated"} <= set(server.queue(graph).executed)
    again = server.queue(graph)
    assert {"exact", "by image"} <= set(again.cached) and "approximated" in again.executed


def test_a_link_in_a_folder_is_not_followed_out_of_the_roots(server, tmp_path):
    made = server.output / "links of exchange"
    made.mkdir()
    for image_id, at in ((1, tmp_path), (2, server.output)):
        (at / f"elsewhere_{image_id}.json").write_text('{"ImageId": 1}', encoding="utf-8")
        make_link(made / f"image_{image_id}_embeddings.json", at / f"elsewhere_{image_id}.json")
    make_link(made / "image_3_embeddings.json", made / "nothing")
    for first, said in ((1, "image_1_embeddings.json leads to a place"), (2, "neither ClipL nor"), (3, "image_3_embeddings.json can't be read")):
        with pytest.raises(PromptError, match=said):
            read(server, made, first=first, count=1)


def test_a_folder_in_the_place_of_a_file_is_named(server):
    made = server.output / "folders of exchange"
    (made / "image_1.safetensors").mkdir(parents=True)
    with pytest.raises(PromptError, match="is a folder"):
        read(server, made, first=1, count=1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("path", ["pipes of exchange", "pipes of exchange/image_1_embeddings.json", "pipes of exchange/some.safetensors"])
def test_a_pipe_is_refused_rather_than_read(server, path):
    made = server.output / "pipes of exchange"
    made.mkdir(exist_ok=True)
    for name in ("image_1_embeddings.json", "some.safetensors"):
        if not (made / name).exists():
            os.mkfifo(made / name)
    with pytest.raises(PromptError, match="no regular file. Name a file that Export Embeddings wrote"):
        server.queue({"load": load(file=path), "show": node("ProbeValues", values=["load", 2])}, timeout=120)
