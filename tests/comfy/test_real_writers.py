"""What ComfyUI's own nodes write, read back: every file that its save nodes make of one sampled batch.

SaveSVGNode is left out: a drawing has no pixels of its own, and Index Folder looks for none.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from diffusion_toolkit.embedders.metadata import ImageMetadata, read_metadata
from diffusion_toolkit.embedders.metadata.containers import open_source, read_pieces
from diffusion_toolkit.embedders.pictures.decode import decode, read_image
from host.node_graphs import Graph, node
from PIL import Image

PROMPT, NEGATIVE = "a red fox (in snow:1.2), \u96ea \U0001f98a, 100% \"fine\" {a|b}", "blurry\nugly"
SEED = 2**64 - 1
WORKFLOW = {"nodes": [], "extra": {"scale": float("nan"), "far": float("inf"), "name": "\u96ea"}}
FRAMES = 3


def image_nodes() -> Graph:
    frames = ["decode", 0]
    advanced = {"images": frames}
    return {
        "SaveImage": node("SaveImage", images=frames, filename_prefix="writers/SaveImage"),
        "SaveAnimatedPNG": node("SaveAnimatedPNG", images=frames, fps=6.0, compress_level=4, filename_prefix="writers/apng"),
        "WEBP lossless": animated_webp(lossless=True),
        "WEBP lossy": animated_webp(lossless=False),
        "PNG 8": node("SaveImageAdvanced", **advanced, **saved_as("png", "8-bit", "sRGB")),
        "PNG 16": node("SaveImageAdvanced", **advanced, **saved_as("png", "16-bit", "sRGB")),
        "EXR sRGB": node("SaveImageAdvanced", **advanced, **saved_as("exr", "32-bit float", "sRGB")),
        "EXR HDR": node("SaveImageAdvanced", **advanced, **saved_as("exr", "32-bit float", "HDR")),
        "EXR linear": node("SaveImageAdvanced", **advanced, **saved_as("exr", "32-bit float", "linear")),
        "WEBM vp9": node("SaveWEBM", images=frames, filename_prefix="writers/vp9", codec="vp9", fps=24.0, crf=10.0),
        "WEBM av1": node("SaveWEBM", images=frames, filename_prefix="writers/av1", codec="av1", fps=24.0, crf=10.0),
        "video": node("CreateVideo", images=frames, fps=24.0, bit_depth=8),
    }


def animated_webp(lossless: bool) -> dict:
    return node(
        "SaveAnimatedWEBP", images=["decode", 0], fps=6.0, lossless=lossless, quality=90, method="default",
        filename_prefix=f"writers/webp_{lossless}",
    )  # fmt: skip


def saved_as(format: str, depth: str, colours: str) -> dict:
    name = f"writers/{format}_{depth.split('-')[0]}_{colours}"
    return {"format": format, "format.bit_depth": depth, "format.input_color_space": colours, "filename_prefix": name}


def graph(server) -> Graph:
    """The default workflow with a stand-in for the model, and every node that saves."""
    sampler = node(
        "KSampler", seed=SEED, steps=1, cfg=1.5, sampler_name="euler", scheduler="karras", denoise=1.0,
        model=["checkpoint", 0], positive=["pos", 0], negative=["neg", 0], latent_image=["latent", 0],
    )  # fmt: skip
    made = {
        "checkpoint": node("StandInCheckpoint"),
        "pos": node("CLIPTextEncode", text=PROMPT, clip=["checkpoint", 1]),
        "neg": node("CLIPTextEncode", text=NEGATIVE, clip=["checkpoint", 1]),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=FRAMES),
        "sampler": sampler,
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["checkpoint", 2]),
        **image_nodes(),
    }
    offered = server.object_info()["SaveVideo"]["input"]["required"]["format"]
    containers = offered[1]["options"] if isinstance(offered[0], str) else offered[0]
    for container in containers:
        made[f"VIDEO {container}"] = node(
            "SaveVideo", video=["video", 0], filename_prefix=f"writers/video_{container}", format=container, codec="auto"
        )
    return made


@pytest.fixture(scope="module")
def written(server) -> tuple[Graph, dict[str, Path]]:
    """The graph as it was queued, and the first file that each node wrote."""
    queued = graph(server)
    extra = {"extra_pnginfo": {"workflow": WORKFLOW, "note": {"a": "\u96ea"}}}
    outputs = server.queue(queued, extra_data=extra, timeout=600).outputs
    files = {
        name: server.output / told["images"][0]["subfolder"] / told["images"][0]["filename"]
        for name, told in outputs.items()
        if told.get("images")
    }
    return queued, files


NODES = [name for name in image_nodes() if name != "video"] + ["VIDEO auto", "VIDEO mp4"]


def test_every_node_that_saves_was_run(written):
    queued, files = written
    assert files.keys() == {name for name in queued if name.startswith(("Save", "WEB", "PNG", "EXR", "VIDEO"))} >= set(NODES)


@pytest.mark.parametrize("name", NODES)
def test_the_graph_is_byte_for_byte_what_was_queued(written, name):
    queued, files = written
    with open_source(files[name]) as source:
        pieces = read_pieces(source)
    assert pieces.problems == []
    assert pieces.raw["prompt"] == json.dumps(queued).encode()
    assert pieces.raw["workflow"] == json.dumps(WORKFLOW).encode()
    assert json.loads(pieces.raw["note"]) == {"a": "\u96ea"}


@pytest.mark.parametrize("name", NODES)
def test_texts_and_settings_are_those_that_were_queued(written, name):
    found: ImageMetadata = read_metadata(written[1][name])
    assert (found.prompt, found.negative) == ((PROMPT, PROMPT), (NEGATIVE, NEGATIVE))
    assert (found.seed, found.steps, found.cfg, found.sampler, found.scheduler) == (SEED, 1, 1.5, "euler", "karras")
    assert (found.generator, found.problem) == ("ComfyUI", None)


@pytest.mark.parametrize("name", NODES)
def test_the_file_is_indexed_by_a_frame_of_the_batch(written, name):
    """`PNG 8`'s pixels are ComfyUI's own, without loss; a video's middle frame is the second of three."""
    pixels = read_image(written[1][name]).pixels
    assert pixels.shape == (64, 64, 3)
    number = {"WEBM": 1, "VIDE": 1}.get(name[:4], 0)
    stills = sorted(written[1]["SaveImage"].parent.glob("SaveImage*.png"))
    wanted = decode(stills[number]).pixels.astype(int)
    if name in ("SaveImage", "SaveAnimatedPNG", "WEBP lossless", "PNG 8", "PNG 16", "EXR sRGB"):
        assert np.abs(pixels - wanted).max() <= 2
    elif not name.startswith("EXR"):  # those were written as other colours on purpose
        assert min(range(FRAMES), key=lambda n: np.abs(decode(stills[n]).pixels.astype(int) - pixels).mean()) == number


def test_pillow_agrees_that_the_animations_are_animations(written):
    for name in ("SaveAnimatedPNG", "WEBP lossless", "WEBP lossy"):
        with Image.open(written[1][name]) as image:
            assert image.n_frames == FRAMES
