"""Run Graph looks at a whole list before it runs the first of it."""

from __future__ import annotations

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def run_graph():
    import_comfy()
    from diffusion_toolkit.nodes.graphs import run_graph

    return run_graph


def test_a_list_of_more_than_200_graphs_is_refused(run_graph) -> None:
    from comfy_execution.utils import CurrentNodeContext

    def look(place: int) -> None:
        with CurrentNodeContext("prompt", "node", place):
            run_graph.RunGraph.check_lazy_status(graph="", run=run_graph.QUEUE)

    look(199)
    with pytest.raises(ValueError, match="More than 200 graphs"):
        look(200)


LOOP = {  # as newer ComfyUIs leave a graph that they have checked
    "1": {"class_type": "StartLoop", "inputs": {}, "_loop_body": ["2"], "_loop_end": "3"},
    "2": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": ["1", 0], "color": 0}},
    "3": {"class_type": "EndLoop", "inputs": {"output_value": ["2", 0]}},
    "4": {"class_type": "ImageInvert", "inputs": {"image": ["3", 0]}},
    "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "looped"}},
}


def test_a_picture_that_comes_out_of_a_loop_is_not_made_under_other_ids(run_graph) -> None:
    from diffusion_toolkit.nodes.graphs.running import picture_of

    with pytest.raises(ValueError, match="in a loop"):
        picture_of(LOOP)
    inverted = {**LOOP, "4": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}}, "2": {"class_type": "EmptyImage", "inputs": {}}}
    assert picture_of(inverted)[1] == ["4", 0]  # the loop makes something else


def test_a_list_that_another_pack_has_put_in_is_no_link(run_graph) -> None:
    from diffusion_toolkit.nodes.graphs.running import _with_an_output, picture_of

    curve = {"1": {"class_type": "EmptyImage", "inputs": {"width": [[0, 0], [1, 1]]}}}
    assert _with_an_output(dict(curve))["1_shown_0"]["inputs"] == {"images": ["1", 0]}
    assert picture_of({**curve, "2": {"class_type": "PreviewImage", "inputs": {"x": [[0, 0], [1, 1]], "images": ["1", 0]}}})[1] == ["1", 0]


def test_what_comes_out_of_a_loop_is_not_watched(run_graph) -> None:
    from diffusion_toolkit.nodes.indexing.watched_prompts import Running, part_leading_to

    prompt = {**LOOP, "6": {"class_type": "DiffusionToolkitIndexFolder", "inputs": {"clip": ["3", 0]}}}
    with pytest.raises(ValueError, match="out of a loop"):
        part_leading_to(Running("prompt", (0, "prompt", prompt, {}, ["6"])), "6")
    assert list(part_leading_to(Running("prompt", (0, "prompt", {"6": {**prompt["6"], "inputs": {}}}, {}, ["6"])), "6").graph)
