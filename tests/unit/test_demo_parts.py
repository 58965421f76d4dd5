"""The parts of the main-job command that need no ComfyUI: stand-ins, the table, the contact sheet."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from host import stand_in
from host.contact_sheet import Row, write_contact_sheet
from host.demo_report import hit_lines, index_table, shell_lines
from host.template_images import literal_prompts

SUMMARY = {
    "found": 12, "added": 10, "unchanged": 0, "known_elsewhere": 1, "skipped": [["a b.png", "it is cut off"]], "seconds": 3.0,
    "images_per_second": 4.0, "images": 10, "texts": 7, "token_states": 7,
    "vectors": {"prompt": 4, "negative": 3, "image": 10, "clip_l": 5, "clip_g": 6},
}  # fmt: skip


def combo(*values: str) -> dict:
    return {"input": {"required": {"ckpt_name": [list(values), {}]}}}


def checkpoint_prompt() -> dict:
    return {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}}}


def test_a_missing_checkpoint_is_replaced_and_its_source_and_place_are_named() -> None:
    prompt, notes = stand_in.replace_loaders(checkpoint_prompt(), {"CheckpointLoaderSimple": combo()}, set(), Path("models"))

    assert prompt["1"]["class_type"] == "StandInCheckpoint"
    assert "STAND-IN for sd_xl_base_1.0.safetensors" in notes[0]
    assert "stabilityai/stable-diffusion-xl-base-1.0" in notes[0]
    assert str(Path("models/checkpoints/sd_xl_base_1.0.safetensors")) in notes[0]


@pytest.mark.parametrize("there", ["sd_xl_base_1.0.safetensors", "sdxl/sd_xl_base_1.0.safetensors", "sdxl\\sd_xl_base_1.0.safetensors"])
def test_a_checkpoint_that_is_there_is_used_from_where_it_is(there: str) -> None:
    info = {"CheckpointLoaderSimple": combo("other.safetensors", there)}

    prompt, notes = stand_in.replace_loaders(checkpoint_prompt(), info, set(), Path("models"))

    assert prompt["1"] == {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": there}}
    assert notes == []


def test_newer_combos_are_understood() -> None:
    info = {"CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": ["COMBO", {"options": ["sd_xl_base_1.0.safetensors"]}]}}}}

    assert stand_in.replace_loaders(checkpoint_prompt(), info, set(), Path("models"))[1] == []


@pytest.mark.parametrize(
    ("loader", "inputs", "stand_in_for_it"),
    [
        ("CheckpointLoaderSimple", {"ckpt_name": "sd_xl_refiner_1.0.safetensors"}, "StandInRefiner"),
        ("unCLIPCheckpointLoader", {"ckpt_name": "sd21-unclip-h.ckpt"}, "StandInUnCLIP"),
        ("DualCLIPLoader", {"clip_name1": "clip_l.safetensors", "clip_name2": "t5xxl_fp16.safetensors", "type": "flux"}, "StandInFluxCLIP"),
        ("DualCLIPLoader", {"clip_name1": "clip_l.safetensors", "clip_name2": "clip_g.safetensors", "type": "sdxl"}, "StandInCLIP"),
        ("VAELoader", {"vae_name": "flux/ae.safetensors"}, "StandInFluxVAE"),
        ("VAELoader", {"vae_name": "sdxl_vae.safetensors"}, "StandInVAE"),
    ],
)
def test_loaders_of_other_models_than_sdxl_have_stand_ins_of_their_own(loader: str, inputs: dict, stand_in_for_it: str) -> None:
    info = {loader: {"input": {"required": {name: [[], {}] for name in inputs}}}}

    prompt, notes = stand_in.replace_loaders({"1": {"class_type": loader, "inputs": inputs}}, info, set(), Path("models"))

    assert prompt["1"] == {"class_type": stand_in_for_it, "inputs": {}}
    assert notes


def test_a_missing_text_embedder_is_replaced_by_the_small_sentence_encoder() -> None:
    asked = {"1": {"class_type": stand_in.TEXT_EMBEDDER_NODE, "inputs": {"model_name": "bge-large-en-v1.5", "download_from": ""}}}

    prompt, notes = stand_in.replace_loaders(asked, {}, {stand_in.TEXT_EMBEDDER_NAME}, Path("models"))

    assert prompt["1"]["inputs"]["model_name"] == stand_in.TEXT_EMBEDDER_NAME
    assert "MiniLM" in notes[0]
    assert asked["1"]["inputs"]["model_name"] == "bge-large-en-v1.5"  # the caller's prompt stays


def test_only_texts_written_into_conditioning_nodes_count_as_literal_prompts() -> None:
    text = ["STRING", {"multiline": True}]
    info = {
        "CLIPTextEncode": {"output": ["CONDITIONING"], "input": {"required": {"text": text, "clip": ["CLIP"]}}},
        "Note": {"output": [], "input": {"required": {"text": text}}},
    }
    prompt = {
        "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a shark", "clip": ["9", 0]}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": ["3", 0], "clip": ["9", 0]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "  ", "clip": ["9", 0]}},
        "4": {"class_type": "Note", "inputs": {"text": "read me"}},
    }

    assert literal_prompts(prompt, info) == ["a shark"]


def test_the_table_holds_every_count_of_the_summary() -> None:
    table = index_table(SUMMARY)

    shown = {line.rsplit(None, 1)[0].strip(): line.rsplit(None, 1)[1] for line in table.splitlines() if line.strip(" -")}
    wanted = {"images found": "12", "seconds of indexing alone": "3.0", "images/s in these": "4.0", "prompt vectors": "4"}
    wanted |= {"images in the library": "10", "of known content (moved, copied)": "1"}
    assert wanted.items() <= shown.items()
    assert shown["CLIP-G vectors of prompts"] == "6"
    assert "skipped a b.png: it is cut off" in table


def test_a_run_that_read_nothing_shows_no_rate() -> None:
    assert "nothing new" in index_table({**SUMMARY, "images_per_second": None})


def test_how_a_shell_gets_at_the_demos_library_is_told_with_what_made_its_vectors(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    package, comfyui = tmp_path / "package", tmp_path / "a ComfyUI"
    told = shell_lines(Path("python"), package, comfyui, package / "demo", tmp_path / "mine", package / "loaders.py")
    head, status, index = told.replace('"', "'").splitlines()
    asked = "--comfyui 'a ComfyUI' -- --base-directory package/demo --extra-model-paths-config package/demo/extra_model_paths.yaml"
    assert status == f"  python package/run.py status {asked}".replace("/", os.sep)
    assert index == f"  python package/run.py index mine --models-from package/loaders.py {asked}".replace("/", os.sep)
    of_files = shell_lines(Path("python"), package, comfyui, package / "demo", tmp_path, None)
    assert "--models-from" not in of_files
    assert "the first index makes the stand-ins" in head and "stand-ins" not in of_files


def test_hits_are_listed_with_score_id_file_and_prompt() -> None:
    hit = {"score": 0.7719, "image_id": 12, "path": "/images/shark.png", "prompt": "a shark\nunder water"}

    [line] = hit_lines("Search by Prompt", "shark", [hit]).splitlines()[1:]

    assert line.split() == ["0.772", "#12", "shark.png", "a", "shark", "under", "water"]


def test_the_stand_in_for_bge_is_made_once_though_several_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, both_are_making = [], threading.Barrier(2)

    def write(folder: Path) -> Path:
        made.append(folder)
        try:
            both_are_making.wait(timeout=1)
        except threading.BrokenBarrierError:  # as it should be: the other one waits outside
            pass
        folder.mkdir()
        (folder / "modules.json").write_text("[]", encoding="utf-8")
        return folder

    monkeypatch.setattr("host.stand_in_models.write_text_embedder_folder", write)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(stand_in.text_embedder_folder, [tmp_path, tmp_path])

    assert first == second and (first / stand_in.TEXT_EMBEDDER_NAME / "modules.json").is_file()
    assert len(made) == 1


def test_a_contact_sheet_has_a_row_for_each_query_even_without_hits_or_files(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (300, 100), (255, 0, 0)).save(tmp_path / "red.png")
    hits = [
        {"score": 0.5, "path": str(tmp_path / "red.png"), "prompt": "a very long prompt " * 40},
        {"score": 0.4, "path": str(tmp_path / "gone.png"), "prompt": None},
    ]
    rows = [Row("Search by Prompt", "red", None, hits), Row("Search by Prompt", "nothing", None, [])]

    with Image.open(write_contact_sheet(rows, "Found", tmp_path / "out" / "sheet.png")) as sheet:
        from host.contact_sheet import CAPTION, CELL, GAP

        assert sheet.size == (GAP + 3 * (CELL + GAP), 64 + 2 * (CELL + CAPTION + GAP))
        assert sheet.getpixel((GAP + CELL + GAP + CELL // 2, 64 + CELL // 2)) == (255, 0, 0)
