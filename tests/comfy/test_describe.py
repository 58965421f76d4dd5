"""Load Description Encoder and Query by Description in a real ComfyUI, with a stand-in of both halves."""

from __future__ import annotations

from pathlib import Path

import pytest
from host.client import PromptError
from host.comfy_models import comfyui  # noqa: F401  (a fixture)
from host.node_graphs import index, node
from host.stand_in_models import write_description_file

OTHER_HALF = "other.safetensors"


@pytest.fixture(scope="module")
def files(server, comfyui: Path) -> dict[str, str]:  # noqa: F811
    """`mine`: the picture half is the stand-in that Index Folder uses; `other`: it is another one."""
    folder = server.models / "clip_vision"
    folder.mkdir(parents=True, exist_ok=True)
    write_description_file(folder / "both.safetensors", 0, layout="open_clip")
    write_description_file(folder / OTHER_HALF, 1)
    return {"mine": "both.safetensors", "other": OTHER_HALF}


def described(file: str, words: str, folder: str) -> dict:
    return {
        "encoder": node("DiffusionToolkitLoadDescriptionEncoder", file=file),
        "query": node("DiffusionToolkitQueryByDescription", description_encoder=["encoder", 0], text=words),
        "search": node(
            "DiffusionToolkitSearch", query_1=["query", 0], top_k=3, lowest_score=-10.0, library_name="default",
            filter_text=f"folder:{folder}", **{f"weight_{n}": 1.0 for n in range(1, 6)},
        ),
    }  # fmt: skip


def test_words_find_pictures_by_their_vectors(server, pictures, files):
    server.queue(index(pictures("described", 5)))
    hits = server.queue(described(files["mine"], "a red fox in snow", "described")).outputs["search"]["hits"]
    assert len(hits) == 3 and {hit["parts"][0]["kind"] for hit in hits} == {"image"}
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
    others = server.queue(described(files["mine"], "a ship", "described")).outputs["search"]["hits"]
    assert [hit["score"] for hit in others] != [hit["score"] for hit in hits]


def test_words_of_another_pair_are_refused_with_the_way_out(server, pictures, files):
    server.queue(index(pictures("described", 5)))
    with pytest.raises(PromptError, match="can't be compared.*Load CLIP Vision on the same file"):
        server.queue(described(files["other"], "a red fox", "described"))


def test_a_file_that_is_missing_is_named_with_its_source(server):
    with pytest.raises(PromptError, match="There is no file .*clip_vision.*open_clip_model.safetensors of https"):
        server.queue(described("CLIP-ViT-H-14-laion2B-s32B-b79K-both.safetensors", "x", "described"))
