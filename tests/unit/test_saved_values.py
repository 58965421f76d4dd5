"""What Save Image with Prompt writes in the place of links, as a pure function of graphs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from diffusion_toolkit.embedders.graph import trace
from diffusion_toolkit.nodes.graphs.saved_values import one_for_one, written
from host.sampled_graphs import Graph, basic, node

HIT = {1: "a fox", 2: "fog", 6: 2**64 - 1, 7: 12, 8: 6.5, 9: "dpmpp_2m", 10: "karras", 11: "sd.safetensors", 13: 640, 14: 832}


def saver(**inputs: Any) -> dict[str, Any]:
    return node("DiffusionToolkitSaveImage", **{"filename_prefix": "ComfyUI", "images": ["decode", 0], **inputs})


def of_a_hit(**nodes: dict[str, Any]) -> Graph:
    """A hit's settings in KSampler, its conditioning from the Loader."""
    graph = basic(
        pick=node("DiffusionToolkitPickHit", hits=["search", 12], pick=1),
        search=node("DiffusionToolkitSearchByPrompt", query="an animal"),
        loader=node("DiffusionToolkitLoader", image_id=["pick", 4]),
        save=saver(prompt=["loader", 2], negative_prompt=["loader", 3], hits=["pick", 12]),
    )
    graph["sampler"]["inputs"] |= {
        "positive": ["loader", 0], "negative": ["loader", 1], "seed": ["pick", 6], "steps": ["pick", 7], "cfg": ["pick", 8],
        "sampler_name": ["pick", 9], "scheduler": ["pick", 10],
    }  # fmt: skip
    graph["ckpt"]["inputs"]["ckpt_name"] = ["pick", 11]
    graph["latent"]["inputs"] |= {"width": ["pick", 13], "height": ["pick", 14]}
    return {**graph, **nodes}


def test_a_text_stands_wherever_its_link_was_and_other_links_stay() -> None:
    graph = basic(
        words=node("StringConcatenate", string_a="in ink", string_b=["search", 1], delimiter=", "),
        search=node("DiffusionToolkitSearchByPrompt", query="an animal"),
        pos=node("CLIPTextEncode", text=["words", 0], clip=["ckpt", 1]),
        save=saver(prompt=["search", 1]),
    )
    new = written(graph, "save", {"prompt": "a fox"}).graph
    assert new["words"]["inputs"]["string_b"] == new["save"]["inputs"]["prompt"] == "a fox"
    assert new["pos"]["inputs"]["text"] == ["words", 0] and new["save"]["inputs"]["images"] == ["decode", 0]
    assert trace(new).positive == [("in ink, a fox", "in ink, a fox")]


def test_a_link_that_no_other_node_takes_stays_with_its_text_beside_it() -> None:
    new = written(of_a_hit(), "save", {"prompt": "a fox", "negative_prompt": ""}).graph
    inputs = new["save"]["inputs"]
    assert (inputs["prompt"], inputs["saved_prompt"]) == (["loader", 2], "a fox")
    assert (inputs["negative_prompt"], inputs["saved_negative_prompt"]) == (["loader", 3], "")


def test_settings_of_the_hit_take_the_place_of_their_links_but_its_id_stays() -> None:
    done = written(of_a_hit(), "save", {"prompt": "a fox", "negative_prompt": "fog"}, HIT)
    found = trace(done.graph)
    assert (found.seed, found.steps, found.cfg, found.sampler, found.scheduler) == (2**64 - 1, 12, 6.5, "dpmpp_2m", "karras")
    assert (found.checkpoint, found.width, found.height) == ("sd.safetensors", 640, 832)
    assert done.graph["loader"]["inputs"]["image_id"] == ["pick", 4] and "hits" not in done.graph["save"]["inputs"]
    assert set(done.taken) == set(HIT) - {1, 2}


