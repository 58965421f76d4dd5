"""Templates are filled where the tracer reads a setting, whatever the nodes are called, and what was filled is read back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from diffusion_toolkit.embedders.graph import trace
from diffusion_toolkit.embedders.template import fill, lacking, nearest, unknown_classes
from diffusion_toolkit.embedders.template.fill import FILLABLE, FillError
from host.sampled_graphs import Graph, basic, node

LORA = {"name": "ink.safetensors", "strength_model": 0.5, "strength_clip": 0.25}
WANTED: dict[str, Any] = {
    "checkpoint": "other.safetensors", "prompt": ("a cat", "a cat"), "negative": ("a dog", "a dog"), "seed": 2**64 - 1, "steps": 33,
    "cfg": 3.0, "sampler": "dpmpp_2m", "scheduler": "normal", "denoise": 0.75, "size": (640, 832), "loras": [],
}  # fmt: skip


def told(graph: Graph) -> dict[str, Any]:
    """What a reader finds in the graph, under the names of `fill`."""
    found = trace(graph)
    return {
        "checkpoint": found.checkpoint, "prompt": next(iter(found.positive), None), "negative": next(iter(found.negative), None),
        "seed": found.seed, "steps": found.steps, "cfg": found.cfg, "sampler": found.sampler, "scheduler": found.scheduler,
        "denoise": found.denoise, "size": (found.width, found.height), "loras": found.loras,
    }  # fmt: skip


def test_everything_that_is_wanted_comes_into_the_default_workflow() -> None:
    done = fill(basic(), WANTED, {})
    assert told(done.graph) == WANTED
    assert set(done.filled) == set(WANTED) - {"loras"}  # neither has any


def test_the_template_stays_as_it_was() -> None:
    template = basic(pos=node("CLIPTextEncode", text="%prompt%, in ink", clip=["ckpt", 1]))
    before = copy.deepcopy(template)
    fill(template, {**WANTED, "loras": [LORA]}, {})
    assert template == before


def test_what_is_to_be_kept_or_is_not_known_stays_the_templates() -> None:
    done = fill(basic(), {**WANTED, "cfg": None}, {}, keep=["steps"])
    assert (told(done.graph)["cfg"], told(done.graph)["steps"]) == (7.5, 20)
    assert "cfg" in done.left and "steps" not in done.filled


def saving(**inputs: Any) -> dict[str, Any]:
    return node("DiffusionToolkitSaveImage", **{"filename_prefix": "ComfyUI", "images": ["decode", 0], **inputs})


def test_a_saving_node_that_repeats_the_text_is_filled_with_it() -> None:
    graph = basic(save=saving(prompt="a red fox", negative_prompt=["search", 2], saved_negative_prompt="blurry"), search=node("Search"))
    done = fill(graph, WANTED, {})
    assert (told(done.graph)["prompt"], told(done.graph)["negative"]) == (WANTED["prompt"], WANTED["negative"])
    assert done.graph["save"]["inputs"] == {"filename_prefix": "ComfyUI", "images": ["decode", 0], "prompt": "a cat", "negative_prompt": "a dog"}


def test_a_saving_node_that_tells_another_text_or_is_asked_to_keep_its_own_is_left() -> None:
    graph = basic(save=saving(prompt="an elk", negative_prompt="blurry"))
    done = fill(graph, WANTED, {}, keep=["negative"])
    assert done.graph["save"] == graph["save"]


def test_a_saving_node_keeps_a_text_that_could_not_be_filled() -> None:
    both = node("CLIPTextEncode", text=["words", 0], clip=["ckpt", 1])
    graph = basic(words=node("PrimitiveString", value="a fox"), pos=both, neg=both, save=saving(prompt="a fox"))
    done = fill(graph, WANTED, {})
    assert "prompt" in done.left and done.graph["save"] == graph["save"]


def test_a_text_of_the_saving_node_alone_is_not_filled_since_it_makes_no_picture() -> None:
    graph = basic(load=node("DiffusionToolkitLoader", image_id=3), save=saving(prompt="a red fox"))
    graph["sampler"]["inputs"] |= {"positive": ["load", 0], "negative": ["load", 1]}
    done = fill(graph, WANTED, {})
    assert done.graph["save"] == graph["save"] and "prompt" in done.left and "prompt" not in done.filled


def test_a_mark_at_the_saving_node_of_recalled_conditioning_is_the_pictures_text() -> None:
    graph = basic(load=node("DiffusionToolkitLoader", image_id="%image_id%"), save=saving(prompt="%prompt%"))
    graph["sampler"]["inputs"] |= {"positive": ["load", 0], "negative": ["load", 1]}
    done = fill(graph, WANTED, {}, marks={"image_id": "12"})
    assert told(done.graph)["prompt"] == WANTED["prompt"] and "prompt" in done.filled


def test_settings_behind_links_and_guiders_are_filled_where_they_stand() -> None:
    graph = basic(
        noise=node("RandomNoise", noise_seed=5),
        words=node("PrimitiveString", value="a red fox"),
        pos=node("CLIPTextEncode", text=["words", 0], clip=["ckpt", 1]),
        guider=node("CFGGuider", model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0], cfg=7.5),
        chosen=node("KSamplerSelect", sampler_name="euler"),
        sigmas=node("BasicScheduler", model=["ckpt", 0], scheduler="karras", steps=20, denoise=1.0),
        sampler=node(
            "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["chosen", 0], sigmas=["sigmas", 0],
            latent_image=["latent", 0],
        ),
    )  # fmt: skip
    done = fill(graph, WANTED, {})
    assert told(done.graph) == WANTED
    assert done.graph["words"]["inputs"]["value"] == "a cat"
    assert done.graph["pos"]["inputs"]["text"] == ["words", 0]


def test_a_pair_of_texts_comes_into_a_dual_encoder_and_one_text_into_both_its_halves() -> None:
    dual = basic(pos=node("CLIPTextEncodeSDXL", width=64, height=64, text_g="a fox", text_l="fur", clip=["ckpt", 1]))
    done = fill(dual, {"prompt": ("a cat", "whiskers")}, {})
    assert told(done.graph)["prompt"] == ("a cat", "whiskers")
    assert told(fill(dual, {"prompt": ("a cat", "a cat")}, {}).graph)["prompt"] == ("a cat", "a cat")


def test_a_pair_of_texts_is_joined_where_the_template_has_one_text() -> None:
    assert told(fill(basic(), {"prompt": ("a cat", "whiskers")}, {}).graph)["prompt"] == ("a cat\nwhiskers",) * 2


def test_a_text_put_together_of_several_is_replaced_as_a_whole() -> None:
    graph = basic(
        both=node("StringConcatenate", string_a="a red fox in the snow", string_b="best quality", delimiter=", "),
        pos=node("CLIPTextEncode", text=["both", 0], clip=["ckpt", 1]),
    )
    done = fill(graph, {"prompt": ("a cat", "a cat")}, {})
    assert done.graph["both"]["inputs"]["string_a"] == "a cat"
    assert done.graph["both"]["inputs"]["string_b"] == ""


def test_marks_say_where_a_text_goes_and_keep_what_stands_beside_them() -> None:
    graph = basic(pos=node("CLIPTextEncode", text="ink drawing of %prompt%, not %seed%", clip=["ckpt", 1]))
    done = fill(graph, {"prompt": ("a %seed% cat", "a %seed% cat"), "seed": 9}, {}, marks={"seed": "9"})
    assert told(done.graph)["prompt"] == ("ink drawing of a %seed% cat, not 9",) * 2
    assert told(done.graph)["seed"] == 9
    assert "prompt" in done.filled and "seed" in done.filled


def test_a_mark_in_a_files_name_does_not_take_the_place_of_the_text() -> None:
    graph = basic(save=node("SaveImage", images=["decode", 0], filename_prefix="more/%prompt%_%seed%"))
    done = fill(graph, {"prompt": ("a cat", "a cat"), "seed": 9}, {}, marks={"seed": "9"})
    assert told(done.graph)["prompt"] == ("a cat", "a cat")
    assert done.graph["save"]["inputs"]["filename_prefix"] == "more/a cat_9"
    assert "prompt" in done.filled


def test_a_text_in_a_files_name_makes_no_folders_and_is_short() -> None:
    graph = basic(save=node("SaveImage", images=["decode", 0], filename_prefix="more/%prompt%"))
    for text in ("../a/b\\c: %date% " + "long " * 60, "..", "\n"):
        name = fill(graph, {"prompt": (text, text)}, {}).graph["save"]["inputs"]["filename_prefix"]
        assert name.startswith("more/") and name.count("/") == 1 and not set("\\:%\n") & set(name) and ".." not in name and len(name) < 70
        assert name != "more/"


def test_a_mark_that_no_reader_finds_in_the_pictures_text_is_said_to_be_left() -> None:
    graph = basic(
        pos=node("DiffusionToolkitLoader", image_id=1),
        note=node("Some Note", words="made of %prompt%", of=["decode", 0]),
    )
    done = fill(graph, {"prompt": ("a cat / a dog",) * 2}, {})
    assert done.graph["note"]["inputs"]["words"] == "made of a cat / a dog"
    assert "prompt" not in done.filled and "%prompt%" in done.left["prompt"]


def test_empty_texts_of_a_template_are_found() -> None:
    graph = basic(pos=node("CLIPTextEncode", text="", clip=["ckpt", 1]), neg=node("CLIPTextEncode", text="", clip=["ckpt", 1]))
    done = fill(graph, WANTED, {})
    assert told(done.graph) == WANTED


def test_a_text_that_both_sides_share_is_left_and_said_so() -> None:
    graph = basic(sampler=node("KSampler", seed=1, steps=4, cfg=1.0, model=["ckpt", 0], positive=["pos", 0], negative=["pos", 0]))
    done = fill(graph, {"prompt": ("a cat", "a cat")}, {})
    assert done.graph["pos"]["inputs"]["text"] == "a red fox"
    assert "prompt" in done.left


def test_a_later_pass_with_the_same_prompt_and_seed_is_filled_too_and_another_is_left() -> None:
    def sampler(latent: str, positive: str, seed: int) -> dict[str, Any]:
        return node(
            "KSampler", seed=seed, steps=8, cfg=5.0, sampler_name="euler", scheduler="karras", denoise=0.5, model=["ckpt", 0],
            positive=[positive, 0], negative=["neg", 0], latent_image=[latent, 0],
        )  # fmt: skip

    graph = basic(
        same=node("CLIPTextEncode", text="a red fox", clip=["ckpt", 1]),
        face=node("CLIPTextEncode", text="a face", clip=["ckpt", 1]),
        second=sampler("sampler", "same", 5),
        third=sampler("second", "face", 77),
        decode=node("VAEDecode", samples=["third", 0], vae=["ckpt", 2]),
    )
    done = fill(graph, {"prompt": ("a cat", "a cat"), "seed": 9}, {})
    inputs = {key: one["inputs"] for key, one in done.graph.items()}
    assert (inputs["pos"]["text"], inputs["same"]["text"], inputs["face"]["text"]) == ("a cat", "a cat", "a face")
    assert (inputs["sampler"]["seed"], inputs["second"]["seed"], inputs["third"]["seed"]) == (9, 9, 77)


def test_steps_that_two_samplers_divide_are_left_and_the_reason_is_given() -> None:
    def part(latent: str, start: int, end: int) -> dict[str, Any]:
        return node(
            "KSamplerAdvanced", add_noise="enable" if not start else "disable", noise_seed=5, steps=20, cfg=7.5, sampler_name="euler",
            scheduler="karras", start_at_step=start, end_at_step=end, model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0],
            latent_image=[latent, 0],
        )  # fmt: skip

    graph = basic(sampler=part("latent", 0, 15), rest=part("sampler", 15, 10000))
    graph["decode"]["inputs"]["samples"] = ["rest", 0]
    done = fill(graph, {"steps": 33, "seed": 9}, {})
    assert "divide" in done.left["steps"] and told(done.graph)["steps"] == 20
    assert done.graph["sampler"]["inputs"]["noise_seed"] == done.graph["rest"]["inputs"]["noise_seed"] == 9


def test_a_size_that_is_scaled_on_its_way_is_filled_so_that_it_comes_out_as_asked() -> None:
    graph = basic(
        larger=node("LatentUpscaleBy", upscale_method="nearest", scale_by=2.0, samples=["latent", 0]),
    )
    graph["sampler"]["inputs"]["latent_image"] = ["larger", 0]
    done = fill(graph, {"size": (640, 832)}, {})
    assert told(done.graph)["size"] == (640, 832)
    assert (done.graph["latent"]["inputs"]["width"], done.graph["latent"]["inputs"]["height"]) == (320, 416)


def test_one_number_for_both_sides_is_left_for_an_image_that_is_no_square() -> None:
    graph = basic(side=node("PrimitiveInt", value=64), latent=node("EmptyLatentImage", width=["side", 0], height=["side", 0]))
    assert told(fill(graph, {"size": (512, 512)}, {}).graph)["size"] == (512, 512)
    done = fill(graph, {"size": (640, 832)}, {})
    assert "size" in done.left and done.graph["side"]["inputs"]["value"] == 64


def test_loras_stand_behind_the_loaders_in_their_order() -> None:
    second = {"name": "wash.safetensors", "strength_model": 1.0, "strength_clip": 1.0}
    graph = basic(skip=node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["ckpt", 1]))
    graph["pos"]["inputs"]["clip"] = ["skip", 0]
    done = fill(graph, {"loras": [LORA, second]}, {})
    assert trace(done.graph).loras == [LORA, second]
    last = done.graph["sampler"]["inputs"]["model"][0]
    assert done.graph["skip"]["inputs"]["clip"] == done.graph["neg"]["inputs"]["clip"] == [last, 1]


def chained() -> Graph:
    graph = basic(
        a=node("LoraLoader", lora_name="a.safetensors", strength_model=1.0, strength_clip=1.0, model=["ckpt", 0], clip=["ckpt", 1]),
        b=node("LoraLoaderModelOnly", lora_name="b.safetensors", strength_model=1.0, model=["a", 0]),
    )
    graph["sampler"]["inputs"]["model"] = ["b", 0]
    graph["pos"]["inputs"]["clip"] = graph["neg"]["inputs"]["clip"] = ["a", 1]
    return graph


def test_the_templates_own_loras_give_way() -> None:
    done = fill(chained(), {"loras": [LORA]}, {})
    assert trace(done.graph).loras == [LORA]
    assert not {"a", "b"} & done.graph.keys()
    none = fill(chained(), {"loras": []}, {})
    assert none.graph["sampler"]["inputs"]["model"] == ["ckpt", 0]
    assert none.graph["pos"]["inputs"]["clip"] == ["ckpt", 1]


def test_the_templates_own_loras_stay_where_they_shall() -> None:
    done = fill(chained(), {"loras": [LORA]}, {}, loras="add")
    assert {one["name"] for one in trace(done.graph).loras} == {"a.safetensors", "b.safetensors", "ink.safetensors"}
    assert fill(chained(), {"loras": [LORA]}, {}, keep=["loras"]).graph == chained()


@pytest.mark.parametrize("name", ["a.safetensors", "styles/a.safetensors"])
def test_a_lora_that_the_template_has_itself_is_not_applied_twice(name: str) -> None:
    template = chained()
    for one in template.values():
        if one["inputs"].get("lora_name") == "a.safetensors":
            one["inputs"]["lora_name"] = name.replace("/", "\\")
    before = trace(template).loras
    done = fill(template, {"loras": [{**LORA, "name": name}]}, {}, loras="add")
    assert trace(done.graph).loras == before and done.left["loras"].startswith(f"the template has {name} itself")
    assert "loras" not in done.filled
    done = fill(template, {"loras": [{**LORA, "name": name}, LORA]}, {}, loras="add")
    assert len(trace(done.graph).loras) == 3 and LORA in trace(done.graph).loras and "loras" in done.filled


def test_a_lora_that_can_not_be_taken_out_is_not_added_beside_itself() -> None:
    graph = basic(ckpt=node("Efficient Loader", ckpt_name="sd_xl.safetensors", lora_name="a.safetensors", lora_model_strength=1.0))
    done = fill(graph, {"loras": [{**LORA, "name": "a.safetensors"}]}, {})
    assert [one["name"] for one in trace(done.graph).loras] == ["a.safetensors"] and "a.safetensors stays" in done.left["loras"]


def test_a_stack_of_loras_is_taken_away_from_what_applies_it() -> None:
    graph = basic(
        stack=node("Some LoRA Stacker", lora_name_1="a.safetensors", lora_wt_1=1.0, lora_count=1),
        apply=node("Apply Stack", lora_stack=["stack", 0], model=["ckpt", 0], clip=["ckpt", 1]),
    )
    graph["sampler"]["inputs"]["model"] = ["apply", 0]
    assert [one["name"] for one in trace(graph).loras] == ["a.safetensors"]
    done = fill(graph, {"loras": []}, {})
    assert trace(done.graph).loras == []
    assert "lora_stack" not in done.graph["apply"]["inputs"]


def test_a_loader_with_a_lora_of_its_own_keeps_it_and_that_is_said() -> None:
    graph = basic(ckpt=node("Efficient Loader", ckpt_name="sd_xl.safetensors", lora_name="a.safetensors", lora_model_strength=1.0))
    done = fill(graph, {"loras": [LORA]}, {})
    assert "a.safetensors" in done.left["loras"] and "ckpt" in done.graph


def test_another_seed_changes_nothing_else() -> None:
    graph = basic()
    done = fill(graph, {"seed": 99}, {}, keep=[name for name in FILLABLE if name != "seed"])
    assert done.filled == ["seed"] and told(done.graph)["seed"] == 99
    done.graph["sampler"]["inputs"]["seed"] = 5
    assert done.graph == graph


def test_no_graph_is_refused() -> None:
    with pytest.raises(FillError, match="no nodes") as refused:
        fill({}, WANTED, {})
    assert refused.type.__module__ == "diffusion_toolkit"  # which ComfyUI shows before the message


def test_nearest_names_are_found_across_folders_versions_and_spelling() -> None:
    here = ["SDXL/juggernautXL_v9Rdphoto2.safetensors", "dreamshaper_8.safetensors", "sd_xl_base_1.0.safetensors", "flux1-dev.safetensors"]
    assert nearest("Juggernaut-XL_v8.safetensors", here)[0] == here[0]
    assert nearest("DreamShaper_7.ckpt", here)[0] == here[1]
    assert nearest("sd_xl_base_1.0_0.9vae.safetensors", here)[0] == here[2]
    assert nearest("pastelMix.safetensors", here) == ()


DEFINITIONS: dict[str, Any] = {
    "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["sd_xl_base.safetensors"], {}]}}, "output": ["MODEL", "CLIP", "VAE"]},
    "KSampler": {"input": {"required": {"scheduler": ["COMBO", {"options": ["normal", "karras"]}], "seed": ["INT", {}]}}},
    "SaveImage": {"input": {"required": {"filename_prefix": ["STRING", {}]}}, "output_node": True},
    "LoadImage": {"input": {"required": {"image": [["there.png"], {}]}}},
    "CLIPTextEncode": {"input": {"required": {"text": ["STRING", {}]}}},
    "EmptyLatentImage": {"input": {}}, "VAEDecode": {"input": {}},
}  # fmt: skip


def test_names_that_are_not_here_are_told_with_the_nearest() -> None:
    [found] = lacking(basic(unused=node("LoadImage", image="gone.png")), DEFINITIONS)
    assert (found.node, found.input, found.value, found.nearest) == ("ckpt", "ckpt_name", "sd_xl.safetensors", ("sd_xl_base.safetensors",))
    assert "Nearest here: sd_xl_base.safetensors" in str(found)


def test_an_input_that_its_class_checks_itself_is_left_to_it() -> None:
    assert lacking(basic(), DEFINITIONS, lambda kind, name, value: (name, value) == ("ckpt_name", "sd_xl.safetensors")) == []


def test_a_file_that_a_person_uploads_is_known_as_one() -> None:
    upload = {"LoadImage": {"input": {"required": {"image": [["there.png"], {"image_upload": True}]}}, "output_node": True}}
    [found] = lacking({"1": node("LoadImage", image="gone.png")}, upload)
    assert found.upload and not lacking(basic(), DEFINITIONS)[0].upload


def test_classes_that_are_not_here_are_named() -> None:
    assert unknown_classes(basic(odd=node("Nobody's Node")), DEFINITIONS) == ["Nobody's Node"]


def test_a_template_with_marks_and_no_text_is_told_of_as_it_is() -> None:
    sampler = node("KSampler", **{**basic()["sampler"]["inputs"], "seed": "%seed%", "positive": ["ours", 0], "negative": ["ours", 1]})
    graph = basic(ours=node("DiffusionToolkitLoader", image_id="%image_id%"), sampler=sampler)
    del graph["pos"], graph["neg"]
    done = fill(graph, {**WANTED, "seed": 5, "negative": ("", "")}, {}, marks={"image_id": "414", "seed": "5", "library": "default"})
    assert done.graph["sampler"]["inputs"]["seed"] == 5 and done.graph["ours"]["inputs"]["image_id"] == "414"
    assert done.marks == ["image_id", "seed"] and "seed" in done.filled
    assert not {"negative", "prompt", "loras"} & set(done.filled) and "has no text" in done.left["negative"]
