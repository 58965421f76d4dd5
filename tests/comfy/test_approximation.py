"""The Loader's conditioning of a text whose token states are not kept, in a real ComfyUI."""

from __future__ import annotations

import re

import pytest
from host.node_graphs import CLIP, index, models, node, search_by_prompt

FP16 = 2**-11  # relative rounding of float16
KEPT = "approximated/kept"
BEGINNING = "an old lighthouse on a cliff under heavy clouds, oil painting, "


@pytest.fixture(scope="module")
def kept(server, pictures) -> None:
    """A library with a map: enough texts have token states."""
    server.queue(index(pictures(KEPT, 20, prompt=BEGINNING + "view number {i} of twenty, masterpiece")))


def recalled(server, pictures, folder: str, prompt: str) -> tuple[dict, str]:
    """The Loader's conditioning beside CLIPTextEncode's, of a text that is indexed without states, and what the node says of it."""
    folder = f"approximated/{folder}"
    server.queue(index(pictures(folder, 1, prompt=prompt), token_state_budget=0.0))
    graph = {**models(), **search_by_prompt(prompt, top_k=1, filter_text=f"folder:{folder}")}
    graph["load"] = node("DiffusionToolkitLoader", image_id=["search", 4], library_name="default", vectors="both")
    graph["encode"] = node("CLIPTextEncode", text=prompt, clip=CLIP)
    graph["probe"] = node("ProbeConditioning", a=["encode", 0], b=["load", 0])
    outputs = server.queue(graph).outputs
    return outputs["probe"], outputs["load"]["text"][0].splitlines()[1]


def test_the_node_tells_the_error_on_held_out_texts(server, pictures, kept):
    probe, said = recalled(server, pictures, "apart", "five ships in a bottle, watercolor")
    found = re.search(r"APPROXIMATION, relative error (\d\.\d\d) on (\d+) held-out texts, cosine (-?\d\.\d+)", said)
    assert found, said
    assert 0 < float(found[1]) < 2 and int(found[2]) >= 2
    assert re.search(r"the text's tokens and its CLIP-L and CLIP-G vectors, by the map fitted on \d+ texts of the library", said)
    assert "connect the CLIP" in said
    assert probe["pooled"][0]["difference"] <= probe["pooled"][0]["largest"] * FP16


def test_what_begins_like_a_kept_text_is_exact_so_far(server, pictures, kept):
    _, said = recalled(server, pictures, "alike", BEGINNING + "with a red boat")
    exact, positions = map(int, re.search(r"(\d+) of (\d+) positions are exact", said).groups())
    assert 12 <= exact < positions == 77


def test_a_text_with_the_tokens_of_a_kept_one_is_exact(server, pictures, kept):
    """CLIP knows no capital letters."""
    probe, said = recalled(server, pictures, "same", BEGINNING + "view number 7 of twenty, masterpiecE")
    assert "positive: exact, from the stored token states of texts with the same tokens" in said
    assert "APPROXIMATION" not in said
    for part in ("states", "pooled"):
        assert probe[part][0]["difference"] <= probe[part][0]["largest"] * FP16


def test_a_long_text_has_all_its_sections(server, pictures, kept):
    probe, said = recalled(server, pictures, "long", "a quiet harbour with many boats and gulls, (fog:1.2), " * 12)
    assert probe["shape"][0][1] >= 154, said
    assert "APPROXIMATION" in said


def test_index_folder_says_when_it_fits_and_fits_once(server, pictures, kept):
    """Another encoder needs another map. The former one is made the active one again, for other tests."""
    extra = {"another": node("StandInCheckpoint", seed=77)}
    try:
        graph = {**index(KEPT, clip=["another", 1], clip_vision=None, text_embedder=None), **extra}
        report = server.queue(graph).outputs["index"]["text"][0]
        assert re.search(r"Approximation of token states: fitted on \d+ texts, relative error \d\.\d\d on \d+ held-out texts", report), report
        assert "Approximation" not in server.queue(graph).outputs["index"]["text"][0]
    finally:
        server.queue(index(KEPT))
