"""The shipped example workflows, converted to prompts and run in a real ComfyUI with stand-ins for the models."""

from __future__ import annotations

import io
import json
import shutil
from functools import lru_cache
from pathlib import Path

import pytest
from diffusion_toolkit.embedders.metadata import read_metadata
from diffusion_toolkit.embedders.workflow import to_api
from host import stand_in
from host.bootstrap import REPOSITORY
from host.node_graphs import index
from PIL import Image, ImageChops

EXAMPLES = REPOSITORY / "example_workflows"


@pytest.fixture(scope="module")
def shark(server, pictures) -> Path:
    """An indexed picture that the examples' query finds."""
    server.queue(index(pictures("example", 1, prompt="a great white shark under the sea")))
    return server.output / "example" / "0000.png"


OURS = "DiffusionToolkitSaveImage"
SHARK = ("a great white shark under the sea", "exact")


def told(server, outputs: dict, by: str = OURS) -> list[tuple[str | None, str]]:
    """The prompts that the saved files tell, and how sure each is."""
    found = [read_metadata(server.output / image["subfolder"] / image["filename"]) for image in outputs[by]["images"]]
    return [(one.prompt[0] if one.prompt else None, one.prompt_origin.confidence) for one in found]


@lru_cache(maxsize=1)
def definitions(server) -> dict:
    """A second's work for ComfyUI, and the same for all examples."""
    return server.object_info()


def run(server, name: str, **changes) -> dict:
    """Queue an example as it is, but for the stand-ins and small sizes; returns its outputs by node type, those of all nodes of a type after each other."""
    workflow = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    info = definitions(server)
    prompt, _ = stand_in.prepare(server, to_api(workflow, info), info)
    for node in prompt.values():
        node["inputs"].update(changes.get(node["class_type"], {}))
    problems = server.log_problems()
    outputs = server.queue(prompt).outputs
    assert server.log_problems() == problems
    by_type: dict[str, dict[str, list]] = {}
    for node_id, output in sorted(outputs.items(), key=lambda one: int(one[0].split(":")[0])):
        of_type = by_type.setdefault(prompt[node_id]["class_type"], {})
        for key, values in output.items():
            of_type[key] = [*of_type.get(key, ()), *values]
    return by_type


def test_index_folder(server, shark):
    outputs = run(server, "index_folder")
    assert "The library holds" in outputs["DiffusionToolkitIndexFolder"]["text"][0]
    assert outputs["PreviewAny"]["text"] == outputs["DiffusionToolkitIndexFolder"]["text"]


def test_search_by_prompt(server, shark):
    outputs = run(server, "search_by_prompt")
    hits = outputs["DiffusionToolkitSearchByPrompt"]["hits"]
    assert "shark" in hits[0]["prompt"]
    assert len(outputs["PreviewImage"]["images"]) == len(hits)


def test_search_by_image(server, shark):
    shutil.copyfile(shark, server.input / "example.png")
    outputs = run(server, "search_by_image")
    assert outputs["DiffusionToolkitSearchByImage"]["hits"][0]["path"] == str(shark)


def test_condition_from_memory(server, shark):
    outputs = run(server, "condition_from_memory", EmptyLatentImage={"width": 128, "height": 128})
    assert "exact, from stored token states" in outputs["DiffusionToolkitLoader"]["text"][0]
    assert outputs[OURS]["text"][0].startswith("Saved with its prompt, negative prompt, seed, steps, cfg, sampler, scheduler, as given for image")
    assert told(server, outputs) == [SHARK]


def test_search_then_img2img(server, shark):
    outputs = run(
        server,
        "search_then_img2img",
        DiffusionToolkitSearchByPrompt={"query": "a great white shark"},
        ImageScaleToTotalPixels={"megapixels": 0.02},
        KSampler={"steps": 2},
    )
    assert "shark" in outputs["DiffusionToolkitPickHit"]["hits"][0]["prompt"]
    assert told(server, outputs) == [SHARK]


