"""Why a search has no hits: what is known of it, and the one step that helps; without ComfyUI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..links import KINDS, QueryPart
from ..wording import some
from .asking import Wanted, in_words, question_of
from .hit_records import share

if TYPE_CHECKING:
    from ...db import Comparable, Connection, Library, Question

COUNTED = 1000  # hits that are counted for a message


def why_no_hits(library: Library, parts: Sequence[QueryPart], wanted: Wanted, note: str = "") -> str:
    """The sentence that a node shows in place of hits. It counts images and asks again without limits, so it takes some time."""
    from ... import db

    with library.connection() as connection:
        question = question_of(parts, wanted)
        count = db.count_comparable(connection, question)
        why = _nothing_to_compare(count, question) or _limited(connection, question, count, wanted.lowest_score)
        if count.images and not count.passing:
            why += f" {db.why_none_pass(connection, question.filter) or 'Loosen the filter.'}"
    lacking = _lacking(count) if count.passing else ""
    told = " ".join(filter(None, (why, lacking, note)))
    return f"No hits for {in_words(parts)} in the library '{library.name}': {told or 'nothing is left of them.'}"


def _nothing_to_compare(count: Comparable, question: Question) -> str:
    other = "other " if question.leave_out else ""
    if not count.images:
        return f"it has no {other}images. Run Index Folder."
    if not count.passing:
        text = f" ({question.filter.text})" if question.filter is not None and question.filter.text else ""
        return f"0 of {_images(count.images, other)} pass the filter{text}."
    if not count.comparable:
        passing = f" that pass{'es' * (count.passing == 1)} the filter" if question.filter else ""
        if count.passing == 1:
            return f"the one {other}image{passing} can't be compared."
        return f"none of the {_images(count.passing, other)}{passing} can be compared."
    return ""


def _limited(connection: Connection, question: Question, count: Comparable, lowest_score: float | None) -> str:
    """What leaves out images that can be compared: the offset, or the lowest score, as a person asked for it, or percentile."""
    from ... import db

    first = replace(question, k=max(1, min(question.offset, COUNTED)), offset=0, percentiles=False)
    found = len(db.search(connection, first).hits)
    if found == COUNTED:
        return f"offset passes over {question.offset:,}, and there are no more hits than that. Lower offset."
    if found:
        there = "there is only 1 hit" if found == 1 else f"there are only {found:,} hits"
        return f"{there}, and offset passes over {question.offset:,}. Lower offset."
    plain = replace(
        question, k=1, offset=0, lowest_score=None, lowest_percentile=0.0, order="score", diversity=0.0, collapse="nothing", recency=0.0,
        percentiles=True,
    )  # fmt: skip
    for best in db.search(connection, plain).hits:
        of = f"the best of {_images(count.comparable)}"
        if question.lowest_score is not None and best.score < question.lowest_score:
            return f"{of} scores {best.score:.3f}, below lowest_score {lowest_score:g}. Lower lowest_score."
        if question.lowest_percentile:
            return (
                f"{of} is nearer than {share(best.percentile)} % of the library, and Search Options' "
                f"lowest_percentile asks for {question.lowest_percentile:g}. Lower it."
            )
    return ""


def _lacking(count: Comparable) -> str:
    """What of the vectors is missing, and who could make it; nothing where all are there."""
    from ...db.words import CONNECT

    told = []
    for lack in count.lacks:
        if lack.no_vector:
            told.append(
                f"{lack.no_vector:,} of {_images(count.passing)} lack{'s' * (lack.no_vector == 1)} the {KINDS[lack.kind]} vector of the "
                f"model that is asked: run Index Folder with {CONNECT[lack.family]} connected."
            )
        if lack.no_text and not count.comparable:
            text = "negative prompt" if lack.kind == "negative" else "prompt"
            told.append(f"{lack.no_text:,} of {_images(count.passing)} {'has' if lack.no_text == 1 else 'have'} no known {text}.")
    return " ".join(told)


def _images(n: int, other: str = "") -> str:
    return some(n, f"{other}image")
