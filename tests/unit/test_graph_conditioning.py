"""Texts are followed from a sampler through every kind of node that carries conditioning, with types known and not."""

from __future__ import annotations

from typing import Any

import pytest

from diffusion_toolkit.embedders.graph import Trace, names, trace
from host.sampled_graphs import Graph, basic, node

CLIP = ["ckpt", 1]


def encode(text: Any) -> dict[str, Any]:
    return node("CLIPTextEncode", text=text, clip=CLIP)


def positives(found: Trace) -> list[str]:
    return [text for text, _ in found.positive]


def negatives(found: Trace) -> list[str]:
    return [text for text, _ in found.negative]


def with_positive(link: list[Any], **nodes: dict[str, Any]) -> Graph:
    graph = basic(**nodes)
    graph["sampler"]["inputs"]["positive"] = link
    return graph


def test_a_literal_text_is_exact_and_its_place_is_named() -> None:
    found = trace(basic())
    assert (found.positive_origin.confidence, found.positive_origin.where) == (
        "exact",
        "node pos (CLIPTextEncode) text",
    )


@pytest.mark.parametrize(
    "recall",
    [
        node("DiffusionToolkitLoader", image_id=1, library_name="default", vectors="CLIP-L only", clip=CLIP),
        node("DiffusionToolkitMixConditioning", image_ids="12, 15", weights="1, 0.5", how="average, length kept", clip=CLIP),
        node("DiffusionToolkitPushAway", hits=["search", 12], strength=0.5, direction="whole text"),
    ],
)
def test_what_our_own_nodes_recall_is_made_when_the_graph_runs_and_their_words_are_no_prompt(recall: dict[str, Any]) -> None:
    query = node("DiffusionToolkitSearchByPrompt", text_embedder=["ckpt", 1], query="a fox in the snow", filter_text="folder:x y")
    graph = basic(recall=recall, search=query)
    graph["sampler"]["inputs"] |= {"positive": ["recall", 0], "negative": ["recall", 1]}
    found = trace(graph)
    assert found.positive == found.negative == []
    for origin in (found.positive_origin, found.negative_origin):
        assert (origin.confidence, origin.where) == ("unknown", f"node recall ({recall['class_type']}) makes it when the graph runs")


def test_zeroed_positive_as_negative_gives_no_negative_and_says_why() -> None:
    found = trace(basic(neg=node("ConditioningZeroOut", conditioning=["pos", 0])))
    assert found.negative == []
    assert (found.negative_origin.confidence, found.negative_origin.where) == (
        "exact",
        "node neg (ConditioningZeroOut) zeroes it",
    )


def test_zeroed_positive_was_asked_for_nothing_either() -> None:
    found = trace(basic(pos=node("ConditioningZeroOut", conditioning=["neg", 0])))
    assert found.positive == []
    assert (found.positive_origin.confidence, found.positive_origin.where) == (
        "exact",
        "node pos (ConditioningZeroOut) zeroes it",
    )


def test_embeddings_that_are_empty_ask_for_nothing() -> None:
    graph = basic(none=node("EmptyTextEmbeds"))
    graph["sampler"]["inputs"] = {"seed": 1, "steps": 2, "text_embeds": ["none", 0], "samples": ["latent", 0]}
    found = trace(graph)
    assert (found.positive_origin.confidence, found.positive_origin.where) == (
        "exact",
        "node none (EmptyTextEmbeds) is empty",
    )


def test_bundle_of_a_positive_alone_has_no_negative_for_certain() -> None:
    graph = basic(words=node("TextEmbeds", prompt="a red fox", t5=["ckpt", 0]))
    graph["sampler"]["inputs"] = {"seed": 1, "steps": 2, "text_embeds": ["words", 0], "samples": ["latent", 0]}
    found = trace(graph)
    assert (positives(found), found.negative) == (["a red fox"], [])
    assert (found.negative_origin.confidence, found.negative_origin.where) == (
        "exact",
        "node words (TextEmbeds) takes none",
    )


