"""Save Image with Prompt in a real ComfyUI: what is generated of a library's hits is found in it again, by its prompt."""

from __future__ import annotations

import json
from typing import Any

import pytest
from host.node_graphs import index, models, node, search_by_prompt
from host.server import ComfyServer
from PIL import Image

QUERY = "a grey seal that rests on a cliff"


@pytest.fixture(scope="module")
def seals(server, pictures) -> str:
    """Three pictures whose prompts differ, indexed."""
    for i, prompt in enumerate(["a grey seal resting on a cliff", "a seal pup in the snow", "an old walrus on a beach"]):
        pictures(f"seals/{i}", 1, prompt=prompt, negative=f"fog number {i}", seed=2**64 - 1 - i)
    server.queue(index("seals"))
    return "seals"


def generated(folder: str, found: int = 1, source: str = "pick", **save: Any) -> dict[str, Any]:
    """search -> Pick Hit -> Loader -> KSampler -> Save Image with Prompt; or of each of some hits, with `source` the search itself."""
    graph = {**models(), **search_by_prompt(QUERY, top_k=found, filter_text="folder:seals")}
    graph["pick"] = node("DiffusionToolkitPickHit", hits=["search", 12], pick=1)
    graph["load"] = node("DiffusionToolkitLoader", image_id=[source, 4], library_name="default", vectors="both")
    graph["latent"] = node("EmptyLatentImage", width=[source, 13], height=[source, 14], batch_size=1)
    graph["sample"] = node(
        "KSampler", model=["checkpoint", 0], positive=["load", 0], negative=["load", 1], latent_image=["latent", 0],
        seed=[source, 6], steps=2, cfg=[source, 8], sampler_name=[source, 9], scheduler=[source, 10], denoise=0.1,
    )  # fmt: skip
    graph["decode"] = node("VAEDecode", samples=["sample", 0], vae=["checkpoint", 2])
    inputs = dict(images=["decode", 0], filename_prefix=f"{folder}/seal", prompt=["load", 2], negative_prompt=["load", 3], hits=[source, 12])
    graph["save"] = node("DiffusionToolkitSaveImage", **{name: value for name, value in {**inputs, **save}.items() if value is not None})
    return graph


def saved(server, result) -> list[dict[str, Any]]:
    """What the files of a run hold, by key."""
    found = []
    for image in result.outputs["save"]["images"]:
        with Image.open(server.output / image["subfolder"] / image["filename"]) as picture:
            found.append({key: json.loads(text) for key, text in picture.text.items()})
    return found


def read(server, folder: str) -> list[tuple[str, str]]:
    """The prompt of each file of a folder and how sure it is, the first that was saved first."""
    files = sorted((server.output / folder).glob("*.png"))
    asked = {f"{i}": node("DiffusionToolkitReadImagePrompt", path=str(file)) for i, file in enumerate(files)}
    asked |= {f"{i} {slot}": node("ProbeValues", values=[f"{i}", slot]) for i in range(len(files)) for slot in (0, 2)}
    outputs = server.queue(asked).outputs
    return [tuple(outputs[f"{i} {slot}"]["values"][0] for slot in (0, 2)) for i in range(len(files))]


def listed(server, **changes: Any) -> list[dict[str, Any]]:
    inputs = {**dict(order="oldest", top_k=50, library_name="default"), **changes}
    return server.queue({"list": node("DiffusionToolkitListImages", **inputs)}).outputs["list"]["hits"]


def test_what_is_generated_of_a_hit_is_found_again_by_its_prompt_and_settings(server, seals):
    graph = generated("again")
    first = server.queue(graph)
    graph["sample"]["inputs"]["seed"] = 77
    second = server.queue(graph)
    assert {"search", "pick", "load"} <= set(second.cached)  # only what samples and saves has run
    [one], [other] = saved(server, first), saved(server, second)
    assert one["prompt"]["sample"]["inputs"] | {"seed": 77} == other["prompt"]["sample"]["inputs"]
    assert one["prompt"]["latent"]["inputs"] == {"width": 64, "height": 48, "batch_size": 1}
    report = server.queue(index("again")).outputs["index"]["text"][0]
    assert "unknown" not in report
    query = search_by_prompt("a grey seal resting on a cliff", filter_text="folder:again confidence:exact sampler:dpmpp_2m scheduler:karras cfg:6.5")
    hits = server.queue(query).outputs["search"]["hits"]
    assert [hit["prompt"] for hit in hits] == ["a grey seal resting on a cliff"] * 2
    assert len(listed(server, filter_text="folder:again seed:77 negative:\"fog number 0\"")) == 1
    assert len(listed(server, filter_text=f"folder:again seed:{2**64 - 1}")) == 1


