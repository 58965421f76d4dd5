"""Run Graph looks at a whole list before it runs the first of it."""

from __future__ import annotations

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def run_graph():
    import_comfy()
    from diffusion_toolkit.nodes import run_graph

    return run_graph


def test_a_list_of_more_than_200_graphs_is_refused(run_graph) -> None:
    from comfy_execution.utils import CurrentNodeContext

    def look(place: int) -> None:
        with CurrentNodeContext("prompt", "node", place):
            run_graph.RunGraph.check_lazy_status(graph="", run=run_graph.QUEUE)

    look(199)
    with pytest.raises(ValueError, match="More than 200 graphs"):
        look(200)
