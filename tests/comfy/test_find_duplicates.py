"""Find Duplicates, Cluster Library and Contrast in a real ComfyUI."""

from __future__ import annotations

import json
import shutil
import uuid
import zlib
from pathlib import Path

import numpy as np
import pytest
from diffusion_toolkit.db.server.embedded import EmbeddedServer
from host.client import PromptError
from host.node_graphs import index, node
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def saved_graph(prompt: str) -> dict:
    """The least graph that made a picture of this prompt."""
    return {
        "text": node("CLIPTextEncode", text=prompt, clip=["model", 1]),
        "model": node("CheckpointLoaderSimple", ckpt_name="made_with.safetensors"),
        "latent": node("EmptyLatentImage", width=64, height=48, batch_size=1),
        "sampler": node(
            "KSampler", seed=1, steps=12, cfg=6.5, sampler_name="euler", scheduler="normal", denoise=1.0, model=["model", 0],
            positive=["text", 0], negative=["text", 0], latent_image=["latent", 0],
        ),
        "decoded": node("VAEDecode", samples=["sampler", 0], vae=["model", 2]),
        "saved": node("SaveImage", images=["decoded", 0], filename_prefix="x"),
    }  # fmt: skip


def save(file: Path, pixels: np.ndarray, prompt: str, size: tuple[int, int] = (256, 192), **options) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    if file.suffix == ".png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_text("prompt", json.dumps(saved_graph(prompt)))
    picture.save(file, **options)


@pytest.fixture(scope="module")
def copies(server) -> str:
    """Two pictures with smaller and recompressed copies, and two alone, in a folder of their own."""
    random = np.random.default_rng(8)
    folder = server.output / "copies"
    for name in ("fox", "ship", "bread", "statue"):
        pixels = random.integers(0, 256, (6, 8, 3), np.uint8)
        save(folder / f"{name}.png", pixels, f"a picture of a {name}")
        if name in ("fox", "ship"):
            save(folder / f"{name}_small.png", pixels, f"a picture of a {name}", size=(128, 96))
        if name == "fox":
            save(folder / "fox_again.jpg", pixels, "", quality=80)
    server.queue(index("copies"))
    return "folder:copies"


def duplicates(filter_text: str, **changes) -> dict:
    inputs = dict(
        alike_in="pixels", lowest_similarity=0.96, most_bits=4, hash_missing=True, show_groups=8, save_report_as="",
        library_name="default", filter_text=filter_text,
    )  # fmt: skip
    names = ("image_id", "path", "group", "keep", "similarity", "report", "groups", "report_file", "others", "copies")
    probes = {name: node("ProbeValues", values=["found", slot]) for slot, name in enumerate(names, start=1) if name != "others"}
    return {"found": node("DiffusionToolkitFindDuplicates", **{**inputs, **changes}), **probes}


def values(result, name: str) -> list:
    return result.outputs[name]["values"]


def test_groups_come_largest_first_with_the_one_to_keep_first(server, copies):
    result = server.queue(duplicates(copies))
    names = [Path(path).name for path in values(result, "path")]
    assert values(result, "groups") == [2] and values(result, "group") == [1, 1, 1, 2, 2]
    assert names[0] == "fox.png" and set(names[1:3]) == {"fox_small.png", "fox_again.jpg"}
    assert names[3:] == ["ship.png", "ship_small.png"]
    assert values(result, "keep") == [True, False, False, True, False]
    assert "Keep the first: larger picture (256 x 192)" in values(result, "report")[0]
    assert len(result.outputs["found"]["images"]) == 5


def test_no_file_is_touched(server, copies):
    before = {file: file.stat().st_mtime_ns for file in (server.output / "copies").iterdir()}
    server.queue(duplicates(copies, alike_in="look or pixels", lowest_similarity=0.9))
    assert {file: file.stat().st_mtime_ns for file in (server.output / "copies").iterdir()} == before


def test_looks_are_compared_by_image_vectors(server, copies):
    result = server.queue(duplicates(copies, alike_in="look", lowest_similarity=0.5))
    assert "exact, 7 images compared with each other" in values(result, "report")[0]


