"""Graphs that no ComfyUI would save but a stranger's file may hold: cyclic, entangled, huge, of wrong types everywhere."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

MANY = 50_000  # nodes of a large graph
Graph = dict[str, Any]
LINKED = (
    "positive",
    "negative",
    "latent_image",
    "model",
    "conditioning_1",
    "conditioning_2",
    "text",
    "string_a",
    "samples",
    "images",
    "clip",
)
CLASSES = (
    "KSampler", "KSamplerAdvanced", "SamplerCustomAdvanced", "CLIPTextEncode", "CLIPTextEncodeSDXL", "ConditioningCombine",
    "StringConcatenate", "StringReplace", "Reroute", "SaveImage", "VAEDecode", "EmptyLatentImage", "CFGGuider", "DualCFGGuider",
    "PrimitiveString", "ControlNetApplyAdvanced", "ConditioningZeroOut", "LoraLoader", "ComfySwitchNode", "RegexReplace", "AnythingElse",
)  # fmt: skip
ODD_VALUES = (None, True, -1, 2**64, 10**400, 1.5, float("nan"), float("-inf"), "", "\0", "\ud800", [], {}, [[]], ["3"], ["3", "0"], ["3", None],
              ["3", -1], ["3", 10**30], ["3", 0, 0], [3, 0], [3.0, 0], [None, 0], [["3"], 0], [{}, 0], {"__value__": ["3", 0]}, {"3": 0})  # fmt: skip


def node(kind: Any, **inputs: Any) -> Graph:
    return {"class_type": kind, "inputs": inputs}


def picture(positive: Any = ("6", 0), **more: Graph) -> Graph:
    """A small sound graph, with `positive` and further nodes as given."""
    link = list(positive) if isinstance(positive, tuple) else positive
    graph = {
        "3": node("KSampler", seed=1, steps=20, cfg=7.0, sampler_name="euler", scheduler="normal", denoise=1.0,
                  model=["4", 0], positive=link, negative=["7", 0], latent_image=["5", 0]),
        "4": node("CheckpointLoaderSimple", ckpt_name="a.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "6": node("CLIPTextEncode", text="a cat", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="blurry", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="a"),
    }  # fmt: skip
    return {**graph, **more}


def hostile_graphs(many: int = MANY) -> Iterator[tuple[str, str]]:
    """(name, JSON text) of graphs in API format; each is made when it is asked for."""
    for name, graph in _entangled(many):
        yield name, json.dumps(graph)
    for name, graph in _cyclic():
        yield f"cycle-{name}", json.dumps(graph)
    for name, graph in _texts():
        yield f"text-{name}", json.dumps(graph)
    for name, graph in _wrong_types():
        yield f"types-{name}", json.dumps(graph)
    yield from _json()


def _entangled(many: int) -> Iterator[tuple[str, Graph]]:
    def chain(make: Any, count: int = many) -> Graph:
        nodes = {f"c{i}": make(["6", 0] if i == 0 else [f"c{i - 1}", 0], i) for i in range(count)}
        return picture((f"c{count - 1}", 0), **nodes)

    yield "chain-of-reroutes", chain(lambda last, i: node("Reroute", value=last))
    yield (
        "chain-of-combines-both-ways",
        chain(lambda last, i: node("ConditioningCombine", conditioning_1=last, conditioning_2=last)),
    )
    yield "chain-of-unknown-nodes", chain(lambda last, i: node("Whatever", anything=last, note=f"note {i}"))
    strings = chain(lambda last, i: node("StringConcatenate", string_a=last, string_b=last, delimiter=", "))
    strings["6"] = node("PrimitiveString", value="a cat")
    last = f"c{many - 1}"
    yield (
        "strings-doubled",
        {
            **strings,
            "3": picture()["3"],
            "6": picture()["6"] | {"inputs": {"text": [last, 0], "clip": ["4", 1]}},
            "c0": node("PrimitiveString", value="a cat"),
        },
    )
    for levels in (20, 30, 60):
        doubled = {f"d{i}": node("StringConcatenate", string_a=[f"d{i - 1}", 0], string_b=[f"d{i - 1}", 0], delimiter="") for i in range(1, levels)}
        yield (
            f"strings-doubled-{levels}-times",
            picture(
                d0=node("PrimitiveString", value="cat"),
                **doubled,
                **{"6": node("CLIPTextEncode", text=[f"d{levels - 1}", 0])},
            ),
        )
    tripled = {f"t{i}": node("StringReplace", string=[f"t{i - 1}", 0], find="a", replace="aaaaaaaaaa") for i in range(1, 40)}
    yield (
        "strings-replaced-by-longer",
        picture(t0=node("PrimitiveString", value="aaaa"), **tripled, **{"6": node("CLIPTextEncode", text=["t39", 0])}),
    )
    yield (
        "string-replaced-by-much-longer",
        picture(
            **{"6": node("CLIPTextEncode", text=["t", 0])},
            t=node("StringReplace", string="a" * 100_000, find="a", replace="b" * 100_000),
        ),
    )
    yield (
        "string-with-nothing-replaced",
        picture(
            **{"6": node("CLIPTextEncode", text=["t", 0])},
            t=node("StringReplace", string="a" * 100_000, find="", replace="b" * 100_000),
        ),
    )
    encoders = {f"e{i}": node("CLIPTextEncode", text=f"text {i}", clip=["4", 1]) for i in range(many)}
    yield (
        "fan-in",
        picture(("all", 0), **encoders, all=node("Combine", **{f"in{i}": [f"e{i}", 0] for i in range(many)})),
    )
    pairs = {f"p{i}": node("ConditioningCombine", conditioning_1=[f"p{i - 1}", 0], conditioning_2=[f"e{i}", 0]) for i in range(1, many // 2)}
    texts = {name: encoders[name] for name in list(encoders)[: many // 2]}
    yield "chain-with-a-text-at-each-link", picture((f"p{many // 2 - 1}", 0), **texts, **pairs, p0=encoders["e0"])
    wide = 300
    links = {f"in{i}": [f"w{i}", 0] for i in range(wide)}
    for kind in ("ConditioningCombine", "Whatever"):
        nodes = {f"w{i}": node(kind, **links) for i in range(wide)} | {"w7": node("CLIPTextEncode", text="deep", clip=["w1", 0])}
        yield f"all-to-all-{kind}", picture(("w0", 0), **nodes)
    layers = {
        f"l{i}-{j}": node("ConditioningCombine", **{f"in{k}": [f"l{i - 1}-{k}" if i else "6", 0] for k in range(10)}) for i in range(many // 100) for j in range(10)
    }
    yield "layers-all-to-all", picture((f"l{many // 100 - 1}-0", 0), **layers)
    sampler = {**picture()["3"]["inputs"]}
    samplers = {f"s{i}": node("KSampler", **{**sampler, "latent_image": [f"s{i - 1}", 0] if i else ["5", 0]}) for i in range(many)}
    yield "chain-of-samplers", picture(**samplers, **{"8": node("VAEDecode", samples=[f"s{many - 1}", 0])})
    conditioned = {f"s{i}": node("KSampler", **{**sampler, "latent_image": [f"s{i - 1}", 0] if i else ["5", 0], "positive": [f"p{i}", 0]}) for i in range(many // 10)}
    growing = {f"p{i}": node("ConditioningCombine", conditioning_1=[f"p{i - 1}", 0], conditioning_2=[f"e{i}", 0]) for i in range(1, many // 10)}
    texts = {f"e{i}": encoders[f"e{i}"] for i in range(many // 10)}
    yield (
        "chain-of-samplers-with-growing-texts",
        picture(
            **conditioned,
            **growing,
            **texts,
            p0=encoders["e0"],
            **{"8": node("VAEDecode", samples=[f"s{many // 10 - 1}", 0])},
        ),
    )
    saves = {f"v{i}": node("SaveImage", images=[f"v{i}d", 0], filename_prefix="a") for i in range(many // 4)}
    decodes = {f"v{i}d": node("VAEDecode", samples=[f"v{i}s", 0]) for i in range(many // 4)}
    own = {f"v{i}s": node("KSampler", **{**sampler, "positive": [f"e{i}", 0]}) for i in range(many // 4)}
    yield "many-saves", picture(**saves, **decodes, **own, **{f"e{i}": encoders[f"e{i}"] for i in range(many // 4)})
    saves = {f"v{i}": node("SaveImage", images=["m", 0], filename_prefix="a") for i in range(many // 2)}
    models = {
        f"m{i}": node(
            "LoraLoader",
            model=[f"m{i - 1}" if i else "4", 0],
            clip=["4", 1],
            lora_name=f"l{i}",
            strength_model=1.0,
            strength_clip=1.0,
        )
        for i in range(many // 2)
    }
    yield "many-saves-of-one", picture(**saves, m=node("ImageScale", image=["8", 0]))
    yield "many-loras", picture(**models, **{"3": node("KSampler", **{**sampler, "model": [f"m{many // 2 - 1}", 0]})})
    dice = random.Random(5)
    names = [str(i) for i in range(many // 2)]
    yield (
        "random-web",
        {name: node(dice.choice(CLASSES), **{key: [dice.choice(names), 0] for key in dice.sample(LINKED, 4)}) for name in names},
    )


def _cyclic() -> Iterator[tuple[str, Graph]]:
    yield "of-one", picture(("a", 0), a=node("ConditioningCombine", conditioning_1=["a", 0], conditioning_2=["a", 0]))
    yield (
        "of-two",
        picture(
            ("a", 0),
            a=node("ConditioningSetArea", conditioning=["b", 0]),
            b=node("ConditioningSetArea", conditioning=["a", 0]),
        ),
    )
    yield (
        "with-a-text",
        picture(
            ("a", 0),
            a=node("ConditioningCombine", conditioning_1=["b", 0], conditioning_2=["6", 0]),
            b=node("Reroute", x=["a", 0]),
        ),
    )
    yield "of-the-sampler", picture(("3", 0))
    yield "of-latents", picture(**{"5": node("LatentUpscale", samples=["3", 0])})
    yield (
        "of-strings",
        picture(
            **{"6": node("CLIPTextEncode", text=["s", 0])},
            s=node("StringConcatenate", string_a=["s", 0], string_b="cat"),
        ),
    )
    yield (
        "of-three-strings",
        picture(
            **{"6": node("CLIPTextEncode", text=["s", 0])},
            **{a: node("StringConcatenate", string_a=[b, 0], string_b=[c, 0]) for a, b, c in ("stu", "tus", "ust")},
        ),
    )
    yield "of-models", picture(**{"4": node("LoraLoader", model=["4", 0], clip=["4", 1], lora_name="x")})
    yield "of-saves", {"9": node("SaveImage", images=["9", 0])}
    yield (
        "of-guiders",
        picture(
            **{
                "3": node("SamplerCustomAdvanced", guider=["g", 0], latent_image=["3", 0]),
                "g": node("CFGGuider", positive=["g", 0], negative=["g", 0], model=["g", 0]),
            }
        ),
    )
    yield (
        "of-switches",
        picture(("s", 0), s=node("ComfySwitchNode", switch=["s", 0], on_true=["s", 0], on_false=["s", 0])),
    )


def _texts() -> Iterator[tuple[str, Graph]]:
    def said(**feeder: Graph) -> Graph:
        return picture(**{"6": node("CLIPTextEncode", text=["x", 0], clip=["4", 1])}, **feeder)

    bombs = (
        "(a+)+$",
        "(a|a)*b",
        "(.*.*)*x",
        "(?:a?){60}a{60}",
        "((((((((((a*)*)*)*)*)*)*)*)*)*b",
        "(" * 5000,
        "a{2,1}",
        "(?<=a+)b",
        "[",
        "\\",
        "(?P<a>a)(?P=b)",
        "a{9999999}",
        "(a{1000}){1000}",
        "(?i)" + "x|" * 50_000,
    )
    for number, bomb in enumerate(bombs):
        yield (
            f"regex-{number}",
            said(
                x=node(
                    "RegexReplace",
                    string="a" * 5000 + "!",
                    regex_pattern=bomb,
                    replace="\\1\\g<9>",
                    case_insensitive=True,
                    multiline=True,
                    dotall=True,
                    count=0,
                )
            ),
        )
    yield (
        "regex-extract",
        said(x=node("RegexExtract", string="a" * 40 + "!", regex_pattern=bombs[0], mode="All Groups", group_index=10**9)),
    )
    yield "regex-growing", said(x=node("RegexReplace", string="a" * 50_000, regex_pattern="(a*)", replace="\\1" * 1000))
    for name, text in {
        "nul": "a\0cat\0", "lone-surrogates": "\ud800cat\udfff", "braces": "{" * 100_000, "braces-nested": "{a|" * 50_000 + "}" * 50_000,
        "brackets": "(" * 200_000, "loras": "<lora:" * 100_000, "wildcards": "__" * 100_000, "comments": "/*" * 100_000, "slashes": "//" * 100_000, "blank": " " * 3_000_000,
        "newlines": "\n" * 1_000_000, "percent": "%date:" * 100_000, "dollars": "${" * 100_000, "long": "cat " * 2_000_000, "combining": "e" + "\u0301" * 1_000_000,
        "controls": "".join(map(chr, range(1, 32))) + "\x7f\x85\u2028\ufeff\ufffe",
    }.items():  # fmt: skip
        yield name, picture(**{"6": node("CLIPTextEncode", text=text, clip=["4", 1])})
    yield "substring-far", said(x=node("StringSubstring", string="a", start=-(10**18), end=10**18))
    yield "long-delimiter", said(x=node("StringConcatenate", string_a="a", string_b="b", delimiter="c" * 3_000_000))


def _wrong_types() -> Iterator[tuple[str, Any]]:
    for number, value in enumerate(ODD_VALUES):
        yield (
            f"value-{number}-for-every-input",
            {name: node(item["class_type"], **{key: value for key in item["inputs"]}) for name, item in picture().items()},
        )
        yield f"value-{number}-for-positive", picture(value)
        yield (
            f"value-{number}-for-settings",
            picture(
                **{
                    "3": node(
                        "KSampler",
                        **{
                            **picture()["3"]["inputs"],
                            **dict.fromkeys(("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"), value),
                        },
                    )
                }
            ),
        )
        yield f"value-{number}-for-inputs", {name: {**item, "inputs": value} for name, item in picture().items()}
        yield f"value-{number}-for-class", {name: {**item, "class_type": value} for name, item in picture().items()}
        yield f"value-{number}-for-nodes", dict.fromkeys("3456789", value)
        yield f"value-{number}-for-the-graph", value


def _json() -> Iterator[tuple[str, str]]:
    graph = json.dumps(picture())
    yield "json-nested-lists", "[" * 100_000 + "]" * 100_000
    yield "json-nested-objects", '{"a":' * 100_000 + "1" + "}" * 100_000
    yield "json-open-lists", "[" * 1_000_000
    for depth in (100, 900, 990, 20_000):
        yield f"json-input-nested-{depth}", graph.replace('"a cat"', "[" * depth + '"a cat"' + "]" * depth)
        yield f"json-input-objects-nested-{depth}", graph.replace('"a cat"', '{"a":' * depth + '"a cat"' + "}" * depth)
    yield "json-long-number", graph.replace('"seed": 1', '"seed": ' + "9" * 100_000)
    yield "json-long-exponent", graph.replace('"seed": 1', '"seed": 1e' + "9" * 1000)
    yield "json-nan", graph.replace('"seed": 1', '"seed": NaN').replace('"cfg": 7.0', '"cfg": -Infinity')
    yield "json-same-key-often", "{" + ",".join(['"3": {}'] * 100_000) + "}"
    yield "json-in-a-string", json.dumps(json.dumps(json.dumps(picture())))
    yield "json-not-at-all", "prompt: a cat"
    yield "json-cut", graph[:-30]
    yield "json-more-behind", graph + graph
    yield "json-bom", "\ufeff" + graph
    yield "json-empty", "{}"
    yield "json-escapes", graph.replace("a cat", "\\ud83d \\u0000 \\udc00")
