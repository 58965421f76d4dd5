"""Workflows that are none, or that would take all time or memory: refused, or read as far as they go."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import WorkflowError, readable, to_api
from diffusion_toolkit.embedders.workflow.tidy import tidy
from host.handmade_workflows import OBJECT_INFO, node, preview, socket, workflow


@pytest.mark.parametrize("value", [None, [], {}, {"nodes": 3}, "text", {"1": {"class_type": "X", "inputs": {}}}])
def test_what_is_no_workflow_is_refused(value: Any):
    with pytest.raises(WorkflowError):
        readable(value)


def test_links_in_a_circle_lead_nowhere():
    one = node(1, "Reroute", [socket("", "*", 2)], [("*", [1])])
    other = node(2, "Reroute", [socket("", "*", 1)], [("*", [2, 3])])
    saved = workflow([one, other, preview(3, 3)], [[1, 1, 0, 2, 0, "*"], [2, 2, 0, 1, 0, "*"], [3, 2, 0, 3, 0, "*"]])
    assert readable(saved).prompt["3"]["inputs"] == {}


def test_subgraphs_that_multiply_are_refused():
    graphs = [{"id": f"s{n}", "nodes": [node(i, f"s{n + 1}") for i in range(10)], "links": []} for n in range(20)]
    with pytest.raises(WorkflowError, match="more than"):
        readable(workflow([node(1, "s0")], [], definitions={"subgraphs": graphs}))


def test_subgraphs_that_multiply_are_not_made_a_graph_to_be_queued_either():
    """Some more of them would take all memory of whoever recalls the workflow of a picture from elsewhere."""
    kinds = [*(f"s{n}" for n in range(1, 15)), "EmptyImage"]
    graphs = [{"id": f"s{n}", "nodes": [node(1, kind), node(2, kind)], "links": []} for n, kind in enumerate(kinds)]
    with pytest.raises(WorkflowError, match="more than 20000 nodes"):  # of which it has 32,768
        to_api(workflow([node(1, "s0")], [], definitions={"subgraphs": graphs}), OBJECT_INFO)


def test_subgraph_inside_itself_is_refused():
    with pytest.raises(WorkflowError, match="^The subgraph .* holds itself"):
        readable(workflow([node(1, "a")], [], definitions={"subgraphs": [{"id": "a", "nodes": [node(1, "a")], "links": []}]}))


def test_group_inside_itself_is_refused_or_cut():
    group = {"nodes": [{"type": "workflow>g"}] * 10, "links": []}
    with pytest.raises(WorkflowError, match="more than"):
        readable(workflow([node(1, "workflow>g")], [], extra={"groupNodes": {"g": group}}))


def test_too_many_nodes_are_refused():
    with pytest.raises(WorkflowError, match="more than"):
        readable(workflow([node(n, "KSampler") for n in range(50_000)], []))


def test_a_chain_longer_than_any_stack_leads_nowhere():
    chain = [node(n, "Reroute", [socket("", "*", n)], [("*", [n + 1])]) for n in range(1, 3_000)]
    saved = workflow([*chain, preview(3_000, 3_000)], [[n, n - 1, 0, n, 0, "*"] for n in range(2, 3_001)])
    assert readable(saved).prompt["3000"]["inputs"] == {}


def bordered(nodes: list[Any], links: list[Any], proxies: list[Any]) -> Any:
    """One instance of a subgraph with more inputs than any that a person made; a link of a definition is an object."""
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    inputs = [{"name": f"b{n}", "type": "X", "linkIds": []} for n in range(400_000)]
    subgraph = {"id": "s", "nodes": nodes, "links": [dict(zip(keys, link)) for link in links], "inputs": inputs, "outputs": []}
    return workflow([node(1, "s", properties={"proxyWidgets": proxies})], [], definitions={"subgraphs": [subgraph]})


def test_a_subgraph_of_many_inputs_is_read_with_as_many_as_a_node_may_have():
    """With all of them, 20,000 links that a broadcast makes, or 200 widgets that it shows, took a quarter of a minute and more."""
    takers = [node(n, "Taker", [socket(f"i{place}", "IMAGE") for place in range(250)]) for n in range(100, 180)]
    everywhere = node(11, "Anything Everywhere", [socket("anything", "*", 1)])
    broadcast = bordered([node(10, "Maker", [], [("IMAGE", [1])]), everywhere, *takers], [(1, 10, 0, 11, 0, "IMAGE")], [])
    widgets = bordered([node(10, "Maker", [], [("IMAGE", [])])], [], [["10", f"w{n}"] for n in range(200)])

    for saved in (broadcast, widgets):
        [subgraph] = tidy(saved)["definitions"]["subgraphs"]
        assert len(subgraph["inputs"]) == 300
    assert readable(broadcast).prompt["1:100"]["inputs"]["i0"] == ["1:10", 0] and "1:10" in readable(widgets).prompt