def test_a_lowest_similarity_of_one_finds_the_same_picture(server):
    pixels = np.random.default_rng(5).integers(0, 256, (6, 8, 3), np.uint8)
    for n in range(4):
        save(server.output / "same" / f"{n}.png", pixels, f"prompt {n}")  # other files, and so other images
    server.queue(index("same"))
    result = server.queue(duplicates("folder:same", alike_in="look", lowest_similarity=1.0))
    assert values(result, "group") == [1] * 4
    told = server.queue(contrast("folder:same", lowest_similarity=1.0))
    assert values(told, "report")[0].startswith("2 pairs of alike look, other prompt in the library, ")
    first = values(result, "image_id")[0]
    one = server.queue(contrast("folder:same", lowest_similarity=1.0, image_id=first))
    assert values(one, "report")[0].startswith(f"3 pairs of alike look, other prompt with image {first}, ")


def test_a_library_without_image_vectors_is_compared_by_pixels_alone(server, config, copies, tmp_path):
    own = EmbeddedServer.start(tmp_path / "blind")
    config.write_text(json.dumps({"libraries": {"blind": own.dsn("postgres")}}), encoding="utf-8")
    config.chmod(0o600)
    try:
        server.queue(index("copies", library_name="blind", clip=None, clip_vision=None, text_embedder=None))
        result = server.queue(duplicates("", alike_in="look or pixels", library_name="blind"))
        assert values(result, "groups") == [2]
        assert "Compared by: perceptual hashes of 7 images." in values(result, "report")[0]
        for alike_in in ("look", "look and pixels"):
            with pytest.raises(PromptError, match="no image vectors yet"):
                server.queue(duplicates("", alike_in=alike_in, library_name="blind"))
    finally:
        own.stop()


def test_both_ways_at_once_are_the_strictest(server, copies):
    result = server.queue(duplicates(copies, alike_in="look and pixels", lowest_similarity=0.5))
    assert values(result, "groups") == [2]
    assert "Compared by: perceptual hashes of 7 images, and the image vectors of those near by them." in values(result, "report")[0]


def test_what_is_near_by_pixels_and_not_by_look_is_no_group_of_both(server):
    pixels = np.random.default_rng(9).integers(0, 256, (6, 8, 3), np.uint8)
    save(server.output / "grey" / "colours.png", pixels, "in colours")
    save(server.output / "grey" / "grey.png", np.asarray(Image.fromarray(pixels).convert("L").convert("RGB")), "in grey")
    server.queue(index("grey"))
    by_pixels, both = (server.queue(duplicates("folder:grey", alike_in=way, lowest_similarity=1.0)) for way in ("pixels", "look and pixels"))
    assert [values(by_pixels, "groups"), values(both, "groups")] == [[1], [0]]


def test_the_report_is_written_as_json_with_every_group(server, copies):
    result = server.queue(duplicates(copies, save_report_as="reports/dup", show_groups=1))
    file = Path(values(result, "report_file")[0])
    assert file.parent == server.output / "reports" and file.name.startswith("dup_0000")
    report = json.loads(file.read_text(encoding="utf-8"))
    assert [len(group["images"]) for group in report["groups"]] == [3, 2]
    assert report["groups"][0]["keep"] == report["groups"][0]["images"][0]["image_id"]
    assert values(result, "group") == [1, 1, 1]


@pytest.mark.parametrize("name", ["../out", "/tmp/out", ".."])
def test_a_report_outside_the_output_folder_is_refused(server, copies, name):
    with pytest.raises(PromptError, match="not in ComfyUI's output folder"):
        server.queue(duplicates(copies, save_report_as=name))


@pytest.mark.parametrize("name, said", [("../out", "not in ComfyUI's output folder"), ("x" * 300, "Nothing can be written"), ("a\0b", "names no file")])
def test_whether_a_report_can_be_written_is_asked_before_all_else(server, copies, name, said):
    for graph in (clusters("folder:copise", save_report_as=name), duplicates("steps:((", save_report_as=name)):
        with pytest.raises(PromptError, match=said):
            server.queue(graph)


def test_the_others_can_be_labelled(server, copies):
    graph = duplicates(copies)
    graph["label"] = node(
        "DiffusionToolkitLabelImages", add_labels="duplicate", remove_labels="", namespace="", rating="as it is",
        library_name="default", hits=["found", 9],
    )  # fmt: skip
    assert server.queue(graph).outputs["label"]["text"] == ["3 of 3 images of 'default' changed"]


def test_without_duplicates_nothing_after_the_lists_runs_and_the_report_says_so(server, copies):
    result = server.queue(duplicates(f"{copies} prompt:bread"))
    assert values(result, "groups") == [0] and "0 groups of near-duplicates" in values(result, "report")[0]
    assert "path" not in result.outputs


