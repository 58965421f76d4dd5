"""Meaning, end to end: the real images of ../shared/corpus are indexed and found by what their prompts say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from host.bootstrap import REPOSITORY
from host.node_graphs import index, search_by_prompt

CORPUS = REPOSITORY.parent / "shared" / "corpus"


@pytest.fixture(scope="module")
def corpus(server):
    """A library that holds the corpus among everything else that the tests indexed: scores, not ranks, are compared."""
    folder = server.output / "corpus"
    folder.mkdir(exist_ok=True)
    for file in CORPUS.iterdir():
        if file.suffix not in (".md", ".json"):
            shutil.copyfile(file, folder / file.name)
    result = server.queue(index("corpus"))
    text = result.outputs["index"]["text"][0]
    assert "Found 34 images" in text and "34 added" in text and "0 skipped" in text
    return folder


def found(server, query: str) -> dict[str, float]:
    """Scores by file name, of the corpus's own files."""
    hits = server.queue(search_by_prompt(query, top_k=500)).outputs["search"]["hits"]
    return {Path(hit["path"]).name: hit["score"] for hit in hits if Path(hit["path"]).parent == server.output / "corpus"}


if CORPUS.is_dir():  # the folder is there where the project is worked on; a clone alone does not have it

    def test_a_shark_under_water_brings_the_two_shark_images_far_before_all_others(server, corpus):
        scores = found(server, "a shark under water")
        first, second, third, *_ = scores.items()
        assert {first[0], second[0]} == {"controlnet__depth_t2i_adapter.png", "flux__flux_depth_lora_example.png"}
        assert [first[1], second[1]] == pytest.approx([0.77, 0.76], abs=0.01)
        assert third[1] == pytest.approx(0.21, abs=0.02)

    def test_man_baking_bread_brings_the_cosmos_image_first(server, corpus):
        assert next(iter(found(server, "man baking bread"))) == "cosmos_predict2__cosmos_predict2_2b_t2i_example.png"

    def test_marble_statue_in_a_museum_brings_the_two_hypernetwork_images_first(server, corpus):
        first, second, *_ = found(server, "marble statue in a museum")
        assert {first, second} == {
            "hypernetworks__hypernetwork_example.png",
            "hypernetworks__hypernetwork_example_output.png",
        }
