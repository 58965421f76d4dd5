"""Links that a pack makes when a prompt is queued, as "Anything Everywhere" does, listed in the file or guessed."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import Readable, readable
from host.handmade_workflows import definition, node, preview, socket, workflow


def test_listed_broadcasts_are_links():
    nodes = [node(1, "Maker", [], [("IMAGE", [])]), preview(2, None)]
    link = {"upstream": "1", "upstream_slot": 0, "downstream": 2, "downstream_slot": 0, "type": "IMAGE"}
    read = readable(workflow(nodes, [], extra={"ue_links": [link]}))
    assert (read.prompt["2"]["inputs"], read.guessed) == ({"images": ["1", 0]}, {})


def test_a_broadcast_that_is_not_listed_goes_to_its_type_and_is_a_guess():
    nodes = [
        node(1, "Maker", [], [("IMAGE", [1])]),
        node(3, "Anything Everywhere", [socket("anything", "*", 1)]),
        preview(2, None),
    ]
    read = readable(workflow(nodes, [[1, 1, 0, 3, 0, "IMAGE"]]))
    assert read.prompt["2"]["inputs"] == {"images": ["1", 0]}
    assert "broadcasts" in read.guessed["2"]


@pytest.mark.parametrize(
    ("kind", "names", "positive", "negative"),
    [
        ("Prompts Everywhere", ["CONDITIONING", "CONDITIONING"], "1", "4"),
        ("Prompts Everywhere", ["CONDITIONING", "CONDITIONING", "VAE"], "1", "4"),
        ("Prompts Everywhere", ["-ve", "+ve"], "4", "1"),
        ("Prompts Everywhere", ["-VE", "anything"], None, "1"),
        ("Prompts Everywhere", ["anything", "Positive"], "4", None),
        ("Prompts Everywhere", ["CONDITIONING", "CONDITIONING", "CONDITIONING"], None, None),
        ("Anything Everywhere3", ["negative", "positive"], "4", "1"),
        ("Anything Everywhere3", ["Negative", "Positive", "VAE"], "4", "1"),
        ("Anything Everywhere3", ["CONDITIONING", "CONDITIONING"], None, None),  # as the pack does: it is ambiguous
    ],
)
def test_two_conditionings_that_one_node_broadcasts_go_by_name_and_those_of_prompts_by_order(
    kind: str, names: list[str], positive: str | None, negative: str | None
):
    nodes = [
        node(1, "Encode", [], [("CONDITIONING", [1])]),
        node(4, "Encode", [], [("CONDITIONING", [2])]),
        node(5, "Third", [], [("VAE" if "VAE" in names else "CONDITIONING", [3])]),
        node(3, kind, [socket(name, "*", number) for number, name in enumerate(names, 1)]),
        node(2, "KSampler", [socket("positive", "CONDITIONING", None), socket("negative", "CONDITIONING", None)], [("LATENT", [])]),
    ]
    links = [[number, origin, 0, 3, number - 1, "*"] for number, origin in enumerate((1, 4, 5)[: len(names)], 1)]
    read = readable(workflow(nodes, links))  # older front ends note the wildcard
    wanted = {"positive": positive and [positive, 0], "negative": negative and [negative, 0]}
    assert read.prompt["2"]["inputs"] == {name: link for name, link in wanted.items() if link}


def broadcast(*nodes: Any, links: list[Any] = [], **more: Any) -> Readable:
    """Maker 1 makes an image that the node 3, of `more`, broadcasts; the other nodes are given."""
    maker = node(1, "Maker", [socket("image", "IMAGE")], [("IMAGE", [1])])
    everywhere = node(3, "Anything Everywhere", [socket("anything", "*", 1)]) | more
    return readable(workflow([maker, everywhere, *nodes], [[1, 1, 0, 3, 0, "IMAGE"], *links]))


def test_a_broadcast_goes_to_no_input_that_has_a_link_or_a_widget_nor_back_to_where_it_is_from():
    other = node(5, "Other", [], [("IMAGE", [2])])
    widget = node(6, "Loader", [socket("image", "IMAGE", widget=True)], [("IMAGE", [])], ["a.png"])
    read = broadcast(other, preview(2, 2), widget, links=[[2, 5, 0, 2, 0, "IMAGE"]])
    assert (read.prompt["2"]["inputs"], read.prompt["6"]["inputs"]) == ({"images": ["5", 0]}, {"image": "a.png"})
    assert "image" not in read.prompt["1"]["inputs"] and not read.guessed


def test_a_node_of_another_class_gives_its_image_to_none_but_whom_it_is_linked_to():
    assert broadcast(preview(2, None), type="Blur").prompt["2"]["inputs"] == {}


@pytest.mark.parametrize("mode", [2, 4])
def test_a_node_that_is_switched_off_broadcasts_nothing(mode: int):
    assert broadcast(preview(2, None), mode=mode).prompt["2"]["inputs"] == {}


def test_an_input_of_a_broadcaster_takes_no_broadcast():
    read = broadcast(node(4, "Image Everywhere", [socket("image", "IMAGE")]), preview(2, None))
    assert (read.prompt["4"]["inputs"], read.prompt["2"]["inputs"]) == ({}, {"images": ["1", 0]})


def test_an_input_of_a_broadcaster_to_which_nothing_is_linked_broadcasts_nothing():
    sockets = [socket("anything", "*", 1), socket("anything2", "*"), socket("anything3", "*", 7)]
    assert broadcast(preview(2, None), inputs=sockets).prompt["2"]["inputs"] == {"images": ["1", 0]}


def test_a_broadcast_is_named_by_its_label_where_it_has_one():
    sockets = [socket("a", "*", 1) | {"label": "+ve"}, socket("b", "*", 2) | {"label": "-ve"}]
    nodes = [node(n, "Encode", [], [("CONDITIONING", [n])]) for n in (1, 2)]
    taker = node(4, "KSampler", [socket("negative", "CONDITIONING"), socket("positive", "CONDITIONING")])
    links = [[n, n, 0, 3, n - 1, "CONDITIONING"] for n in (1, 2)]
    read = readable(workflow([*nodes, node(3, "Anything Everywhere3", sockets), taker], links))
    assert read.prompt["4"]["inputs"] == {"negative": ["2", 0], "positive": ["1", 0]}


@pytest.mark.parametrize(
    ("output", "slot", "noted", "goes"),
    [("IMAGE", 0, "*", True), ("*", 0, "IMAGE", True), ("MASK", 0, "*", False), ("IMAGE", 1, "*", False)],
)
def test_a_broadcast_is_of_the_type_that_its_link_notes_or_of_its_output_s(output: str, slot: int, noted: str, goes: bool):
    nodes = [node(1, "Maker", [], [(output, [1])]), node(3, "Anything Everywhere", [socket("anything", "*", 1)]), preview(2, None)]
    read = readable(workflow(nodes, [[1, 1, slot, 3, 0, noted]]))
    assert read.prompt["2"]["inputs"] == ({"images": ["1", slot]} if goes else {})


def test_what_comes_into_a_subgraph_from_outside_is_not_broadcast_there():
    inner = [node(3, "Anything Everywhere", [socket("anything", "*", 1)]), preview(2, None)]
    saved = workflow([node(9, "s", [socket("in", "IMAGE")])], [], definitions={"subgraphs": [definition(
        "s", inner, [[1, -10, 0, 3, 0, "IMAGE"]], [("in", "IMAGE", [1])], [])]})  # fmt: skip
    assert readable(saved).prompt["9:2"]["inputs"] == {}


GOOD = {"upstream": "1", "upstream_slot": 0, "downstream": 2, "downstream_slot": 0, "type": "IMAGE"}


@pytest.mark.parametrize(
    "bad",
    [
        7, {}, {"upstream": "8"}, {"downstream": 8}, {"upstream_slot": "x"}, {"upstream_slot": -1}, {"downstream_slot": None},
        {"downstream_slot": 9}, {"downstream_slot": -1}, {"upstream": "5", "type": "MASK"}, {"downstream": 4},
    ],
)  # fmt: skip
def test_a_listed_broadcast_that_fits_nothing_leaves_the_others(bad: Any):
    linked = node(4, "Blur", [socket("image", "IMAGE", 1)], [("IMAGE", [])])
    nodes = [node(5, "Maker", [], [("IMAGE", [1])]), node(1, "Maker", [], [("IMAGE", [])]), preview(2, None), linked]
    entry = {**GOOD, **bad} if bad and isinstance(bad, dict) else bad
    read = readable(workflow(nodes, [[1, 5, 0, 4, 0, "IMAGE"]], extra={"ue_links": [entry, GOOD]}))
    assert (read.prompt["2"]["inputs"], read.prompt["4"]["inputs"]) == ({"images": ["1", 0]}, {"image": ["5", 0]})