@pytest.fixture
def twice(server, request) -> str:
    """A picture in two files and a smaller one of it in a third, and another in two; indexed, in a folder of their own."""
    random = np.random.default_rng(zlib.crc32(request.node.name.encode()))  # another test's bytes would be copies of these
    folder = server.output / f"twice_{uuid.uuid4().hex}"
    for name in ("fox", "ship"):
        save(folder / "sub" / f"{name}.png", random.integers(0, 256, (6, 8, 3), np.uint8), f"a picture of a {name}")
        shutil.copy2(folder / "sub" / f"{name}.png", folder / "sub" / f"{name}2.png")
    with Image.open(folder / "sub" / "fox.png") as picture:
        picture.resize((128, 96)).save(folder / "sub" / "small.jpg")
    server.queue(index(folder.name))
    return folder.name


def test_copies_are_told_apart_from_look_alikes_and_never_go_to_the_others(server, twice):
    folder = server.output / twice / "sub"
    graph = duplicates(f"folder:{twice}", save_report_as="reports/twice")
    graph["label"] = node(
        "DiffusionToolkitLabelImages", add_labels="duplicate", remove_labels="", namespace="", rating="as it is",
        library_name="default", hits=["found", 9],
    )  # fmt: skip
    result = server.queue(graph)
    assert values(result, "copies") == [2] and values(result, "groups") == [1]
    assert values(result, "path") == [str(folder / "fox.png"), str(folder / "small.jpg")]
    assert result.outputs["label"]["text"][0].startswith("1 of 1 image")  # small.jpg
    lines = values(result, "report")[0].splitlines()
    assert "1 group of near-duplicates: 1 image beside the one to keep" in lines[0]
    assert "2 images lie in more than one file: 2 copies" in lines[0]
    assert lines.count(f"        {folder / 'fox2.png'}  [a copy]") == 2  # in its group, and among the copies
    report = json.loads(Path(values(result, "report_file")[0]).read_text(encoding="utf-8"))
    assert {(one["keep"], *(other["path"] for other in one["other_files"])) for one in report["copies"]} == {
        (str(folder / f"{name}.png"), str(folder / f"{name}2.png")) for name in ("fox", "ship")
    }
    assert report["groups"][0]["images"][0]["other_files"][0]["path"] == str(folder / "fox2.png")


@pytest.mark.parametrize("indexed_again", [False, True])
def test_what_was_deleted_is_no_longer_told(server, twice, indexed_again):
    folder = server.output / twice / "sub"
    assert values(server.queue(duplicates(f"folder:{twice}")), "copies") == [2]  # which is not told again from ComfyUI's cache
    for name in ("small.jpg", "ship2.png", "fox.png"):
        (folder / name).unlink()
    if indexed_again:
        server.queue(index(twice))
    result = server.queue(duplicates(f"folder:{twice}"))
    assert values(result, "groups") == [0] == values(result, "copies") and "others" not in result.outputs
    lines = values(result, "report")[0].splitlines()
    assert lines[0] == "0 groups of near-duplicates. No image lies in more than one file. Nothing was deleted."
    assert any(line.startswith("1 image near to others was left out, without a file that can be read: the file is gone (1).") for line in lines)


def clusters(filter_text: str, **changes) -> dict:
    inputs = dict(by="look", clusters=3, save_report_as="", library_name="default", filter_text=filter_text)
    graph = {"found": node("DiffusionToolkitClusterLibrary", **{**inputs, **changes})}
    for slot, name in ((1, "image_id"), (3, "words"), (4, "size"), (7, "report"), (8, "report_file")):
        graph[name] = node("ProbeValues", values=["found", slot])
    return graph


def test_a_library_comes_in_clusters_with_words_and_pictures(server, copies):
    result = server.queue(clusters(copies, by="prompt", clusters=4))
    words = dict(zip(values(result, "words"), values(result, "size")))
    assert words == {"fox": 2, "ship": 2, "bread": 1, "statue": 1}
    assert len(result.outputs["found"]["images"]) == 4


def test_a_clusters_query_finds_its_images(server, copies):
    graph = clusters(copies, by="prompt", clusters=4)
    graph["search"] = node(
        "DiffusionToolkitSearch", query_1=["found", 5], top_k=1, lowest_score=-10.0, library_name="default", filter_text=copies,
        **{f"weight_{n}": 1.0 for n in range(1, 6)},
    )  # fmt: skip
    graph["ids"] = node("ProbeValues", values=["search", 4])
    result = server.queue(graph)
    assert len(set(values(result, "ids"))) == 4 and set(values(result, "image_id")) >= set(values(result, "ids")[:2])