def test_settings_of_another_node_than_that_of_the_hits_stay_links() -> None:
    graph = of_a_hit(save=saver(hits=["search", 12]))
    done = written(graph, "save", {}, HIT)
    assert done.graph["sampler"] is graph["sampler"] and not done.taken and done.graph["save"]["inputs"]["hits"] == ["search", 12]


def test_the_graph_that_runs_is_not_touched() -> None:
    graph = of_a_hit(save=saver(prompt=["pick", 1], hits=["pick", 12]), pos=node("CLIPTextEncode", text=["pick", 1], clip=["ckpt", 1]))
    before = copy.deepcopy(graph)
    assert written(graph, "save", {"prompt": "a fox"}, HIT).graph["pos"]["inputs"]["text"] == "a fox"
    assert graph == before


def test_another_saving_node_keeps_its_links_since_it_writes_its_own_texts() -> None:
    graph = of_a_hit(other=saver(prompt=["loader", 2]))
    new = written(graph, "save", {"prompt": "a fox"}).graph
    assert new["other"] == graph["other"] and new["save"]["inputs"]["saved_prompt"] == "a fox"


def test_a_text_of_an_earlier_run_goes_and_one_that_is_no_link_stays() -> None:
    old = saver(prompt="a fox", negative_prompt=["loader", 3], saved_prompt="an elk", saved_negative_prompt="rain")
    inputs = written(of_a_hit(save=old), "save", {"prompt": "a fox", "negative_prompt": "fog"}).graph["save"]["inputs"]
    assert inputs["prompt"] == "a fox" and "saved_prompt" not in inputs and inputs["saved_negative_prompt"] == "fog"


def test_nodes_of_ones_own_and_values_that_look_like_links_do_no_harm() -> None:
    graph = of_a_hit(odd=node("Odd", a=[["pick", 6]], b=["pick", 6, 1], c=[{}, 6], d={"__value__": ["pick", 6]}), none={"class_type": "Note"})
    new = written(graph, "save", {"prompt": "a fox"}, HIT).graph
    assert new["odd"] == graph["odd"] and new["none"] == graph["none"]


LISTS = {"DiffusionToolkitLoader": (True, [True] * 5), "ToBatch": (True, [False]), "FromBatch": (False, [True]), "Words": (False, [False, True])}


@pytest.mark.parametrize(
    ("nodes", "is_so"),
    [
        ({}, True),
        ({"save": saver(images=["scaled", 0]), "scaled": node("ImageScale", image=["decode", 0])}, True),
        ({"save": saver(images=["batch", 0]), "batch": node("ToBatch", images=["decode", 0])}, False),
        ({"save": saver(images=["each", 0]), "each": node("FromBatch", images=["decode", 0])}, False),
        ({"save": saver(images=["pick", 0])}, True),
        ({"save": saver(images=["batch", 0]), "batch": node("ToBatch", images=["pick", 0])}, True),  # no setting made them
        ({"pick": node("Search", words=["words", 0]), "words": node("Words")}, True),
        ({"pick": node("Search", words=["words", 1]), "words": node("Words")}, False),  # it runs once a word
        ({"pick": node("Search", words=["joined", 0]), "joined": node("Joined", words=["words", 1]), "words": node("Words")}, False),
        ({"pick": node("Search", image=["batch", 0]), "batch": node("ToBatch", words=["words", 1]), "words": node("Words")}, True),
        ({"search": node("Loop", of=["pick", 0]), "pick": node("Search", hits=["search", 12])}, True),  # ComfyUI refuses it; this ends
    ],
)
def test_each_image_of_a_list_is_of_its_own_hit_unless_lists_are_taken_or_given_on_the_way(nodes: Graph, is_so: bool) -> None:
    graph = of_a_hit(**nodes)
    lists = lambda key: LISTS.get(graph.get(key, {}).get("class_type"), (False, []))  # noqa: E731
    assert one_for_one(graph, "save", "pick", HIT, lists) is is_so