def test_a_picture_is_saved_under_a_name_that_ends_with_half_an_emoji(server):
    graph = {"made": node("EmptyImage", width=64, height=64, batch_size=1, color=0)}
    graph["save"] = node("DiffusionToolkitSaveImage", images=["made", 0], filename_prefix="half/a fox \ud83d")
    assert server.queue(graph).outputs["save"]["images"][0]["filename"] == "a fox __00001_.png"


def test_the_node_says_what_it_wrote(server, seals):
    result = server.queue(generated("told"))
    [line] = result.outputs["save"]["text"]
    image_id = result.outputs["pick"]["hits"][0]["image_id"]
    assert line == f"Saved with its prompt, negative prompt, seed, cfg, sampler, scheduler, width, height, as given for image {image_id}"
    [text] = server.queue(generated("told", prompt=None, negative_prompt=None, hits=None)).outputs["save"]["text"]
    assert text.startswith("Saved with the graph as it is\nNothing is linked to prompt")


def test_each_image_of_a_list_has_its_own_prompt_and_settings(server, seals):
    result = server.queue(generated("list", found=3, source="search"))
    hits, graphs = result.outputs["search"]["hits"], [one["prompt"] for one in saved(server, result)]
    assert [graph["save"]["inputs"]["saved_prompt"] for graph in graphs] == [hit["prompt"] for hit in hits]
    assert sorted(graph["save"]["inputs"]["saved_negative_prompt"] for graph in graphs) == ["fog number 0", "fog number 1", "fog number 2"]
    told = result.outputs["save"]["text"]
    assert [text.rpartition(" ")[2] for text in told] == [str(hit["image_id"]) for hit in hits] and all("seed, cfg" in text for text in told)
    server.queue(index("list"))
    for hit, graph in zip(hits, graphs):
        seed = graph["sample"]["inputs"]["seed"]
        [found] = listed(server, filter_text=f"folder:list confidence:exact seed:{seed} sampler:dpmpp_2m")
        assert found["prompt"] == hit["prompt"]


def test_of_hits_that_meet_in_one_picture_no_settings_are_written(server, seals):
    graph = generated("batch", found=3, source="search", prompt=None, negative_prompt=None, images=["joined", 0])
    graph["joined"] = node("RebatchImages", images=["decode", 0], batch_size=3)
    result = server.queue(graph)
    assert "There are 3 hits" in result.outputs["save"]["text"][0] and "Pick Hit" in result.outputs["save"]["text"][0]
    assert saved(server, result)[0]["prompt"]["sample"]["inputs"]["seed"] == ["search", 6]


def test_a_prompt_that_clip_text_encode_takes_stands_in_it(server, seals):
    graph = generated("encoded", prompt=["pick", 1], negative_prompt=None)
    graph["words"] = node("StringConcatenate", string_a="in ink", string_b=["pick", 1], delimiter=", ")
    graph["encode"] = node("CLIPTextEncode", text=["words", 0], clip=["checkpoint", 1])
    graph["sample"]["inputs"]["positive"] = ["encode", 0]
    result = server.queue(graph)
    assert result.outputs["save"]["text"][0].startswith("Saved with its prompt, seed")
    [one] = saved(server, result)
    assert one["prompt"]["words"]["inputs"]["string_b"] == one["prompt"]["save"]["inputs"]["prompt"] == "a grey seal resting on a cliff"
    assert read(server, "encoded") == [("in ink, a grey seal resting on a cliff", "exact")]


