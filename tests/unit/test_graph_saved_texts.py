"""The texts that Save Image with Prompt keeps beside its picture, where the graph alone does not tell them."""

from __future__ import annotations

from typing import Any

import pytest

from diffusion_toolkit.embedders.graph import Trace, trace
from host.sampled_graphs import Graph, basic, node


def saver(**inputs: Any) -> dict[str, Any]:
    return node("DiffusionToolkitSaveImage", **{"filename_prefix": "ComfyUI", "images": ["decode", 0], **inputs})


def remembered(save: dict[str, Any], **nodes: dict[str, Any]) -> Graph:
    """A hit's conditioning through the Loader, saved by Save Image with Prompt."""
    graph = basic(
        search=node("DiffusionToolkitSearchByPrompt", query="an animal", text_embedder=["embedder", 0]),
        embedder=node("DiffusionToolkitLoadTextEmbedder", model_name="bge"),
        loader=node("DiffusionToolkitLoader", image_id=["search", 4]),
        save=save,
    )
    graph["sampler"]["inputs"] |= {"positive": ["loader", 0], "negative": ["loader", 1], "seed": 5}
    del graph["pos"], graph["neg"]
    return {**graph, **nodes}


OF_LOADER = {"prompt": ["loader", 2], "saved_prompt": "a fox", "negative_prompt": ["loader", 3], "saved_negative_prompt": "fog"}


def sides(found: Trace) -> list[tuple[Any, str]]:
    return [
        (texts[0][0] if texts else None, origin.confidence)
        for texts, origin in ((found.positive, found.positive_origin), (found.negative, found.negative_origin))
    ]


def test_the_saving_nodes_texts_are_those_of_recalled_conditioning() -> None:
    found = trace(remembered(saver(**OF_LOADER)))
    assert sides(found) == [("a fox", "exact"), ("fog", "exact")]
    assert (found.positive_origin.where, found.seed) == ("node save (DiffusionToolkitSaveImage) saved_prompt", 5)


@pytest.mark.parametrize("kind", ["DiffusionToolkitMixConditioning", "DiffusionToolkitPushAway", "DiffusionToolkitInterpolateConditioning"])
def test_what_is_said_of_a_mix_is_no_more_than_what_a_person_says(kind: str) -> None:
    """Its third output is a label, a number or an id."""
    graph = remembered(saver(**OF_LOADER))
    graph["loader"] = node(kind, hits=["search", 12])
    assert sides(trace(graph)) == [("a fox", "inferred"), ("fog", "inferred")]


@pytest.mark.parametrize("link", [["search", 1], ["loader", 3], ["other", 2], None])
def test_a_text_that_came_from_elsewhere_than_the_conditioning_is_what_a_person_says(link: Any) -> None:
    texts = {"prompt": link, "saved_prompt": "a fox"} if link else {"prompt": "a fox"}
    assert sides(trace(remembered(saver(**texts), other=node("DiffusionToolkitLoader", image_id=7))))[0] == ("a fox", "inferred")


@pytest.mark.parametrize(
    ("inputs", "confidence"),
    [({}, "exact"), ({"several": "average"}, "inferred"), ({"t5_text": "a hare"}, "inferred"), ({"t5_text": ["words", 0]}, "inferred")],
)
def test_an_average_and_a_text_of_ones_own_for_t5_are_not_the_text_that_other_models_are_given(inputs: dict[str, Any], confidence: str) -> None:
    graph = remembered(saver(**OF_LOADER))
    graph["loader"] = node("DiffusionToolkitConditionOtherModels", **{"hits": ["search", 12], "several": "each by itself", "t5_text": "", **inputs})
    assert sides(trace(graph))[0] == ("a fox", confidence)


def test_of_two_recalled_prompts_together_one_is_not_all() -> None:
    graph = remembered(saver(**OF_LOADER), other=node("DiffusionToolkitLoader", image_id=7))
    graph["both"] = node("ConditioningCombine", conditioning_1=["loader", 0], conditioning_2=["other", 0])
    graph["sampler"]["inputs"]["positive"] = ["both", 0]
    assert sides(trace(graph)) == [("a fox", "inferred"), ("fog", "exact")]


