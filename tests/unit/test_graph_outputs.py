"""Which output of a graph a file is, and the samplers that reach it, in their order."""

from __future__ import annotations

from typing import Any

import pytest

from diffusion_toolkit.embedders.graph import Trace, trace
from host.sampled_graphs import Graph, basic, node


def two_outputs(first: str, second: str) -> Graph:
    """The default workflow, and beside it a dog of two passes, which wins where the name does not decide."""
    graph = basic(
        other=node("CLIPTextEncode", text="a dog", clip=["ckpt", 1]),
        sampler2=node("KSampler", seed=1, positive=["other", 0], model=["ckpt", 0], latent_image=["latent", 0]),
        sampler3=node("KSampler", seed=2, positive=["other", 0], model=["ckpt", 0], latent_image=["sampler2", 0]),
        decode2=node("VAEDecode", samples=["sampler3", 0]),
        save2=node("SaveImage", filename_prefix=second, images=["decode2", 0]),
    )
    graph["save"]["inputs"]["filename_prefix"] = first
    return graph


def prompt(found: Trace) -> str:
    return found.positive[0][0]


@pytest.mark.parametrize(
    ("first", "second", "saved_as"),
    [
        ("fox", "dog", "fox_00001_.png"),
        ("out/fox", "out/dog", "fox_00001_.png"),
        ("out\\fox", "out\\dog", "fox_00001_.png"),
        ("%date:yyyy%_fox", "%date:yyyy%_dog", "2025_fox_00002_.png"),
        ("%KSampler.seed%-fox", "dog", "123-fox_00002_.png"),
        ("[time(%Y)]fox", "dog", "2024fox_00002_.png"),
        ("Fox", "dog", "fox_00001_.PNG"),
        ("fox_big", "fox", "fox_big_00001_.png"),
        ("fox", "foxes", "fox_00001_.png"),
        ("a/x", "b/x", "/output/a/x_00001_.png"),
    ],
)
def test_the_files_name_picks_the_output_of_its_prefix(first: str, second: str, saved_as: str) -> None:
    assert prompt(trace(two_outputs(first, second), saved_as=saved_as)) == "a red fox"


@pytest.mark.parametrize("saved_as", [None, "IMG_0001.png", "renamed.png", "foxtrot.png", ""])
def test_a_name_that_fits_no_prefix_leaves_the_output_of_most_passes(saved_as: str | None) -> None:
    assert prompt(trace(two_outputs("fox", "dog"), saved_as=saved_as)) == "a dog"


SEVERAL = "several outputs differ in it, and neither the file's name nor its size tells which it is"


def sure(found: Trace) -> list[str]:
    return [o.confidence for o in (found.positive_origin, found.negative_origin, found.settings_origin)]


def test_outputs_that_differ_make_the_choice_between_them_inferred() -> None:
    found = trace(two_outputs("fox", "dog"))
    assert sure(found) == ["inferred"] * 3 and found.positive_origin.where.endswith(f" text; {SEVERAL}")
    assert sure(trace(two_outputs("fox", "fox"), saved_as="fox_00001_.png"))[0] == "inferred"


def test_the_name_that_decides_leaves_nothing_to_infer() -> None:
    assert sure(trace(two_outputs("fox", "dog"), saved_as="dog_00001_.png")) == ["exact"] * 3


def test_outputs_of_the_same_texts_are_inferred_only_where_they_differ() -> None:
    graph = two_outputs("fox", "dog")
    graph["sampler2"]["inputs"]["positive"] = graph["sampler3"]["inputs"]["positive"] = ["pos", 0]
    for sampler in ("sampler2", "sampler3"):
        graph[sampler]["inputs"]["negative"] = ["neg", 0]
    assert sure(trace(graph)) == ["exact", "exact", "inferred"]


def test_outputs_of_the_same_samplers_are_one() -> None:
    graph = two_outputs("fox", "dog")
    graph["save"]["inputs"]["images"] = ["decode2", 0]
    assert sure(trace(graph)) == ["exact"] * 3


@pytest.mark.parametrize(("saved_as", "by"), [(None, "images"), ("hint_00001_.png", "thing")])
def test_saved_picture_without_a_sampler_makes_the_other_inferred(saved_as: str | None, by: str) -> None:
    graph = basic(
        load=node("LoadImage", image="x.png"), save2=node("SaveIt", filename_prefix="hint", **{by: ["load", 0]})
    )
    found = trace(graph, saved_as=saved_as)
    assert (prompt(found), sure(found)) == ("a red fox", ["inferred"] * 3)


def test_many_outputs_of_different_samplers_are_inferred() -> None:
    graph = basic()
    for i in range(30):
        graph |= {
            f"sampler{i}": graph["sampler"], f"decode{i}": node("VAEDecode", samples=[f"sampler{i}", 0]),
            f"save{i}": node("SaveImage", filename_prefix="x", images=[f"decode{i}", 0]),
        }  # fmt: skip
    assert sure(trace(graph)) == ["inferred"] * 3


