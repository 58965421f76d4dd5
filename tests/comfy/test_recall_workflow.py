"""Recall Workflow, Fill Template and Run Graph in a real ComfyUI: stored graphs come back, are filled, and make pictures."""

from __future__ import annotations

import io
import json
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import to_api
from host import stand_in
from host.bootstrap import REPOSITORY
from host.client import PromptError
from host.node_graphs import index, node
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PROMPT = "a heron by a lake"


def picture_graph(folder: str, prompt: str = PROMPT, **sampler: Any) -> dict[str, Any]:
    """A whole graph that renders here, with the small SDXL."""
    inputs = dict(seed=5, steps=2, cfg=4.0, sampler_name="euler", scheduler="karras", denoise=1.0)
    inputs.update(sampler)
    return {
        "1": node("StandInCheckpoint", seed=3),
        "2": node("CLIPTextEncode", text=prompt, clip=["1", 1]),
        "3": node("CLIPTextEncode", text="blurry", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=128, height=64, batch_size=1),
        "5": node("KSampler", model=["1", 0], positive=["2", 0], negative=["3", 0], latent_image=["4", 0], **inputs),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix=f"{folder}/heron"),
    }


def ids_of(server, folder: str) -> list[int]:
    listed = server.queue({"list": node("DiffusionToolkitListImages", library_name="default", filter_text=f"folder:{folder}", top_k=50, order="newest")})
    return [hit["image_id"] for hit in listed.outputs["list"]["hits"]]


@pytest.fixture
def heron(server) -> int:
    """The id of a picture that this ComfyUI rendered and saved, with its workflow beside the prompt."""
    folder = "heron"
    if not (server.output / folder).exists():
        workflow = {"version": 0.4, "nodes": [{"id": 1, "type": "Note", "pos": [0, 0], "widgets_values": ["by the lake"]}], "links": []}
        server.queue(picture_graph(folder), extra_data={"extra_pnginfo": {"workflow": workflow}})
        server.queue(index(folder))
    [image_id] = ids_of(server, folder)
    return image_id


@pytest.fixture
def model_file(server) -> Iterator[Callable[[str], None]]:
    """Make an empty file among the models, such as loras/ink.safetensors, for this test: it is listed, and never opened."""
    made: list[Path] = []

    def make(name: str) -> None:
        file = server.models / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        made.append(file)

    yield make
    for file in made:
        file.unlink()


def recall(image_ids: str, **changes: Any) -> dict[str, Any]:
    return {"recall": node("DiffusionToolkitRecallWorkflow", **{**dict(image_ids=image_ids, save_as="recalled/one", library_name="default"), **changes})}


def fill(image_ids: str, **changes: Any) -> dict[str, Any]:
    inputs = dict(
        image_ids=image_ids, template="the image's own graph", seeds="from seed on", seed=100, variations=1, keep="denoise",
        loras="the image's", missing="stop and list them", save_as="", library_name="default",
    )  # fmt: skip
    return {"fill": node("DiffusionToolkitFillTemplate", **{**inputs, **changes})}


def run(server, how: str, **changes: Any) -> dict[str, Any]:
    graph = {**changes, "run": node("DiffusionToolkitRunGraph", graph=["fill", 0], run=how)}
    graph["show"] = node("PreviewImage", images=["run", 0])
    return graph


def values(server, graph: dict[str, Any], source: str, slot: int) -> list[Any]:
    return server.queue({**graph, "probe": node("ProbeValues", values=[source, slot])}).outputs["probe"]["values"]


def written(server, name: str) -> Any:
    return json.loads((server.output / name).read_text(encoding="utf-8"))


# -- Recall Workflow ---------------------------------------------------------------------------------------------------


def test_the_workflow_and_the_queued_prompt_come_back_as_files(server, heron):
    said = server.queue(recall(f"{heron}")).outputs["recall"]["text"][0]
    assert str(server.output / f"recalled/one_{heron}_workflow.json") in said
    assert written(server, f"recalled/one_{heron}_workflow.json")["nodes"][0]["widgets_values"] == ["by the lake"]
    prompt = written(server, f"recalled/one_{heron}_prompt.json")
    assert prompt == json.loads(json.dumps(picture_graph("heron")))


