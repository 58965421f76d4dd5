"""Fill Template in a real ComfyUI: the settings of stored images come into templates, and what is missing here is listed."""

from __future__ import annotations

import io
import json
import os
from typing import Any

import pytest
from host.client import PromptError
from host.node_graphs import index, node
from host.picture_graphs import by_another_generator, fill, ids_of, picture_graph, recall, run, saved_in, values, written
from PIL import Image

JUGGERNAUT = os.path.join("sdxl", "JuggernautXL_v9.safetensors")  # as ComfyUI lists it


def template(server, name: str, content: dict[str, Any]) -> str:
    folder = server.user / "diffusion_toolkit" / "templates"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return name


def options(server, name: str) -> list[str]:
    found = server.get("/object_info/DiffusionToolkitFillTemplate")["DiffusionToolkitFillTemplate"]["input"]["required"][name]
    return found[0] if isinstance(found[0], list) else found[1]["options"]


def test_a_template_of_the_users_folder_is_offered_and_filled_from_an_image(server, pictures):
    folder = pictures("fill-from", 1)
    server.queue(index(folder))
    [image_id] = ids_of(server, folder)
    name = template(server, "ours.json", picture_graph("filled", prompt="%prompt%, in ink", seed=1, scheduler="normal"))
    assert name in options(server, "template")
    [text] = values(server, fill(f"{image_id}", template=name, seeds="the image's own"), "fill", 0)
    graph = json.loads(text)
    assert graph["2"]["inputs"]["text"] == "a picture of thing 0 in fill-from, in ink"
    sampler = graph["5"]["inputs"]
    assert (sampler["seed"], sampler["steps"], sampler["cfg"], sampler["sampler_name"], sampler["scheduler"]) == (2**64 - 1, 12, 6.5, "dpmpp_2m", "karras")
    assert (graph["4"]["inputs"]["width"], graph["4"]["inputs"]["height"]) == (64, 48)


def test_another_generators_image_is_filled_into_the_built_in_template(server, model_file):
    image_id = by_another_generator(server, "fill-another")
    model_file("checkpoints/barn.safetensors")
    [text] = values(server, fill(f"{image_id}", template="text to image", seeds="the image's own"), "fill", 0)
    graph = json.loads(text)
    assert graph["4"]["inputs"]["ckpt_name"] == "barn.safetensors"
    assert (graph["6"]["inputs"]["text"], graph["7"]["inputs"]["text"]) == ("a barn", "fog")
    sampler = graph["3"]["inputs"]
    assert (sampler["seed"], sampler["steps"], sampler["sampler_name"]) == (4, 9, "euler_ancestral")
    assert graph["9"]["inputs"]["filename_prefix"] == f"like_{image_id}"


@pytest.fixture
def lacking(server, model_file) -> int:
    """An image with a checkpoint and LoRAs that this ComfyUI has only under other names, or not at all."""
    model_file("checkpoints/sdxl/JuggernautXL_v9.safetensors")
    model_file("loras/inkSketch_v2.safetensors")
    graph = picture_graph("fill-lacks", prompt="a mill")
    graph["1"] = node("CheckpointLoaderSimple", ckpt_name="juggernautXL_v8.safetensors")
    graph["8"] = node("LoraLoader", lora_name="ink_sketch.safetensors", strength_model=0.5, strength_clip=0.25, model=["1", 0], clip=["1", 1])
    graph["9"] = node("LoraLoader", lora_name="zzqq.safetensors", strength_model=1.0, strength_clip=1.0, model=["8", 0], clip=["8", 1])
    graph["5"]["inputs"]["model"], graph["2"]["inputs"]["clip"] = ["9", 0], ["9", 1]
    return saved_in(server, "fill-lacks", {"prompt": graph})


def test_missing_checkpoints_and_loras_are_listed_with_their_nearest_names(server, lacking):
    with pytest.raises(PromptError) as raised:
        server.queue(fill(f"{lacking}", template="text to image"))
    said = str(raised.value)
    assert "juggernautXL_v8.safetensors is not here" in said and f"Nearest here: {JUGGERNAUT}" in said
    assert "LoRA ink_sketch.safetensors is not here. Nearest here: inkSketch_v2.safetensors" in said
    assert "LoRA zzqq.safetensors is not here. There is none like it here." in said
    assert "put loras, checkpoint into keep" in said
    with pytest.raises(PromptError, match="juggernautXL_v8") as raised:
        server.queue(fill(f"{lacking}"))
    assert "into keep" not in str(raised.value)  # of its own graph an image's all is kept