@pytest.mark.parametrize(
    "given", [{"image_id": 7}, {"image": ["picture", 0], "clip_vision": ["ckpt", 3]}, {"file": "a.pt"}, {}]
)
def test_conditioning_made_of_no_text_is_unknown(given: dict[str, Any]) -> None:
    found = trace(with_positive(["made", 0], made=node("Made", **given), picture=node("LoadImage", image="a b.png")))
    assert found.positive == []
    assert (found.positive_origin.confidence, found.positive_origin.where) == (
        "unknown",
        "node made (Made) makes it when the graph runs",
    )


def test_conditioning_made_of_a_picture_beside_a_text_leaves_that_exact() -> None:
    graph = with_positive(
        ["both", 0],
        both=node("Combine", conditioning_1=["pos", 0], conditioning_2=["made", 0]),
        made=node("Made", image=["picture", 0]),
        picture=node("LoadImage", image="x.png"),
    )
    found = trace(graph)
    assert (positives(found), found.positive_origin.confidence) == (["a red fox"], "exact")


@pytest.mark.parametrize("given", [{"seed": 5}, {"value": 5}, {"number": 1.5}])
def test_text_of_a_node_that_holds_a_number_is_unknown(given: dict[str, Any]) -> None:
    found = trace(basic(pos=encode(["made", 0]), made=node("LLM", **given)))
    assert found.positive == []
    assert (found.positive_origin.confidence, found.positive_origin.where) == (
        "unknown",
        "node made (LLM) made it when the graph ran",
    )


def test_sampler_without_a_positive_is_unknown_and_one_without_a_negative_is_exact() -> None:
    graph = basic()
    del graph["sampler"]["inputs"]["positive"], graph["sampler"]["inputs"]["negative"]
    graph["sampler"]["inputs"]["guider"] = ["guider", 0]
    graph["guider"] = node("Guider", model=["ckpt", 0])
    found = trace(graph)
    assert [(o.confidence, o.where) for o in (found.positive_origin, found.negative_origin)] == [
        ("unknown", "node guider (Guider) takes none"),
        ("exact", "node guider (Guider) takes none"),
    ]


def test_box_texts_of_gligen_come_behind_the_prompt() -> None:
    box = node(
        "GLIGENTextBoxApply", text="a hat", conditioning_to=["pos", 0], clip=CLIP, gligen_textbox_model=["ckpt", 3]
    )
    assert positives(trace(with_positive(["box", 0], box=box))) == ["a red fox", "a hat"]


@pytest.mark.parametrize(
    ("second", "negative", "texts"),
    [
        (["more", 0], ["neg", 0], (["a red fox"], ["in snow", "blurry"])),
        (["neg", 0], ["neg", 0], (["a red fox"], ["blurry"])),
        (["pos", 0], ["neg", 0], (["a red fox"], ["blurry"])),
        (["neg", 0], ["pos", 0], (["a red fox"], ["blurry"])),  # the prompt without the picture, as for edits
        (["neg", 0], ["zero", 0], (["a red fox"], ["blurry"])),
    ],
)
def test_guider_of_three_asks_for_the_first_and_for_nothing_else(second: Any, negative: Any, texts: Any) -> None:
    graph = basic(
        more=encode("in snow"),
        zero=node("ConditioningZeroOut", conditioning=["pos", 0]),
        guider=node("DualCFGGuider", model=["ckpt", 0], cond1=["pos", 0], cond2=second, negative=negative),
        sampler=node("SamplerCustomAdvanced", guider=["guider", 0], sigmas=["ckpt", 0], latent_image=["latent", 0]),
    )
    assert (positives(trace(graph)), negatives(trace(graph))) == texts


