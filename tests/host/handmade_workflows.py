"""Small UI-format workflows of ComfyUI's own nodes, one behaviour each: for the unit tests, and for the browser to agree."""

from __future__ import annotations

from typing import Any

Workflow = dict[str, Any]

_IMAGE = ["IMAGE", {}]
_SAMPLERS = ["euler", "dpmpp_2m"]

OBJECT_INFO: dict[str, Any] = {
    # Cut down to what a conversion reads; names, order and types are those of ComfyUI 0.30.0.
    "EmptyImage": {
        "input": {
            "required": {
                "width": ["INT", {"default": 512, "min": 1, "max": 16384}],
                "height": ["INT", {"default": 512, "min": 1, "max": 16384}],
                "batch_size": ["INT", {"default": 1, "min": 1, "max": 4096}],
                "color": ["INT", {"default": 0, "min": 0, "max": 0xFFFFFF}],
            }
        },
        "output": ["IMAGE"],
        "output_name": ["IMAGE"],
        "display_name": "EmptyImage",
    },
    "ImageInvert": {"input": {"required": {"image": _IMAGE}}, "output": ["IMAGE"], "output_name": ["IMAGE"]},
    "ImageBlend": {
        "input": {
            "required": {
                "image1": _IMAGE,
                "image2": _IMAGE,
                "blend_factor": ["FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01}],
                "blend_mode": ["COMBO", {"options": ["normal", "multiply", "screen"]}],
            }
        },
        "output": ["IMAGE"],
        "output_name": ["IMAGE"],
    },
    "PreviewImage": {"input": {"required": {"images": _IMAGE}}, "output": [], "output_name": []},
    "SaveImage": {
        "input": {"required": {"images": _IMAGE, "filename_prefix": ["STRING", {"default": "ComfyUI"}]}},
        "output": [],
        "output_name": [],
    },
    "LoadImage": {
        "input": {"required": {"image": [["example.png"], {"image_upload": True}]}},
        "output": ["IMAGE", "MASK"],
        "output_name": ["IMAGE", "MASK"],
    },
    "CLIPTextEncode": {
        "input": {"required": {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}], "clip": ["CLIP", {}]}},
        "output": ["CONDITIONING"],
        "output_name": ["CONDITIONING"],
    },
    "KSampler": {
        "input": {
            "required": {
                "model": ["MODEL", {}],
                "seed": ["INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}],
                "steps": ["INT", {"default": 20, "min": 1, "max": 10000}],
                "cfg": ["FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}],
                "sampler_name": [_SAMPLERS, {}],
                "scheduler": [["simple", "normal"], {}],
                "positive": ["CONDITIONING", {}],
                "negative": ["CONDITIONING", {}],
                "latent_image": ["LATENT", {}],
                "denoise": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}],
            }
        },
        "output": ["LATENT"],
        "output_name": ["LATENT"],
    },
    "ResizeImageMaskNode": {
        "input": {
            "required": {
                "input": ["COMFY_MATCHTYPE_V3", {"template": {"template_id": "input_type", "allowed_types": "IMAGE,MASK"}}],
                "resize_type": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {
                        "options": [
                            {
                                "key": "scale dimensions",
                                "inputs": {
                                    "required": {
                                        "width": ["INT", {"default": 512, "min": 0, "max": 16384}],
                                        "height": ["INT", {"default": 512, "min": 0, "max": 16384}],
                                        "crop": ["COMBO", {"default": "center", "options": ["disabled", "center"]}],
                                    }
                                },
                            },
                            {
                                "key": "scale by multiplier",
                                "inputs": {
                                    "required": {
                                        "multiplier": ["FLOAT", {"default": 1.0, "min": 0.01, "max": 8.0, "step": 0.01}]
                                    }
                                },
                            },
                        ]
                    },
                ],
                "scale_method": [
                    "COMBO",
                    {"default": "area", "options": ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]},
                ],
            }
        },
        "output": ["COMFY_MATCHTYPE_V3"],
        "output_name": ["resized"],
        "output_matchtypes": ["input_type"],
    },
    "BatchImagesNode": {
        "input": {
            "required": {
                "images": [
                    "COMFY_AUTOGROW_V3",
                    {"template": {"input": {"required": {"image": _IMAGE}}, "prefix": "image", "min": 1, "max": 50}},
                ]
            }
        },
        "output": ["IMAGE"],
        "output_name": ["IMAGE"],
    },
    "PreviewAny": {"input": {"required": {"source": ["*", {}]}}, "output": ["STRING"], "output_name": ["STRING"]},
    "PrimitiveInt": {
        "input": {"required": {"value": ["INT", {"min": -(2**63), "max": 2**63 - 1, "control_after_generate": True}]}},
        "output": ["INT"],
        "output_name": ["INT"],
    },
    "ImageColorToMask": {
        "input": {"required": {"image": _IMAGE, "color": ["INT", {"default": 0, "min": 0, "max": 0xFFFFFF}]}},
        "output": ["MASK"],
        "output_name": ["MASK"],
    },
}
OBJECT_INFO["DiffusionToolkitSaveImage"] = OBJECT_INFO["SaveImage"]