def test_images_that_lack_a_model_are_left_out_where_that_is_chosen(server, lacking, heron):
    with pytest.raises(PromptError, match="choose 'use the nearest here', or choose 'leave out such images'; 'leave the names' gives"):
        server.queue(fill(f"{lacking} {heron}"))
    graph = fill(f"{lacking} {heron}", missing="leave out such images", variations=2)
    assert values(server, graph, "fill", 1) == [heron, heron]
    said = server.queue(graph).outputs["fill"]["text"][0]
    assert said.startswith("2 filled graphs") and f"Image {lacking} is left out. juggernautXL_v8.safetensors is not here (node 1," in said
    assert f"Image {lacking} in" not in said
    with pytest.raises(PromptError, match="juggernautXL_v8.safetensors is not here") as raised:
        server.queue(fill(f"{lacking}", missing="leave out such images"))
    assert "choose 'use the nearest here';" in str(raised.value) and "leave out such images" not in str(raised.value)


def test_an_image_that_was_left_out_comes_back_with_its_input_picture(server, heron):
    graph = picture_graph("fill-from-input", prompt="a mill")
    graph["8"] = node("LoadImage", image="fill came later.png")
    graph["9"] = node("VAEEncode", pixels=["8", 0], vae=["1", 2])
    graph["5"]["inputs"]["latent_image"] = ["9", 0]
    image_id = saved_in(server, "fill-from-input", {"prompt": graph})
    filled = fill(f"{image_id} {heron}", missing="leave out such images")
    said = server.queue(filled).outputs["fill"]["text"][0]
    assert said.startswith("1 filled graph, seed 100; 1 image left out\n") and f"Image {image_id} is left out." in said
    Image.new("RGB", (64, 64)).save(server.input / "fill came later.png")
    assert server.queue(filled).outputs["fill"]["text"][0].startswith("2 filled graphs, seed 100\n")


def test_the_nearest_take_the_place_of_what_is_missing_where_that_is_chosen(server, lacking):
    graph = fill(f"{lacking}", template="text to image", missing="use the nearest here")
    [text] = values(server, graph, "fill", 0)
    filled = json.loads(text)
    assert filled["4"]["inputs"]["ckpt_name"] == JUGGERNAUT
    [lora] = [one["inputs"] for one in filled.values() if one["class_type"] == "LoraLoader"]
    assert (lora["lora_name"], lora["strength_model"], lora["strength_clip"]) == ("inkSketch_v2.safetensors", 0.5, 0.25)
    said = server.queue(graph).outputs["fill"]["text"][0]
    assert f"juggernautXL_v8.safetensors is {JUGGERNAUT} here" in said and "zzqq.safetensors is not here, nor one like it" in said


def test_a_model_that_came_meanwhile_takes_the_place_of_the_nearest(server, lacking, model_file):
    graph = fill(f"{lacking}", template="text to image", missing="use the nearest here")
    values(server, graph, "fill", 0)
    model_file("checkpoints/juggernautXL_v8.safetensors")
    [text] = values(server, graph, "fill", 0)
    assert json.loads(text)["4"]["inputs"]["ckpt_name"] == "juggernautXL_v8.safetensors"


def test_where_nothing_is_missing_another_model_fills_nothing_anew(server, heron, model_file):
    server.queue(fill(f"{heron}"))
    model_file("checkpoints/another.safetensors")
    assert "fill" not in server.queue(fill(f"{heron}")).executed


def test_settings_in_keep_stay_the_templates_and_an_unknown_one_is_named(server, lacking):
    graph = fill(f"{lacking}", template="text to image", keep="checkpoint, loras, steps")
    [text] = values(server, graph, "fill", 0)
    assert json.loads(text)["3"]["inputs"]["steps"] == 20
    with pytest.raises(PromptError, match="Was steps meant"):
        server.queue(fill(f"{lacking}", keep="stepz", template="text to image"))