def test_sampler_of_three_keeps_its_sides_apart_too() -> None:
    graph = basic()
    graph["sampler"]["inputs"].update(cond_2=["neg", 0], cond_1=["pos", 0], negative=["pos", 0])
    del graph["sampler"]["inputs"]["positive"]
    assert (positives(trace(graph)), negatives(trace(graph))) == (["a red fox"], ["blurry"])


def test_text_that_reaches_both_sides_stays_the_prompt() -> None:
    graph = with_positive(["both", 0], both=node("Combine", conditioning_1=["pos", 0], conditioning_2=["neg", 0]))
    assert (positives(trace(graph)), negatives(trace(graph))) == (["a red fox", "blurry"], ["blurry"])


def test_empty_conditioning_of_a_guider_is_no_positive() -> None:
    graph = basic(
        none=encode("nothing"),
        guider=node(
            "PerpNeg", model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0], empty_conditioning=["none", 0]
        ),
        sampler=node("SamplerCustomAdvanced", guider=["guider", 0], sigmas=["ckpt", 0], latent_image=["latent", 0]),
    )
    assert positives(trace(graph)) == ["a red fox"]


def test_types_tell_the_outputs_of_both_sides() -> None:
    both = node("LTXReference", model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0])
    graph = basic(both=both)
    graph["sampler"]["inputs"].update(positive=["both", 2], negative=["both", 1])  # crossed, on purpose
    found = trace(graph, types={"LTXReference": ["MODEL", "CONDITIONING", "CONDITIONING"]})
    assert (positives(found), negatives(found)) == (["blurry"], ["a red fox"])


def test_types_lead_through_inputs_whose_names_tell_nothing() -> None:
    graph = with_positive(
        ["mystery", 0], mystery=node("Mystery", alpha=["pos", 0], beta=["odd", 0]), odd=node("Odd", text="a mood")
    )
    types = {"CLIPTextEncode": ["CONDITIONING"], "Odd": ["ODDITY"], "Mystery": ["CONDITIONING"]}
    found = trace(graph, types=types)
    assert (positives(found), found.positive_origin.confidence) == (["a red fox"], "exact")


def test_types_of_rubbish_are_as_none() -> None:
    assert positives(trace(basic(), types={"CLIPTextEncode": [None, 7], "KSampler": "LATENT", "VAEDecode": []})) == [
        "a red fox"
    ]  # type: ignore[list-item]


def test_text_linked_to_an_input_named_for_conditioning_is_the_text() -> None:
    graph = with_positive(["words", 0], words=node("PrimitiveString", value="a dog"))
    assert positives(trace(graph)) == ["a dog"]


def test_loader_with_both_texts_behind_a_bundle_gives_each_its_side() -> None:
    graph = {
        "loader": node("FullLoader", ckpt_name="a.safetensors", positive="a red fox", negative="blurry", clip_skip=-2),
        "pre": node("PreSampling", pipe=["loader", 0], seed=4, steps=9, cfg=5.0),
        "run": node("RunPipe", pipe=["pre", 0], image_output="Save", save_prefix="x"),
        "save": node("SaveImage", filename_prefix="x", images=["run", 1]),
    }
    found = trace(graph)
    assert (positives(found), negatives(found), found.seed, found.checkpoint) == (
        ["a red fox"],
        ["blurry"],
        4,
        "a.safetensors",
    )


def test_input_of_a_context_wins_over_what_its_bundle_brings() -> None:
    graph = basic(
        base=node("Context", positive=["pos", 0], negative=["neg", 0], model=["ckpt", 0]),
        other=encode("a dog"),
        edited=node("Context", base_ctx=["base", 0], positive=["other", 0]),
        sampler=node("CtxSampler", seed=1, steps=2, ctx=["edited", 0], latent_image=["latent", 0]),
    )
    assert (positives(trace(graph)), negatives(trace(graph))) == (["a dog"], ["blurry"])


