"""The main-job command, from its options to its contact sheet, on a small folder of a person's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from host import bootstrap

JOB = bootstrap.REPOSITORY / "tests" / "host" / "demo_job.py"
UTF8 = {**os.environ, "PYTHONUTF8": "1"}  # as the command gives it to the job: Windows has another encoding of its own


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the demo printed about three pictures of one prompt each, and a file that is no picture."""
    import json

    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    folder = tmp_path_factory.mktemp(f"own pictures{os.pathsep} ü=1")  # what a list of paths in a variable could not hold
    for number, prompt in enumerate(("a shark under water", "a loaf of bread", "a marble statue")):
        graph = {
            "1": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": ["9", 1]}},
            "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["9", 1]}},
            "3": {
                "class_type": "KSampler",
                "inputs": {
                    "seed": 1, "steps": 4, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                    "model": ["9", 0], "positive": ["1", 0], "negative": ["2", 0], "latent_image": ["8", 0],
                },
            },
            "4": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["9", 2]}},
            "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "x"}},
            "8": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
            "9": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "some.safetensors"}},
        }  # fmt: skip
        info = PngInfo()
        info.add_text("prompt", json.dumps(graph))
        Image.new("RGB", (64, 64), (number * 90, 80, 160)).save(folder / f"{prompt}.png", pnginfo=info)
    (folder / "broken.png").write_bytes(b"no picture")
    command = [sys.executable, str(JOB), "--folder", str(folder), "--query", "a fish in the sea", "--top-k", "2"]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=500, env=UTF8, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sheet = re.search(r"^Contact sheet: (.*)$", done.stdout, re.MULTILINE)
    assert sheet is not None, done.stdout
    yield done.stdout
    shutil.rmtree(Path(sheet[1]).parent, ignore_errors=True)


def test_the_table_counts_images_texts_and_every_kind_of_vector(said: str) -> None:
    shown = dict(re.findall(r"^  (\S[^\n]*?) {2,}(\d+)$", said, re.MULTILINE))

    wanted = {"images found": "4", "images in the library": "3", "prompt vectors": "3", "image vectors": "3"}
    wanted["CLIP-G vectors of prompts"] = "3"
    assert {name: shown.get(name) for name in wanted} == wanted


def test_a_file_that_could_not_be_read_is_named_with_its_reason(said: str) -> None:
    assert re.search(r"skipped broken\.png: \S+", said)


def test_the_query_finds_what_it_means_first(said: str) -> None:
    hits = said[said.index('Search by Prompt: "a fish in the sea"') :].splitlines()[1:3]

    assert "a shark under water.png" in hits[0]


def test_each_stand_in_is_named_with_the_source_of_the_real_model(said: str) -> None:
    for name in ("sd_xl_base_1.0.safetensors", "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", "bge-large-en-v1.5"):
        assert f"STAND-IN for {name}" in said
    assert said.count("https://huggingface.co/") == 3


def test_the_remembered_prompt_is_sampled_from_its_stored_states(said: str) -> None:
    assert "positive: exact, from stored token states" in said
    assert Path(re.search(r"^    image: (.*)$", said, re.MULTILINE)[1]).suffix == ".png"


def test_the_command_for_the_same_library_works_as_it_stands(said: str) -> None:
    command = said[said.index("The same library from a shell:") :].splitlines()[1]
    done = subprocess.run(command, shell=True, cwd=Path.cwd(), capture_output=True, text=True, encoding="utf-8", env=UTF8, check=False)
    assert done.returncode == 0 and "Library 'default': 3 images, 3 files" in done.stdout, done.stdout + done.stderr


def test_the_picture_that_the_example_workflows_load_is_in_the_input_folder(said: str) -> None:
    base = Path(re.search(r"^Contact sheet: (.*)$", said, re.MULTILINE)[1]).parent
    assert (base / "input" / "example.png").read_bytes()[1:4] == b"PNG"


def test_the_contact_sheet_is_a_picture(said: str) -> None:
    from PIL import Image

    with Image.open(re.search(r"^Contact sheet: (.*)$", said, re.MULTILINE)[1]) as sheet:
        assert sheet.width > 700