def socket(name: str, kind: str, link: int | None = None, widget: bool = False) -> dict[str, Any]:
    """An input as saved; `widget` for one that belongs to a widget of its name."""
    return {"name": name, "type": kind, "link": link, **({"widget": {"name": name}} if widget else {})}


def node(
    number: int, kind: str, inputs: list[Any] | None = None, outputs: list[Any] | None = None, values: Any = None, **more: Any
) -> Any:
    """A node as saved; `outputs` are (type, links) pairs, `values` its widgets_values."""
    saved = {"id": number, "type": kind, "pos": [number * 60, 0], "size": [200, 100], "flags": {}, "order": number, "mode": 0}
    saved |= {"inputs": inputs or [], "properties": {}}
    saved["outputs"] = [{"name": kind_out, "type": kind_out, "links": links} for kind_out, links in outputs or []]
    if values is not None:
        saved["widgets_values"] = values
    return saved | more


def workflow(nodes: list[Any], links: list[list[Any]], **more: Any) -> Workflow:
    """A version 0.4 file; a link is [id, from, output, to, input, type]."""
    return {
        "last_node_id": 99,
        "last_link_id": 99,
        "nodes": nodes,
        "links": links,
        "groups": [],
        "extra": {},
        "version": 0.4,
        **more,
    }


def one_node(kind: str, values: Any, inputs: list[Any], outputs: list[Any]) -> Workflow:
    """A node 1, with the links that its inputs name coming from a node 9."""
    numbers = [slot["link"] for slot in inputs if slot["link"] is not None]
    origin = node(9, "Origin", [], [("X", numbers)])
    return workflow([origin, node(1, kind, inputs, outputs, values)], [[n, 9, 0, 1, 0, "X"] for n in numbers])


def image(number: int, links: list[int], inputs: list[Any] | None = None, **more: Any) -> Any:
    """A node that makes an image."""
    return node(number, "EmptyImage", inputs, [("IMAGE", links)], [64, 32, 1, 255], **more)


def preview(number: int, link: int | None) -> Any:
    """A node that takes one."""
    return node(number, "PreviewImage", [socket("images", "IMAGE", link)])


def through(middle: Any) -> Workflow:
    """Image 1 -> the given node 2 (input 0 by link 1, output 0 by link 2) -> preview 3."""
    return workflow([image(1, [1]), middle, preview(3, 2)], [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]])


def invert(mode: int = 0) -> Workflow:
    """One node between two others, muted or bypassed as asked."""
    return through(node(2, "ImageInvert", [socket("image", "IMAGE", 1)], [("IMAGE", [2])], mode=mode))


def bypassed_without_match() -> Workflow:
    """A bypassed node that takes an image and gives a mask."""
    middle = node(2, "ImageColorToMask", [socket("image", "IMAGE", 1)], [("MASK", [2])], [0], mode=4)
    target = node(3, "PreviewAny", [socket("source", "*", 2)])
    mask = node(4, "ResizeImageMaskNode", [socket("input", "IMAGE,MASK", 3)], [("*", [])], ["scale by multiplier", 2, "area"])
    middle["outputs"][0]["links"] = [2, 3]
    return workflow([image(1, [1]), middle, target, mask],
                    [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "*"], [3, 2, 0, 4, 0, "MASK"]])  # fmt: skip