def test_make_a_hit_again(server, shark):
    outputs = run(
        server,
        "make_a_hit_again",
        DiffusionToolkitSearchByPrompt={"query": "a great white shark"},
    )
    assert "exact, from stored token states" in outputs["DiffusionToolkitLoader"]["text"][0]
    assert told(server, outputs) == [SHARK]
    assert saved(server, outputs, by=OURS).size == (64, 48)  # the hit's own


def test_hybrid_search(server, shark):
    shutil.copyfile(shark, server.input / "example.png")
    outputs = run(server, "hybrid_search", DiffusionToolkitSearch={"filter_text": "folder:example"})
    hits = outputs["DiffusionToolkitSearch"]["hits"]
    assert [part["weight"] for part in hits[0]["parts"]] == [1, -0.5, 0.4]
    assert hits[0]["path"] == str(shark)
    assert len(outputs["PreviewImage"]["images"]) == len(hits)


def test_duplicates_report(server, shark):
    with Image.open(shark) as picture:
        picture.resize((128, 96)).save(shark.with_name("larger.png"))
    server.queue(index("example"))
    outputs = run(server, "duplicates_report", DiffusionToolkitFindDuplicates={"alike_in": "pixels", "filter_text": "folder:example"})
    report = outputs["DiffusionToolkitFindDuplicates"]["text"][0]
    assert "larger.png" in report and "Nothing was deleted" in report
    assert len(outputs["PreviewImage"]["images"]) == 2
    assert list((server.output / "reports").glob("duplicates*.json"))
    assert "DiffusionToolkitLabelImages" not in outputs


def test_read_image_prompt(server, shark):
    shutil.copyfile(shark, server.input / "example.png")
    outputs = run(server, "read_image_prompt")
    assert "a great white shark under the sea" in outputs["DiffusionToolkitReadImagePrompt"]["text"][0]
    assert told(server, outputs) == [SHARK]
    with saved(server, outputs, by=OURS) as picture:
        again = json.loads(picture.info["prompt"])  # what made this one, in turn
        assert picture.size == (64, 48) and any(node["class_type"] == "DiffusionToolkitReadImagePrompt" for node in again.values())


@pytest.fixture(scope="module")
def sharks(server, pictures) -> str:
    """The folder of three indexed pictures."""
    folder = pictures("example-looks", 3, prompt="a great white shark number {i} under the sea")
    server.queue(index(folder))
    return folder


@pytest.fixture
def looks(sharks) -> dict[str, dict]:
    """The changes by which an example finds these pictures and renders quickly."""
    return {
        "DiffusionToolkitSearchByPrompt": {"query": "a great white shark", "filter_text": f"folder:{sharks}"},
        "EmptyLatentImage": {"width": 64, "height": 64},
        "KSampler": {"steps": 2},
        "ImageGrid": {"cell_width": 64, "cell_height": 64},
    }


def saved(server, outputs: dict, place: int = 0, by: str = "SaveImage") -> Image.Image:
    return Image.open(io.BytesIO(server.view(outputs[by]["images"][place])))


def assert_two_pictures(one: Image.Image, other: Image.Image) -> None:
    """Both are there, and the second shows something else: what they differ in has been heard."""
    assert one.size == other.size == (64, 64)
    assert ImageChops.difference(one, other).getbbox() is not None


def test_mix_conditioning(server, looks):
    outputs = run(server, "mix_conditioning", **looks)
    mean, split = outputs["DiffusionToolkitMixConditioning"]["text"]
    assert "CLIP-L of" in split and split.count("a great white shark number") == 4  # three hits and the style
    assert "CLIP-L of" not in mean
    assert_two_pictures(saved(server, outputs), saved(server, outputs, 1))
    assert [sure for _, sure in told(server, outputs, "SaveImage")] == ["unknown", "unknown"]  # as the note says


def test_interpolate_conditioning(server, looks):
    outputs = run(server, "interpolate_conditioning", **looks)
    assert "5 steps, spherical" in outputs["DiffusionToolkitInterpolateConditioning"]["text"][0]
    assert len(outputs["PreviewImage"]["images"]) == 5
    assert saved(server, outputs).size == (5 * 64 + 4 * 8, 64)  # one strip
    assert told(server, outputs, "SaveImage")[0][1] == "unknown"
    steps = [server.view(image) for image in outputs["PreviewImage"]["images"]]
    assert len(set(steps)) == 5


