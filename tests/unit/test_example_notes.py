"""What the example workflows tell in notes, read without ComfyUI."""

from __future__ import annotations

import json

import pytest
from host.bootstrap import REPOSITORY

EXAMPLES = {file.stem: json.loads(file.read_text(encoding="utf-8"))["nodes"] for file in sorted((REPOSITORY / "example_workflows").glob("*.json"))}
SAMPLING = [name for name, nodes in EXAMPLES.items() if {"KSampler", "KSamplerAdvanced"} & {node["type"] for node in nodes}]
OWN_TEXT = {"unclip_from_memory"}  # what is written in CLIP Text Encode itself: test_example_workflows sees it read


@pytest.mark.parametrize("name", SAMPLING)
def test_an_example_whose_images_tell_no_prompt_says_so_beside_what_saves_them(name: str) -> None:
    """Each samples with what came over links from a library or a file, which a graph saved by Save Image doesn't hold."""
    notes = [node["widgets_values"][0] for node in EXAMPLES[name] if node["type"] == "MarkdownNote"]
    linked = [{entry["name"] for entry in node["inputs"] if entry["link"]} for node in EXAMPLES[name] if node["type"] == "DiffusionToolkitSaveImage"]
    assert all("prompt" in links for links in linked)
    silent = any(node["type"] == "SaveImage" for node in EXAMPLES[name]) and name not in OWN_TEXT
    assert any("unknown" in note for note in notes) == silent


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_note_lies_on_a_node(name: str) -> None:
    boxes = {node["id"]: (*node["pos"], *node["size"]) for node in EXAMPLES[name]}
    for note in (node["id"] for node in EXAMPLES[name] if node["type"] == "MarkdownNote"):
        left, top, width, height = boxes.pop(note)
        assert not [other for other, (x, y, w, h) in boxes.items() if x < left + width and left < x + w and y - 30 < top + height and top - 30 < y + h]
