"""What a bypassed node hands through, and the types of sockets that decide it."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import to_api
from diffusion_toolkit.embedders.workflow.load import load
from host.handmade_workflows import definition, node, socket, workflow

ANY_OF = "IMAGE,MASK,LATENT"


def known(inputs: dict[str, str], outputs: list[str], groups: list[str | None] | None = None) -> dict[str, Any]:
    """A definition; an input of type `t:...` shares its type with the others of group t."""
    specs: dict[str, Any] = {}
    for name, kind in inputs.items():
        group, _, allowed = kind.rpartition(":")
        specs[name] = ["COMFY_MATCHTYPE_V3", {"template": {"template_id": group, "allowed_types": allowed}}] if group else [kind, {}]
    return {"input": {"required": specs}, "output": outputs, "output_name": outputs, "output_matchtypes": groups}


SOURCES = {kind: known({}, [kind]) for kind in ("IMAGE", "MASK", "LATENT", "*")}


@pytest.mark.parametrize(
    ("inputs", "outputs", "index", "kind", "handed"),
    [
        ("IMAGE IMAGE", "IMAGE IMAGE", 1, "IMAGE", 1),  # the input of the same index
        ("MASK IMAGE", "IMAGE", 0, "IMAGE", 1),  # the first of the target's type
        ("IMAGE MASK", "IMAGE,MASK", 0, "MASK", 1),
        ("MASK LATENT", "LATENT", 0, "LATENT,MASK", 1),  # the first that fits both
        ("IMAGE LATENT mask", "IMAGE IMAGE,MASK", 1, "MASK", 2),
        ("LATENT", "IMAGE", 0, "IMAGE", None),
        ("LATENT *", "IMAGE", 0, "IMAGE", 1),  # any type fits a wildcard
        ("IMAGE MASK", "IMAGE", 1, "MASK", 1),  # an output that the node has no more
        ("MASK IMAGE", "IMAGE IMAGE", 1, "*", 1),
        ("MASK IMAGE", "IMAGE IMAGE IMAGE", 2, "*", 0),
        ("", "IMAGE", 0, "*", None),
    ],
)
def test_bypassed_node_hands_through_the_input_that_fits(inputs: str, outputs: str, index: int, kind: str, handed: int | None) -> None:
    kinds = inputs.split()
    info = {"Middle": known({f"in{n}": kind for n, kind in enumerate(kinds)}, outputs.split()), "Target": known({"x": kind}, [])}
    info |= {f"Source{n}": known({}, [kind]) for n, kind in enumerate(kinds)}
    sources = [node(10 + n, f"Source{n}", [], [(kind, [n])]) for n, kind in enumerate(kinds)]
    middle = node(2, "Middle", [socket(f"in{n}", kind, n) for n, kind in enumerate(kinds)], [], mode=4)
    links = [[n, 10 + n, 0, 2, n, kind] for n, kind in enumerate(kinds)]
    saved = workflow([*sources, middle, node(3, "Target", [socket("x", kind, 99)])], [*links, [99, 2, index, 3, 0, kind]])
    found = to_api(saved, info)["3"]["inputs"].get("x")
    assert found == (None if handed is None else [str(10 + handed), 0])


def types(given: dict[str, str], matched: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The types of a node's inputs and outputs once those named in `given` are linked to such a source."""
    names = list(matched["input"]["required"])
    sources = [node(10 + n, kind, [], [(kind, [n])]) for n, kind in enumerate(given.values())]
    sockets = [socket(name, "*", list(given).index(name) if name in given else None) for name in names]
    links = [[n, 10 + n, 0, 2, names.index(name), kind] for n, (name, kind) in enumerate(given.items())]
    loaded = load(workflow([node(2, "Matched", sockets), *sources], links), {**SOURCES, "Matched": matched}).nodes["2"]
    return [slot.type for slot in loaded.inputs], [slot.type for slot in loaded.outputs]


@pytest.mark.parametrize(
    ("given", "inputs", "output"),
    [
        ({}, [ANY_OF, ANY_OF, ANY_OF], "*"),
        ({"b": "IMAGE"}, ["IMAGE", ANY_OF, "IMAGE"], "IMAGE"),
        ({"a": "LATENT", "b": "LATENT"}, ["LATENT", "LATENT", "LATENT"], "LATENT"),
        ({"a": "*", "c": "MASK"}, ["MASK", "MASK", ANY_OF], "MASK"),
        ({"a": "IMAGE", "b": "MASK"}, ["MASK", "IMAGE", ANY_OF], "*"),  # the third is given up, and the output
    ],
)
def test_matched_input_takes_the_type_of_the_others_and_the_output_that_of_all(given: dict[str, str], inputs: list[str], output: str) -> None:
    matched = known(dict.fromkeys("abc", f"t:{ANY_OF}"), ["COMFY_MATCHTYPE_V3"], ["t"])
    assert types(given, matched) == (inputs, [output])


def test_group_of_matched_inputs_has_outputs_of_its_own() -> None:
    matched = known({"a": f"t:{ANY_OF}", "b": f"u:{ANY_OF}"}, ["COMFY_MATCHTYPE_V3", "INT", "COMFY_MATCHTYPE_V3"], ["u", None, "t"])
    assert types({"a": "IMAGE", "b": "MASK"}, matched) == ([ANY_OF, ANY_OF], ["MASK", "INT", "IMAGE"])
    narrow = known({"a": "t:IMAGE,MASK", "b": "t:MASK"}, ["COMFY_MATCHTYPE_V3"], ["t"])
    assert types({"a": "IMAGE"}, narrow) == (["IMAGE,MASK", "MASK"], ["*"])  # b is given up


def test_two_matched_inputs_of_types_that_differ_leave_the_output_as_it_is() -> None:
    assert types({"a": "IMAGE", "b": "MASK"}, known(dict.fromkeys("ab", f"t:{ANY_OF}"), ["COMFY_MATCHTYPE_V3"], ["t"]))[1] == ["*"]


def test_type_goes_along_a_chain_of_matched_nodes_whatever_their_order() -> None:
    info = {**SOURCES, "Matched": known({"a": f"t:{ANY_OF}"}, ["COMFY_MATCHTYPE_V3"], ["t"])}
    chain = [node(n, "Matched", [socket("a", "*", n)], [("*", [n + 1])]) for n in range(8, 1, -1)]
    links = [[n, n - 1, 0, n, 0, "*"] for n in range(2, 9)]
    loaded = load(workflow([*chain, node(1, "MASK", [], [("MASK", [2])])], links), info)
    assert [loaded.nodes[str(n)].outputs[0].type for n in range(2, 9)] == ["MASK"] * 7


def test_matched_input_of_a_subgraph_takes_the_type_of_its_border() -> None:
    matched = known({"a": f"t:{ANY_OF}"}, ["COMFY_MATCHTYPE_V3"], ["t"])
    inner = [node(5, "Matched", [socket("a", "*", 1)], [("*", [])])]
    made = definition("sub", inner, [[1, -10, 0, 5, 0, "LATENT"]], [("x", "LATENT", [1])], [])
    loaded = load(workflow([node(2, "sub", [socket("x", "LATENT")])], [], definitions={"subgraphs": [made]}), {"Matched": matched})
    assert loaded.nodes["2"].subgraph.nodes["5"].outputs[0].type == "LATENT"
