"""Prompts and settings read from real small files, and from ComfyUI's own examples where these are at hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from diffusion_toolkit.embedders.metadata import ImageMetadata, read_metadata
from diffusion_toolkit.embedders.pictures.decode import read_image
from host.sampled_graphs import basic, png
from PIL import Image

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
RIGHT_IN_CORPUS = 34  # never lower

# -- from files (where each kind keeps its texts: test_containers.py) -------------------------------------------------


@pytest.mark.parametrize("format", ["WEBP", "JPEG"])
def test_exif_as_comfyui_writes_it(format: str) -> None:
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(basic())
    exif[0x010F] = "workflow:" + json.dumps({"nodes": []})
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, format, exif=exif)
    found = read_metadata(file.getvalue())
    assert (found.prompt, found.seed) == (("a red fox", "a red fox"), 5)
    assert found.raw == {"prompt": json.dumps(basic()).encode(), "workflow": b'{"nodes": []}'}


def test_path_is_read_like_its_content(tmp_path: Path) -> None:
    data = png({"prompt": json.dumps(basic())})
    (tmp_path / "a.png").write_bytes(data)
    assert read_metadata(tmp_path / "a.png") == read_metadata(data)


def test_photograph_without_metadata_says_nothing() -> None:
    assert read_metadata(png({})) == ImageMetadata()


# -- other generators (texts made by hand, after their public descriptions) ------------------------------------------

A1111 = (
    "a red fox <lora:fur:0.8>\nin snow\nNegative prompt: blurry\n"
    "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 12345, Size: 512x512, Model: dream"
)


def test_automatic1111_in_png() -> None:
    found = read_metadata(png({"parameters": A1111}))
    assert found.prompt == ("a red fox <lora:fur:0.8>\nin snow",) * 2 and found.negative == ("blurry", "blurry")
    assert (found.seed, found.steps, found.cfg, found.sampler) == (12345, 20, 7.0, "DPM++ 2M")
    assert (found.scheduler, found.checkpoint, found.generator) == ("Karras", "dream", "AUTOMATIC1111")
    assert found.loras == [{"name": "fur", "strength_model": 0.8, "strength_clip": 0.8}]


@pytest.mark.parametrize("comment", [b"UNICODE\0" + A1111.encode("utf-16-be"), b"ASCII\0\0\0" + A1111.encode()])
def test_automatic1111_in_exif(comment: bytes) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = comment
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "JPEG", exif=exif)
    found = read_metadata(file.getvalue())
    assert found.negative == ("blurry", "blurry") and found.raw == {"UserComment": A1111.encode()}


def test_fooocus_in_png() -> None:
    parameters = {"base_model": "m", "base_model_hash": "h", "sampler": "euler", "prompt": "a red fox", "seed": "6"}
    found = read_metadata(png({"parameters": json.dumps({**parameters, "negative_prompt": "", "steps": 30})}))
    assert (found.prompt, found.seed, found.generator) == (("a red fox", "a red fox"), 6, "Fooocus")


def test_invokeai_in_png() -> None:
    told = {"positive_prompt": "a red fox", "negative_prompt": "blurry", "seed": 6, "steps": 9, "cfg_scale": 7.5}
    found = read_metadata(png({"invokeai_metadata": json.dumps({**told, "scheduler": "euler"})}))
    assert (found.prompt, found.negative, found.seed) == (("a red fox",) * 2, ("blurry",) * 2, 6)


def test_novelai_in_png() -> None:
    comment = {"sampler": "k_euler", "seed": 6, "steps": 28, "scale": 5.0, "uc": "blurry"}
    texts = {"Description": "a red fox", "Source": "Model ABC123", "Comment": json.dumps(comment)}
    found = read_metadata(png(texts))
    assert (found.prompt, found.steps, found.cfg, found.generator) == (("a red fox",) * 2, 28, 5.0, "NovelAI")


# -- what is malformed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["{", "[]", "null", "7", '{"1": {"inputs": 3}}', "[" * 100_000, "\0"])
def test_malformed_graph_is_a_problem_and_no_prompt(prompt: str) -> None:
    found = read_metadata(png({"prompt": prompt}))
    assert found.prompt is None and "graph can't be read" in (found.problem or "")


# -- ComfyUI's examples ----------------------------------------------------------------------------------------------

if CORPUS.is_dir():
    EXPECTED = json.loads((CORPUS / "expected.json").read_text("utf-8"))

    def is_right(file: str) -> bool:
        """As the corpus's README defines right."""
        found = read_metadata(CORPUS / file)
        positive, negative = ("\n".join(pair) if pair else "" for pair in (found.prompt, found.negative))
        wanted, unwanted = EXPECTED[file]["positive"], EXPECTED[file]["negative"]
        if not wanted and positive.strip():
            return False
        if unwanted == [] and negative.strip():
            return False
        return all(text.strip() in positive for text in wanted) and all(
            text.strip() in negative and text.strip() not in positive for text in unwanted or []
        )

    @pytest.mark.parametrize("file", EXPECTED)
    def test_corpus_file_gives_its_prompts(file: str) -> None:
        assert is_right(file)

    def test_corpus_score_is_never_lower() -> None:
        assert sum(map(is_right, EXPECTED)) >= RIGHT_IN_CORPUS

    def test_corpus_pictures_decode_and_have_settings_where_they_have_a_graph() -> None:
        for file in EXPECTED:
            image = read_image(CORPUS / file)
            assert image.pixels.shape == (image.height, image.width, 3)
            if "prompt" in image.metadata.raw:
                settings = image.metadata
                assert None not in (settings.seed, settings.steps, settings.sampler, settings.checkpoint), file
