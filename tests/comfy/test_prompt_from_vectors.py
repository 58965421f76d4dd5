"""Prompt from Vectors in a real ComfyUI: by estimate and truly encoded, for every kind of query, with real meaning by MiniLM."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from diffusion_toolkit.embedders.metadata import read_metadata
from host.client import PromptError
from host.comfy_models import comfyui  # noqa: F401  (a fixture)
from host.node_graphs import (
    CLIP,
    EMBEDDER,
    index,
    models,
    node,
    query_by_image,
    query_by_prompt,
    query_by_stored,
    query_by_style,
    search_by_prompt,
)
from host.stand_in_models import write_description_file

SEA = [
    "a grey shark swimming in the ocean, (deep blue water:1.3), rays of light, underwater photography",
    "a shark hunting fish, coral reef, deep blue water",
    "a dolphin jumping out of the ocean, sunset, golden light",
    "a coral reef full of fish, underwater photography, sharp focus",
]
OTHER = [
    "a loaf of bread on a wooden table, soft morning light, food photography",
    "a red sports car at night, neon lights, wet street, sharp focus",
    "an old castle on a hill, fog, <lora:castles:0.8>, oil painting",
    "a portrait of an old woman, wrinkles, oil painting, golden light",
    "a wooden table in a kitchen, soft morning light",
    "a castle in the fog at night, oil painting",
]
FOLDER = "folder:told"


@pytest.fixture(scope="session")
def told(server) -> list[int]:
    """Pictures of these prompts, indexed with every model; their ids."""
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from .conftest import saved_graph

    for number, prompt in enumerate([*SEA, *OTHER]):
        file = server.output / "told" / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        info = PngInfo()
        info.add_text("prompt", json.dumps(saved_graph(prompt, "ugly teeth, blurry" if number else "low quality, jpeg", seed=number)))
        colour = (20, 60, 180) if number < len(SEA) else (170, 120, 40)
        noise = np.random.default_rng(number).integers(0, 40, (48, 64, 3), np.uint8)
        Image.fromarray((np.array(colour, np.uint8) + noise).astype(np.uint8)).save(file, pnginfo=info)
    server.queue(index("told"))
    found = server.queue(search_by_prompt("a shark", top_k=20, filter_text=FOLDER)).outputs["search"]["hits"]
    by_prompt = {hit["prompt"]: hit["image_id"] for hit in found}
    return [by_prompt[prompt] for prompt in [*SEA, *OTHER]]


def ask(**inputs: Any) -> dict[str, Any]:
    """The node as `node`, and a reader of each of its outputs."""
    values = dict(
        by="its picture", library_name="default", texts=32, phrases=6, avoid="", own_texts=True, filter_text=FOLDER, image_ids=""
    )
    values.update(inputs)
    return {**models(), "node": node("DiffusionToolkitPromptFromVectors", **values)}


def run(server, graph: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """(the outputs by name, what the node shows); lists as lists."""
    names = ("prompt", "score", "phrases", "phrase_scores", "texts", "text_scores", "image_ids", "report")
    graph = {**graph, **{name: node("ProbeValues", values=["node", place]) for place, name in enumerate(names)}}
    result = server.queue(graph)
    return {name: result.outputs[name]["values"] for name in names}, result.outputs["node"]["text"][0]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


ABOUT_THE_SEA = words("shark ocean water reef fish underwater dolphin coral")


def by_prompt(text: str, **inputs: Any) -> dict[str, Any]:
    """Asked by a prompt; `encoded=True` connects the text embedder to the node too."""
    embedder = {"text_embedder": EMBEDDER} if inputs.pop("encoded", False) else {}
    return {**ask(query=["query", 0], **embedder, **inputs), "query": query_by_prompt(text)}


def test_without_a_model_the_prompt_says_what_was_asked_and_the_node_that_it_is_estimated(server, told):
    found, shown = run(server, by_prompt("a big fish under water"))
    about_the_sea, about_others = (
        sum(bool(words(phrase) & about) for phrase in found["phrases"]) for about in (ABOUT_THE_SEA, words("bread table car castle kitchen portrait"))
    )
    assert about_the_sea > 2 * about_others  # an estimate learned from whatever the library holds by then
    first = shown.splitlines()[0]
    assert "by estimate" in first and "nearest stored text" not in first
    assert "ESTIMATED" in shown and found["prompt"][0] in shown
    assert found["report"] == [shown]


def test_the_nearest_texts_come_with_the_scores_and_images_of_a_search(server, told):
    found, _ = run(server, by_prompt("a big fish under water", texts=4))
    hits = server.queue(search_by_prompt("a big fish under water", top_k=4, filter_text=FOLDER)).outputs["search"]["hits"]
    assert found["texts"] == [hit["prompt"] for hit in hits]
    assert found["image_ids"] == [hit["image_id"] for hit in hits]
    assert found["text_scores"] == pytest.approx([hit["score"] for hit in hits], abs=1e-3)


def test_phrases_have_no_weights_and_no_lora_tags(server, told):
    for image in (told[0], told[6]):  # whose prompts have a weight, and a LoRA's tag
        found, _ = run(server, ask(image_ids=str(image), by="its prompt", texts=1, phrases=20))
        assert found["phrases"] and not set(":<>") & set("".join(found["phrases"]))


def test_encoded_its_score_is_that_of_an_image_with_this_very_prompt(server, told, pictures):
    asked = "a shark and an old castle in an oil painting"
    found, shown = run(server, by_prompt(asked, encoded=True))
    assert "encoded now" in shown and "ESTIMATED" not in shown
    server.queue(index(pictures("told_again", 1, prompt=found["prompt"][0])))
    [hit] = server.queue(search_by_prompt(asked, top_k=1, filter_text="folder:told_again")).outputs["search"]["hits"]
    assert hit["prompt"] == found["prompt"][0]
    assert hit["score"] == pytest.approx(found["score"][0], abs=2e-3)


def test_encoded_the_prompt_of_several_texts_phrases_is_nearer_than_every_stored_text(server, told):
    found, _ = run(server, by_prompt("a shark and an old castle in an oil painting", encoded=True))
    assert found["score"][0] > max(found["text_scores"]) + 0.05
    assert {"shark", "castle"} <= words(found["prompt"][0])


def test_each_phrase_alone_scores_what_a_query_by_it_would(server, told, pictures):
    asked = "a shark and an old castle in an oil painting"
    found, _ = run(server, by_prompt(asked, encoded=True))
    assert 2 <= len(found["phrases"]) == len(found["phrase_scores"]) <= 6
    assert ", ".join(found["phrases"]) == found["prompt"][0]
    assert max(found["phrase_scores"]) <= found["score"][0] + 1e-6
    phrase = found["phrases"][0]
    server.queue(index(pictures("told_alone", 1, prompt=phrase)))
    [hit] = server.queue(search_by_prompt(asked, top_k=1, filter_text="folder:told_alone")).outputs["search"]["hits"]
    assert hit["score"] == pytest.approx(found["phrase_scores"][0], abs=2e-3)


def test_pictures_that_look_alike_give_words_of_their_prompts(server, told):
    found, shown = run(server, ask(image_ids=f"{told[0]}, {told[1]} {told[3]}"))
    assert words(found["prompt"][0]) & ABOUT_THE_SEA
    assert set(found["texts"][:4]) == set(SEA)
    assert "what 3 images have in common" in shown


def test_hits_make_one_prompt_of_all(server, told):
    graph = ask(hits=["search", 12], by="its prompt")
    graph["search"] = search_by_prompt("a shark", top_k=3, filter_text=FOLDER)["search"]
    found, shown = run(server, graph)
    assert len(found["prompt"]) == 1 and "what 3 images have in common" in shown


def test_an_images_own_prompt_is_there_unless_it_is_left_out(server, told):
    own, _ = run(server, ask(image_ids=str(told[0]), by="its prompt"))
    others, _ = run(server, ask(image_ids=str(told[0]), by="its prompt", own_texts=False))
    assert own["texts"][0] == SEA[0] and own["text_scores"][0] == pytest.approx(1, abs=2e-3)
    assert SEA[0] not in others["texts"] and "a grey shark swimming in the ocean" not in others["phrases"]


def test_a_query_by_a_stored_image_leaves_out_what_it_says(server, told):
    for leave_out in (True, False):
        graph = {**ask(query=["query", 0]), "query": query_by_stored(told[0], "its prompt", leave_out=leave_out)}
        found, _ = run(server, graph)
        assert (SEA[0] in found["texts"]) != leave_out


def test_a_query_and_images_are_one_question(server, told):
    graph = {**ask(query=["query", 0], image_ids=str(told[6]), by="its prompt", encoded=True)}
    graph["node"]["inputs"].pop("encoded")
    graph["node"]["inputs"]["text_embedder"] = EMBEDDER
    graph["query"] = query_by_prompt("a shark")
    found, shown = run(server, graph)
    assert f"'a shark' + image {told[6]}" in shown
    assert {"shark", "castle"} <= words(found["prompt"][0])
    assert found["score"][0] <= 1


def test_arithmetic_takes_something_away(server, told):
    graph = by_prompt("", encoded=True)
    graph["query"] = node(
        "DiffusionToolkitQueryArithmetic", query=["a", 0], minus=["b", 0], query_weight=1.0, plus_weight=1.0, minus_weight=0.6
    )
    graph |= {"a": query_by_prompt("an oil painting of an old castle"), "b": query_by_prompt("a castle")}
    found, _ = run(server, graph)
    assert "oil painting" in found["prompt"][0] and "castle" not in found["prompt"][0]


def test_negative_prompts_give_a_negative_prompt(server, told):
    graph = by_prompt("")
    graph["query"] = query_by_prompt("bad quality picture", "negative prompt")
    found, _ = run(server, graph)
    assert set(found["texts"]) == {"ugly teeth, blurry", "low quality, jpeg"}
    assert set(found["phrases"]) & {"low quality", "jpeg"}


def test_style_is_scored_by_both_halves_of_the_clip(server, told):
    graph = ask(query=["query", 0], clip=CLIP, phrases=3, texts=4)
    graph["query"] = query_by_style(OTHER[1])
    found, shown = run(server, graph)
    assert "CLIP-L: encoded now" in shown and "CLIP-G: encoded now" in shown
    assert found["text_scores"][0] == pytest.approx(1, abs=2e-3)
    both, _ = run(server, {**graph, "query": query_by_style(found["prompt"][0])})
    assert found["score"][0] <= both["score"][0] == pytest.approx(1, abs=2e-3)  # its own vector is where it says it is


def test_another_clip_is_refused_by_name(server, told):
    graph = {**ask(query=["query", 0], clip=["other", 1]), "query": query_by_stored(told[0], "its CLIP-G style")}
    graph["other"] = node("StandInCheckpoint", seed=5)
    with pytest.raises(PromptError, match=r"The clip that is connected .* did not make the library's CLIP-G vectors.*Connect that one, or none"):
        server.queue(graph)


def test_a_model_that_is_of_no_use_is_named(server, told):
    _, shown = run(server, by_prompt("a shark", clip=CLIP))
    assert "clip is not used: nothing is asked that it encodes" in shown


@pytest.fixture(scope="module")
def halves(server, comfyui: Path) -> dict[str, str]:  # noqa: F811
    """Description encoders: `mine` is the other half of the stand-in that Index Folder uses."""
    folder = server.models / "clip_vision"
    folder.mkdir(parents=True, exist_ok=True)
    write_description_file(folder / "told_both.safetensors", 0, layout="open_clip")
    write_description_file(folder / "told_other.safetensors", 1)
    return {"mine": "told_both.safetensors", "other": "told_other.safetensors"}


def test_a_picture_is_described_by_the_other_half_of_its_encoder(server, told, halves):
    graph = {**ask(query=["query", 0], description_encoder=["half", 0], phrases=3, texts=4), "query": query_by_stored(told[0])}
    graph["half"] = node("DiffusionToolkitLoadDescriptionEncoder", file=halves["mine"])
    found, shown = run(server, graph)
    assert "image: encoded now" in shown and found["phrases"]
    graph["half"] = node("DiffusionToolkitLoadDescriptionEncoder", file=halves["other"])
    with pytest.raises(PromptError, match="description_encoder that is connected"):
        server.queue(graph)


def test_a_picture_of_ones_own_is_told_without_a_description_encoder(server, told):
    import shutil

    shutil.copyfile(server.output / "told" / "01.png", server.input / "told.png")
    graph = {**ask(query=["query", 0]), "query": query_by_image(["picture", 0]), "picture": node("LoadImage", image="told.png")}
    found, _ = run(server, graph)
    assert words(found["prompt"][0]) & ABOUT_THE_SEA


def test_what_is_to_be_avoided_is_not_said(server, told):
    found, _ = run(server, by_prompt("a shark in the ocean", avoid="Shark, swimming in the ocean"))
    assert not words("shark swimming") & words(found["prompt"][0])
    everything = ", ".join(sorted(words(" ".join([*SEA, *OTHER]))))
    with pytest.raises(PromptError, match="Nothing is left.*avoid"):
        server.queue(by_prompt("a shark in the ocean", avoid=everything))


def test_no_more_phrases_and_texts_than_asked_for(server, told):
    found, _ = run(server, by_prompt("a shark in the ocean at night in fog, oil painting", phrases=2, texts=3))
    assert len(found["phrases"]) <= 2 and len(found["texts"]) == 3


def test_a_misspelt_folder_to_leave_out_is_told(server, told):
    _, shown = run(server, by_prompt("a shark", filter_text=f"{FOLDER} -folder:tolld"))
    said = "-folder:tolld leaves nothing out. No file lies in the folder 'tolld'. Did you mean 'told'"
    assert shown.splitlines()[-1].startswith(said)  # or one of the folders that other tests make


def test_asked_of_nothing_it_says_what_to_connect(server, told):
    with pytest.raises(PromptError, match="Nothing is asked. Connect a query"):
        server.queue(ask())


def test_a_blank_among_the_ids_chooses_nothing(server, told):
    assert run(server, by_prompt("a shark", image_ids=" \n"))[0]["prompt"] == run(server, by_prompt("a shark"))[0]["prompt"]


def test_where_no_text_passes_it_says_why_and_nothing_runs_after_it(server, told):
    graph = by_prompt("a shark", filter_text=f"{FOLDER} width:1")
    graph["after"] = node("PreviewAny", source=["node", 0])
    with pytest.raises(PromptError, match="after.*0 of .* pass the filter.*No image has width:1; the "):
        server.queue(graph)


def test_it_runs_again_only_when_the_library_has_changed(server, told, pictures):
    graph = by_prompt("a shark")
    server.queue(graph)
    assert "node" not in server.queue(graph).executed
    server.queue({**graph, **index(pictures("told_later", 1))})  # together: ComfyUI forgets what its last prompt did not hold
    assert "node" in server.queue(graph).executed


def test_the_example_workflow_renders_the_prompt_that_it_makes(server, told):
    from .test_example_workflows import run as run_example

    outputs = run_example(
        server,
        "prompt_from_vectors",
        DiffusionToolkitSearchByPrompt={"query": "a shark under water", "top_k": 3, "filter_text": FOLDER},
        DiffusionToolkitPromptFromVectors={"filter_text": FOLDER},
        EmptyLatentImage={"width": 64, "height": 64},
        KSampler={"steps": 2},
    )
    shown = outputs["DiffusionToolkitPromptFromVectors"]["text"][0]
    assert "what 3 images have in common" in shown and "encoded now" in shown
    [saved] = outputs["DiffusionToolkitSaveImage"]["images"]
    found = read_metadata(server.view(saved))
    assert found.prompt[0] in shown and found.prompt_origin.confidence == "exact"
