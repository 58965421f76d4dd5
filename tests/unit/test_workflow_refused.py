"""Workflows that are none, or that would take all time or memory: refused, or read as far as they go."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import WorkflowError, readable
from host.handmade_workflows import node, preview, socket, workflow


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
