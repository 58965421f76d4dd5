"""Search by Prompt and Search by Image in a real ComfyUI."""

from __future__ import annotations

import json
import shutil

import pytest
from host.client import PromptError
from host.node_graphs import index, models, node, query_by_prompt, query_by_style, search, search_by_image, search_by_prompt
from PIL import Image

QUERY = "grey shark that swims in the ocean"  # the library holds other tests' pictures too, other sharks among them
OUTPUTS = [
    "image", "prompt", "negative_prompt", "score", "image_id", "path", "seed", "steps", "cfg", "sampler", "scheduler",
    "checkpoint",
]  # fmt: skip


def hits(result) -> list[dict]:
    return result.outputs["search"]["hits"]


def probed(graph: dict) -> dict:
    """`graph` with a probe on each output of its node `search`."""
    probes = {name: node("ProbeValues", values=["search", slot]) for slot, name in enumerate(OUTPUTS)}
    return {**graph, **probes}


@pytest.fixture(scope="module")
def animals(server, pictures):
    """Four pictures whose prompts differ in meaning, indexed."""
    for i, prompt in enumerate(
        ["a grey shark swimming in the ocean", "a loaf of bread on a table", "a marble statue", "a sports car at night"]
    ):
        pictures(f"animals/{i}", 1, prompt=prompt, negative="low quality")
    server.queue(index("animals"))
    return "animals"


def test_the_prompt_nearest_in_meaning_comes_first(server, animals):
    assert hits(server.queue(search_by_prompt(QUERY)))[0]["prompt"] == "a grey shark swimming in the ocean"


def test_half_an_emoji_in_a_question_is_asked_as_it_is_stored(server, animals):
    """As JavaScript cuts a text; Index Folder stores a question mark there."""
    for ask in (search_by_prompt, lambda text: search((1, query_by_prompt(text))), lambda text: search((1, query_by_style(text)))):
        cut, stored = ([(hit["image_id"], hit["score"]) for hit in hits(server.queue(ask(text)))] for text in ("a shark \ud83d", "a shark ?"))
        assert cut == stored and cut


def test_outputs_are_aligned_lists_with_the_settings_of_each_hit(server, animals):
    result = server.queue(probed(search_by_prompt(QUERY, top_k=3)))
    values = {name: result.outputs[name]["values"] for name in OUTPUTS}
    assert {len(column) for column in values.values()} == {3}
    assert values["image"][0]["shape"] == [1, 48, 64, 3]
    assert values["prompt"][0] == "a grey shark swimming in the ocean"
    assert values["negative_prompt"][0] == "low quality"
    assert values["score"] == sorted(values["score"], reverse=True)
    assert values["path"][0].endswith("0000.png")
    assert (values["seed"][0], values["steps"][0], values["cfg"][0]) == (2**64 - 1, 12, 6.5)
    assert (values["sampler"][0], values["scheduler"][0], values["checkpoint"][0]) == (
        "dpmpp_2m", "karras", "made_with.safetensors",
    )  # fmt: skip
    assert [hit["image_id"] for hit in hits(result)] == values["image_id"]


def test_the_picture_itself_scores_one_by_image(server, animals):
    picture = next((server.output / "animals" / "1").iterdir())
    shutil.copyfile(picture, server.input / "query.png")
    first = hits(server.queue(search_by_image("query.png")))[0]
    assert first["score"] == pytest.approx(1.0, abs=1e-3)
    assert first["prompt"] == "a loaf of bread on a table"


def test_settings_wire_into_ksampler_and_load_checkpoint(server, animals):
    graph = {**models(), **search_by_prompt(QUERY, top_k=1)}
    graph["latent"] = node("EmptyLatentImage", width=64, height=64, batch_size=1)
    graph["load"] = node("DiffusionToolkitLoader", image_id=["search", 4], library_name="default", vectors="both")
    graph["sample"] = node(
        "KSampler", model=["checkpoint", 0], positive=["load", 0], negative=["load", 1], latent_image=["latent", 0],
        seed=["search", 6], steps=["search", 7], cfg=["search", 8], sampler_name=["search", 9], scheduler=["search", 10],
        denoise=0.1,
    )  # fmt: skip
    graph["probe"] = node("ProbeLatent", a=["sample", 0], b=["latent", 0])
    assert server.queue(graph).outputs["probe"]["latent"][0]["difference"] > 0


def test_checkpoint_wires_into_load_checkpoint(server, animals, model_file):
    model_file("checkpoints/made_with.safetensors")
    graph = search_by_prompt(QUERY, top_k=1)
    graph["load"] = node("CheckpointLoaderSimple", ckpt_name=["search", 11])
    graph["decode"] = node("VAEDecode", samples=["latent", 0], vae=["load", 2])
    graph["latent"] = node("EmptyLatentImage", width=64, height=64, batch_size=1)
    graph["show"] = node("PreviewImage", images=["decode", 0])
    with pytest.raises(PromptError) as failure:  # it gets as far as opening the file that the hit names
        server.queue(graph)
    assert failure.value.error["node_type"] == "CheckpointLoaderSimple"
    assert not failure.value.node_errors


def test_a_hit_without_settings_gives_the_stated_defaults(server):
    folder = server.output / "plain"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (40, 40), (250, 3, 7)).save(folder / "plain.png")
    server.queue(index("plain"))
    shutil.copyfile(folder / "plain.png", server.input / "plain.png")
    result = server.queue(probed(search_by_image("plain.png", top_k=500)))
    place = next(i for i, hit in enumerate(hits(result)) if hit["path"].endswith("plain.png"))
    values = {name: result.outputs[name]["values"][place] for name in OUTPUTS}
    assert (values["prompt"], values["negative_prompt"]) == ("", "")
    assert (values["seed"], values["steps"], values["cfg"]) == (0, 20, 7.0)
    assert (values["sampler"], values["scheduler"]) == ("euler", "normal")
    assert isinstance(values["checkpoint"], str)