def test_the_recalled_prompt_makes_the_same_picture(server, heron):
    server.queue(recall(f"{heron}"))
    prompt = written(server, f"recalled/one_{heron}_prompt.json")
    prompt["7"]["inputs"]["filename_prefix"] = "recalled/again"
    prompt["1"]["inputs"]["seed"] = 3
    [again] = server.queue(prompt).outputs["7"]["images"]
    with Image.open(io.BytesIO(server.view(again))) as new, Image.open(next((server.output / "heron").glob("*.png"))) as old:
        assert new.tobytes() == old.tobytes()


def test_the_picture_itself_need_not_be_there_any_more(server, pictures):
    folder = pictures("recall-gone", 1)
    server.queue(index(folder))
    [image_id] = ids_of(server, folder)
    (server.output / folder / "0000.png").unlink()
    server.queue(recall(f"{image_id}", save_as="recalled/gone"))
    assert written(server, f"recalled/gone_{image_id}_prompt.json")["5"]["inputs"]["seed"] == 2**64 - 1


def test_what_the_recalled_graph_lacks_here_is_told_with_the_nearest_names(server, pictures, model_file):
    folder = pictures("recall-lacks", 1)
    model_file("checkpoints/made_with_v2.safetensors")
    server.queue(index(folder))
    [image_id] = ids_of(server, folder)
    said = server.queue(recall(f"{image_id}", save_as="recalled/lacks")).outputs["recall"]["text"][0]
    assert "made_with.safetensors is not here (node 1, CheckpointLoaderSimple, ckpt_name). Nearest here: made_with_v2.safetensors" in said
    assert "no workflow was saved with it" in said


def test_an_image_of_another_generator_has_no_graph_and_the_next_step_is_told(server):
    folder = server.output / "recall-none"
    folder.mkdir(exist_ok=True)
    info = PngInfo()
    info.add_text("parameters", "a barn\nNegative prompt: fog\nSteps: 9, Sampler: Euler a, CFG scale: 5, Seed: 4, Size: 128x64, Model: barn")
    Image.new("RGB", (64, 64), (1, 2, 3)).save(folder / "barn.png", pnginfo=info)
    server.queue(index("recall-none"))
    [image_id] = ids_of(server, "recall-none")
    with pytest.raises(PromptError, match="AUTOMATIC1111 made it.*Fill Template"):
        server.queue(recall(f"{image_id}"))


def test_files_are_written_only_below_the_output_folder(server, heron):
    for name in ("../outside", "/tmp/outside", "a/../../outside"):
        with pytest.raises(PromptError, match="not in ComfyUI's output folder"):
            server.queue(recall(f"{heron}", save_as=name))


def test_a_file_with_another_content_is_never_replaced_and_the_same_is_not_written_twice(server, heron):
    mine = server.output / "recalled" / f"number_{heron}_prompt.json"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    for name in ("recalled/number", "recalled//number"):  # another text, or ComfyUI would not run it again
        server.queue(recall(f"{heron}", save_as=name))
    assert mine.read_text() == "mine"
    assert written(server, f"recalled/number_{heron}_prompt_2.json")["5"]["inputs"]["seed"] == 5
    assert not (server.output / "recalled" / f"number_{heron}_prompt_3.json").exists()


def saved_in(server, folder: str, pieces: dict[str, Any]) -> int:
    """The id of an indexed picture with these in its metadata."""
    (server.output / folder).mkdir(exist_ok=True)
    info = PngInfo()
    for key, content in pieces.items():
        info.add_text(key, json.dumps(content))
    Image.new("RGB", (128, 64), tuple(zlib.crc32(folder.encode()) >> shift & 255 for shift in (0, 8, 16))).save(server.output / folder / "one.png", pnginfo=info)
    server.queue(index(folder))
    [image_id] = ids_of(server, folder)
    return image_id


def test_a_file_that_held_the_workflow_alone_can_be_queued_too(server, old_workflow):
    image_id = saved_in(server, "recall-ui", {"workflow": old_workflow})
    server.queue(recall(f"{image_id}", save_as="recalled/ui"))
    assert written(server, f"recalled/ui_{image_id}_workflow.json")["nodes"]
    prompt = written(server, f"recalled/ui_{image_id}_prompt.json")
    assert {"KSampler", "CLIPTextEncode", "SaveImage"} <= {one["class_type"] for one in prompt.values()}


