"""Build Index in a real ComfyUI."""

from __future__ import annotations

import pytest
from host.client import PromptError
from host.node_graphs import index, node


def build(server, **inputs) -> str:
    graph = {"build": node("DiffusionToolkitBuildIndex", **{"library_name": "default", "what": "several kinds at once", "method": "hnsw", **inputs})}
    [text] = server.queue(graph).outputs["build"]["text"]
    return text


@pytest.fixture
def indexed(server, pictures):
    server.queue(index(pictures("build", 3)))


def test_the_index_over_several_kinds_says_what_it_finds_and_is_kept_up(server, indexed, pictures):
    assert build(server).startswith("Index over prompt, negative, image, clip_l, clip_g of ")
    assert "over prompt, image of" in build(server, kinds="image, prompt", m=8)
    [text] = server.queue(index(pictures("build later", 2))).outputs["index"]["text"]
    assert "Search: 2 images added to the hybrid index." in text or "Search: hybrid index made over prompt, image" in text
    assert build(server, method="none").startswith("There is no index over several kinds now")
    [text] = server.queue(index(pictures("build last", 2))).outputs["index"]["text"]
    assert "Search:" not in text


@pytest.mark.parametrize("method", ["ivfflat", "binary", "none", "hnsw"])
def test_a_kinds_index_is_made_by_each_method(server, indexed, method):
    assert method in build(server, what="image", method=method) or method == "none"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"method": "ivfflat"}, "made by hnsw, not by ivfflat"),
        ({"kinds": "prompt, colour"}, "no kind 'colour'"),
        ({"kinds": "prompt"}, "two kinds or more"),
        ({"what": "image", "m": 100}, "twice m"),
    ],
)
def test_what_can_not_be_made_says_what_can(server, indexed, inputs, message):
    with pytest.raises(PromptError, match=message):
        build(server, **inputs)
