"""Graphs that render a small picture, pictures indexed with a graph of one's own, and the nodes that recall, fill and run graphs."""

from __future__ import annotations

import json
import zlib
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .node_graphs import index, node

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


def by_another_generator(server, folder: str, seed: str = " Seed: 4,") -> int:
    """The id of an indexed picture with what AUTOMATIC1111 writes of it."""
    (server.output / folder).mkdir(exist_ok=True)
    info = PngInfo()
    info.add_text("parameters", f"a barn\nNegative prompt: fog\nSteps: 9, Sampler: Euler a, CFG scale: 5,{seed} Size: 128x64, Model: barn")
    Image.new("RGB", (64, 64), tuple(zlib.crc32(folder.encode()) >> shift & 255 for shift in (0, 8, 16))).save(server.output / folder / "barn.png", pnginfo=info)
    server.queue(index(folder))
    [image_id] = ids_of(server, folder)
    return image_id


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


def given(text: str) -> dict[str, Any]:
    return {
        "text": node("PrimitiveStringMultiline", value=text),
        "run": node("DiffusionToolkitRunGraph", graph=["text", 0], run="in this graph"),
        "show": node("PreviewImage", images=["run", 0]),
    }


def values(server, graph: dict[str, Any], source: str, slot: int) -> list[Any]:
    return server.queue({**graph, "probe": node("ProbeValues", values=[source, slot])}).outputs["probe"]["values"]


def written(server, name: str) -> Any:
    return json.loads((server.output / name).read_text(encoding="utf-8"))
