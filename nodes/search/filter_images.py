"""Filter Images: which images a search may find, as widgets for what is asked often and a filter text for the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from comfy_api.v0_0_2 import io

from ..host import names_missing_requirements, numbers_in_range
from ..types import QUERY_CATEGORY, Filter
from .filter_text import ANY, ASPECTS, filter_text, leave_no_time, moment_of

if TYPE_CHECKING:
    from ... import db

_DATES = "a date such as 2025, 2025-03 or 2025-03-14, today, or an age such as 7d (h, d, w, mo, y)"
FORMS = {"since": _DATES, "until": _DATES}  # of widgets that don't take the forms that the filter text has
_FIELD = re.compile(r"-?([a-z_]+)(?::|!=|[<>=])[^\s]", re.IGNORECASE)


class FilterImages(io.ComfyNode):
    """Its output may go to any number of searches, and to another Filter Images that narrows it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DiffusionToolkitFilterImages",
            display_name="Filter Images",
            category=QUERY_CATEGORY,
            description="Limits a search to images that pass all that you fill in: words of the prompt, labels, folder, checkpoint, "
            "date and more. Connect it to the filter of any search node.",
            search_aliases=["filter search", "where", "restrict hits", "label filter", "date filter", "diffusion toolkit"],
            has_intermediate_output=True,
            inputs=[
                io.String.Input(
                    "words",
                    default="",
                    tooltip='Whole words that the prompt must have: cat "blue sky" -blurry. Words in quotation marks stand beside each '
                    "other, a word with a minus must be missing. flower does not find flowers; flower* finds both.",
                ),
                io.String.Input("labels", default="", tooltip="Labels that the image must have, parted by commas; -draft must be missing."),
                io.String.Input("namespace", default="", tooltip="The collection that Index Folder or Label Images put it in."),
                io.String.Input(
                    "folder", default="", tooltip="A folder that the file lies in or below: 2025/portraits, or a whole path."
                ),
                io.String.Input("checkpoint", default="", tooltip="A part of the checkpoint's name; * stands for anything: *xl*lightning*."),
                io.String.Input("lora", default="", tooltip="A part of a LoRA's name."),
                io.Int.Input("lowest_rating", default=0, min=0, max=5, tooltip="Stars that it must have at least; 0: any, unrated too."),
                io.Combo.Input("aspect", options=list(ASPECTS), default=ANY, tooltip="Square is within 2 %."),
                io.String.Input("since", default="", tooltip="From this date on, such as 2025, 2025-03-14 or today; or 7d: the last 7 days (h, d, w, mo, y)."),
                io.String.Input("until", default="", tooltip="Up to the end of this date; or 7d: older than 7 days."),
                io.String.Input(
                    "filter_text",
                    default="",
                    multiline=True,
                    tooltip="All else, such as: steps:20..40 (sampler:euler or sampler:dpm*) -has:lora. The help page of this node "
                    "lists every field.",
                ),
                Filter.Input("filter", optional=True, display_name="and", tooltip="Another filter, which must pass too."),
            ],
            outputs=[
                Filter.Output("filter", tooltip="For the filter of any search node."),
                io.String.Output("text", tooltip="The same as a filter text, for the filter_text of any search node."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs) -> str:
        dates = [value and filter_text(**{name: value}) for name in FORMS if (value := inputs.get(name, "")) != ""]
        return moment_of([inputs.get("filter_text", ""), *dates])

    @classmethod
    @names_missing_requirements
    @numbers_in_range
    def execute(cls, filter_text: str, filter: db.Filter | None = None, **wishes) -> io.NodeOutput:
        from ... import db

        found = db.parse_filter(text_of(filter_text, wishes))
        hint = fields_among(wishes.get("words", ""))
        if filter is not None:
            found = db.all_of([found, filter] if found.text else [filter])
        passing = f"Only images that pass: {found.text}" if found.text else "Every image passes."
        return io.NodeOutput(found, found.text, ui={"text": [passing, *hint]})


def text_of(more: str, wishes: dict) -> str:
    """The filter text of the node's widgets. A mistake in the text widget is named by its own place there, another by its widget."""
    from ... import db

    db.parse_filter(more)
    for widget, value in wishes.items():
        try:
            db.parse_filter(filter_text(**{widget: value}))
        except db.FilterError as error:
            said = f"write {FORMS[widget]}." if widget in FORMS else error.reason
            raise ValueError(f"{widget} can't be {value!r}: {said}") from None
    since, until = wishes.get("since", ""), wishes.get("until", "")
    if leave_no_time(since, until):
        raise ValueError(f"since {since!r} and until {until!r} leave no time between them. Write the earlier one into since, the later one into until.")
    return filter_text(more=more, **wishes)


def fields_among(words: str) -> list[str]:
    """Hints where the widget `words` holds what looks like a field of the filter text, or its `or`: here they are words too."""
    from ...db.filters.fields import ALIASES, FIELDS

    found = [word for word in words.split() if (field := _FIELD.match(word)) and field[1].lower() in {*FIELDS, *ALIASES}]
    hints = [f"words looks for {found[0]!r} in the prompt itself. To filter by it, write it into filter_text."] if found else []
    single = re.sub(r'"[^"]*"', '""', words).split()
    if any(word.lower() == "or" for word in single[1:-1]):
        hints.append("words looks for 'or' in the prompt too: all must be there. For one of several write cat or dog into filter_text.")
    return hints