def test_the_hits_bring_the_prompt_too_where_nothing_else_is_linked(server, seals):
    graph = generated("hits", prompt=None, negative_prompt=None)
    graph["encode"] = node("CLIPTextEncode", text=["pick", 1], clip=["checkpoint", 1])
    graph["sample"]["inputs"]["positive"] = ["encode", 0]
    assert server.queue(graph).outputs["save"]["text"][0].startswith("Saved with its prompt, seed")
    assert read(server, "hits") == [("a grey seal resting on a cliff", "exact")]


def test_the_pages_workflow_is_saved_as_it_is(server, seals):
    workflow = {"version": 0.4, "nodes": [{"id": 1, "type": "Note", "pos": [0, 0], "widgets_values": ["links stay"]}], "links": []}
    [one] = saved(server, server.queue(generated("page"), extra_data={"extra_pnginfo": {"workflow": workflow}}))
    assert one["workflow"] == workflow


def test_the_images_go_on_and_are_those_that_were_saved(server, seals):
    graph = generated("onward")
    graph["probe"] = node("ProbeValues", values=["save", 0])
    [passed] = server.queue(graph).outputs["probe"]["values"]
    assert passed["shape"] == [1, 48, 64, 3]


def test_a_file_that_was_saved_so_is_made_again_with_other_seeds(server, seals):
    """Its graph holds the seed as a value, and the Loader's link still brings the prompt."""
    server.queue(generated("variations"))
    server.queue(index("variations"))
    [image] = listed(server, filter_text="folder:variations")
    fill = node(
        "DiffusionToolkitFillTemplate", image_ids=str(image["image_id"]), template="the image's own graph", seeds="from seed on", seed=100,
        variations=1, keep="", loras="the image's", missing="stop and list them", save_as="", library_name="default",
    )  # fmt: skip
    run = node("DiffusionToolkitRunGraph", graph=["fill", 0], run="in this graph")
    shown = {"run": run, "picture": node("ProbeValues", values=["run", 0]), "graph": node("ProbeValues", values=["fill", 0])}
    outputs = server.queue({"fill": fill, **shown}).outputs
    assert outputs["picture"]["values"][0]["shape"] == [1, 48, 64, 3]
    server.queue(json.loads(outputs["graph"]["values"][0]))
    server.queue(index("variations"))
    assert len(listed(server, filter_text="folder:variations confidence:exact seed:100 prompt:cliff")) == 1


def test_a_hit_that_is_another_when_the_graph_runs_again_brings_its_own_prompt(server, seals):
    """As where the library has grown: a graph out of a file does not go on saying what it was first saved with."""
    [one] = saved(server, server.queue(generated("anew")))
    again = one["prompt"]
    again["search"]["inputs"]["filter_text"] = "folder:seals walrus"
    server.queue(again)
    assert read(server, "anew") == [("a grey seal resting on a cliff", "exact"), ("an old walrus on a beach", "exact")]


def test_a_picture_is_saved_though_no_setting_comes_from_the_node_of_the_hits(server, seals):
    graph = generated("listed", hits=["list", 12])
    graph["list"] = node("DiffusionToolkitListImages", order="oldest", top_k=1, library_name="default", filter_text="folder:seals")
    result = server.queue(graph)
    assert "No node takes a setting over a link" in result.outputs["save"]["text"][0]
    assert saved(server, result)[0]["prompt"]["save"]["inputs"]["saved_prompt"]


def test_without_metadata_nothing_is_written(server, seals, tmp_path):
    graph = {
        "picture": node("EmptyImage", width=64, height=64, batch_size=1, color=5),
        "words": node("PrimitiveString", value="a secret"),
        "save": node("DiffusionToolkitSaveImage", images=["picture", 0], filename_prefix="bare", prompt=["words", 0]),
    }
    assert saved(server, server.queue(graph))[0]["prompt"]["save"]["inputs"]["saved_prompt"] == "a secret"
    with ComfyServer(arguments=["--disable-metadata"]) as bare:
        result = bare.queue(graph)
        assert saved(bare, result) == [{}]
        assert "--disable-metadata" in result.outputs["save"]["text"][0]