def test_push_away(server, looks):
    outputs = run(server, "push_away", **looks)
    assert "Away from the mean of 3 disliked images" in outputs["DiffusionToolkitPushAway"]["text"][0]
    assert_two_pictures(saved(server, outputs, by=OURS), saved(server, outputs))
    [(prompt, sure)] = told(server, outputs)
    assert prompt.startswith("a great white shark number") and sure == "exact"
    assert told(server, outputs, "SaveImage") == [(None, "unknown")]


def test_export_and_import(server, shark):
    outputs = run(
        server,
        "export_and_import",
        DiffusionToolkitSearchByPrompt={"query": "a great white shark", "filter_text": "folder:example"},
        DiffusionToolkitSearch={"filter_text": "folder:example"},
        EmptyLatentImage={"width": 128, "height": 128},
        KSampler={"steps": 2},
    )
    assert str(Path("embeddings/look_0")) in outputs["DiffusionToolkitExportEmbeddings"]["text"][0]
    assert "positive: exact, from the file's token states" in outputs["DiffusionToolkitLoadEmbeddings"]["text"][0]
    assert outputs["DiffusionToolkitSearch"]["hits"][0]["score"] == pytest.approx(1, abs=1e-3)
    assert told(server, outputs) == [SHARK]


def test_refine_a_hit(server, shark):
    outputs = run(server, "refine_a_hit", DiffusionToolkitSearchByPrompt={"query": "a great white shark"})
    assert "exact, from stored token states" in outputs["DiffusionToolkitConditionOtherModels"]["text"][0]
    assert saved(server, outputs, by=OURS).size == (64, 48)  # the hit's own
    assert told(server, outputs) == [(SHARK[0], "inferred")]  # two nodes gave conditioning, one of them this text


def test_unclip_from_memory(server, looks):
    outputs = run(server, "unclip_from_memory", **looks)
    said = outputs["DiffusionToolkitStoredImageVector"]["text"][0]
    assert said.startswith("Images #") and "average, length kept" in said
    assert "Fits a model (SD21UNCLIP)" in said
    assert saved(server, outputs).size == (64, 64)
    assert told(server, outputs, "SaveImage") == [("a castle in the clouds", "exact")]


def test_sd3_from_memory(server, shark):
    outputs = run(server, "sd3_from_memory", DiffusionToolkitSearchByPrompt={"query": "a great white shark"}, KSampler={"steps": 1})
    said = outputs["DiffusionToolkitConditionOtherModels"]["text"][0]
    assert "positive: exact, from stored token states" in said and "T5: by the connected CLIP" in said
    assert saved(server, outputs, by=OURS).size == (64, 48)
    assert told(server, outputs) == [SHARK]


def test_approximate_from_vectors(server, looks, pictures):
    server.queue(index(pictures("example-others", 18, prompt="view number {i} of a harbour")))  # enough texts to fit on
    outputs = run(server, "approximate_from_vectors", **looks)
    assert "APPROXIMATION, relative error" in outputs["DiffusionToolkitLoadEmbeddings"]["text"][0]
    assert "positive: exact, from stored token states" in outputs["DiffusionToolkitLoader"]["text"][0]
    assert_two_pictures(saved(server, outputs, by=OURS), saved(server, outputs, 1, by=OURS))
    ((exact, sure), (approximate, said)) = sorted(told(server, outputs), key=lambda one: one[1])
    assert exact == approximate and (sure, said) == ("exact", "inferred")


def test_flux_from_memory(server, shark):
    outputs = run(server, "flux_from_memory", DiffusionToolkitSearchByPrompt={"query": "a great white shark"}, KSampler={"steps": 1})
    said = outputs["DiffusionToolkitConditionOtherModels"]["text"][0]
    assert "positive: exact, the stored CLIP-L vector" in said and "T5: by the connected CLIP" in said
    assert saved(server, outputs, by=OURS).size == (64, 48)
    assert told(server, outputs) == [SHARK]