def bypassed_blend() -> Workflow:
    """Of two inputs of the right type, the one at the output's index is handed through."""
    blend = node(
        2, "ImageBlend", [socket("image1", "IMAGE", 1), socket("image2", "IMAGE", 3)], [("IMAGE", [2])], [0.5, "screen"], mode=4
    )
    return workflow([image(1, [1]), image(4, [3]), blend, preview(3, 2)],
                    [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 4, 0, 2, 1, "IMAGE"]])  # fmt: skip


def rerouted() -> Workflow:
    """Two reroute nodes in a row."""
    first = node(2, "Reroute", [{"name": "", "type": "*", "link": 1}], [("IMAGE", [2])])
    second = node(4, "Reroute", [{"name": "", "type": "*", "link": 2}], [("IMAGE", [3])])
    return workflow([image(1, [1]), first, second, preview(3, 3)],
                    [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 4, 0, "IMAGE"], [3, 4, 0, 3, 0, "IMAGE"]])  # fmt: skip


def native_reroutes() -> Workflow:
    """Reroutes that are points of a link, and a floating one that belongs to none."""
    extra = {
        "reroutes": [
            {"id": 1, "pos": [5, 5], "linkIds": [1]},
            {"id": 2, "pos": [9, 9], "linkIds": [], "floating": {"slotType": "output"}},
        ],
        "linkExtensions": [{"id": 1, "parentId": 1}],
    }
    return workflow([image(1, [1]), preview(3, 1)], [[1, 1, 0, 3, 0, "IMAGE"]], extra=extra)


def notes() -> Workflow:
    """Nodes that are for reading only."""
    return workflow([image(1, [1]), preview(3, 1), node(5, "Note", values=["hello"]), node(6, "MarkdownNote", values=["# hi"])],
                    [[1, 1, 0, 3, 0, "IMAGE"]])  # fmt: skip


def primitive(value: Any = 7) -> Workflow:
    """One PrimitiveNode for two widgets."""
    maker = node(5, "PrimitiveNode", [], [("INT", [2, 3])], [value, "fixed"])
    maker["outputs"][0]["widget"] = {"name": "width"}
    target = image(1, [1], inputs=[socket("width", "INT", 2, True), socket("height", "INT", 3, True)])
    return workflow([maker, target, preview(3, 1)], [[1, 1, 0, 3, 0, "IMAGE"], [2, 5, 0, 1, 0, "INT"], [3, 5, 0, 1, 1, "INT"]])


def linked_widget() -> Workflow:
    """A widget fed by another node, whose own saved value stays in its place."""
    number = node(5, "PrimitiveInt", [], [("INT", [2])], [128, "fixed"])
    target = image(1, [1], inputs=[socket("height", "INT", 2, True)])
    return workflow([number, target, preview(3, 1)], [[1, 1, 0, 3, 0, "IMAGE"], [2, 5, 0, 1, 0, "INT"]])


def sampler(values: Any) -> Workflow:
    """A KSampler with the given widget values and nothing connected."""
    sockets = [socket(n, t) for n, t in (("model", "MODEL"), ("positive", "CONDITIONING"), ("negative", "CONDITIONING"), ("latent_image", "LATENT"))]  # fmt: skip
    return workflow([node(1, "KSampler", sockets, [("LATENT", [])], values)], [])


def resized(values: list[Any]) -> Workflow:
    """A dynamic combo, with the values of the option chosen."""
    return through(node(2, "ResizeImageMaskNode", [socket("input", "IMAGE,MASK", 1)], [("*", [2])], values))


def batched() -> Workflow:
    """An autogrow group with three links, one more than a new node has sockets."""
    sockets = [socket(f"images.image{i}", "IMAGE", link) for i, link in enumerate((1, 3, 4, None))]
    batch = node(2, "BatchImagesNode", sockets, [("IMAGE", [2])])
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"], [3, 1, 0, 2, 1, "IMAGE"], [4, 1, 0, 2, 2, "IMAGE"]]
    return workflow([image(1, [1, 3, 4]), batch, preview(3, 2)], links)


