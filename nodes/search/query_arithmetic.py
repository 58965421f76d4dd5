"""Query Arithmetic: this, plus that, minus the other, as one vector."""

from __future__ import annotations

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements, numbers_in_range
from ..links import Query as QueryRecord
from ..types import QUERY_CATEGORY, Query, query_output


def _weight(name: str, of: str) -> io.Input:
    return io.Float.Input(
        name,
        default=1.0,
        min=0.0,
        max=2.0,
        step=0.05,
        display_mode=io.NumberDisplay.slider,
        tooltip=f"How much {of} counts.",
    )


class QueryArithmetic(io.ComfyNode):
    """Made of queries of one kind, a query of that kind again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitQueryArithmetic",
            display_name="Query Arithmetic",
            category=QUERY_CATEGORY,
            description="Adds and subtracts queries of one kind: this picture, plus 'snow', minus 'summer'. Connect the result to "
            "Search.",
            search_aliases=["vector arithmetic", "embedding math", "king - man + woman", "diffusion toolkit"],
            inputs=[
                Query.Input("query", tooltip="What to start from."),
                _weight("query_weight", "the start"),
                _weight("plus_weight", "what is added"),
                _weight("minus_weight", "what is taken away"),
                Query.Input("plus", optional=True, tooltip="What to add: images shall have more of it. Of the same kind."),
                Query.Input("minus", optional=True, tooltip="What to take away: images shall have less of it. Of the same kind."),
            ],
            outputs=[query_output()],
        )

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(
        cls,
        query: QueryRecord,
        query_weight: float,
        plus_weight: float,
        minus_weight: float,
        plus: QueryRecord | None = None,
        minus: QueryRecord | None = None,
    ) -> io.NodeOutput:
        from .vectors import combine

        terms = [(query_weight, query), (plus_weight, plus), (-minus_weight, minus)]
        return io.NodeOutput(combine([(weight, of) for weight, of in terms if of is not None and weight]))
