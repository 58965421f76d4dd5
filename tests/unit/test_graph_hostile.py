"""No graph, however odd, makes the tracer raise anything but ValueError, recurse with its depth, or look at it without end."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from diffusion_toolkit.embedders.graph import models, nodes, strings, trace
from host.sampled_graphs import Graph, basic, node

LONG = 5_000


def chain(made: dict[str, Any], link: str, end: dict[str, Any]) -> Graph:
    """`c0` -> `c1` -> ...: copies of a node, each linked to the next by one input."""
    graph = basic()
    for i in range(LONG):
        graph[f"c{i}"] = node(made["class_type"], **made["inputs"], **{link: [f"c{i + 1}", 0]})
    graph[f"c{LONG}"] = end
    return graph


@pytest.mark.parametrize(
    "prompt", [None, 7, "x", [], {}, {"1": 3}, {"1": {"inputs": 3}}, {"1": {"inputs": []}}, [1, 2], True]
)
def test_what_is_no_graph_is_a_value_error(prompt: Any) -> None:
    with pytest.raises(ValueError, match="no nodes"):
        trace(prompt)


def test_long_chain_of_conditioning_is_followed_to_its_end() -> None:
    graph = chain(node("SetArea", strength=1.0), "conditioning", basic()["pos"])
    graph["sampler"]["inputs"]["positive"] = ["c0", 0]
    assert trace(graph).positive == [("a red fox", "a red fox")]


def test_long_chain_of_strings_ends() -> None:
    graph = chain(node("StringConcatenate", string_b="x", delimiter=""), "string_a", node("PrimitiveString", value="y"))
    graph["pos"]["inputs"]["text"] = ["c0", 0]
    assert trace(graph).negative == [("blurry", "blurry")]


def test_long_chain_of_loras_and_samplers_ends_with_the_last_passes() -> None:
    graph = chain(
        node("KSampler", seed=1, steps=2, model=["ckpt", 0], positive=["pos", 0]), "latent_image", basic()["latent"]
    )
    graph["decode"]["inputs"]["samples"] = ["c0", 0]
    found = trace(graph)
    assert (found.passes[-1].node, found.positive) == ("c0", [("a red fox", "a red fox")])


def test_chain_of_more_samplers_than_are_followed_leaves_the_last_ones_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_STEPS", LONG)
    graph = chain(
        node("KSampler", seed=1, steps=2, model=["ckpt", 0], positive=["pos", 0]), "latent_image", basic()["latent"]
    )
    graph["decode"]["inputs"]["samples"] = ["c0", 0]
    found = trace(graph)
    assert (found.passes[-1].node, found.positive) == ("c0", [("a red fox", "a red fox")])


def test_entangled_conditioning_gives_what_was_found() -> None:
    graph = basic()
    for i in range(400):
        graph[f"c{i}"] = node(
            "Combine", conditioning_x=["pos", 0], **{f"conditioning_{j}": [f"c{j}", 0] for j in range(0, 400, 2)}
        )
    graph["sampler"]["inputs"]["positive"] = ["c0", 0]
    assert trace(graph).positive == [("a red fox", "a red fox")]


def test_graph_too_entangled_for_the_budget_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_STEPS", 60)
    graph = basic(both=node("Combine", **{f"conditioning_{i}": [f"c{i}", 0] for i in range(50)}))
    graph |= {f"c{i}": node("CLIPTextEncode", text=f"text {i}", clip=["ckpt", 1]) for i in range(50)}
    graph["sampler"]["inputs"]["positive"] = ["both", 0]
    found = trace(graph)
    assert 0 < len(found.positive) < 50
    assert found.positive_origin.confidence == "inferred" and found.passes[-1].node == "sampler"


def test_walk_cut_off_before_any_text_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_STEPS", 2_000)
    graph = chain(node("SetArea", strength=1.0), "conditioning", basic()["pos"])
    graph["sampler"]["inputs"]["positive"] = ["c0", 0]
    found = trace(graph)
    assert (found.positive, found.positive_origin.confidence) == ([], "unknown")
    assert found.positive_origin.where == "the graph is too entangled to be followed to its end"


def test_cycles_of_strings_switches_and_pictures_end() -> None:
    graph = basic(
        pos=node("CLIPTextEncode", text=["a", 0], clip=["ckpt", 1]),
        a=node("StringConcatenate", string_a=["b", 0], string_b="x", delimiter=""),
        b=node("Switch", switch=["b", 0], on_true=["a", 0], on_false=["b", 0]),
        latent=node("LatentScale", samples=["decode", 0], width=["latent", 0]),
    )
    found = trace(graph)
    assert (found.positive, found.positive_origin.confidence) == ([("x", "x")], "unknown")


def test_texts_that_grow_without_end_are_cut_off() -> None:
    graph = basic(s0=node("PrimitiveString", value="fox " * 100_000))
    for i in range(60):
        graph[f"s{i + 1}"] = node("StringConcatenate", string_a=[f"s{i}", 0], string_b=[f"s{i}", 0], delimiter="")
    graph["pos"]["inputs"]["text"] = ["s60", 0]
    assert trace(graph).positive_origin.confidence == "unknown"


def test_many_long_texts_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strings, "MAX_MADE", 1_000)
    graph = basic(s0=node("PrimitiveString", value="fox " * 100))
    for i in range(60):
        graph[f"s{i + 1}"] = node("StringReplace", string=[f"s{i}", 0], find="o", replace="0")
    graph["pos"]["inputs"]["text"] = ["s60", 0]
    assert trace(graph).positive_origin.confidence == "unknown"


def test_many_patterns_are_not_all_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strings, "MAX_MATCHES", 3)
    graph = basic(s0=node("PrimitiveString", value="fox"))
    for i in range(9):
        graph[f"s{i + 1}"] = node("RegexReplace", string=[f"s{i}", 0], regex_pattern="$", replace="x")
    graph["pos"]["inputs"]["text"] = ["s9", 0]
    found = trace(graph)
    assert (found.positive[0][0], found.positive_origin.confidence) == ("foxxx", "inferred")


def test_inputs_beyond_measure_are_left_unread() -> None:
    graph = basic(pos=node("CLIPTextEncode", clip=["ckpt", 1], **{f"text{i}": f"w{i}" for i in range(20_000)}))
    assert len(trace(graph).positive) == nodes.MAX_INPUTS - 1


def test_number_too_long_to_be_written_is_left_unread() -> None:
    joined = node("Join", delimiter=",", text1=["n", 0], text2="a fox")
    graph = basic(pos=node("CLIPTextEncode", text=["j", 0], clip=["ckpt", 1]), j=joined, n=node("Int", value=10**5_000))
    assert trace(graph).positive == [("a fox", "a fox")]


def test_same_graph_gives_the_same_trace() -> None:
    assert trace(basic()) == trace(json.loads(json.dumps(basic())))


WORDS = [
    "positive", "negative", "text", "any_1", "any_2", "model", "clip", "latent_image", "image", "mask", "pipe", "string_a", "seed",
    "steps", "cfg", "guider", "samples", "value", "vae", "control_net", "lora_name", "strength", "filename_prefix", "switch", "on_true",
    "index", "noise", "sigmas", "sampler", "sampler_name", "f_string", "regex_pattern", "replace", "find", "delimiter", "width", "height",
    "resolution", "scale_by", "populated_text", "temperature", "loras", "start_at_step", "text_g", "text_l", "mode", "key", "json_string",
]  # fmt: skip
KINDS = [
    "KSampler",
    "SaveImage",
    "ShowText",
    "Reroute",
    "ConditioningZeroOut",
    "CLIPTextEncode",
    "",
    "Merge",
    "SamplerX",
]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 2**64 - 1, 2**64, 10**400, 1.5, 1e308, float("nan"), float("inf"), "", " ", "x", "a b", "a\0\ud800",
    "x.safetensors", "{a}", "{0.__class__}", "{:{}}", "(a+)+", "[", "\\", "%x%", "512x512", [], [1], ["1"], ["1", "0"], [[], 0], [None, 0],
    {}, {"__value__": [1]}, {"__value__": [{"lora": 1}]}, {"on": True, "lora": "x"}, [["1", 0]], ["1", True], ["1", -1], ["1", 2**70],
]  # fmt: skip
TYPES: list[Any] = [
    "CONDITIONING",
    "STRING",
    "MODEL",
    "CLIP",
    "LATENT",
    "IMAGE",
    "*",
    "",
    "X",
    "INT,FLOAT",
    None,
    7,
    [],
    "PIPE",
    "BOOLEAN",
]


@pytest.mark.parametrize("seed", range(4))
def test_rubbish_of_every_kind_raises_nothing(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(400):
        keys = [str(i) for i in range(chance.randint(1, 14))]
        graph = basic() if chance.random() < 0.5 else {}
        for key in keys:
            inputs = {
                name: [chance.choice([*keys, *graph]), chance.randrange(4)]
                if chance.random() < 0.6
                else chance.choice(VALUES)
                for name in chance.sample(WORDS, chance.randint(0, 9))
            }
            graph[key] = {"class_type": chance.choice([*KINDS, None, 7, []]), "inputs": inputs}  # type: ignore[dict-item]
            if chance.random() < 0.5:
                taker = chance.choice(list(graph))
                graph[taker]["inputs"][chance.choice(WORDS)] = [key, chance.randrange(3)]
        types: Any = {
            kind: [chance.choice(TYPES) for _ in range(chance.randint(0, 4))] for kind in KINDS if chance.random() < 0.5
        }
        trace(graph, types=types, saved_as=chance.choice([None, "", "x_1.png", "a" * 9_000, "\ud800"]))


def test_a_graph_of_too_many_nodes_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 20000"):
        trace({str(i): node("Reroute", **{"": [str(i + 1), 0]}) for i in range(20_001)})


def test_inputs_with_names_of_endless_length_are_left_out() -> None:
    graph = basic()
    graph["pos"]["inputs"]["text" * 1000] = "a wolf"
    assert trace(graph).positive == [("a red fox", "a red fox")]


TAGS = "".join(f"<lora:{i}:0>" for i in range(7_000))


@pytest.mark.parametrize("text", ["a\n" * 400_000, "<lora:a:" * 100_000, "{|" * 400_000, " \n#" * 200_000, TAGS])
def test_a_long_text_that_many_nodes_take_is_not_gone_through_for_each(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By letters and by tags: 1,500 such nodes took fifteen seconds."""
    letters_of: list[Any] = []
    compared: list[str] = []
    stem = models._stem
    monkeypatch.setattr(models, "set", lambda of=(): letters_of.append(of) or set(of), raising=False)
    monkeypatch.setattr(models, "_stem", lambda file: compared.append(file) or stem(file))
    graph = basic(s=node("Text", text=text, seed=1), c0=node("LoraTagLoader", model=["ckpt", 0], clip=["ckpt", 1], text=["s", 0]))
    graph |= {f"c{i}": node("LoraTagLoader", model=[f"c{i - 1}", 0], clip=["ckpt", 1], text=["s", 0]) for i in range(1, 1500)}
    graph["sampler"]["inputs"]["model"] = ["c1499", 0]
    assert trace(graph).loras == []
    assert letters_of.count(text[:100_000]) == 1
    assert len(compared) <= 1500 * 50  # of each node's tags, 50 at the most, each once and not with each other


