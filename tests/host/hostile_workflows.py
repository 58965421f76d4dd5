"""Workflows as the front end saves them, sound ones and traps, and as much of a ComfyUI's node definitions as they need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .hostile_graphs import MANY, ODD_VALUES, Graph


def hostile_workflows(many: int = MANY) -> Iterator[tuple[str, str]]:
    """(name, JSON text) of workflows as the front end saves them."""
    for name, workflow in _workflows(many):
        yield name, json.dumps(workflow)


def ui_node(number: Any, kind: Any, inputs: Any = (), outputs: Any = (), widgets: Any = (), **more: Any) -> Graph:
    """`inputs`: (name, type, link); `outputs`: (name, type, [links])."""
    return {
        "id": number, "type": kind, "mode": 0, "properties": {}, "flags": {}, "order": 0, "pos": [0, 0], "size": [1, 1],
        "inputs": [{"name": name, "type": type_, "link": link} for name, type_, link in inputs],
        "outputs": [{"name": name, "type": type_, "links": links} for name, type_, links in outputs],
        "widgets_values": list(widgets), **more,
    }  # fmt: skip


def ui_picture() -> Graph:
    """A small sound workflow."""
    nodes = [
        ui_node(3, "KSampler", [("model", "MODEL", 1), ("positive", "CONDITIONING", 4), ("negative", "CONDITIONING", 6), ("latent_image", "LATENT", 2)],
                [("LATENT", "LATENT", [7])], [1, "randomize", 20, 7, "euler", "normal", 1]),
        ui_node(4, "CheckpointLoaderSimple", [], [("MODEL", "MODEL", [1]), ("CLIP", "CLIP", [3, 5]), ("VAE", "VAE", [8])], ["a.safetensors"]),
        ui_node(5, "EmptyLatentImage", [], [("LATENT", "LATENT", [2])], [512, 512, 1]),
        ui_node(6, "CLIPTextEncode", [("clip", "CLIP", 3)], [("CONDITIONING", "CONDITIONING", [4])], ["a cat"]),
        ui_node(7, "CLIPTextEncode", [("clip", "CLIP", 5)], [("CONDITIONING", "CONDITIONING", [6])], ["blurry"]),
        ui_node(8, "VAEDecode", [("samples", "LATENT", 7), ("vae", "VAE", 8)], [("IMAGE", "IMAGE", [9])]),
        ui_node(9, "SaveImage", [("images", "IMAGE", 9)], [], ["ComfyUI"]),
    ]  # fmt: skip
    links = [[1, 4, 0, 3, 0, "MODEL"], [2, 5, 0, 3, 3, "LATENT"], [3, 4, 1, 6, 0, "CLIP"], [4, 6, 0, 3, 1, "CONDITIONING"], [5, 4, 1, 7, 0, "CLIP"],
             [6, 7, 0, 3, 2, "CONDITIONING"], [7, 3, 0, 8, 0, "LATENT"], [8, 4, 2, 8, 1, "VAE"], [9, 8, 0, 9, 0, "IMAGE"]]  # fmt: skip
    return {
        "nodes": nodes,
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
        "last_node_id": 9,
        "last_link_id": 9,
    }


def _workflows(many: int) -> Iterator[tuple[str, Any]]:
    sound = ui_picture()
    for mode, kind in ((4, "ConditioningSetArea"), (0, "Reroute"), (2, "ConditioningSetArea"), (0, "Whatever")):
        count = many // 2
        nodes = [ui_node(100 + i, kind, [("x", "CONDITIONING", 1000 + i)], [("x", "CONDITIONING", [1001 + i])], mode=mode) for i in range(count)]
        links = [[1000 + i, 99 + i if i else 6, 0, 100 + i, 0, "CONDITIONING"] for i in range(count)]
        links += [[4, 99 + count, 0, 3, 1, "CONDITIONING"]]
        yield (
            f"chain-{kind}-mode-{mode}",
            {
                **sound,
                "nodes": sound["nodes"] + nodes,
                "links": [link for link in sound["links"] if link[0] != 4] + links,
            },
        )
        loop = [[1000, 100, 0, 100, 0, "CONDITIONING"], [4, 100, 0, 3, 1, "CONDITIONING"]]
        yield (
            f"loop-{kind}-mode-{mode}",
            {
                **sound,
                "nodes": [*sound["nodes"], nodes[0]],
                "links": [link for link in sound["links"] if link[0] != 4] + loop,
            },
        )
    yield (
        "primitive-loop",
        {
            **sound,
            "nodes": [
                *sound["nodes"],
                ui_node(50, "PrimitiveNode", [("value", "STRING", 90)], [("STRING", "STRING", [90])], ["x"]),
            ],
            "links": [*sound["links"], [90, 50, 0, 50, 0, "STRING"]],
        },
    )
    yield "same-ids", {**sound, "nodes": sound["nodes"] * 1000}
    yield "many-links-to-one-input", {**sound, "links": sound["links"] * 5000}
    yield (
        "set-and-get-loop",
        {
            **sound,
            "nodes": [
                *sound["nodes"],
                ui_node(50, "SetNode", [("*", "*", 91)], [("*", "*", [])], ["k"]),
                ui_node(51, "GetNode", [], [("*", "*", [91])], ["k"]),
            ],
            "links": [*sound["links"], [91, 51, 0, 50, 0, "*"]],
        },
    )
    yield from _subgraphs(sound)
    for number, value in enumerate(ODD_VALUES):
        yield f"types-{number}-nodes", {**sound, "nodes": value}
        yield f"types-{number}-links", {**sound, "links": value}
        yield f"types-{number}-each-link", {**sound, "links": [value] * 9}
        yield f"types-{number}-link-parts", {**sound, "links": [[value] * 6 for _ in range(9)]}
        yield f"types-{number}-each-node", {**sound, "nodes": [value] * 9}
        yield f"types-{number}-definitions", {**sound, "definitions": value, "extra": value}
        yield (
            f"types-{number}-subgraphs",
            {**sound, "definitions": {"subgraphs": value}, "extra": {"groupNodes": value, "linkExtensions": value}},
        )
        for key in ("id", "type", "mode", "inputs", "outputs", "widgets_values", "properties"):
            yield f"types-{number}-{key}", {**sound, "nodes": [{**item, key: value} for item in sound["nodes"]]}
        yield f"types-{number}-whole", value


def _subgraphs(sound: Graph) -> Iterator[tuple[str, Any]]:
    def subgraph(name: str, *within: str) -> Graph:
        nodes = [ui_node(number, kind) for number, kind in enumerate(within, 1)]
        return {
            "id": name,
            "name": name,
            "version": 1,
            "nodes": nodes,
            "links": [],
            "inputs": [],
            "outputs": [],
            "inputNode": {"id": -10},
            "outputNode": {"id": -20},
            "state": {},
        }

    def using(*definitions: Graph) -> Graph:
        return {
            **sound,
            "nodes": [*sound["nodes"], ui_node(60, definitions[0]["id"])],
            "definitions": {"subgraphs": list(definitions)},
        }

    yield "subgraph-in-itself", using(subgraph("a", "a", "a"))
    yield "subgraphs-in-each-other", using(subgraph("a", "b", "b"), subgraph("b", "a", "a"))
    yield (
        "subgraphs-doubling",
        using(*(subgraph(f"s{i}", f"s{i + 1}", f"s{i + 1}") for i in range(40)), subgraph("s40", "CLIPTextEncode")),
    )
    yield (
        "subgraphs-deep",
        using(*(subgraph(f"s{i}", f"s{i + 1}") for i in range(3000)), subgraph("s3000", "CLIPTextEncode")),
    )
    group = {
        "nodes": [{"type": "workflow>a", "index": 0}, {"type": "workflow/a", "index": 1}],
        "links": [[0, 0, 1, 0, 1, "X"]],
        "external": [[0, 0, "X"]],
        "config": {},
    }
    yield (
        "group-node-in-itself",
        {**sound, "nodes": [*sound["nodes"], ui_node(60, "workflow>a")], "extra": {"groupNodes": {"a": group}}},
    )
    doubling = {f"g{i}": {"nodes": [{"type": f"workflow>g{i + 1}", "index": k} for k in (0, 1)], "links": [], "external": []} for i in range(40)}
    yield (
        "group-nodes-doubling",
        {**sound, "nodes": [*sound["nodes"], ui_node(60, "workflow>g0")], "extra": {"groupNodes": doubling}},
    )


def _definition(inputs: dict[str, Any], *output: str, **more: Any) -> Graph:
    return {
        "input": {"required": inputs},
        "input_order": {"required": list(inputs)},
        "output": list(output),
        "output_name": list(output),
        "name": "",
        "output_node": False,
        **more,
    }


_NUMBER = ["FLOAT", {"default": 1.0}]
DEFINITIONS: Graph = {
    "KSampler": _definition({"model": ["MODEL"], "seed": ["INT", {"control_after_generate": True}], "steps": ["INT", {}], "cfg": _NUMBER, "sampler_name": [["euler"]],
                             "scheduler": [["normal"]], "positive": ["CONDITIONING"], "negative": ["CONDITIONING"], "latent_image": ["LATENT"], "denoise": _NUMBER}, "LATENT"),
    "CheckpointLoaderSimple": _definition({"ckpt_name": [["a.safetensors"]]}, "MODEL", "CLIP", "VAE"),
    "EmptyLatentImage": _definition({"width": ["INT", {}], "height": ["INT", {}], "batch_size": ["INT", {}]}, "LATENT"),
    "CLIPTextEncode": _definition({"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}, "CONDITIONING"),
    "ConditioningSetArea": _definition({"conditioning": ["CONDITIONING"]}, "CONDITIONING"),
    "VAEDecode": _definition({"samples": ["LATENT"], "vae": ["VAE"]}, "IMAGE"),
    "SaveImage": _definition({"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]}, output_node=True),
}  # fmt: skip
"""As much of an `/object_info` as `ui_picture` needs."""
