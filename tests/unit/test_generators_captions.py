"""Writers without a name, files beside an image, and captions of photographs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from diffusion_toolkit.embedders.metadata import Pieces, interpret
from diffusion_toolkit.embedders.metadata.generators import automatic1111, captions
from diffusion_toolkit.embedders.metadata.generators.told import Told
from host.pieces import lora, pair, read

PARAMETERS = "a red fox\nSteps: 20, Sampler: Euler a, Seed: 6"

# -- writers without a name, and beside the image --------------------------------------------------------------------


def test_json_of_an_unknown_writer() -> None:
    found = read(
        UserComment={"prompt": "a red fox", "negative_prompt": "blurry", "num_steps": 3, "seed": 6, "guidance-scale": 7.0}
    )
    assert (found.prompt, found.negative, found.seed, found.cfg) == (pair("a red fox"), pair("blurry"), 6, 7.0)


@pytest.mark.parametrize("more", [{"negative_prompt": "blurry", "seed": 6}, {"negative_prompt": "blurry"}, {"seed": 6}])
@pytest.mark.parametrize("key", ["sidecar.json", "metadata", "generation_params", "Comment"])
def test_a_few_known_names_are_enough(key: str, more: dict[str, Any]) -> None:
    found = read(**{key: {"prompt": "a red fox", "notes": "x", **more}})
    negative = pair("blurry") if "negative_prompt" in more else None
    assert (found.prompt, found.negative, found.seed) == (pair("a red fox"), negative, more.get("seed"))
    assert found.prompt_origin.confidence == "exact"


@pytest.mark.parametrize("key", ["sidecar.txt", "sidecar.caption", "sidecar.json", "ImageDescription"])
def test_a_caption_that_was_written_on_windows_is_the_same_text(key: str) -> None:
    caption = "a red fox\r\nin the snow\r\n"
    assert read(**{key: {"caption": caption} if key.endswith("json") else caption}).prompt == pair("a red fox\nin the snow")


EASY = "Prompt: a red fox\r\nin the snow\r\nSeed: 6\r\nSteps: 20\r\nNegative Prompt: blurry\r\nbad\r\n"


@pytest.mark.parametrize(
    "told",
    [
        {"sidecar.txt": EASY},
        {"UserComment": {"prompt": "a red fox\r\nin the snow", "negative_prompt": "blurry\r\nbad", "num_inference_steps": 20}},
        {"sidecar.json": {"prompt": "a red fox\r\nin the snow", "negative_prompt": "blurry\r\nbad", "seed": 6}},
        {"Dream": '"a red fox\r\nin the snow [blurry\r\nbad]" -s 20 -S 6'},
    ],
)
def test_a_prompt_that_was_written_on_windows_is_the_same_text(told: dict[str, Any]) -> None:
    found = read(**told)
    assert (found.prompt, found.negative) == (pair("a red fox\nin the snow"), pair("blurry\nbad"))


@pytest.mark.parametrize("key", ["sidecar.json", "metadata"])
def test_a_prompt_without_anything_else_is_inferred(key: str) -> None:
    found = read(**{key: {"prompt": "a red fox", "width": 512, "height": 512}})
    assert (found.prompt, found.width, found.prompt_origin.confidence) == (pair("a red fox"), 512, "inferred")


def test_a_graph_in_a_string_is_no_prompt() -> None:
    assert read(metadata={"prompt": '{"3": {"class_type": "KSampler"}}', "seed": 6}).prompt is None


def test_comfyui_s_own_pieces_are_no_flat_json() -> None:
    flat = json.dumps({"prompt": "a red fox", "seed": 6}).encode()
    assert interpret(Pieces({"prompt": flat, "workflow": flat, "Software": b"x"})).prompt is None


@pytest.mark.parametrize(
    "told", [[{"prompt": "a red fox", "seed": 6}, {"prompt": "a hare"}], [3, {"prompt": "a red fox", "seed": 6}]]
)
def test_a_side_car_may_be_a_list(told: list[Any]) -> None:
    found = read(**{"sidecar.json": told})
    assert (found.prompt, found.seed) == (pair("a red fox"), 6)


@pytest.mark.parametrize("text", ["[]", "[3]", "[red:blue:0.5] fox"])
def test_a_side_car_without_an_object_is_nothing(text: str) -> None:
    assert read(**{"sidecar.json": text}).prompt is None


def test_civitai_s_interface_as_a_side_car() -> None:
    resources = [{"type": "model", "name": "dream"}, {"type": "lora", "name": "fur", "weight": 0.6}]
    meta = {
        "prompt": "a red fox",
        "negativePrompt": "blurry",
        "cfgScale": 7,
        "steps": 20,
        "seed": 6,
        "sampler": "Euler a",
        "resources": resources,
    }
    found = read(**{"sidecar.json": {"id": 1, "meta": meta}})
    assert (found.prompt, found.checkpoint, found.loras) == (pair("a red fox"), "dream", [lora("fur", 0.6)])


def test_invokeai_s_metadata_as_a_side_car() -> None:
    found = read(**{"sidecar.json": {"positive_prompt": "a red fox", "scheduler": "euler", "app_version": "6.0.0"}})
    assert (found.prompt, found.generator) == (pair("a red fox"), "InvokeAI")


@pytest.mark.parametrize("key", ["sidecar.txt", "sidecar.caption"])
def test_captions_beside_the_image_are_inferred(key: str) -> None:
    found = read(**{key: "a red fox in snow"})
    assert (found.prompt, found.prompt_origin.confidence) == (pair("a red fox in snow"), "inferred")


@pytest.mark.parametrize(("word", "is_one"), [("portrait", True), ("holiday_beach", False), ("beach2", False), ("BEACH", False)])
def test_one_word_beside_the_image_is_a_caption_unless_it_looks_like_a_code(word: str, is_one: bool) -> None:
    assert read(**{"sidecar.txt": word}).prompt == (pair(word) if is_one else None)


@pytest.mark.parametrize("told", [{"caption": "a red fox", "tags": "fox, red"}, {"tags": "a red fox"}])
def test_training_metadata_as_a_side_car(told: dict[str, str]) -> None:
    found = read(**{"sidecar.json": told})
    assert (found.prompt, found.prompt_origin.confidence) == (pair("a red fox"), "inferred")


def test_a_downloader_s_prompt_counts_with_its_settings() -> None:
    assert read(**{"sidecar.json": {"category": "gallery", "prompt": "a red fox"}}).prompt is None
    assert read(**{"sidecar.json": {"category": "gallery", "prompt": "a red fox", "seed": 6}}).prompt == pair("a red fox")


def test_a_downloader_s_side_car_is_no_prompt() -> None:
    assert read(**{"sidecar.json": {"category": "gallery", "description": "a red fox", "tags": "fox"}}).prompt is None


# -- photographs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", ["iptc:caption", "ImageDescription", "XPComment", "UserComment", "Description", "gif:comment", "XPTitle"]
)
def test_captions_of_photographs_are_inferred(key: str) -> None:
    found = read(**{key: "A red fox in snow"})
    assert (found.prompt, found.prompt_origin.confidence, found.generator) == (pair("A red fox in snow"), "inferred", None)


@pytest.mark.parametrize("key", captions.KEYS)
def test_settings_in_any_caption_are_read_and_are_no_part_of_it(key: str) -> None:
    pieces = Told(Pieces({key: PARAMETERS.encode()}))
    if key.startswith("xmp:"):
        pieces._xmp = {key.removeprefix("xmp:"): PARAMETERS}
    assert [(one.prompt, one.seed) for one in automatic1111.read(pieces)] == [(pair("a red fox"), 6)]
    assert list(captions.read(pieces)) == []


@pytest.mark.parametrize(
    "text",
    [
        "OLYMPUS DIGITAL CAMERA", "SONY DSC", "DSC_0042.JPG", "IMG_2034", "Created with GIMP", "Screenshot", "2024-05-05 10:10",
        "CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90", "https://example.org/a-red-fox", "<?xml version='1.0'?><a/>",
        "Processed with VSCO with a6 preset", "\x01\x02bytes", "File written by Adobe Photoshop 4.0", "....", "AppleMark", "ok", "hdrpl",
    ],
)  # fmt: skip
def test_boilerplate_is_no_caption(text: str) -> None:
    assert read(ImageDescription=text).prompt is None


def test_a_program_s_name_is_no_caption() -> None:
    assert read(ImageDescription="Some Camera App 3", Software="Some Camera App 3").prompt is None


def test_iptc_s_field_for_the_prompt_is_exact() -> None:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" e:AIPromptInformation="a red fox" e:AISystemUsed="Paint 5"/></rdf:RDF></x:xmpmeta>'
    )
    found = read(xmp=packet)
    assert (found.prompt, found.prompt_origin.confidence, found.generator) == (pair("a red fox"), "exact", "Paint 5")
