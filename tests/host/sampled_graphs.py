"""Small ComfyUI graphs in API format, and PNG files that hold them."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

Graph = dict[str, dict[str, Any]]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def basic(**nodes: dict[str, Any]) -> Graph:
    """The default workflow; keyword arguments add nodes or replace them."""
    return {
        "ckpt": node("CheckpointLoaderSimple", ckpt_name="sd_xl.safetensors"),
        "pos": node("CLIPTextEncode", text="a red fox", clip=["ckpt", 1]),
        "neg": node("CLIPTextEncode", text="blurry", clip=["ckpt", 1]),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "sampler": node(
            "KSampler", seed=5, steps=20, cfg=7.5, sampler_name="euler", scheduler="karras", denoise=1.0,
            model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0], latent_image=["latent", 0],
        ),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["ckpt", 2]),
        "save": node("SaveImage", filename_prefix="ComfyUI", images=["decode", 0]),
        **nodes,
    }  # fmt: skip


def png(texts: dict[str, str], **options: Any) -> bytes:
    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG", pnginfo=info, **options)
    return file.getvalue()
