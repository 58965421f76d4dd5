"""What the front end mends while a workflow loads, and what it can't load."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit.embedders.workflow import WorkflowError, to_api
from host.handmade_workflows import OBJECT_INFO, Workflow, node, same_ids, sampler, socket, workflow


def given_to_two(value: Any, kind: str, options: list[dict[str, Any]]) -> list[Any]:
    """What the two widgets of a node are sent that one PrimitiveNode gives its value."""
    info = {"Two": {"input": {"required": {f"w{n}": [kind, more] for n, more in enumerate(options)}}, "output": [], "output_name": []}}
    maker = node(5, "PrimitiveNode", [], [(kind, [1, 2])], [value, "fixed"])
    two = node(1, "Two", [socket(f"w{n}", kind, n + 1, True) for n in (0, 1)])
    inputs = to_api(workflow([maker, two], [[1, 5, 0, 1, 0, kind], [2, 5, 0, 1, 1, kind]]), info)["1"]["inputs"]
    return [inputs["w0"], inputs["w1"]]


@pytest.mark.parametrize(
    ("value", "kind", "options", "sent"),
    [
        ("a fox", "INT", [{"min": 3}, {}], "a fox"),
        (True, "INT", [{"min": 3}, {}], True),
        (7, "INT", [{}, {}], 7),
        (7, "INT", [{"min": 1}, {"min": 9}], 9),
        (7, "INT", [{"max": 5}, {"max": 6}], 5),
        (7, "INT", [{"min": 0}, {"max": 9}], 7),
        (7.5, "FLOAT", [{"max": 2.0}, {}], 2.0),
    ],
)
def test_number_that_one_primitive_gives_to_two_widgets_is_within_the_range_of_both(value: Any, kind: str, options: Any, sent: Any) -> None:
    assert given_to_two(value, kind, options) == [sent, sent]


@pytest.mark.parametrize(("saved", "sent"), [("sample_euler", "euler"), ("euler", "euler"), ("sample", "sample")])
def test_old_name_of_a_sampler_loses_its_prefix(saved: str, sent: str) -> None:
    values = [5, "fixed", 20, 8, saved, "normal", 1]
    assert to_api(sampler(values), OBJECT_INFO)["1"]["inputs"]["sampler_name"] == sent


@pytest.mark.parametrize(("more", "last"), [({"last_node_id": 99}, 99), ({"last_node_id": 0, "state": {"lastNodeId": 300}}, 300)])
def test_node_of_a_subgraph_whose_id_is_taken_gets_the_next_that_is_free(more: dict[str, Any], last: int) -> None:
    inner = {key.partition(":")[2] for key in to_api({**same_ids(), **more}, OBJECT_INFO) if ":" in key}
    assert inner == {str(last + 1)}


@pytest.mark.parametrize("entry", [{"id": 4}, {"type": "SaveImage"}, {"id": None, "type": "SaveImage"}, {"id": 4, "type": ""}])
def test_node_without_an_id_or_a_type_is_refused_by_its_content(entry: Any) -> None:
    with pytest.raises(WorkflowError, match="^the workflow has a node without id or type: "):
        to_api(workflow([entry], []), OBJECT_INFO)


@pytest.mark.parametrize(("saved", "said"), [({"1": {"class_type": "X"}}, "it looks like the API format already"), ({"a": {}}, 'it has no list of "nodes"')])
def test_what_is_no_workflow_is_told_from_the_api_format(saved: Workflow, said: str) -> None:
    with pytest.raises(WorkflowError, match=said):
        to_api(saved, OBJECT_INFO)