def test_an_input_that_a_node_checks_itself_is_not_called_missing(server, heron):
    graph = picture_graph("recall-own-check")
    picture = next((server.output / "heron").glob("*.png")).name
    graph["8"] = node("LoadImage", image=f"heron/{picture} [output]")
    graph["4"] = node("VAEEncode", pixels=["8", 0], vae=["1", 2])
    image_id = saved_in(server, "recall-own-check", {"prompt": graph})
    said = server.queue(recall(f"{image_id}", save_as="recalled/own")).outputs["recall"]["text"][0]
    assert "is not here" not in said
    shown = server.queue(run(server, "in this graph", **fill(f"{image_id}"))).outputs["show"]["images"]
    assert len(shown) == 1


# -- Fill Template and Run Graph ---------------------------------------------------------------------------------------


def test_the_images_own_graph_with_other_seeds_runs_in_one_queue_call_and_gives_its_pictures(server, heron):
    before = set(server.output.rglob("*"))
    outputs = server.queue(run(server, "in this graph", **fill(f"{heron}", variations=3))).outputs
    shown = outputs["show"]["images"]
    pixels = []
    for one in shown:
        with Image.open(io.BytesIO(server.view(one))) as picture:
            assert picture.size == (128, 64)
            pixels.append(picture.tobytes())
    assert len(set(pixels)) == 3
    assert set(server.output.rglob("*")) == before  # nothing is saved by itself


def test_the_images_own_seed_gives_the_image_again(server, heron):
    outputs = server.queue(run(server, "in this graph", **fill(f"{heron}", seeds="the image's own"))).outputs
    with Image.open(io.BytesIO(server.view(outputs["show"]["images"][0]))) as new, Image.open(next((server.output / "heron").glob("*.png"))) as old:
        assert new.tobytes() == old.tobytes()


def test_a_graph_that_is_queued_by_itself_saves_its_own_graph_with_the_picture(server, heron):
    folder = server.output / "heron"
    count = len(list(folder.glob("*.png")))
    graph = run(server, "queue it by itself", **fill(f"{heron}", seed=2**64 - 1, variations=2))
    graph["probe"] = node("ProbeValues", values=["run", 1])
    outputs = server.queue(graph).outputs
    queued = outputs["probe"]["values"]
    assert "show" not in outputs  # what hangs on the picture waits for none
    for prompt_id in queued:
        wait_for(server, prompt_id)
    new = sorted(folder.glob("*.png"))[count:]
    seeds = []
    for file in new:
        with Image.open(file) as picture:
            seeds.append(json.loads(picture.info["prompt"])["5"]["inputs"]["seed"])
        file.unlink()
    assert sorted(seeds) == [0, 2**64 - 1]