def test_a_file_that_is_gone_keeps_its_place_in_every_list(server, pictures):
    pictures("gone", 2, prompt="an umbrella number {i} for rainy days")
    server.queue(index("gone"))
    (server.output / "gone" / "0000.png").unlink()
    result = server.queue(probed(search_by_prompt("umbrella number 0 for rainy days", top_k=2)))
    values = {name: result.outputs[name]["values"] for name in OUTPUTS}
    assert {len(column) for column in values.values()} == {2}
    gone = next(i for i, path in enumerate(values["path"]) if path.endswith("0000.png"))
    assert values["image"][gone] == {"shape": [1, 48, 64, 3], "mean": 0.5}
    assert values["prompt"][gone] == "an umbrella number 0 for rainy days"
    assert "gone" in hits(result)[gone]["note"]
    assert "1 file is gone. Index Folder finds again what was moved" in result.outputs["search"]["text"][0]
    listing = node("DiffusionToolkitListImages", order="oldest", top_k=2, library_name="default", filter_text="folder:gone")
    [listed] = server.queue({"list": listing}).outputs["list"]["text"]
    assert listed.count("[the file is gone]") == 1 and listed.splitlines()[1].startswith("1 file is gone. Index Folder finds")


def test_a_file_that_changed_is_not_shown_as_the_old_picture(server, pictures):
    pictures("overwritten", 1, prompt="a tram in Lisbon")
    server.queue(index("overwritten"))
    Image.new("RGB", (64, 48), (255, 0, 0)).save(server.output / "overwritten" / "0000.png")
    result = server.queue(probed(search_by_prompt("a tram in Lisbon", top_k=1)))
    assert result.outputs["image"]["values"] == [{"shape": [1, 48, 64, 3], "mean": 0.5}]
    assert "changed since it was indexed" in hits(result)[0]["note"]


def test_a_copy_that_is_still_there_is_shown(server, pictures):
    pictures("twice", 1, prompt="a hot air balloon over dunes")
    file = server.output / "twice" / "0000.png"
    shutil.copyfile(file, file.with_name("z_copy.png"))
    server.queue(index("twice"))
    file.with_name("z_copy.png").unlink()
    found = hits(server.queue(search_by_prompt("a hot air balloon over dunes", top_k=1)))[0]
    assert (found["path"], found["note"]) == (str(file), "")


def test_no_hits_is_a_clear_message_and_what_follows_does_not_run(server, animals):
    graph = search_by_prompt("a shark", lowest_score=1.0)
    graph["show"] = node("PreviewImage", images=["search", 0])
    with pytest.raises(PromptError, match="No hits for 'a shark'.*lowest_score"):
        server.queue(graph)


def test_an_empty_query_is_refused(server, animals):
    with pytest.raises(PromptError, match="query is empty"):
        server.queue(search_by_prompt("  "))


def test_a_search_is_cached_until_the_library_changes(server, animals, pictures):
    graph = search_by_prompt("something blue")
    server.queue(graph)
    assert "search" not in server.queue(graph).executed
    with_an_index_run = {**index(pictures("changes", 1)), **graph}  # queued alone it would empty ComfyUI's cache
    assert "search" in server.queue(with_an_index_run).cached
    assert "search" in server.queue(graph).executed


def test_a_saved_prompt_that_is_queued_again_is_fresh(server, animals, pictures):
    graph = search_by_prompt("something green", top_k=1)
    graph["save"] = node("SaveImage", images=["search", 0], filename_prefix="saved")
    [image] = server.queue(graph).outputs["save"]["images"]
    saved = json.loads(Image.open(server.output / image["filename"]).text["prompt"])
    assert "is_changed" in saved["search"], "ComfyUI no longer leaves it there: this test has lost its point"
    assert "search" in server.queue({**index(pictures("fresh", 1)), **graph}).cached  # the library changes, and the cache does not
    assert "search" in server.queue(saved).executed


def test_search_runs_after_index_folder_in_one_graph(server, pictures):
    folder = pictures("one-graph", 1, prompt="a lighthouse above the cliffs")
    graph = {**index(folder), **search_by_prompt("lighthouse", library=["index", 0], top_k=1)}
    assert hits(server.queue(graph))[0]["prompt"] == "a lighthouse above the cliffs"


def test_a_text_embedder_that_the_library_was_not_indexed_with_is_refused(server, animals):
    from host.stand_in_models import write_text_embedder_folder
    from safetensors.numpy import load_file, save_file

    folder = server.models / "sentence_transformers" / "another"
    if not folder.exists():
        write_text_embedder_folder(folder)
        weights = load_file(folder / "3_Dense" / "model.safetensors")
        save_file({"linear.weight": weights["linear.weight"] * 2}, folder / "3_Dense" / "model.safetensors")
    graph = search_by_prompt("a shark")
    graph["embedder"]["inputs"]["model_name"] = "another"
    with pytest.raises(PromptError, match="another"):
        server.queue(graph)


def test_hits_are_shown_on_the_node_as_pictures(server, animals):
    result = server.queue(search_by_prompt("a shark", top_k=2))
    for shown in result.outputs["search"]["images"]:
        assert server.view(shown)[:4] == b"\x89PNG"