def test_recalled_conditioning_and_a_text_of_ones_own_are_both_told() -> None:
    def read(**inputs: Any) -> Trace:
        graph = remembered(saver(**inputs), pos=node("CLIPTextEncode", text="falling snow", clip=["ckpt", 1]))
        graph["both"] = node("ConditioningCombine", conditioning_1=["pos", 0], conditioning_2=["loader", 0])
        graph["sampler"]["inputs"]["positive"] = ["both", 0]
        return trace(graph)

    assert sides(read())[0] == ("falling snow", "unknown")
    found = read(**OF_LOADER)
    assert (found.positive, found.positive_origin.confidence) == ([("falling snow",) * 2, ("a fox",) * 2], "inferred")


@pytest.mark.parametrize(
    "other", [node("CLIPTextEncode", text=["llm", 0], clip=["ckpt", 1]), node("LoadConditioning", file="a.pt"), node("CLIPTextEncode", text="fog", clip=["ckpt", 1])]
)
def test_a_recalled_prompt_is_not_all_where_something_else_conditions_too(other: dict[str, Any]) -> None:
    graph = remembered(saver(**OF_LOADER), other=other, llm=node("SomeLanguageModel", model=["ckpt", 0]))
    graph["both"] = node("ConditioningCombine", conditioning_1=["loader", 0], conditioning_2=["other", 0])
    graph["sampler"]["inputs"]["positive"] = ["both", 0]
    assert trace(graph).positive_origin.confidence == "inferred"
    del graph["both"]
    graph["sampler"]["inputs"]["positive"] = ["loader", 0]
    graph["again"] = node("KSampler", **{**graph["sampler"]["inputs"], "positive": ["other", 0], "latent_image": ["sampler", 0]})
    graph["decode"]["inputs"]["samples"] = ["again", 0]
    assert trace(graph).positive_origin.confidence == "inferred"


def test_the_negatives_conditioning_as_the_positive_is_not_told_as_the_prompt() -> None:
    graph = remembered(saver(**OF_LOADER))
    graph["sampler"]["inputs"]["positive"] = ["loader", 1]
    assert sides(trace(graph)) == [("a fox", "inferred"), ("fog", "exact")]


def test_a_part_of_what_is_known_tells_nothing_new() -> None:
    graph = basic(
        more=node("DiffusionToolkitPromptFromVectors", hits=["hits", 0]),
        hits=node("DiffusionToolkitSearchByPrompt", query="an animal"),
        words=node("StringConcatenate", string_a="a fox", string_b=["more", 0], delimiter=", "),
        pos=node("CLIPTextEncode", text=["words", 0], clip=["ckpt", 1]),
        save=saver(prompt="a fox"),
    )
    found = trace(graph)
    assert found.positive_origin.confidence == "unknown" and "a fox" in found.positive[0][0]


def test_a_text_that_stands_beside_its_link_is_read_and_a_link_alone_tells_nothing() -> None:
    found = trace(remembered(saver(prompt=["loader", 2], saved_prompt="a fox", negative_prompt=["loader", 3])))
    assert sides(found) == [("a fox", "exact"), (None, "unknown")]


def test_an_empty_negative_prompt_is_one_and_an_empty_prompt_is_not_known() -> None:
    empty = {**OF_LOADER, "saved_prompt": "", "saved_negative_prompt": ""}
    assert sides(trace(remembered(saver(**empty)))) == [(None, "unknown"), ("", "exact")]


def test_a_text_that_is_followed_to_the_sampler_wins_for_each_side_by_itself() -> None:
    graph = remembered(saver(**OF_LOADER), neg=node("CLIPTextEncode", text="blurry", clip=["ckpt", 1]))
    graph["sampler"]["inputs"]["negative"] = ["neg", 0]
    assert sides(trace(graph)) == [("a fox", "exact"), ("blurry", "exact")]


def test_where_the_graph_holds_a_part_of_the_text_the_saving_node_has_it_whole() -> None:
    graph = basic(
        search=node("DiffusionToolkitSearchByPrompt", query="an animal"),
        words=node("StringConcatenate", string_a="in ink", string_b=["search", 1], delimiter=", "),
        pos=node("CLIPTextEncode", text=["words", 0], clip=["ckpt", 1]),
        save=saver(prompt="in ink, a fox"),
    )
    assert sides(trace(graph))[0] == ("in ink, a fox", "inferred")


def test_nothing_that_is_asked_for_stays_nothing() -> None:
    graph = basic(neg=node("ConditioningZeroOut", conditioning=["pos", 0]), save=saver(negative_prompt="fog"))
    assert sides(trace(graph)) == [("a red fox", "exact"), (None, "exact")]