def wait_for(server, prompt_id: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not server.get(f"/history/{prompt_id}").get(prompt_id, {}).get("status", {}).get("completed"):
        assert time.monotonic() < end
        time.sleep(0.2)


def template(server, name: str, content: dict[str, Any]) -> str:
    folder = server.user / "diffusion_toolkit" / "templates"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return name


def test_a_template_of_the_users_folder_is_offered_and_filled_from_an_image(server, pictures):
    folder = pictures("fill-from", 1)
    server.queue(index(folder))
    [image_id] = ids_of(server, folder)
    name = template(server, "ours.json", picture_graph("filled", prompt="%prompt%, in ink", seed=1))
    assert name in options(server, "template")
    [text] = values(server, fill(f"{image_id}", template=name, seeds="the image's own"), "fill", 0)
    graph = json.loads(text)
    assert graph["2"]["inputs"]["text"] == "a picture of thing 0 in fill-from, in ink"
    sampler = graph["5"]["inputs"]
    assert (sampler["seed"], sampler["steps"], sampler["cfg"], sampler["sampler_name"], sampler["scheduler"]) == (2**64 - 1, 12, 6.5, "dpmpp_2m", "karras")
    assert (graph["4"]["inputs"]["width"], graph["4"]["inputs"]["height"]) == (64, 48)


def options(server, name: str) -> list[str]:
    found = server.get("/object_info/DiffusionToolkitFillTemplate")["DiffusionToolkitFillTemplate"]["input"]["required"][name]
    return found[0] if isinstance(found[0], list) else found[1]["options"]


def test_another_generators_image_is_filled_into_the_built_in_template(server, model_file):
    test_an_image_of_another_generator_has_no_graph_and_the_next_step_is_told(server)
    [image_id] = ids_of(server, "recall-none")
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
    assert "juggernautXL_v8.safetensors is not here" in said and "Nearest here: sdxl/JuggernautXL_v9.safetensors" in said
    assert "LoRA ink_sketch.safetensors is not here. Nearest here: inkSketch_v2.safetensors" in said
    assert "LoRA zzqq.safetensors is not here. There is none like it here." in said
    with pytest.raises(PromptError, match="juggernautXL_v8"):
        server.queue(fill(f"{lacking}"))


def test_the_nearest_take_the_place_of_what_is_missing_where_that_is_chosen(server, lacking):
    graph = fill(f"{lacking}", template="text to image", missing="use the nearest here")
    [text] = values(server, graph, "fill", 0)
    filled = json.loads(text)
    assert filled["4"]["inputs"]["ckpt_name"] == "sdxl/JuggernautXL_v9.safetensors"
    [lora] = [one["inputs"] for one in filled.values() if one["class_type"] == "LoraLoader"]
    assert (lora["lora_name"], lora["strength_model"], lora["strength_clip"]) == ("inkSketch_v2.safetensors", 0.5, 0.25)
    said = server.queue(graph).outputs["fill"]["text"][0]
    assert "juggernautXL_v8.safetensors is sdxl/JuggernautXL_v9.safetensors here" in said and "zzqq.safetensors is not here, nor one like it" in said


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
    graph = fill(f"{heron}", template_file=f"templates/like_{heron}_seed_77.json [output]", seed=78)
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


def test_what_comfyui_would_refuse_is_refused_before_it_runs(server):
    graph = picture_graph("refused", sampler_name="no such sampler")
    with pytest.raises(PromptError, match="can't run this graph(.|\n)*no such sampler"):
        server.queue(given(json.dumps(graph)))
    with pytest.raises(PromptError, match="has no node Nobody"):
        server.queue(given(json.dumps({**graph, "5": node("Nobody")})))
    with pytest.raises(PromptError, match="no JSON"):
        server.queue(given("a red fox"))
    with pytest.raises(PromptError, match="as the page saves it"):
        server.queue(given(json.dumps({"nodes": [], "links": []})))


def test_a_graph_that_runs_graphs_is_refused_so_that_none_runs_without_end(server):
    own = {"1": node("PrimitiveString", value="{}"), "2": node("DiffusionToolkitRunGraph", graph=["1", 0], run="in this graph")}
    with pytest.raises(PromptError, match="without end"):
        server.queue(given(json.dumps(own)))


def given(text: str) -> dict[str, Any]:
    return {
        "text": node("PrimitiveStringMultiline", value=text),
        "run": node("DiffusionToolkitRunGraph", graph=["text", 0], run="in this graph"),
        "show": node("PreviewImage", images=["run", 0]),
    }


def test_the_templates_folder_need_not_be_there(server):
    assert options(server, "template")[:2] == ["the image's own graph", "text to image"]
    assert Path(server.user).is_dir()


def test_the_example_workflow_finds_an_image_and_makes_four_like_it(server, heron):
    """As it is shipped, but for the stand-in text embedder and the folder."""
    workflow = json.loads((REPOSITORY / "example_workflows" / "more_like_this.json").read_text(encoding="utf-8"))
    info = server.object_info()
    prompt, _ = stand_in.prepare(server, to_api(workflow, info), info)
    for one in prompt.values():
        if one["class_type"] == "DiffusionToolkitSearchByPrompt":
            one["inputs"] |= {"query": PROMPT, "filter_text": "folder:heron"}
    outputs = {prompt.get(key, {}).get("class_type", key): output for key, output in server.queue(prompt).outputs.items()}
    assert "4 filled graphs" in outputs["DiffusionToolkitFillTemplate"]["text"][0]
    assert len({server.view(one) for one in outputs["PreviewImage"]["images"]}) == 4
    assert "_workflow.json" in outputs["DiffusionToolkitRecallWorkflow"]["text"][0]