def test_a_filled_graph_is_written_where_save_as_says_and_can_be_queued_from_there(server, heron):
    said = server.queue(fill(f"{heron}", save_as="templates/like", seed=77)).outputs["fill"]["text"][0]
    assert f"like_{heron}_seed_77.json" in said
    assert written(server, f"templates/like_{heron}_seed_77.json")["5"]["inputs"]["seed"] == 77
    graph = fill(f"{heron}", template="text to image", template_file=f"templates/like_{heron}_seed_77.json [output]", seed=78)
    assert json.loads(values(server, graph, "fill", 0)[0])["5"]["inputs"]["seed"] == 78


def test_of_several_passes_the_first_is_what_a_template_is_filled_with(server):
    graph = picture_graph("fill-passes", prompt="a quay", seed=11, steps=9)
    graph["8"] = node("LatentUpscaleBy", upscale_method="bilinear", scale_by=2.0, samples=["5", 0])
    second = dict(seed=22, steps=4, denoise=0.5, latent_image=["8", 0], positive=["10", 0])
    graph["9"] = {"class_type": "KSampler", "inputs": {**graph["5"]["inputs"], **second}}
    graph["10"] = node("CLIPTextEncode", text="a quay, finely drawn", clip=["1", 1])
    graph["6"]["inputs"]["samples"] = ["9", 0]
    image_id = saved_in(server, "fill-passes", {"prompt": graph})
    name = template(server, "one pass.json", picture_graph("filled", prompt="nothing", seed=1))
    filled = json.loads(values(server, fill(f"{image_id}", template=name, seeds="the image's own", keep=""), "fill", 0)[0])
    sampler, size = filled["5"]["inputs"], filled["4"]["inputs"]
    assert (sampler["seed"], sampler["steps"], sampler["denoise"], size["width"], size["height"]) == (11, 9, 1.0, 128, 64)
    assert filled["2"]["inputs"]["text"] == "a quay"


def test_of_a_picture_that_was_turned_back_into_noise_first_the_pass_that_makes_it_fills_a_template(server):
    """An unsampler's seed, cfg and text belong to the picture that it began from."""
    graph = picture_graph("fill-unsampled", prompt="a quay at night", seed=11, steps=9, denoise=0.8)
    graph["8"] = node("BasicScheduler", model=["1", 0], scheduler="normal", steps=30, denoise=1.0)
    graph["9"] = node("FlipSigmas", sigmas=["8", 0])
    graph["10"] = node("KSamplerSelect", sampler_name="ddim")
    graph["11"] = node("CLIPTextEncode", text="a photograph of a quay", clip=["1", 1])
    graph["12"] = node(
        "SamplerCustom", model=["1", 0], add_noise=False, noise_seed=3, cfg=1.0, positive=["11", 0], negative=["3", 0], sampler=["10", 0],
        sigmas=["9", 0], latent_image=["4", 0],
    )  # fmt: skip
    graph["5"]["inputs"]["latent_image"] = ["12", 0]
    image_id = saved_in(server, "fill-unsampled", {"prompt": graph})
    name = template(server, "begun.json", picture_graph("filled", prompt="nothing", seed=1, cfg=7.0))
    filled = json.loads(values(server, fill(f"{image_id}", template=name, seeds="the image's own", keep=""), "fill", 0)[0])
    sampler = filled["5"]["inputs"]
    assert (sampler["seed"], sampler["steps"], sampler["cfg"], sampler["sampler_name"], sampler["denoise"]) == (11, 9, 4.0, "euler", 0.8)
    assert filled["2"]["inputs"]["text"] == "a quay at night"


def test_a_template_with_the_loader_recalls_the_conditioning_of_the_image_it_is_filled_from(server, heron):
    graph = picture_graph("memory")
    del graph["2"], graph["3"]
    graph["8"] = node("DiffusionToolkitLoader", image_id=1, image_ids="%image_id%", library_name="default", vectors="both")
    graph["5"]["inputs"] |= {"positive": ["8", 0], "negative": ["8", 1]}
    name = template(server, "from memory.json", graph)
    result = server.queue(run(server, "in this graph", **fill(f"{heron}", template=name, seeds="the image's own")))
    assert "prompt is left" in result.outputs["fill"]["text"][0]  # it is recalled, not written into a text
    with Image.open(io.BytesIO(server.view(result.outputs["show"]["images"][0]))) as new:
        assert new.size == (128, 64)
    told = [output["text"][0] for key, output in result.outputs.items() if key.endswith(".8")]
    assert told and f"Image {heron}" in told[0]