@pytest.mark.parametrize(("saved_as", "prompt"), [("big_00001_.png", "an elk"), ("ComfyUI_00001_.png", "a fox")])
def test_it_is_the_node_that_saved_this_file(saved_as: str, prompt: str) -> None:
    other = saver(prompt="an elk", filename_prefix="big", images=["larger", 0])
    graph = remembered(saver(prompt="a fox"), other=other, larger=node("ImageScaleBy", image=["decode", 0], scale_by=2.0))
    assert sides(trace(graph, saved_as=saved_as))[0] == (prompt, "inferred")


def test_of_two_outputs_of_one_sampler_the_one_that_holds_texts_saved_the_file() -> None:
    graph = remembered(saver(prompt=["loader", 2], saved_prompt="a fox"), other=node("SaveImage", images=["decode", 0], filename_prefix="ComfyUI"))
    assert sides(trace(graph))[0] == ("a fox", "exact")


def test_it_is_not_sure_where_the_file_may_be_another_samplers() -> None:
    graph = remembered(saver(prompt="a fox"), other=saver(prompt="a fox", images=["decode2", 0]), decode2=node("VAEDecode", samples=["sampler2", 0]))
    graph["sampler2"] = node("KSampler", **{**graph["sampler"]["inputs"], "seed": 6})
    assert sides(trace(graph))[0] == ("a fox", "inferred")


def test_a_saving_node_with_a_link_alone_saved_another_file_of_the_run() -> None:
    """As the second pass did, where both nodes name files alike."""
    texts = {"prompt": ["loader", 2]}
    graph = remembered(saver(**texts, saved_prompt="a fox"), other=saver(**texts, images=["decode2", 0]))
    graph |= {"decode2": node("VAEDecode", samples=["sampler2", 0]), "sampler2": node("KSampler", **{**graph["sampler"]["inputs"], "latent_image": ["sampler", 0]})}
    found = trace(graph)
    assert sides(found)[0] == ("a fox", "exact") and [made.node for made in found.passes] == ["sampler"]


def test_samplers_of_pictures_that_were_only_searched_with_did_not_make_this_one() -> None:
    graph = remembered(saver(hits=["like", 12], prompt=["like", 1], saved_prompt="a fox"), like=node("DiffusionToolkitSearchByImage", image=["decode2", 0]))
    graph |= {"decode2": node("VAEDecode", samples=["sampler2", 0]), "sampler2": node("KSampler", **{**graph["sampler"]["inputs"], "seed": 6})}
    assert [made.node for made in trace(graph).passes] == ["sampler"]


def test_a_picture_that_no_sampler_made_has_the_prompt_that_it_was_saved_with() -> None:
    graph = {
        "search": node("DiffusionToolkitSearchByPrompt", query="an animal"),
        "save": saver(images=["search", 0], prompt=["search", 1], saved_prompt="a fox", hits=["search", 12]),
    }
    assert sides(trace(graph)) == [("a fox", "inferred"), (None, "unknown")]


def test_a_negative_prompt_is_not_taken_for_the_prompt() -> None:
    graph = {
        "picture": node("LoadImage", image="fox.png"),
        "words": node("Text Multiline", text="fog"),
        "save": saver(images=["picture", 0], negative_prompt=["words", 0], saved_negative_prompt="fog"),
    }
    assert sides(trace(graph)) == [(None, "unknown"), ("fog", "inferred")]


def test_a_picture_that_goes_on_behind_the_saver_is_followed_to_what_was_asked() -> None:
    graph = {
        "remote": node("SomeRemoteModel", prompt="a red fox in the snow"),
        "save": saver(images=["remote", 0], prompt=["loader", 2]),
        "loader": node("DiffusionToolkitLoader", image_id=3),
        "show": node("PreviewImage", images=["save", 0]),
    }
    assert sides(trace(graph))[0] == ("a red fox in the snow", "inferred")


def test_settings_that_came_over_links_from_a_library_are_not_told_as_exact() -> None:
    graph = remembered(saver(**OF_LOADER))
    known = trace(graph)
    graph["sampler"]["inputs"] |= {"seed": ["search", 6], "scheduler": ["search", 10]}
    found = trace(graph)
    assert (known.settings_origin.confidence, found.settings_origin.confidence) == ("exact", "unknown")
    assert (found.seed, found.scheduler, found.steps) == (None, None, known.steps)
    assert "node search (DiffusionToolkitSearchByPrompt) made the seed when the graph ran" in found.settings_origin.where