def text(prompt: str) -> Workflow:
    """A prompt with nothing connected to its CLIP."""
    return workflow([node(1, "CLIPTextEncode", [socket("clip", "CLIP")], [("CONDITIONING", [])], [prompt])], [])


def saved_as(prefix: str, by: str = "SaveImage") -> Workflow:
    """A file name with something to fill in."""
    save = node(3, by, [socket("images", "IMAGE", 1)], [], [prefix])
    maker = image(1, [1], title="Canvas", properties={"Node name for S&R": "EmptyImage"})
    return workflow([maker, save], [[1, 1, 0, 3, 0, "IMAGE"]])


def loaded() -> Workflow:
    """A combo with an upload button."""
    return workflow([node(1, "LoadImage", [], [("IMAGE", [1]), ("MASK", [])], ["photo.png", "image"]), preview(3, 1)],
                    [[1, 1, 0, 3, 0, "IMAGE"]])  # fmt: skip


INNER = "11111111-1111-4111-8111-111111111111"
OUTER = "22222222-2222-4222-8222-222222222222"


def definition(key: str, nodes: list[Any], links: list[list[Any]], inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    """A subgraph; inputs and outputs are (name, type, link ids), links as in `workflow` with -10 and -20 for the borders."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    border = {"bounding": [0, 0, 100, 100]}
    sides = [[{"id": f"{key}-{side}{i}", "name": n, "type": t, "linkIds": ids} for i, (n, t, ids) in enumerate(borders)]
             for side, borders in (("in", inputs), ("out", outputs))]  # fmt: skip
    return {"id": key, "version": 1, "name": "Part", "revision": 0, "config": {}, "groups": [], "nodes": nodes,
            "state": {"lastGroupId": 0, "lastNodeId": 50, "lastLinkId": 50, "lastRerouteId": 0},
            "links": [dict(zip(keys, link)) for link in links], "inputs": sides[0], "outputs": sides[1],
            "inputNode": {"id": -10, **border}, "outputNode": {"id": -20, **border}, "widgets": [], "extra": {}}  # fmt: skip


def maker_definition(mode: int = 0) -> dict[str, Any]:
    """A subgraph that makes an image; its input `width` is the inner node's widget."""
    inner = image(11, [31], inputs=[socket("width", "INT", 30, True)], mode=mode)
    links = [[30, -10, 0, 11, 0, "INT"], [31, 11, 0, -20, 0, "IMAGE"]]
    return definition(INNER, [inner], links, [("width", "INT", [30])], [("IMAGE", "IMAGE", [31])])


def subgraph(values: Any = None, link: int | None = None, mode: int = 0, inner_mode: int = 0) -> Workflow:
    """One instance of `maker_definition`, its width free or linked."""
    host = node(2, INNER, [socket("width", "INT", link, True)], [("IMAGE", [1])], values, mode=mode)
    number = node(5, "PrimitiveInt", [], [("INT", [link] if link else [])], [128, "fixed"])
    links = [[1, 2, 0, 3, 0, "IMAGE"]] + ([[link, 5, 0, 2, 0, "INT"]] if link else [])
    return workflow([number, host, preview(3, 1)], links, definitions={"subgraphs": [maker_definition(inner_mode)]})


def two_instances() -> Workflow:
    """The same subgraph twice, with a value each."""
    hosts = [node(2, INNER, [socket("width", "INT", None, True)], [("IMAGE", [1])], [100]),
             node(4, INNER, [socket("width", "INT", None, True)], [("IMAGE", [2])], [200])]  # fmt: skip
    return workflow([*hosts, preview(3, 1), preview(5, 2)], [[1, 2, 0, 3, 0, "IMAGE"], [2, 4, 0, 5, 0, "IMAGE"]],
                    definitions={"subgraphs": [maker_definition()]})  # fmt: skip


def nested(host_values: Any = None, mode: int = 0) -> Workflow:
    """A subgraph in a subgraph, its width promoted through both; `mode` is the inner instance's."""
    host = node(21, INNER, [socket("width", "INT", 40, True)], [("IMAGE", [41])], [100], mode=mode)
    outer = definition(OUTER, [host], [[40, -10, 0, 21, 0, "INT"], [41, 21, 0, -20, 0, "IMAGE"]],
                       [("width", "INT", [40])], [("IMAGE", "IMAGE", [41])])  # fmt: skip
    top = node(2, OUTER, [socket("width", "INT", None, True)], [("IMAGE", [1])], host_values)
    return workflow([top, preview(3, 1)], [[1, 2, 0, 3, 0, "IMAGE"]], definitions={"subgraphs": [outer, maker_definition()]})


def same_ids() -> Workflow:
    """An inner node with an id of the root graph's: it is given a new one."""
    part = maker_definition()
    part["nodes"][0]["id"] = 3
    for link in part["links"]:
        link["target_id"], link["origin_id"] = (3 if link[k] == 11 else link[k] for k in ("target_id", "origin_id"))
    host = node(2, INNER, [socket("width", "INT", None, True)], [("IMAGE", [1])], [100])
    return workflow([host, preview(3, 1)], [[1, 2, 0, 3, 0, "IMAGE"]], definitions={"subgraphs": [part]})


def proxy_widgets() -> Workflow:
    """The older way to promote: a list of inner widgets, whose values stand on the instance."""
    inner = image(11, [31])
    part = definition(INNER, [inner], [[31, 11, 0, -20, 0, "IMAGE"]], [], [("IMAGE", "IMAGE", [31])])
    host = node(2, INNER, [], [("IMAGE", [1])], [9, 300], properties={"proxyWidgets": [["11", "height"], ["11", "width"]]})
    return workflow([host, preview(3, 1)], [[1, 2, 0, 3, 0, "IMAGE"]], definitions={"subgraphs": [part]})


def bypassed_subgraph() -> Workflow:
    """A whole subgraph stepped over, inside which an image is inverted."""
    inner = node(11, "ImageInvert", [socket("image", "IMAGE", 30)], [("IMAGE", [31])])
    part = definition(INNER, [inner], [[30, -10, 0, 11, 0, "IMAGE"], [31, 11, 0, -20, 0, "IMAGE"]],
                      [("image", "IMAGE", [30])], [("IMAGE", "IMAGE", [31])])  # fmt: skip
    return through(node(2, INNER, [socket("image", "IMAGE", 1)], [("IMAGE", [2])], mode=4)) | {
        "definitions": {"subgraphs": [part]}
    }


HANDMADE: dict[str, Workflow] = {
    "plain": invert(), "muted": invert(2), "bypassed": invert(4), "bypassed without match": bypassed_without_match(),
    "bypassed blend": bypassed_blend(), "rerouted": rerouted(), "native reroutes": native_reroutes(), "notes": notes(),
    "primitive": primitive(), "primitive float": primitive(7.6), "primitive out of range": primitive(99999), "linked widget": linked_widget(), "loaded": loaded(),
    "sampler": sampler([5, "randomize", 30, 7.5, "sample_euler", "normal", 0.5]), "few values": sampler([5, "fixed", 30]),
    "no values": sampler(None), "null combo": sampler([5, "fixed", 30, 7.5, None, "normal", 1]),
    "resized": resized(["scale by multiplier", 2.5, "lanczos"]), "resized default": resized(["scale dimensions", 10, 20, "disabled", "area"]),
    "batched": batched(), "comment": text("a /* not this */ cat // nor this"), "escaped": text(r"a \{b\} cat"),
    "saved as": saved_as("%EmptyImage.width%/%Canvas.height%/%nobody.x%/%width%"), "subgraph": subgraph([300]),
    "subgraph default": subgraph(), "subgraph linked": subgraph([300], link=7), "subgraph muted": subgraph([300], mode=2),
    "subgraph inner muted": subgraph([300], inner_mode=2), "two instances": two_instances(), "nested": nested([77]),
    "nested default": nested(), "nested muted": nested([77], mode=2), "same ids": same_ids(), "proxy widgets": proxy_widgets(),
    "bypassed subgraph": bypassed_subgraph(),
}  # fmt: skip
"""For the browser; random choices are left out, since nothing could agree on them."""
