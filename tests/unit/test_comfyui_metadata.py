"""What ComfyUI's pieces of a file say of the image: which graph is read, under which names it is found, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from diffusion_toolkit.embedders.metadata import ImageMetadata, Pieces, interpret
from host.handmade_workflows import OBJECT_INFO, Workflow, node, socket, workflow

SEED = 2**64 - 1


def api(prompt: str = "a cat") -> dict[str, Any]:
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "some.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": prompt, "clip": ["1", 1]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["1", 1]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
        "5": {
            "class_type": "KSampler",
            "inputs": {
                "seed": SEED, "steps": 12, "cfg": 6.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
                "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0],
            },
        },
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["1", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "ComfyUI"}},
    }  # fmt: skip


def ui(prompt: str = "a cat") -> Workflow:
    """The same graph as an old front end saves it: no names of widgets."""
    encoder = [("CONDITIONING", [3])]
    return workflow(
        [
            node(1, "CheckpointLoaderSimple", [], [("MODEL", [6]), ("CLIP", [1, 2]), ("VAE", [8])], ["some.safetensors"]),
            node(2, "CLIPTextEncode", [socket("clip", "CLIP", 1)], encoder, [prompt]),
            node(3, "CLIPTextEncode", [socket("clip", "CLIP", 2)], [("CONDITIONING", [4])], ["blurry"]),
            node(4, "EmptyLatentImage", [], [("LATENT", [5])], [64, 48, 1]),
            node(5, "KSampler",
                 [socket("model", "MODEL", 6), socket("positive", "CONDITIONING", 3), socket("negative", "CONDITIONING", 4),
                  socket("latent_image", "LATENT", 5)], [("LATENT", [7])],
                 [SEED, "randomize", 12, 6.5, "euler", "normal", 1.0]),
            node(6, "VAEDecode", [socket("samples", "LATENT", 7), socket("vae", "VAE", 8)], [("IMAGE", [9])]),
            node(7, "SaveImage", [socket("images", "IMAGE", 9)], [], ["ComfyUI"]),
        ],
        [[1, 1, 1, 2, 0, "CLIP"], [2, 1, 1, 3, 0, "CLIP"], [3, 2, 0, 5, 1, "CONDITIONING"], [4, 3, 0, 5, 2, "CONDITIONING"],
         [5, 4, 0, 5, 3, "LATENT"], [6, 1, 0, 5, 0, "MODEL"], [7, 5, 0, 6, 0, "LATENT"], [8, 1, 2, 6, 1, "VAE"],
         [9, 6, 0, 7, 0, "IMAGE"]],
    )  # fmt: skip


def read(definitions: Mapping[str, Any] = {}, **pieces: Any) -> ImageMetadata:
    found = Pieces()
    for key, value in pieces.items():
        found.add(key, value if isinstance(value, bytes) else json.dumps(value).encode(), "PNG text")
    return interpret(found, definitions=definitions)


def told(found: ImageMetadata) -> tuple[Any, ...]:
    return found.prompt, found.negative, found.seed, found.steps, found.cfg, found.sampler, found.checkpoint, found.generator


ALL = (("a cat", "a cat"), ("blurry", "blurry"), SEED, 12, 6.5, "euler", "some.safetensors", "ComfyUI")


def test_the_prompt_is_read():
    assert told(read(prompt=api())) == ALL


def test_a_workflow_alone_is_read_by_the_hosts_definitions():
    found = read(OBJECT_INFO, workflow=ui())
    assert told(found) == ALL
    assert found.prompt_origin.confidence == "exact"


def test_a_workflow_alone_is_read_without_definitions_and_is_a_guess():
    found = read(workflow=ui())
    assert told(found) == ALL
    assert found.prompt_origin.confidence == "inferred"
    assert "names of its widgets" in found.prompt_origin.where


def test_the_prompt_wins_over_the_workflow_which_may_be_another():
    assert read(prompt=api("a cat"), workflow=ui("a dog")).prompt == ("a cat", "a cat")


def test_a_broken_prompt_leaves_the_workflow():
    found = read(prompt=b'{"1": ', workflow=ui())
    assert found.prompt == ("a cat", "a cat")
    assert "can't be read" in (found.problem or "")


def test_where_names_the_place_in_the_file_and_the_node():
    where = read(prompt=api()).prompt_origin.where
    assert where.startswith("PNG text prompt: ")
    assert "node 2 (CLIPTextEncode)" in where


def test_a_choice_made_when_it_was_queued_is_unknown_and_keeps_its_pattern():
    found = read(OBJECT_INFO, workflow=ui("a {red|blue} cat"))
    assert found.prompt == ("a {red|blue} cat",) * 2
    assert found.prompt_origin.confidence == "unknown"


WRAPPED: dict[str, dict[str, Any]] = {
    "fields swapped": {"prompt": ui(), "workflow": api()},
    "workflow in the prompt's field": {"prompt": ui()},
    "prompt in the workflow's field": {"workflow": api()},
    "encoded twice": {"prompt": json.dumps(api())},
    "in an object": {"prompt": {"prompt": api()}},
    "as a page's output": {"workflow": {"output": api()}},
    "VideoHelperSuite's comment": {"comment": {"prompt": json.dumps(api()), "workflow": ui(), "CreationTime": "now"}},
    "comment in capitals": {"COMMENT": {"workflow": ui()}},
    "EXIF comment": {"UserComment": {"prompt": api()}},
    "the graph itself as EXIF comment": {"UserComment": {**api(), "extra": {"airs": []}}},
}


@pytest.mark.parametrize("name", sorted(WRAPPED))
def test_graphs_are_found_by_their_shape(name: str):
    assert told(read(OBJECT_INFO, **WRAPPED[name])) == ALL


def test_a_comment_of_another_program_is_none_of_ours():
    assert read(Comment={"prompt": "a cat", "steps": 28}).generator != "ComfyUI"


def test_another_tools_workflow_is_none_of_ours():
    found = read(workflow={"nodes": [{"id": "a", "type": "invocation", "data": {}}], "edges": []})
    assert (found.prompt, found.generator) == (None, None)


def test_types_come_from_the_running_comfyui():
    definition = {"Loader": {"output": ("MODEL", ["a", "b"])}}
    from diffusion_toolkit.embedders.metadata.comfyui import types_of

    prompt = {"1": {"class_type": "Loader", "inputs": {}}, "2": {"class_type": "Other", "inputs": {}}, "3": 5}
    assert types_of(prompt, definition) == {"Loader": ["MODEL", "COMBO"]}


class NotLoaded(Mapping):
    """Definitions that do not lie ready: whoever asks them has them loaded."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return False

    def __getitem__(self, name: str) -> Any:
        self.asked = True
        return OBJECT_INFO[name]

    def __iter__(self) -> Iterator[str]:
        return iter(OBJECT_INFO)

    def __len__(self) -> int:
        return len(OBJECT_INFO)


