"""Small files written as each tool's public source writes them, read whole: container, format and choice together."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffusion_toolkit.embedders.metadata import read_metadata
from host.sampled_graphs import basic, node

USER_COMMENT, SOFTWARE, MAKER_NOTE, IMAGE_DESCRIPTION, MODEL, EXIF_IFD = 0x9286, 0x0131, 0x927C, 0x010E, 0x0110, 0x8769
INFOTEXT = (
    "a red fox\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 6, Size: 512x512, Model: dream"
)
FOOOCUS = json.dumps(
    {"prompt": "a red fox", "negative_prompt": "blurry", "base_model": "dream", "seed": "6", "metadata_scheme": "fooocus"}
)
SWARM = json.dumps({"sui_image_params": {"prompt": "a red fox", "negativeprompt": "blurry", "seed": 6}}, indent=2)
EASY = {
    "prompt": "a red fox",
    "negative_prompt": "blurry",
    "seed": 6,
    "use_stable_diffusion_model": "dream",
    "num_inference_steps": 20,
}
NOVELAI = json.dumps({"prompt": "a red fox", "uc": "blurry", "seed": 6, "scale": 5, "sampler": "k_euler", "steps": 28})


def png(**texts: str) -> bytes:
    info = PngInfo()
    for key, text in texts.items():
        (info.add_text if text.isascii() else info.add_itxt)(key.replace("__", "-"), text)
    return saved("PNG", pnginfo=info)


def saved(format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, format, **options)
    return file.getvalue()


def exif(comment: bytes | str, *, inner: bool = True, **tags: str) -> Image.Exif:
    found = Image.Exif()
    if inner:
        found.get_ifd(EXIF_IFD)[USER_COMMENT] = comment
    else:
        found[USER_COMMENT] = comment
    for tag, text in tags.items():
        found[int(tag[1:])] = text
    return found


def unicode(text: str) -> bytes:
    return b"UNICODE\0" + text.encode("utf-16-be")


FILES = {
    "AUTOMATIC1111 png": (lambda: png(parameters=INFOTEXT), "AUTOMATIC1111"),
    "AUTOMATIC1111 jpg": (lambda: saved("JPEG", exif=exif(unicode(INFOTEXT))), "AUTOMATIC1111"),
    "AUTOMATIC1111 webp": (lambda: saved("WEBP", exif=exif(unicode(INFOTEXT))), "AUTOMATIC1111"),
    "AUTOMATIC1111 gif": (lambda: saved("GIF", comment=INFOTEXT.encode()), "AUTOMATIC1111"),
    "Forge avif": (lambda: saved("AVIF", exif=exif(unicode(INFOTEXT + ", Version: f2.0.1")).tobytes()), "Forge"),
    "Fooocus png": (lambda: png(parameters=FOOOCUS, fooocus_scheme="fooocus"), "Fooocus"),
    "Fooocus jpg": (lambda: saved("JPEG", exif=exif(FOOOCUS, inner=False, _305="Fooocus v2.5.5", _37500="fooocus")), "Fooocus"),
    "Fooocus webp": (lambda: saved("WEBP", exif=exif(FOOOCUS, inner=False, _305="Fooocus v2.5.5", _37500="fooocus")), "Fooocus"),
    "Fooocus-MRE jpg": (lambda: saved("JPEG", comment=FOOOCUS.replace("metadata_scheme", "real_prompt")), "Fooocus-MRE"),
    "SwarmUI png": (lambda: png(parameters=SWARM), "SwarmUI"),
    "SwarmUI jpg": (lambda: saved("JPEG", exif=exif(b"UNICODE\0" + SWARM.encode("utf-16-le"))), "SwarmUI"),
    "SwarmUI of 2023": (lambda: saved("JPEG", exif=exif("", _272=SWARM)), "SwarmUI"),
    "Easy Diffusion png": (lambda: png(**{key: str(value) for key, value in EASY.items()}), "Easy Diffusion"),
    "Easy Diffusion jpg": (lambda: saved("JPEG", exif=exif(unicode(json.dumps(EASY)))), "Easy Diffusion"),
    "NovelAI png": (lambda: png(Title="AI generated image", Description="a red fox", Software="NovelAI", Source="NovelAI Diffusion V4 37442FCA", Comment=NOVELAI), "NovelAI"),
    "NovelAI webp": (lambda: saved("WEBP", exif=exif(b"ASCII\0\0\0" + json.dumps({"Comment": NOVELAI, "Software": "NovelAI"}).encode())), "NovelAI"),
    "InvokeAI png": (lambda: png(invokeai_metadata=json.dumps({"positive_prompt": "a red fox", "negative_prompt": "blurry", "seed": 6})), "InvokeAI"),
    "InvokeAI of 2022": (lambda: png(Dream='"a red fox [blurry]" -s 50 -S 6 -A k_lms', sd__metadata=json.dumps({"image": {"prompt": "a red fox [blurry]", "seed": 6}})), "InvokeAI"),
    "Draw Things png": (lambda: png(Comment=json.dumps({"c": "a red fox", "uc": "blurry", "seed": 6, "scale": 7}), Software="Draw Things"), "Draw Things"),
    "Midjourney png": (lambda: png(Description="a red fox --no blurry --seed 6 --ar 3:2 --v 6 Job ID: a7421d2f-b262-44f9-977c-ac23e9c7d3e3", Author="x"), "Midjourney"),
}  # fmt: skip


@pytest.mark.parametrize("tool", FILES)
def test_prompt_negative_and_seed_of_each_tool_s_file(tool: str) -> None:
    write, generator = FILES[tool]
    found = read_metadata(write())
    assert (found.prompt, found.negative, found.seed) == (("a red fox",) * 2, ("blurry",) * 2, 6)
    assert (found.generator, found.prompt_origin.confidence, found.problem) == (generator, "exact", None)


def test_a_node_that_saves_parameters_beside_a_graph_whose_text_a_model_wrote() -> None:
    graph = basic(pos=node("CLIPTextEncode", text=["llm", 0], clip=["ckpt", 1]), llm=node("SomeLanguageModel", seed=3))
    found = read_metadata(png(prompt=json.dumps(graph), workflow="{}", parameters=INFOTEXT))
    assert (found.prompt, found.generator, found.seed, found.checkpoint) == (("a red fox",) * 2, "ComfyUI", 6, "dream")


@pytest.mark.parametrize(
    ("suffix", "text", "confidence"),
    [(".txt", INFOTEXT, "exact"), (".txt", "a red fox", "inferred"), (".caption", "a red fox", "inferred"), (".json", json.dumps(EASY), "exact")],
)  # fmt: skip
def test_files_beside_an_image(tmp_path: Path, suffix: str, text: str, confidence: str) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / f"a{suffix}").write_text(text, "utf-8")
    found = read_metadata(tmp_path / "a.png")
    assert (found.prompt, found.prompt_origin.confidence) == (("a red fox",) * 2, confidence)
    assert f"a{suffix}" in found.prompt_origin.where
