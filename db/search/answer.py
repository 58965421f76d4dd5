"""From a question to its answer: the best images by score, then what is left of them, in the order that was asked for."""

from __future__ import annotations

from psycopg import Connection

from ..errors import LibraryError
from ..question import Answer, Question
from ..records import Hit
from .found import Found, best
from .kinds import directions_of, sources_of

_ORDERS = {"newest": "created DESC NULLS LAST", "oldest": "created NULLS LAST", "seed": "seed NULLS LAST"}


def search(conn: Connection, question: Question) -> Answer:
    """The images that answer `question`. LibraryError where an encoder has nothing here, or makes other dimensions."""
    if not question.parts:
        raise LibraryError("The search has nothing to look for. Connect at least one query.")
    if question.order not in ("score", *_ORDERS):
        raise LibraryError(f"There is no order {question.order!r}. Choose one of: score, {', '.join(_ORDERS)}.")
    sources = sources_of(conn, question.parts)
    directions = directions_of(question.parts, sources, [part.weight for part in question.parts])
    needed = question.offset + question.k + len(question.leave_out)
    found = best(conn, directions, needed, question.filter, question.exact)
    hits = _page(question, found)
    return Answer(_ordered(conn, hits, question.order), found.method, found.note)


def _page(question: Question, found: Found) -> list[Hit]:
    unwanted = set(question.leave_out)
    kept = [(image_id, score) for image_id, score in found.scored if image_id not in unwanted]
    if question.lowest_score is not None:
        kept = [(image_id, score) for image_id, score in kept if score >= question.lowest_score]
    page = kept[question.offset : question.offset + question.k]
    single = question.parts[0].weight if len(question.parts) == 1 else None
    return [
        Hit(image_id, score, rank, (score / single,) if single else ())
        for rank, (image_id, score) in enumerate(page, start=question.offset + 1)
    ]


def _ordered(conn: Connection, hits: list[Hit], order: str) -> list[Hit]:
    """The same hits in another order, equals by rank."""
    if order == "score":
        return hits
    rows = conn.execute(
        f"SELECT id FROM images WHERE id = ANY(%(ids)s) ORDER BY {_ORDERS[order]}, array_position(%(ids)s::bigint[], id)",
        {"ids": [hit.image_id for hit in hits]},
    )
    by_id = {hit.image_id: hit for hit in hits}
    return [by_id[image_id] for (image_id,) in rows]