@pytest.mark.parametrize(
    ("pieces", "asked"),
    [
        ({"prompt": api(), "workflow": ui()}, False),
        ({"prompt": api()}, True),
        ({"workflow": ui()}, True),
        ({"prompt": {**api(), "8": {"class_type": "Other", "inputs": {}}, "9": {"class_type": "Sink", "inputs": {"a": ["8", 0]}}}, "workflow": ui()}, True),
        ({"parameters": b"a cat\nSteps: 12, Sampler: Euler, CFG scale: 6.5, Seed: 5, Size: 64x48"}, False),
        ({"sidecar.txt": b"a cat"}, False),
    ],
    ids=["types in the workflow", "no types", "workflow alone", "a class without types", "parameters", "caption"],
)
def test_definitions_are_loaded_only_for_a_graph_whose_types_the_file_does_not_tell(pieces: dict[str, Any], asked: bool):
    definitions = NotLoaded()
    found = read(definitions, **pieces)
    assert found.prompt == ("a cat", "a cat") and definitions.asked == asked
    assert told(found) == told(read(OBJECT_INFO, **pieces))


def test_a_workflow_beside_a_prompt_is_read_only_where_a_class_is_not_known():
    pieces = Pieces(raw={"prompt": json.dumps(api()).encode(), "workflow": b"{broken"})
    known = {node["class_type"]: {"output": []} for node in api().values()}
    assert interpret(pieces, definitions=known).problem is None
    assert "can't be read" in (interpret(pieces).problem or "")


def test_nan_and_infinity_are_taken():
    graph = api()
    graph["4"]["inputs"] |= {"is_changed": float("nan"), "other": float("inf")}
    assert told(read(prompt=graph)) == ALL


def test_texts_are_made_fit_for_a_database():
    assert read(prompt=api("a\0 cat \ud800")).prompt == ("a cat \ufffd",) * 2


def test_a_graph_beyond_the_limit_is_left_unread(monkeypatch: pytest.MonkeyPatch):
    from diffusion_toolkit.embedders.metadata import comfyui

    monkeypatch.setattr(comfyui, "MAX_TEXT_BYTES", 100)
    assert "left unread" in (read(prompt=api()).problem or "")


@pytest.mark.parametrize(
    "content", [b"null", b"[]", b"5", b'"text"', b"{}", b'{"nodes": 5}', b"[" * 5_000, b'{"nodes": [{"type": 1}]}']
)
@pytest.mark.parametrize("key", ["prompt", "workflow", "comment"])
def test_nonsense_raises_nothing(key: str, content: bytes):
    assert read(**{key: content}).prompt is None


def test_a_workflow_that_is_too_large_is_a_problem():
    found = read(workflow=workflow([node(n, "KSampler") for n in range(5_000)], []))
    assert "more than" in (found.problem or "")
    assert found.generator == "ComfyUI"