def test_a_template_outside_the_roots_is_refused(server, heron):
    for name in ("/etc/passwd", "../../secret.json"):
        with pytest.raises(PromptError, match="none of the folders|no file"):
            server.queue(fill(f"{heron}", template_file=name))


def test_a_linked_template_that_was_changed_meanwhile_is_filled_as_it_is_now(server, heron):
    """ComfyUI hands no linked value to a fingerprint, so nothing is seen of the file there."""
    file = server.output / "linked_template.json"
    filled = {**fill(f"{heron}", keep="steps", template_file=["file", 0]), "file": node("PrimitiveString", value="output/linked_template.json")}
    for steps in (11, 22):
        file.write_text(json.dumps(picture_graph("filled", steps=steps)), encoding="utf-8")
        assert json.loads(values(server, filled, "fill", 0)[0])["5"]["inputs"]["steps"] == steps


def test_a_tiny_picture_without_a_told_size_asks_for_the_least_that_comfyui_makes(server, heron):
    folder = server.output / "fill-tiny"
    folder.mkdir()
    Image.new("RGB", (5, 37), "teal").save(folder / "one.png")
    server.queue(index("fill-tiny"))
    [image_id] = ids_of(server, "fill-tiny")
    [text] = values(server, fill(f"{image_id}", template="text to image", missing="leave the names"), "fill", 0)
    latent = json.loads(text)["5"]["inputs"]
    assert (latent["width"], latent["height"]) == (16, 32)


def test_variations_of_an_images_own_seed_are_told_to_be_none(server, heron):
    unused = ". Not used here: variations, since the image's own is one seed\n"
    for seeds, variations, said in (("the image's own", 5, True), ("the image's own", 1, False), ("from seed on", 2, False)):
        report = server.queue(fill(f"{heron}", seeds=seeds, variations=variations)).outputs["fill"]["text"][0]
        assert (unused in report) is said and ("Not used" in report) is said


def test_the_templates_folder_need_not_be_there(server):
    folder = server.user / "diffusion_toolkit" / "templates"
    aside = folder.with_name("templates aside")
    folder.mkdir(parents=True, exist_ok=True)
    folder.rename(aside)
    try:
        assert options(server, "template") == ["the image's own graph", "text to image"]
    finally:
        aside.rename(folder)


def test_a_seed_that_is_not_known_of_the_image_is_the_templates_and_told_as_that(server):
    image_id = by_another_generator(server, "fill-no-seed", seed="")
    graph = picture_graph("filled", prompt="%prompt%", seed=4711)
    graph["7"]["inputs"]["filename_prefix"] = "filled/%seed%"
    name = template(server, "seed.json", graph)
    filled = fill(f"{image_id}", template=name, seeds="the image's own", save_as="templates/unknown", missing="leave the names")
    assert values(server, filled, "fill", 2) == [4711]
    written_graph = written(server, f"templates/unknown_{image_id}_seed_4711.json")
    assert (written_graph["5"]["inputs"]["seed"], written_graph["7"]["inputs"]["filename_prefix"]) == (4711, "filled/4711")
    assert values(server, {"fill": {**filled["fill"], "inputs": {**filled["fill"]["inputs"], "seeds": "from seed on", "keep": "seed"}}}, "fill", 2) == [4711]


@pytest.mark.parametrize("variations", [0, 10**5])
def test_a_number_of_variations_that_a_link_brings_is_checked(server, heron, variations):
    """A thousand million seeds took all memory before they were counted."""
    graph = {**fill(f"{heron}", variations=["number", 0]), "number": node("PrimitiveInt", value=variations)}
    with pytest.raises(PromptError, match="variations is .*. It takes a number from 1 to 100"):
        server.queue(graph)


def test_graphs_of_a_list_of_ids_are_counted_together(server, heron, pictures):
    folder = pictures("fill-many", 2)
    server.queue(index(folder))
    ids = " ".join(map(str, [heron, *ids_of(server, folder)]))
    graph = {**recall(ids, save_as=""), **fill("", variations=100, missing="leave the names")}
    graph["fill"]["inputs"]["image_ids"] = ["recall", 3]
    with pytest.raises(PromptError, match="300 graphs, 200 are the most"):
        server.queue(graph)