def test_a_long_list_that_many_nodes_take_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    look = strings._active_texts
    monkeypatch.setattr(strings, "_active_texts", lambda at: looked_at.append(at.key) or look(at))
    words = [{"text": "fur", "active": True}] * 1_000 + [{"text": "x"}] * 29_000
    graph = basic(toggle=node("Toggle", words=words), both=node("Combine", **{f"conditioning_{i}": [f"c{i}", 0] for i in range(900)}))
    graph |= {f"c{i}": node("CLIPTextEncode", text=["toggle", i], clip=["ckpt", 1]) for i in range(900)}
    graph["sampler"]["inputs"]["positive"] = ["both", 0]
    assert trace(graph).positive[0][0].count("fur") == 1_000
    assert looked_at.count("toggle") == 1


@pytest.mark.parametrize(
    ("entries", "loras"),
    [
        ([{}], []),
        ([{"text": 1, "active": True}], []),
        ([{"text": "x", "active": "yes"}], []),
        ([{"lora": 5, "strength": "x"}], []),
        ([{"name": "a", "strength": {}}], [{"name": "a", "strength_model": 1.0, "strength_clip": 1.0}]),
    ],
)
def test_list_of_odd_entries_is_no_more_than_its_sound_ones(entries: list[Any], loras: list[Any]) -> None:
    graph = basic(odd=node("Odd", model=["ckpt", 0], loras=entries, text=["toggle", 0]), toggle=node("Toggle", words=entries))
    graph["sampler"]["inputs"]["model"] = ["odd", 0]
    graph["pos"]["inputs"]["text"] = ["toggle", 0]
    assert trace(graph).loras == loras