def test_the_clusters_are_written_with_all_their_images(server, copies):
    result = server.queue(clusters(copies, save_report_as="reports/clusters"))
    report = json.loads(Path(values(result, "report_file")[0]).read_text(encoding="utf-8"))
    assert sum(one["size"] for one in report["clusters"]) == 7
    assert [one["image_ids"][0] for one in report["clusters"]] == values(result, "image_id")


def test_clusters_of_nothing_and_too_few_of_them_are_refused_with_what_helps(server, copies):
    with pytest.raises(PromptError, match=r"No image passes the filter \(label:nowhere\). No image has the label"):
        server.queue(clusters("label:nowhere"))
    graph = clusters(copies, clusters=["number", 0])
    graph["number"] = node("PrimitiveInt", value=-5)
    with pytest.raises(PromptError, match="clusters is -5. It takes a number from 1 to 500"):
        server.queue(graph)


def contrast(filter_text: str, **changes) -> dict:
    inputs = dict(
        how="alike look, other prompt", image_id=0, lowest_similarity=0.5, pairs=3, library_name="default", filter_text=filter_text
    )
    graph = {"found": node("DiffusionToolkitContrast", **{**inputs, **changes})}
    for slot, name in ((2, "id_a"), (3, "id_b"), (4, "prompt_a"), (5, "prompt_b"), (6, "look"), (7, "prompts"), (9, "report")):
        graph[name] = node("ProbeValues", values=["found", slot])
    return graph


def test_lookalikes_of_other_prompts_come_as_aligned_pairs(server, copies):
    result = server.queue(contrast(copies))
    assert all(a != b for a, b in zip(values(result, "prompt_a"), values(result, "prompt_b")))
    assert values(result, "prompts") == sorted(values(result, "prompts")) and min(values(result, "look")) >= 0.5
    assert len(result.outputs["found"]["images"]) == 2 * len(values(result, "look"))


def test_a_number_of_pairs_that_a_link_brings_is_checked(server, copies):
    graph = contrast(copies, pairs=["number", 0])
    graph["number"] = node("PrimitiveInt", value=-5)
    with pytest.raises(PromptError, match="pairs is -5. It takes a number from 1 to 200"):
        server.queue(graph)


def test_one_prompts_different_looks_are_of_one_prompt(server, copies):
    result = server.queue(contrast(copies, how="same prompt, other look"))
    assert sorted(values(result, "prompt_a")) == ["a picture of a fox", "a picture of a ship"] == sorted(values(result, "prompt_b"))


def test_one_image_is_contrasted_with_others(server, copies):
    first = values(server.queue(contrast(copies)), "id_a")[0]
    result = server.queue(contrast(copies, image_id=first))
    assert set(values(result, "id_a")) == {first} and first not in values(result, "id_b")


def test_without_contrasts_it_says_what_to_change(server, copies):
    result = server.queue(contrast(f"{copies} prompt:bread", how="same prompt, other look"))
    told = values(result, "report")[0]  # the very same prompt is asked for, so that lowest_similarity changes nothing
    assert told.startswith("No pairs of same prompt, other look in the library. Choose an image_id, to which near prompts are compared too, or")
    assert "Lower lowest_similarity" in values(server.queue(contrast(f"{copies} prompt:bread")), "report")[0]


NONE_PASSES = r"No image passes the filter (folder:copise). No file lies in the folder 'copise'. Did you mean 'copies'?"


def test_where_a_filter_lets_nothing_pass_nothing_is_compared(server, copies):
    result = server.queue(duplicates("folder:copise"))
    assert values(result, "groups") == [0] and "path" not in result.outputs
    told = values(result, "report")[0].splitlines()
    assert told[1:] == [NONE_PASSES]  # no way in which they were compared
    found = server.queue(contrast("folder:copise", image_id=999_999))  # which is no image, as a comparison would say
    assert values(found, "report") == [NONE_PASSES] and "id_a" not in found.outputs


def test_what_looks_at_a_whole_library_tells_of_a_misspelt_folder_to_leave_out(server, copies):
    said = "-folder:copise leaves nothing out. No file lies in the folder 'copise'. Did you mean 'copies'?"
    listed = {"found": node("DiffusionToolkitListImages", order="newest", top_k=2, library_name="default", filter_text=f"{copies} -folder:copise")}
    for graph in (duplicates, clusters, contrast):
        assert said in values(server.queue(graph(f"{copies} -folder:copise")), "report")[0].splitlines()
    assert server.queue(listed).outputs["found"]["text"][0].splitlines()[1] == said
