"""From an image's id to CONDITIONING in a real ComfyUI's graph: Diffusion Toolkit Loader against DualCLIPLoader and two CLIPTextEncodes.

    .venv/bin/python benchmarks/recall_graph.py [--rounds 3] [--weights FOLDER]

Text encoders of full size with random weights, 1.6 GB, which are written to FOLDER. Each time is from POST /prompt to the end of the prompt,
over the websocket, so what ComfyUI itself takes is in all of them; a prompt that does nothing tells how much that is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import machine, prepare
from prompts import template_prompts

NEGATIVE = "blurry, ugly, watermark"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", type=Path, help="where the text encoders' files are kept; .cache/benchmarks without it")
    options = parser.parse_args()
    prepare()
    from full_size import write_clip_files
    from host import bootstrap
    from host.server import ComfyServer

    weights = options.weights or bootstrap.CACHE / "benchmarks"
    weights.mkdir(parents=True, exist_ok=True)
    names = write_clip_files(weights)
    texts = list(dict.fromkeys(template_prompts(200)))[: 2 * options.rounds + 1]
    with tempfile.TemporaryDirectory() as base:  # of all the ComfyUIs that are started, with their one library
        measure(ComfyServer(base=Path(base)), weights, names, texts)


def measure(server: Any, weights: Path, names: tuple[str, str], texts: list[str]) -> None:
    places = server.models / "text_encoders"
    places.mkdir(parents=True)
    for name in names:
        os.symlink((weights / name).resolve(), places / name)
    pictures(server.output / "bench", texts)
    times: dict[str, list[float]] = {}
    held: dict[str, tuple[list[str], float]] = {}

    def timed(what: str, graph: dict[str, Any]) -> None:
        result = server.queue(graph)
        told = result.outputs["models"]
        times.setdefault(what, []).append(result.seconds)
        held[what] = (told["models"], told["rss"][0] / 1e9)
        print(f"{what}: {result.seconds:.3f} s", flush=True)

    try:
        with server:
            index = node("DiffusionToolkitIndexFolder", root="output", subfolder="bench", recursive=True, pattern="", library_name="default", token_state_budget=5.0, clip=["clip", 0])
            print(server.queue({"clip": clip(names), "index": index}, timeout=1800).outputs["index"]["text"][0], "\n", flush=True)
            ids = image_ids(server)
            for turn in range(len(texts) // 2):
                for text in (texts[2 * turn], texts[2 * turn + 1]):
                    free(server)
                    timed("nothing", {"latent": node("EmptyLatentImage", width=64, height=64, batch_size=1 + turn), "models": node("ProbeLoadedModels", after=["latent", 0])})
                    timed("Loader, library open", recall(ids[text]))
                free(server)
                timed("DualCLIPLoader alone, which encodes nothing", {"clip": clip(names), "models": node("ProbeLoadedModels", after=["clip", 0])})
                free(server)
                timed("DualCLIPLoader and two CLIPTextEncodes, cold", encode(names, texts[2 * turn]))
                timed("two CLIPTextEncodes, the CLIP loaded", encode(names, texts[2 * turn + 1] + ", "))
        for what, graph in (
            ("Loader, the first node of a new ComfyUI", recall(ids[texts[-1]])),
            ("DualCLIPLoader and two CLIPTextEncodes, the first of a new ComfyUI", encode(names, texts[-1])),
        ):
            with server:
                timed(what, graph)
    finally:
        report(times, held)


def report(times: dict[str, list[float]], held: dict[str, tuple[list[str], float]]) -> None:
    cold = statistics.median(times.get("DualCLIPLoader and two CLIPTextEncodes, cold", [float("nan")]))
    print(f"{machine()}\n\n| from the queue to CONDITIONING, positive and negative | median s | all | cold is so many times | models that ComfyUI holds after | its memory GB |")
    print("|---" * 6 + "|")
    for what, taken in times.items():
        median, (models, rss) = statistics.median(taken), held[what]
        every = ", ".join(f"{seconds:.3f}" for seconds in taken)
        print(f"| {what} | {median:.3f} | {every} | {cold / median:.1f} | {', '.join(models) or 'none'} | {rss:.2f} |")


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def clip(names: tuple[str, str]) -> dict[str, Any]:
    return node("DualCLIPLoader", clip_name1=names[0], clip_name2=names[1], type="sdxl", device="default")


def recall(image_id: int) -> dict[str, Any]:
    load = node("DiffusionToolkitLoader", image_id=image_id, library_name="default", vectors="both")
    return {"load": load, "models": node("ProbeLoadedModels", after=["load", 0])}


def encode(names: tuple[str, str], text: str) -> dict[str, Any]:
    negative = node("CLIPTextEncode", text=f"{NEGATIVE}, {len(text)}", clip=["clip", 0])  # another one, so that ComfyUI's cache has none
    positive = node("CLIPTextEncode", text=text, clip=["clip", 0])
    average = node("ConditioningConcat", conditioning_to=["positive", 0], conditioning_from=["negative", 0])
    return {"clip": clip(names), "positive": positive, "negative": negative, "both": average, "models": node("ProbeLoadedModels", after=["both", 0])}


def free(server: Any) -> None:
    """Let ComfyUI forget models and results; it does so before the next prompt's end."""
    server.post("/free", {"unload_models": True, "free_memory": True})
    server.queue({"latent": node("EmptyLatentImage", width=64, height=64, batch_size=1), "models": node("ProbeLoadedModels", after=["latent", 0])})


def image_ids(server: Any) -> dict[str, int]:
    listed = node("DiffusionToolkitListImages", order="newest", top_k=100, library_name="default", filter_text="folder:bench")
    return {hit["prompt"]: hit["image_id"] for hit in server.queue({"list": listed}).outputs["list"]["hits"]}


def pictures(folder: Path, texts: list[str]) -> None:
    """One small picture for each text, as SaveImage writes it."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    folder.mkdir(parents=True)
    for number, text in enumerate(texts):
        graph = {
            "1": node("CheckpointLoaderSimple", ckpt_name="made_with.safetensors"),
            "2": node("CLIPTextEncode", text=text, clip=["1", 1]),
            "3": node("CLIPTextEncode", text=NEGATIVE, clip=["1", 1]),
            "5": node("KSampler", seed=number, steps=12, cfg=6.5, sampler_name="euler", scheduler="normal", denoise=1.0, model=["1", 0], positive=["2", 0], negative=["3", 0]),
            "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
            "7": node("SaveImage", images=["6", 0], filename_prefix="x"),
        }
        info = PngInfo()
        info.add_text("prompt", json.dumps(graph))
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)).save(folder / f"{number}.png", pnginfo=info)


if __name__ == "__main__":
    main()