def test_video_embeds_carry_both_prompts_of_their_encoder() -> None:
    graph = {
        "text": node("VideoTextEncode", positive_prompt="a panda", negative_prompt="bad video", t5=["t5", 0]),
        "t5": node("LoadT5", model_name="umt5.safetensors"),
        "sampler": node(
            "VideoSampler", steps=5, cfg=6.0, seed=1, model=["m", 0], text_embeds=["text", 0], image_embeds=["size", 0]
        ),
        "size": node("EmptyEmbeds", width=832, height=480),
        "m": node("VideoModelLoader", model="wan.safetensors"),
        "decode": node("VideoDecode", samples=["sampler", 0]),
        "save": node("VideoCombine", filename_prefix="v", images=["decode", 0]),
    }
    found = trace(graph)
    assert (positives(found), negatives(found)) == (["a panda"], ["bad video"])
    assert (found.checkpoint, found.width, found.height) == ("wan.safetensors", 832, 480)


def test_texts_of_an_encoder_of_three_are_the_pair_and_the_third() -> None:
    pos = node(
        "CLIPTextEncodeSD3", clip_l="fur", clip_g="a fox", t5xxl="a red fox stands", empty_padding="none", clip=CLIP
    )
    assert trace(basic(pos=pos)).positive == [("a fox", "fur"), ("a red fox stands", "a red fox stands")]


def test_text_behind_a_link_of_an_encoder_whose_inputs_are_called_like_text_encoders() -> None:
    texts = node("StringFunction", text_a="a red fox", text_b="")
    graph = basic(pos=node("CLIPTextEncodeFlux", clip_l=["s", 0], t5xxl=["s", 0], guidance=3.5, clip=CLIP), s=texts)
    assert trace(graph).positive == [("a red fox", "a red fox")]


def test_empty_text_beside_a_full_one_of_the_same_encoder_is_none() -> None:
    assert positives(
        trace(basic(pos=node("CLIPTextEncodeFlux", clip_l="", t5xxl="a fox", guidance=3.5, clip=CLIP)))
    ) == ["a fox"]


def test_system_prompt_is_not_the_text() -> None:
    pos = node("CLIPTextEncodeLumina2", system_prompt="superior", user_prompt="a fox", clip=CLIP)
    assert positives(trace(basic(pos=pos))) == ["a fox"]


def test_sentence_at_an_input_of_any_name_is_an_encoders_text() -> None:
    assert positives(trace(basic(pos=node("Odd", thing="a red fox", weighting="A1111", clip=CLIP)))) == ["a red fox"]


def test_string_that_steers_a_video_conditioning_is_no_text() -> None:
    tracks = node("TrackToVideo", tracks=["json", 0], positive=["pos", 0], negative=["neg", 0])
    graph = with_positive(["t", 0], t=tracks, json=node("PrimitiveString", value='[{"x": 1}]'))
    assert positives(
        trace(graph, types={"PrimitiveString": ["STRING"], "TrackToVideo": ["CONDITIONING", "CONDITIONING", "LATENT"]})
    ) == ["a red fox"]


def test_switch_of_conditionings_takes_the_one_of_its_number() -> None:
    graph = with_positive(
        ["switch", 0],
        other=encode("a dog"),
        switch=node("Switch", Input=2, conditioning1=["pos", 0], conditioning2=["other", 0]),
    )
    assert positives(trace(graph)) == ["a dog"]


def test_switch_whose_chooser_is_linked_is_followed() -> None:
    graph = with_positive(
        ["switch", 0], other=encode("a dog"), no=node("PrimitiveBoolean", value=False),
        switch=node("Switch", switch=["no", 0], on_true=["pos", 0], on_false=["other", 0]),
    )  # fmt: skip
    assert positives(trace(graph)) == ["a dog"]


def test_switch_to_the_first_that_is_there_is_inferred() -> None:
    graph = with_positive(
        ["any", 0], other=encode("a dog"), any=node("Any Switch", any_02=["pos", 0], any_01=["other", 0])
    )
    found = trace(graph)
    assert (positives(found), found.positive_origin.confidence) == (["a dog"], "inferred")


