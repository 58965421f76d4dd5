"""From query parts and options to hits with their images: what the search nodes and the HTTP routes share, without ComfyUI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from .links import KINDS, AskedPart, Hits, QueryPart, SearchOptions

if TYPE_CHECKING:
    from ..db import Connection, Filter, Library, Question, StoredImage


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


def find(library: Library, parts: Sequence[QueryPart], wanted: Wanted) -> Found:
    """Ask one library, on one connection. LibraryError where it has nothing by a part's encoder."""
    from .. import db

    with library.connection() as connection:
        answer = db.search(connection, question_of(connection, parts, wanted))
        images = db.get_images(connection, [hit.image_id for hit in answer.hits]) if answer.hits else []
    of = tuple(AskedPart(part.kind, part.label, part.weight) for part in parts)
    return Found(Hits(library.name, tuple(answer.hits), of, answer.method, answer.note), images)


def question_of(connection: Connection, parts: Sequence[QueryPart], wanted: Wanted) -> Question:
    """What the library is asked. LibraryError where it has nothing by a part's encoder."""
    from .. import db

    for part in parts:
        _check_size(connection, part)
    asked = tuple(db.Part(part.kind, part.vector, part.weight, encoder_id(connection, part), part.label) for part in parts)
    return db.Question(
        parts=asked, k=wanted.k, offset=wanted.offset, filter=wanted.filter, lowest_score=wanted.lowest_score,
        leave_out=wanted.leave_out, percentiles=wanted.percentiles, **asdict(wanted.options),
    )  # fmt: skip


def encoder_id(connection: Connection, part: QueryPart) -> int | None:
    """The library's encoder that made a part's vector, None for the kind's active one; LibraryError when it has none such."""
    from .. import db

    family = db.FAMILIES[part.kind]
    if part.fingerprint is not None:
        encoder = db.require_encoder(connection, family, part.fingerprint, part.model)
        if part.details.items() <= encoder.details.items():
            return encoder.id
    elif part.details:
        encoder = db.find_encoder_with(connection, family, part.details)
        if encoder is not None:
            return encoder.id
    else:
        return None
    active = db.active_encoder(connection, family)
    made_by = f"made by {active.name} [{active.fingerprint[:8]}]" if active is not None else "not there yet"
    raise db.LibraryError(
        f"{part.model} can't be compared with the library's {family} vectors, which are {made_by}: its other half made none of "
        f"them. Index a folder with that one connected to Index Folder, so for a description with Load CLIP Vision on the same "
        f"file as Load Description Encoder; a folder that was indexed by an older version, once more."
    )


def _check_size(connection: Connection, part: QueryPart) -> None:
    """Of a vector that no model of ours made, so that it may have any length."""
    from .. import db

    if part.fingerprint is not None or part.details:
        return
    encoder = db.active_encoder(connection, db.FAMILIES[part.kind])
    if encoder is not None and len(part.vector) != encoder.dims:
        raise db.LibraryError(
            f"{KINDS[part.kind]} needs {encoder.dims} numbers, you gave {len(part.vector)}. Paste all numbers of the vector as a JSON list, "
            f"[0.12, -0.5, ...], and choose the kind that it was made for (this library's were made by {encoder.name})."
        )


def all_of(linked: Filter | None, text: str) -> Filter | None:
    """A linked filter and a filter text together; None where there is neither."""
    linked = linked or None  # one that lets everything pass is none
    if not text.strip():
        return linked
    from .. import db

    written = db.parse_filter(text)
    return db.all_of([linked, written]) if linked is not None else written


def in_words(parts: Sequence[AskedPart | QueryPart]) -> str:
    """The question as a person would write it: 'a shark' + 0.5 x image 12 - 'a boat'."""
    words = ""
    for part in parts:
        size = abs(part.weight)
        term = part.label if size == 1 else f"{size:g} x {part.label}"
        if not words:
            words = term if part.weight >= 0 else f"-{term}"
        else:
            words += f" {'+' if part.weight >= 0 else '-'} {term}"
    return words
