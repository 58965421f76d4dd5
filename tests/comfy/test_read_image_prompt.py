"""Read Image Prompt in a real ComfyUI."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from host.client import PromptError
from host.links import make_link
from host.node_graphs import index, models, node, search_by_prompt
from host.sampled_graphs import basic, png
from PIL import Image

OUTPUTS = [
    "prompt", "negative_prompt", "confidence", "seed", "steps", "cfg", "guidance", "sampler", "scheduler", "denoise",
    "checkpoint", "diffusion_model", "vae", "loras", "width", "height", "settings_json", "raw_json",
]  # fmt: skip


def reading(**inputs) -> dict:
    """The node as `read`, with a probe on each output."""
    probes = {f"out {name}": node("ProbeValues", values=["read", slot]) for slot, name in enumerate(OUTPUTS)}
    return {"read": node("DiffusionToolkitReadImagePrompt", **inputs), **probes}


def values(result, *names: str) -> list:
    """The first value of each output."""
    return [result.outputs[f"out {name}"]["values"][0] for name in names]


def text(result) -> str:
    return "\n".join(result.outputs["read"]["text"])


@pytest.fixture
def fox(server) -> Iterator[Path]:
    """A picture in a folder of the input folder, as SaveImage writes it."""
    folder = server.input / "read prompts"
    folder.mkdir(exist_ok=True)
    file = folder / "fox.png"
    file.write_bytes(png({"prompt": json.dumps(basic())}))
    yield file
    shutil.rmtree(folder)


def test_a_whole_path_gives_all_that_the_file_tells(server, fox):
    result = server.queue(reading(path=str(fox)))
    assert values(result, *OUTPUTS[:7]) == ["a red fox", "blurry", "exact", 5, 20, 7.5, 3.5]
    assert values(result, "sampler", "scheduler", "denoise") == ["euler", "karras", 1.0]
    assert values(result, "checkpoint", "diffusion_model", "vae", "loras") == ["sd_xl.safetensors", "sd_xl.safetensors", "", "[]"]
    assert values(result, "width", "height") == [64, 64]
    everything = json.loads(values(result, "settings_json")[0])
    assert everything["prompt"]["text"] == "a red fox" and everything["prompt"]["confidence"] == "exact"
    assert everything["settings"]["seed"] == 5 and everything["file"] == {"path": str(fox), "width": 4, "height": 4}
    assert json.loads(values(result, "raw_json")[0]) == {"prompt": basic()}
    shown = text(result)
    assert "a red fox" in shown and "exact" in shown and "ComfyUI" in shown and "seed 5" in shown
    assert "sd_xl.safetensors is not here" in shown and "Not in the file" not in shown


@pytest.mark.parametrize("path", ["read prompts/fox.png", "input/read prompts/fox.png", "read prompts/fox.png [input]", '"{whole}"'])
def test_a_path_may_be_written_in_other_ways(server, fox, path):
    assert values(server.queue(reading(path=path.format(whole=fox))), "prompt") == ["a red fox"]


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "../user/comfyui.db", "output/../../models/x.png", "read prompts/way out.png", "x.png [temp]"]
)
def test_a_path_outside_the_roots_is_refused_and_the_roots_are_named(server, fox, tmp_path, path):
    (tmp_path / "secret.png").write_bytes(fox.read_bytes())
    if "way out" in path:
        make_link(fox.parent / "way out.png", tmp_path / "secret.png")
    with pytest.raises(PromptError, match=r"under none of the folders that may be read: output \(.*input \("):
        server.queue(reading(path=path))


def test_a_missing_file_is_named_with_the_places_that_were_looked_at(server):
    with pytest.raises(PromptError, match="(?s)There is no file nowhere/x.png. Looked for: .*" + re.escape(str(Path("output/nowhere/x.png")))):
        server.queue(reading(path="nowhere/x.png"))


def test_a_name_that_could_be_either_of_two_files_is_not_guessed(server, fox):
    twin = server.output / "read prompts" / "fox.png"
    twin.parent.mkdir(exist_ok=True)
    shutil.copyfile(fox, twin)
    with pytest.raises(PromptError, match="could be any of"):
        server.queue(reading(path="read prompts/fox.png"))
    shutil.rmtree(twin.parent)


def test_what_is_no_image_is_refused(server, fox):
    (fox.parent / "words.png").write_text("these are words", encoding="utf-8")
    with pytest.raises(PromptError, match="words.png is no image that can be read"):
        server.queue(reading(path="read prompts/words.png"))
    with pytest.raises(PromptError, match="is a folder"):
        server.queue(reading(path=str(fox.parent)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_a_pipe_is_refused_rather_than_waited_for(server, fox):
    os.mkfifo(fox.parent / "pipe.png")
    with pytest.raises(PromptError, match="no regular file"):
        server.queue(reading(path="read prompts/pipe.png"), timeout=120)


def test_neither_path_nor_image_says_what_to_do(server):
    with pytest.raises(PromptError, match="Connect Load Image to 'image', or write"):
        server.queue(reading())


def test_the_file_picked_in_load_image_is_read_and_the_picture_not_loaded(server, fox):
    graph = {"load": node("LoadImage", image="read prompts/fox.png"), **reading(image=["load", 0])}
    result = server.queue(graph)
    assert values(result, "prompt", "seed") == ["a red fox", 5]
    assert "load" not in result.executed and "Note: the picture goes" not in text(result)


def test_a_picture_changed_on_the_way_is_read_from_its_file_and_said_to_be(server, fox):
    graph = {
        "load": node("LoadImage", image="read prompts/fox.png"),
        "invert": node("ImageInvert", image=["load", 0]),
        "scale": node("ImageScaleBy", image=["invert", 0], upscale_method="bilinear", scale_by=2.0),
        **reading(image=["scale", 0]),
    }
    result = server.queue(graph)
    assert values(result, "prompt") == ["a red fox"]
    assert "the picture goes through ImageInvert, ImageScaleBy on its way here" in text(result)


def test_the_name_may_come_to_the_loader_over_a_link(server, fox):
    graph = {
        "name": node("PrimitiveString", value="read prompts/fox.png"),
        "load": node("ProbeLoadByName", name=["name", 0]),
        **reading(image=["load", 0]),
    }
    assert values(server.queue(graph), "prompt") == ["a red fox"]


def test_a_picture_that_a_node_adds_counts_only_where_none_lies_behind_it(server, fox):
    fox.with_name("frame.png").write_bytes(png({"prompt": json.dumps(basic(pos=node("CLIPTextEncode", text="a frame")))}))
    framed = node("ProbeLoadByName", name="read prompts/frame.png", frame=["load", 0])
    graph = {"load": node("LoadImage", image="read prompts/fox.png"), "framed": framed, **reading(image=["framed", 0])}
    assert values(server.queue(graph), "prompt") == ["a red fox"]
    graph["load"] = node("EmptyImage", width=8, height=8, batch_size=1, color=0)
    assert values(server.queue(graph), "prompt") == ["a frame"]


def test_two_files_that_meet_on_the_way_are_both_named(server, fox):
    shutil.copyfile(fox, fox.with_name("other.png"))
    graph = {
        "one": node("LoadImage", image="read prompts/fox.png"),
        "two": node("LoadImage", image="read prompts/other.png"),
        "both": node("ImageBatch", image1=["one", 0], image2=["two", 0]),
        **reading(image=["both", 0]),
    }
    shown = text(server.queue(graph))
    assert shown.startswith("fox.png") and "the others: " in shown and "other.png" in shown


def test_a_picture_made_in_the_graph_has_no_file(server, fox):
    graph = {
        **models(),
        "load": node("LoadImage", image="read prompts/fox.png"),
        "encode": node("VAEEncode", pixels=["load", 0], vae=["checkpoint", 2]),
        "decode": node("VAEDecode", samples=["encode", 0], vae=["checkpoint", 2]),
        **reading(image=["decode", 0]),
    }
    with pytest.raises(PromptError, match="(?s)No node before this one names an image file.*Write the file's path into 'path'"):
        server.queue(graph)


def test_a_list_of_paths_gives_lists(server, pictures):
    pictures("read-list", 3, prompt="a lighthouse in a storm, number {i}")
    server.queue(index("read-list", clip=None, clip_vision=None))
    graph = {**search_by_prompt("a lighthouse in a storm", top_k=3), **reading(path=["search", 5])}
    result = server.queue(graph)
    hits = [hit["prompt"] for hit in result.outputs["search"]["hits"]]
    assert result.outputs["out prompt"]["values"] == hits and len(hits) == 3
    assert len(result.outputs["read"]["text"]) == 3


def test_settings_wire_into_ksampler(server, pictures):
    path = f"output/{pictures('read-sampled', 1)}/0000.png"
    graph = {**models(), "read": node("DiffusionToolkitReadImagePrompt", path=path)}
    graph["latent"] = node("EmptyLatentImage", width=["read", 14], height=["read", 15], batch_size=1)
    graph["positive"] = node("CLIPTextEncode", text=["read", 0], clip=["checkpoint", 1])
    graph["negative"] = node("CLIPTextEncode", text=["read", 1], clip=["checkpoint", 1])
    graph["sample"] = node(
        "KSampler", model=["checkpoint", 0], positive=["positive", 0], negative=["negative", 0], latent_image=["latent", 0],
        seed=["read", 3], steps=["read", 4], cfg=["read", 5], sampler_name=["read", 7], scheduler=["read", 8],
        denoise=["read", 9],
    )  # fmt: skip
    graph["guidance"] = node("FluxGuidance", conditioning=["positive", 0], guidance=["read", 6])
    graph["shown"] = node("ProbeValues", values=["read", 3])
    graph["probe"] = node("ProbeLatent", a=["sample", 0], b=["latent", 0])
    outputs = server.queue(graph).outputs
    assert outputs["probe"]["latent"][0]["difference"] > 0
    assert outputs["shown"]["values"] == [2**64 - 1]


@pytest.mark.parametrize(
    ("slot", "loader", "input_name", "folder"),
    [
        (10, "CheckpointLoaderSimple", "ckpt_name", "checkpoints"),
        (11, "UNETLoader", "unet_name", "diffusion_models"),
        (12, "VAELoader", "vae_name", "vae"),
    ],
)
def test_model_names_wire_into_the_loaders_as_this_comfyui_lists_them(server, fox, model_file, slot, loader, input_name, folder):
    model_file(f"{folder}/my models/made_with.safetensors")
    loaders = {
        "ckpt": node("CheckpointLoaderSimple", ckpt_name="elsewhere\\made_with.ckpt"),
        "vae": node("VAELoader", vae_name="made_with.sft"),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["vae", 0]),
    }
    fox.write_bytes(png({"prompt": json.dumps(basic(**loaders))}))
    graph = {"read": node("DiffusionToolkitReadImagePrompt", path=str(fox)), "probe": node("ProbeValues", values=["read", slot])}
    assert server.queue(graph).outputs["probe"]["values"] == [os.path.join("my models", "made_with.safetensors")]
    graph["load"] = node(loader, **{input_name: ["read", slot]}, **({"weight_dtype": "default"} if loader == "UNETLoader" else {}))
    graph["use"] = node("ProbeValues", values=["load", 0])
    with pytest.raises(PromptError) as failure:  # it gets as far as opening the file
        server.queue(graph)
    assert failure.value.error["node_type"] == loader and not failure.value.node_errors


def test_loras_have_the_names_that_the_combos_have(server, fox, model_file):
    model_file("loras/styles/ink.safetensors")
    lora = node("LoraLoader", lora_name="ink.safetensors", strength_model=0.7, strength_clip=0.6, model=["ckpt", 0], clip=["ckpt", 1])
    graph = basic(lora=lora)
    graph["sampler"]["inputs"]["model"], graph["pos"]["inputs"]["clip"] = ["lora", 0], ["lora", 1]
    fox.write_bytes(png({"prompt": json.dumps(graph)}))
    result = server.queue(reading(path=str(fox)))
    assert json.loads(values(result, "loras")[0]) == [
        {"name": os.path.join("styles", "ink.safetensors"), "strength_model": 0.7, "strength_clip": 0.6}
    ]


def test_nan_and_numbers_of_any_length_stay_in_the_raw_metadata_as_they_are(server, fox):
    raw = json.dumps({**basic(), "x": node("X", is_changed=[float("nan")], seed=2**70)})
    fox.write_bytes(png({"prompt": raw, "other": json.dumps({"n": 2**70})}))
    pieces = json.loads(values(server.queue(reading(path=str(fox))), "raw_json")[0])
    assert pieces == {"prompt": raw, "other": {"n": 2**70}}


def test_a_file_without_a_prompt_says_so_and_gives_the_stated_defaults(server, fox):
    Image.new("RGB", (40, 24)).save(fox)
    result = server.queue(reading(path=str(fox)))
    assert values(result, *OUTPUTS[:10]) == ["", "", "none", 0, 20, 7.0, 3.5, "euler", "normal", 1.0]
    assert values(result, "width", "height", "raw_json") == [40, 24, "{}"]
    assert "no generator is known" in text(result) and "Prompt (none)" in text(result)
    assert "Not in the file: seed, steps, cfg, sampler, scheduler, denoise, checkpoint; the defaults are given." in text(result)


def test_a_file_with_nothing_but_an_old_workflow_is_read_by_this_comfyuis_definitions(server, fox, old_workflow):
    fox.write_bytes(png({"workflow": json.dumps(old_workflow)}))
    result = server.queue(reading(path=str(fox)))
    sampler = next(one for one in old_workflow["nodes"] if one["type"] == "KSampler")["widgets_values"]
    texts = [one["widgets_values"][0] for one in old_workflow["nodes"] if one["type"] == "CLIPTextEncode"]
    assert set(values(result, "prompt", "negative_prompt")) == set(texts)
    assert values(result, "seed", "steps", "cfg", "sampler", "scheduler", "denoise") == [sampler[0], *sampler[2:]]
    assert values(result, "confidence") == ["exact"]  # without the definitions it would be inferred


def test_a_damaged_picture_still_tells_its_prompt(server, fox):
    whole = fox.read_bytes()
    fox.write_bytes(whole[: whole.index(b"IDAT") + 6])
    result = server.queue(reading(path=str(fox)))
    assert values(result, "prompt") == ["a red fox"]
    assert "the picture itself can't be read" in text(result)


def test_it_runs_again_when_the_file_or_a_text_beside_it_changes_and_only_then(server, fox):
    graph = reading(path=str(fox))
    server.queue(graph)
    assert "read" in server.queue(graph).cached
    fox.write_bytes(png({"prompt": json.dumps(basic(pos=node("CLIPTextEncode", text="a blue fox", clip=["ckpt", 1])))}))
    assert values(server.queue(graph), "prompt") == ["a blue fox"]
    fox.with_suffix(".txt").write_text("words beside it", encoding="utf-8")
    assert "read" in server.queue(graph).executed
    assert "read" in server.queue(graph).cached
