"""From query parts and options to hits with their images: what the search nodes and the HTTP routes share, without ComfyUI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..links import KINDS, AskedPart, Hits, QueryPart, SearchOptions
from ..wording import some
from .hit_records import share

if TYPE_CHECKING:
    from ...db import Filter, Hit, Library, Part, Question, StoredImage

_ROUNDING = 1e-4  # vectors are kept in 16 bits a number, so that one's cosine with itself comes out a little below 1
_HAS = {"prompt": "prompt", "negative": "negative", "clip_l": "prompt", "clip_g": "prompt"}  # of which text each kind is a vector


@dataclass(frozen=True)
class Wanted:
    """Which hits, and how many of them."""

    k: int = 8
    offset: int = 0
    lowest_score: float | None = None
    filter: Filter | None = None
    options: SearchOptions = field(default_factory=SearchOptions)
    leave_out: tuple[int, ...] = ()
    percentiles: bool = True  # say of every hit how much of the library is farther


@dataclass(frozen=True)
class Found:
    """The hits and, aligned with them, the images as the library has them."""

    hits: Hits
    images: list[StoredImage]


@dataclass(frozen=True)
class Listed:
    """Images that pass a filter, of `total` that do; `note` says why none passes, or what of the filter may not be meant."""

    images: list[StoredImage]
    total: int
    note: str

    def why_nothing(self, filter: Filter | None, offset: int) -> str:
        """Why there are no images, and the step that helps."""
        asked = f" that pass{'es' * (self.total == 1)} {filter.text}" if filter else ""
        if self.total:
            return f"Of {some(self.total, 'image')}{asked} none is after the first {offset:,}. Lower offset."
        return f"There are no images{asked}. {self.note or ('Loosen the filter.' if filter else 'Run Index Folder.')}"


def list_by_filter(library: Library, filter: Filter | None, order: str, k: int, offset: int) -> Listed:
    """`k` images from `offset` on, in one of `db.listing.ORDERS`; of one moment, so that an image which is removed meanwhile is no error."""
    from ... import db

    with library.connection() as connection:
        db.keep_still(connection)
        ids = db.list_images(connection, filter, order, k, offset)
        total = db.count_images(connection, filter)
        note = db.unknown_names(connection, filter) if total else db.why_none_pass(connection, filter)
        return Listed(db.get_images(connection, ids), total, note)


def find(library: Library, parts: Sequence[QueryPart], wanted: Wanted) -> Found:
    """Ask one library, on one connection. LibraryError where it has nothing by a part's encoder."""
    from ... import db

    with library.reading() as connection:
        answer = db.search(connection, question_of(parts, wanted))
        images = db.get_images(connection, [hit.image_id for hit in answer.hits], gone_ones=True) if answer.hits else []
        there = {image.id for image in images}
        hits = tuple(hit for hit in answer.hits if hit.image_id in there)  # others were removed since they were found
        names = db.unknown_names(connection, wanted.filter) if hits else ""  # else `why_no_hits` tells of them
    of = tuple(AskedPart(part.kind, part.label, part.weight) for part in parts)
    note = " ".join(filter(None, [answer.note, _not_reached(hits, wanted.options.lowest_percentile), _lifted(hits, of), names]))
    return Found(Hits(library.name, hits, of, answer.method, note), images)


def _not_reached(hits: Sequence[Hit], percentile: float) -> str:
    """Why there are hits below the percentile that was asked for: the best stay, though nothing reaches it."""
    best = max((hit.percentile for hit in hits if hit.percentile is not None), default=percentile)
    if best >= percentile:
        return ""
    return f"No image of the library is nearer than {share(best)} % of it, so lowest_percentile {percentile:g} keeps only the nearest."


def _lifted(hits: Sequence[Hit], parts: Sequence[AskedPart]) -> str:
    """That hits have no text for a query to be near to, while they have what one of negative weight is far from: that may be all."""
    unlike = [hit for hit in hits if any(part.weight < 0 and cosine is not None for part, cosine in zip(parts, hit.cosines))]
    for place, part in enumerate(parts):
        lacking = sum(hit.cosines[place] is None for hit in unlike)
        if lacking and part.weight > 0 and part.kind in _HAS:
            have = f"{lacking} of the {len(hits)} hits {'has' if lacking == 1 else 'have'}"
            return (
                f"{have} no {KINDS[part.kind]} vector to compare with {part.label}; the negative weight of another query may alone have brought "
                f"{'it' if lacking == 1 else 'them'} here. To leave out images without a {KINDS[_HAS[part.kind]]}, filter by has:{_HAS[part.kind]}."
            )
    return ""


def just_below(lowest: float) -> float:
    """What a score or cosine must reach where a person asked for `lowest`: 1 lets the same picture pass."""
    return lowest - _ROUNDING


def question_of(parts: Sequence[QueryPart], wanted: Wanted) -> Question:
    """What the library is asked."""
    from ... import db

    return db.Question(
        parts=tuple(map(as_part, parts)),
        k=wanted.k, offset=wanted.offset, filter=wanted.filter,
        lowest_score=None if wanted.lowest_score is None else just_below(wanted.lowest_score),
        leave_out=wanted.leave_out, percentiles=wanted.percentiles, **vars(wanted.options),
    )  # fmt: skip


def as_part(part: QueryPart) -> Part:
    """The same as the library is asked it."""
    from ... import db

    return db.Part(**vars(part))


def all_of(linked: Filter | None, text: str) -> Filter | None:
    """A linked filter and a filter text together; None where there is neither."""
    linked = linked or None  # one that lets everything pass is none
    if not text.strip():
        return linked
    from ... import db

    written = db.parse_filter(text)
    return db.all_of([linked, written]) if linked is not None else written


def in_words(parts: Sequence[AskedPart | QueryPart]) -> str:
    """The question as a person would write it: 'a shark' + 0.5 x the picture of image 12 - 'a boat'."""
    words = ""
    for part in parts:
        size = abs(part.weight)
        term = part.label if size == 1 else f"{size:g} x {part.label}"
        if not words:
            words = term if part.weight >= 0 else f"-{term}"
        else:
            words += f" {'+' if part.weight >= 0 else '-'} {term}"
    return words
