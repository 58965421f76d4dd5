"""Search Options: how hits are chosen and ordered, for any search node."""

from __future__ import annotations

from dataclasses import fields

from comfy_api.v0_0_2 import io

from ..host import numbers_in_range
from ..links import SearchOptions as Options
from ..types import CATEGORY, SearchOptions

_DEFAULT = {field.name: field.default for field in fields(Options)}
ORDERS = ("score", "newest", "oldest", "seed")
COLLAPSES = ("nothing", "variants", "lookalikes")


class SearchOptionsNode(io.ComfyNode):
    """One node for several searches: what most searches leave as it is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitSearchOptions",
            display_name="Search Options",
            category=CATEGORY,
            description="How a search chooses and orders its hits: diversity, collapsing of variants, newer images first, a lowest "
            "percentile. Connect it to the options of any search node.",
            search_aliases=["mmr", "diversity", "collapse duplicates", "sort hits", "percentile", "diffusion toolkit"],
            inputs=[
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default=_DEFAULT["order"],
                    tooltip="In which order the hits come: best first, or by date or seed. Which images are hits the score decides.",
                ),
                io.Float.Input(
                    "diversity",
                    default=_DEFAULT["diversity"],
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="How much being unlike the better hits counts against a high score (MMR). 0: not at all. Try 0.3 to 0.5.",
                ),
                io.Combo.Input(
                    "collapse",
                    options=list(COLLAPSES),
                    default=_DEFAULT["collapse"],
                    tooltip="Of images that are much the same only the best hit stays. variants: of one seed and prompt, such as "
                    "upscales. lookalikes: also those that nearly are one picture.",
                ),
                io.Float.Input(
                    "recency",
                    default=_DEFAULT["recency"],
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    display_mode=io.NumberDisplay.slider,
                    tooltip="How much being new counts, beside the score: an image of today gains this much. 0: not at all.",
                ),
                io.Float.Input(
                    "recency_days",
                    default=_DEFAULT["recency_days"],
                    min=0.1,
                    max=36500.0,
                    step=1.0,
                    tooltip="After so many days being new is worth half.",
                ),
                io.Float.Input(
                    "lowest_percentile",
                    default=_DEFAULT["lowest_percentile"],
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Leave out hits that are not nearer to the query than this share of the library: 99 keeps the nearest 1 %. "
                    "Means the same for every kind of vector, where a score does not. The library's best image always reaches it, however bad it "
                    "is; none may be left where a filter leaves that one out, or it is the stored image that is asked by. 0: none is left out.",
                ),
                io.Boolean.Input(
                    "normalise",
                    default=_DEFAULT["normalise"],
                    tooltip="Compare kinds fairly in a mix: each similarity becomes its distance from the library's average, in standard "
                    "deviations. Scores then may pass 1.",
                ),
                io.Boolean.Input(
                    "exact",
                    default=_DEFAULT["exact"],
                    tooltip="Compare with every vector and use no index: slower in a large library, and certain.",
                ),
            ],
            outputs=[SearchOptions.Output("options", tooltip="For the options of any search node.")],
        )

    @classmethod
    @numbers_in_range
    def execute(cls, **options) -> io.NodeOutput:
        return io.NodeOutput(Options(**options))