@pytest.mark.parametrize(
    ("latent", "size"),
    [
        (node("EmptyLatentImage", width=512, height=768), (512, 768)),
        (node("EmptyLatentImage", width=515, height=770), (512, 768)),
        (node("LatentUpscaleBy", samples=["latent", 0], scale_by=2.0), (128, 128)),
    ],
)
def test_size_of_the_file_picks_the_output_of_that_size(latent: Any, size: tuple[int, int]) -> None:
    graph = two_outputs("fox", "dog")
    graph["big"] = latent
    graph["sampler"]["inputs"]["latent_image"] = ["big", 0]
    found = trace(graph, size=size)
    assert (prompt(found), sure(found)) == ("a red fox", ["exact"] * 3)


@pytest.mark.parametrize(
    ("scaling", "size"), [({"scale_by": 1.5}, (96, 96)), ({"width": 515, "height": 770}, (515, 770))]
)
def test_size_counts_with_what_scales_the_picture(scaling: dict[str, Any], size: tuple[int, int]) -> None:
    graph = two_outputs("fox", "dog")
    graph["scaled"] = node("ImageScale", image=["decode", 0], **scaling)
    graph["save"]["inputs"]["images"] = ["scaled", 0]
    found = trace(graph, size=size)
    assert (prompt(found), sure(found)) == ("a red fox", ["exact"] * 3)


@pytest.mark.parametrize("size", [(64, 64), (31, 31)])
def test_size_of_both_outputs_or_none_decides_nothing(size: tuple[int, int]) -> None:
    found = trace(two_outputs("fox", "dog"), size=size)
    assert (prompt(found), sure(found)[0], len(found.passes)) == ("a dog", "inferred", 2)


def test_prefix_behind_a_link_counts() -> None:
    graph = two_outputs("", "dog")
    graph["prefix"] = node("PrimitiveString", value="fox")
    graph["save"]["inputs"]["filename_prefix"] = ["prefix", 0]
    assert prompt(trace(graph, saved_as="fox_00001_.png")) == "a red fox"


def test_video_that_is_not_saved_is_a_preview() -> None:
    graph = two_outputs("fox", "dog")
    graph["save2"] = node("VideoCombine", filename_prefix="dog", save_output=False, images=["decode2", 0])
    assert prompt(trace(graph)) == "a red fox"


def test_saved_picture_wins_over_saved_latent_of_more_passes() -> None:
    graph = two_outputs("fox", "dog")
    graph["save2"] = node("SaveLatent", filename_prefix="dog", samples=["sampler3", 0])
    assert prompt(trace(graph, types={"KSampler": ["LATENT"]})) == "a red fox"


def test_sound_alone_is_traced_to_its_sampler() -> None:
    graph = basic(save=node("SaveAudio", filename_prefix="x", audio=["decode", 0]))
    assert [one.node for one in trace(graph).passes] == ["sampler"]


def test_passes_stand_from_first_to_last_with_texts_and_settings_of_their_own() -> None:
    made = trace(two_outputs("fox", "dog")).passes
    assert [(one.node, one.kind, one.seed, one.positive) for one in made] == [
        ("sampler2", "KSampler", 1, [("a dog", "a dog")]),
        ("sampler3", "KSampler", 2, [("a dog", "a dog")]),
    ]


def test_a_pass_stands_behind_all_that_it_goes_on_from_however_near_they_are() -> None:
    """The first pass is nearer to the output, by the picture that is pasted, than the second is long."""
    graph = basic(
        again=node("KSampler", seed=8, model=["ckpt", 0], positive=["pos", 0], latent_image=["scaled", 0]),
        scaled=node("LatentUpscale", samples=["crop", 0]),
        crop=node("LatentCrop", samples=["sampler", 0]),
        decode2=node("VAEDecode", samples=["again", 0]),
        paste=node("ImageComposite", destination_image=["decode", 0], source_image=["decode2", 0]),
    )
    graph["save"]["inputs"]["images"] = ["paste", 0]
    assert [one.node for one in trace(graph).passes] == ["sampler", "again"]


def test_sampler_that_only_made_a_mask_or_a_hint_is_no_pass() -> None:
    graph = basic(
        hint=node("KSampler", seed=8, model=["ckpt", 0], positive=["neg", 0], latent_image=["latent", 0]),
        picture=node("VAEDecode", samples=["hint", 0]),
        net=node(
            "ControlNetApply", conditioning=["pos", 0], image=["picture", 0], control_net=["loader", 0], strength=0.5
        ),
        loader=node("ControlNetLoader", control_net_name="canny.safetensors"),
        masked=node("SetLatentNoiseMask", samples=["latent", 0], mask=["picture", 0]),
    )
    graph["sampler"]["inputs"].update(positive=["net", 0], latent_image=["masked", 0])
    assert [one.node for one in trace(graph).passes] == ["sampler"]


