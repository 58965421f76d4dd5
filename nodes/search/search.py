"""Search: up to five queries with their weights, negative ones too; one of them is a plain search."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements, numbers_in_range, open_library
from ..links import Query as QueryRecord
from ..links import QueryPart
from ..types import CATEGORY, Query
from .hits import hit_inputs, hit_outputs, search_fingerprint, search_result

QUERIES = 5
LOWEST_SCORE = -10.0  # no sum of weighted cosines that means anything is below it


def weighted(queries: dict[str, QueryRecord | None], weights: dict[str, float]) -> list[tuple[float, QueryRecord]]:
    """(weight, query) of what is connected and counts, in order."""
    pairs = [(weights[f"weight_{n}"], queries.get(f"query_{n}")) for n in range(1, QUERIES + 1)]
    return [(weight, query) for weight, query in pairs if query is not None and weight]


def all_parts(pairs: list[tuple[float, QueryRecord]]) -> list[QueryPart]:
    """The parts of all, each with its share of its query's weight."""
    return [replace(part, weight=part.weight * weight) for weight, query in pairs for part in query.parts]


class Search(io.ComfyNode):
    """Asks one library for what is like some things and unlike others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitSearch",
            display_name="Search",
            category=CATEGORY,
            description="Finds the images that are like what you connect, by any mix of prompt, look, style and description, each "
            "with a weight; a negative weight finds what is unlike. Says of each hit which query gave how much.",
            search_aliases=["hybrid search", "find images", "like this not like that", "weighted search", "diffusion toolkit"],
            is_output_node=True,
            inputs=[
                Query.Input("query_1", tooltip="From a Query node: by prompt, image, stored image, description, style or vector."),
                *(_weight(n) for n in range(1, QUERIES + 1)),
                *_with_queries(hit_inputs(lowest=LOWEST_SCORE, default=LOWEST_SCORE)),
            ],
            outputs=hit_outputs(),
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        return search_fingerprint(**inputs)

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(cls, query_1: QueryRecord, library_name: str, library: str | None = None, **rest) -> io.NodeOutput:
        queries = {"query_1": query_1, **{name: rest.pop(name) for name in list(rest) if name.startswith("query_")}}
        weights = {name: rest.pop(name) for name in list(rest) if name.startswith("weight_")}
        pairs = weighted(queries, weights)
        if not pairs:
            raise ValueError("Every connected query has the weight 0, so nothing is asked. Set a weight above or below 0.")
        opened = open_library(library_name, library)
        leave_out = {image_id for _, query in pairs for name, image_id in query.leave_out if name == opened.name}
        return search_result(opened, all_parts(pairs), lowest=LOWEST_SCORE, leave_out=tuple(sorted(leave_out)), **rest)


def _weight(n: int) -> io.Input:
    return io.Float.Input(
        f"weight_{n}",
        default=1.0,
        min=-2.0,
        max=2.0,
        step=0.05,
        round=0.01,
        display_mode=io.NumberDisplay.slider,
        tooltip=f"How much query_{n} counts. Below 0: images shall be unlike it. 0: it is left out.",
    )


def _with_queries(inputs: list[io.Input]) -> list[io.Input]:
    """The other queries before the first optional input, so that their sockets stand together."""
    first = next(place for place, entry in enumerate(inputs) if entry.optional)
    others = [
        Query.Input(f"query_{n}", optional=True, tooltip=f"A further query, which counts by weight_{n}.")
        for n in range(2, QUERIES + 1)
    ]
    return [*inputs[:first], *others, *inputs[first:]]
