"""One folder indexed with one CLIP and then with another: whose states are recalled, and that the node says it."""

from __future__ import annotations

import pytest
from host.node_graphs import CLIP, index, models, node, search_by_prompt

FP16 = 2**-11  # relative rounding of float16
PROMPT = "a water mill that two encoders have read"
FOLDER = "two-encoders"


def recalled(server, image_id: int, **clip) -> tuple[dict, str]:
    """The Loader's conditioning beside that of CLIP Text Encode with the stand-in of seed 77, and what the Loader says."""
    graph = {**models(), "former": node("StandInCheckpoint", seed=77)}
    graph["load"] = node("DiffusionToolkitLoader", image_id=image_id, library_name="default", vectors="both", **clip)
    graph["encode"] = node("CLIPTextEncode", text=PROMPT, clip=["former", 1])
    graph["probe"] = node("ProbeConditioning", a=["encode", 0], b=["load", 0])
    outputs = server.queue(graph).outputs
    return outputs["probe"], outputs["load"]["text"][0].splitlines()[1]


@pytest.fixture
def image_id(server, pictures) -> int:
    folder = pictures(FOLDER, 1, prompt=PROMPT)
    server.queue({**index(folder, clip=["former", 1]), "former": node("StandInCheckpoint", seed=77)})
    server.queue(index(folder))
    return server.queue(search_by_prompt(PROMPT, top_k=1, filter_text=f"folder:{FOLDER}")).outputs["search"]["hits"][0]["image_id"]


def test_the_states_of_the_connected_clip_are_given_and_named(server, image_id):
    probe, of_former = recalled(server, image_id, clip=["former", 1])
    assert of_former.startswith("positive: exact, from stored token states of ") and of_former.endswith("], not the one last indexed with")
    assert all(probe[part][0]["difference"] <= probe[part][0]["largest"] * FP16 for part in ("states", "pooled"))
    for clip in ({}, {"clip": CLIP}):
        probe, said = recalled(server, image_id, **clip)
        assert said.startswith("positive: exact, from stored token states of ") and "not the one" not in said
        assert said.split("[")[1] != of_former.split("[")[1].split(",")[0]
        assert probe["states"][0]["difference"] > 0.01 * probe["states"][0]["largest"]