def test_blank_text_of_a_bundle_that_takes_conditioning_is_none() -> None:
    graph = basic(
        pipe=node("ToPipe", wildcard="", model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0]),
        sampler=node("PipeSampler", seed=3, steps=4, pipe=["pipe", 0], latent_image=["latent", 0]),
    )
    assert positives(trace(graph)) == ["a red fox"]


@pytest.mark.parametrize(
    ("word", "carried"),
    [
        ("context_options", "other"), ("base_ctx", "bundle"), ("hyvid_embeds", "bundle"), ("image_embeds", "other"), ("clip_vision_output", "vision"),
        ("WANVIDEOMODEL", "model"), ("upscale_model", "upscaler"), ("latent_image", "latent"), ("condition", None), ("conditioning_1", "conditioning"),
    ],
)  # fmt: skip
def test_word_tells_what_is_carried(word: str, carried: str | None) -> None:
    assert names.category(word) == carried


@pytest.mark.parametrize("saved", ["", "  "])
def test_wildcard_text_that_a_detailer_was_not_given_is_none(saved: str) -> None:
    graph = basic(
        detail=node(
            "FaceDetailer",
            seed=2,
            steps=3,
            wildcard=saved,
            image=["decode", 0],
            model=["ckpt", 0],
            positive=["pos", 0],
            negative=["neg", 0],
        )
    )
    graph["save"]["inputs"]["images"] = ["detail", 0]
    assert positives(trace(graph)) == ["a red fox"]


def test_remote_sampler_asked_by_linked_text_is_inferred() -> None:
    graph = {
        "words": node("PrimitiveStringMultiline", value="a red fox"),
        "api": node("RemoteImage", seed=4, **{"model": "big", "model.prompt": ["words", 0]}),
        "save": node("SaveImage", filename_prefix="x", images=["api", 0]),
    }
    found = trace(graph)
    assert (positives(found), found.positive_origin.confidence) == (["a red fox"], "inferred")


@pytest.mark.parametrize(
    ("given", "prompt"),
    [
        ({"idea": "a red fox that sleeps in the snow", "model": "big one"}, ["a red fox that sleeps in the snow"]),
        ({"idea": "a red fox that sleeps in the snow", "other": "another text of many words"}, []),
        ({"style_preset": "a red fox that sleeps in the snow"}, []),
        ({"idea": "{'a': 'red fox that sleeps in the snow'}"}, []),
        ({"image": "photo_of_a_red_fox_asleep_in_the_snow.png"}, []),
        ({"idea": "a b c"}, []),
        ({"fragment": "#version 300 es\nvoid main() { x = 1; }\n// the end of it"}, []),
        ({"upscaler_model": "The Great Upscaler (Fast)"}, []),
    ],
)
def test_only_long_text_of_a_remote_model_is_inferred(given: dict[str, str], prompt: list[str]) -> None:
    graph = {"api": node("RemoteImage", **given), "save": node("SaveImage", filename_prefix="x", images=["api", 0])}
    for types in ({}, {"RemoteImage": ["IMAGE"]}):
        found = trace(graph, types=types)
        assert (positives(found), found.positive_origin.confidence == "inferred") == (prompt, bool(prompt))
    assert positives(trace(graph, types={"RemoteImage": ["AUDIO"]})) == []


def test_text_at_a_node_that_can_encode_none_is_none() -> None:
    graph = with_positive(
        ["start", 0], start=node("ImageToVideo", positive=["pos", 0], vae=["ckpt", 2], text="v2 (replace)")
    )
    types = {"ImageToVideo": ["CONDITIONING", "LATENT"], "CheckpointLoaderSimple": ["MODEL", "CLIP", "VAE"]}
    assert positives(trace(graph, types=types)) == ["a red fox"]
    graph["start"]["inputs"]["clip"] = CLIP
    assert positives(trace(graph, types=types)) == ["a red fox", "v2 (replace)"]
