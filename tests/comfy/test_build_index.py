"""Build Index in a real ComfyUI."""

from __future__ import annotations

import pytest
from host.client import PromptError
from host.node_graphs import index, node


def build(server, **inputs) -> str:
    graph = {"build": node("DiffusionToolkitBuildIndex", **{"library_name": "default", "what": "several kinds at once", "method": "hnsw", **inputs})}
    [text] = server.queue(graph).outputs["build"]["text"]
    return text


@pytest.fixture(scope="module")
def indexed(server, pictures):
    server.queue(index(pictures("build", 3)))


def test_the_index_over_several_kinds_says_what_it_finds_and_is_kept_up(server, indexed, pictures):
    text = build(server)
    assert text.startswith("Index over prompt, negative, image, clip_l, clip_g of ")
    assert " Searches don't use it yet: with fewer than some 20,000 images they compare with each, and miss none. (" in text
    assert "over prompt, image of" in build(server, kinds="image, prompt")
    [text] = server.queue(index(pictures("build later", 2))).outputs["index"]["text"]
    assert "Search: 2 images added to the hybrid index." in text or "Search: hybrid index made over prompt, image" in text
    assert build(server, method="none").startswith("There is no index over several kinds now")
    [text] = server.queue(index(pictures("build last", 2))).outputs["index"]["text"]
    assert "Search:" not in text


@pytest.mark.parametrize("method", ["ivfflat", "binary", "none", "hnsw"])
def test_a_kinds_index_is_made_by_each_method(server, indexed, method):
    text = build(server, what="image", method=method)
    if method == "none":
        assert "every search compares with all. Index Folder makes none by itself, Build Index does. (" in text
    else:
        assert f": {method}. Searches don't use it yet: with fewer than some 10,000 vectors they compare with each" in text


@pytest.mark.parametrize(
    ("inputs", "unused"),
    [
        ({"what": "image", "kinds": "prompt"}, "kinds"),
        ({"what": "image", "method": "ivfflat", "kinds": "prompt", "m": 8, "ef_construction": 40}, "kinds, m, ef_construction"),
        ({"what": "several kinds at once", "method": "none", "kinds": "prompt"}, "kinds"),
        ({"what": "several kinds at once", "method": "ivfflat", "m": 8}, "method ivfflat, m"),
    ],
)
def test_inputs_that_have_no_meaning_beside_the_others_are_told(server, indexed, inputs, unused):
    assert f" Not used here: {unused}. (" in build(server, **inputs)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"kinds": "prompt, colour"}, "no kind 'colour'"),
        ({"kinds": "prompt, prompt"}, "kinds names prompt alone, and what is 'several kinds at once'"),
        ({"what": "image", "m": 100}, "twice m"),
    ],
)
def test_what_can_not_be_made_says_what_can(server, indexed, inputs, message):
    with pytest.raises(PromptError, match=message):
        build(server, **inputs)