def test_sampler_of_a_type_that_makes_no_picture_is_no_pass() -> None:
    graph = basic(
        train=node("TrainLora", seed=1, steps=9, model=["ckpt", 0], positive=["neg", 0], latent=["latent", 0])
    )
    graph["decode"]["inputs"]["extra"] = ["train", 0]
    found: Any = trace(graph, types={"TrainLora": ["LORA_MODEL", "INT"]})
    assert [one.node for one in found.passes] == ["sampler"]


@pytest.mark.parametrize(
    ("kinds", "passes"), [(["LATENT"], ["sampler", "again"]), (["IMAGE", "LATENT"], ["sampler"]), ([], ["sampler"])]
)
def test_sampler_whose_settings_have_no_names_is_told_by_its_types(kinds: list[str], passes: list[str]) -> None:
    graph = basic(
        again=node("Again", value=30, model=["ckpt", 0], text_embeds=["words", 0], samples=["sampler", 0]),
        words=node("TextEmbeds", prompt="a dog", t5=["ckpt", 0]),
    )
    graph["decode"]["inputs"]["samples"] = ["again", 0]
    assert [one.node for one in trace(graph, types={"Again": kinds}).passes] == passes


def test_settings_of_a_schedule_that_another_sampler_goes_on_with_are_of_the_first() -> None:
    graph = two_outputs("fox", "dog")
    graph["sampler3"]["inputs"].update(add_noise="disable", noise_seed=0)
    found = trace(graph)
    assert (found.seed, [one.seed for one in found.passes]) == (1, [1, 2])


def test_context_filled_by_links_is_no_sampler() -> None:
    graph = basic(
        ctx=node(
            "Context Big",
            model=["ckpt", 0],
            positive=["pos", 0],
            negative=["neg", 0],
            seed=["n", 0],
            steps=["n", 0],
            latent=["latent", 0],
        ),
        n=node("INT", value=3),
    )
    graph["sampler"]["inputs"].update(positive=["ctx", 4], negative=["ctx", 5], latent_image=["ctx", 6])
    assert [made.node for made in trace(graph).passes] == ["sampler"]


def test_sampler_whose_settings_are_all_linked_is_one() -> None:
    graph = basic(n=node("PrimitiveFloat", value=3), name=node("Names", value="euler"))
    links = {"seed": "n", "steps": "n", "cfg": "n", "denoise": "n", "sampler_name": "name", "scheduler": "name"}
    graph["sampler"]["inputs"].update({name: [source, 0] for name, source in links.items()})
    made = trace(graph)
    assert ([one.node for one in made.passes], made.seed, made.steps) == (["sampler"], 3, 3)
    assert made.negative_origin.confidence == "exact" and made.negative


def test_a_picture_that_run_graph_made_in_the_graph_is_unknown() -> None:
    graph = {
        "fill": node("DiffusionToolkitFillTemplate", image_ids="12", keep="denoise"),
        "run": node("DiffusionToolkitRunGraph", graph=["fill", 0], run="in this graph"),
        "save": node("SaveImage", images=["run", 0], filename_prefix="like"),
    }
    found = trace(graph)
    assert found.positive == [] and found.positive_origin.confidence == "unknown" and "run" in found.positive_origin.where


def test_a_stage_whose_latent_goes_with_the_next_one_s_conditioning_is_a_pass() -> None:
    graph = basic(
        none=node("ConditioningZeroOut", conditioning=["pos", 0]),
        second=node("StageConditioning", conditioning=["none", 0], stage_c=["sampler", 0]),
        unet=node("UNETLoader", unet_name="stage_b.safetensors"),
        latent_b=node("EmptyLatentImage", width=32, height=32),
        sampler_b=node("KSampler", seed=1, steps=9, positive=["second", 0], negative=["none", 0], model=["unet", 0], latent_image=["latent_b", 0]),
    )
    graph["decode"]["inputs"]["samples"] = ["sampler_b", 0]
    found = trace(graph)
    assert [made.node for made in found.passes] == ["sampler", "sampler_b"]
    assert (found.positive, found.steps, found.checkpoint) == ([("a red fox", "a red fox")], 20, "sd_xl.safetensors")


def test_pipe_that_is_filled_and_has_a_seed_beside_is_no_pass() -> None:
    graph = basic(pipe=node("Pipe Loader", model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0], latent=["latent", 0], seed=4))
    graph["sampler"]["inputs"] = {"pipe": ["pipe", 0], "seed": 5, "steps": 9, "cfg": 2.0, "sampler_name": "euler", "scheduler": "normal"}
    found = trace(graph, types={"Pipe Loader": ["PIPE_LINE"], "KSampler": ["LATENT"]})
    assert ([made.node for made in found.passes], found.seed) == (["sampler"], 5)


def test_node_with_an_amount_of_noise_is_no_sampler() -> None:
    graph = basic(face=node("Apply Face", model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0], weight=1.0, noise=0.35))
    graph["sampler"]["inputs"] |= {"model": ["face", 0], "positive": ["face", 1], "negative": ["face", 2], "latent_image": ["face", 3]}
    assert [made.node for made in trace(graph).passes] == ["sampler"]
