"""From a question to its answer: the best images by score, then what is left of them, in the order that was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from psycopg import Connection

from ..errors import LibraryError
from ..question import Answer, Question
from ..records import Hit
from .arrange import arrange, arranges, newest
from .calibration import calibrate, lowest_of, percentile
from .cosines import exact_cosines
from .found import Found, best, reach_of
from .kinds import Source, directions_of, sources_of

_ORDERS = {"newest": "created DESC NULLS LAST", "oldest": "created NULLS LAST", "seed": "seed NULLS LAST"}
_COLLAPSES = ("nothing", "variants", "lookalikes")
_POOL = 4  # times as many as are asked for,
_SMALLEST_POOL = 200  # and so many at least: the first pages are cut from one pool
_LARGEST_POOL = 3200


def search(conn: Connection, question: Question) -> Answer:
    """The images that answer `question`. LibraryError where an encoder has nothing here, or makes other dimensions."""
    _check(question)
    sources = sources_of(conn, question.parts)
    weights, constants, scores = _calibrated(conn, question, sources)
    directions = directions_of(question.parts, sources, weights, constants)
    lowest = max(
        -math.inf if question.lowest_score is None else question.lowest_score,
        lowest_of(scores, question.lowest_percentile),
    )
    unwanted = set(question.leave_out)
    wanted = question.offset + question.k
    needed = wanted + len(unwanted)
    while True:
        pool = max(_SMALLEST_POOL, needed * _POOL) if arranges(question) else needed
        found = best(conn, directions, pool, question.filter, question.exact)
        by_id = dict(found.scored)
        if question.recency:
            by_id.update(newest(conn, directions, question.filter))
        kept = [(image_id, score) for image_id, score in by_id.items() if score >= lowest and image_id not in unwanted]
        rows, done = [(*row, 0.0) for row in kept], ""
        if arranges(question):
            rows, done = arrange(conn, question, directions, kept)
        ended = len(found.scored) < reach_of(pool) or len(kept) < len(found.scored) - len(unwanted)  # no better ones follow
        if len(rows) >= wanted or ended or pool >= _LARGEST_POOL:
            break
        needed *= _POOL
    page = rows[question.offset : wanted]
    hits = _hits(page, _cosines(conn, question, page, weights, constants, found), scores, question.offset)
    method = "; ".join(filter(None, [found.method, done]))
    return Answer(_ordered(conn, hits, question.order), method, found.note)


def _check(question: Question) -> None:
    if not question.parts:
        raise LibraryError("The search has nothing to look for. Connect at least one query.")
    for value, known, what in ((question.order, ("score", *_ORDERS), "order"), (question.collapse, _COLLAPSES, "way to collapse")):
        if value not in known:
            raise LibraryError(f"There is no {what} {value!r}. Choose one of: {', '.join(known)}.")
    numbers = [part.weight for part in question.parts] + [question.recency, question.diversity, question.lowest_percentile]
    if not all(map(math.isfinite, numbers)):
        raise LibraryError("A weight of the search is not a finite number. Correct it.")
    if question.k < 1 or question.offset < 0 or question.recency_days <= 0 or not 0 <= question.diversity <= 1:
        raise LibraryError(
            f"The search asks for {question.k} hits from {question.offset} on, diversity {question.diversity:g}, half of the "
            f"recency after {question.recency_days:g} days. At least 1 hit, from 0 on, diversity from 0 to 1, and more than 0 days "
            "can be asked for."
        )


def _calibrated(
    conn: Connection, question: Question, sources: Sequence[Source]
) -> tuple[Sequence[float], Sequence[float], np.ndarray]:
    """Each part's weight and constant, and the scores of the sampled images, ascending; none where nothing asks for them."""
    weights, constants = [part.weight for part in question.parts], [0.0] * len(question.parts)
    if not (question.normalise or question.percentiles or question.lowest_percentile > 0):
        return weights, constants, np.empty(0)
    calibration = calibrate(conn, question.parts, sources)
    if question.normalise:
        weights, constants = calibration.standard(weights)
    return weights, constants, calibration.scores(weights, constants)


def _cosines(
    conn: Connection,
    question: Question,
    page: Sequence[tuple[int, float, float]],
    weights: Sequence[float],
    constants: Sequence[float],
    found: Found,
) -> list[tuple[float | None, ...]]:
    """The cosines of each hit with the question's parts, by what was compared already where that tells it."""
    if len(question.parts) == 1:
        return [((score - constants[0]) / weights[0],) for _, score, _ in page]
    ids = [image_id for image_id, _, _ in page]
    if len({part.kind for part in question.parts}) == len(question.parts) and all(weights) and all(i in found.cosines for i in ids):
        signs = np.sign(weights)  # a direction is turned round where the weight is negative
        table = [[sign * cell for sign, cell in zip(signs, found.cosines[image_id])] for image_id in ids]
    else:
        table = exact_cosines(conn, question.parts, ids).tolist()
    return [tuple(None if math.isnan(cell) else float(cell) for cell in row) for row in table]


def _hits(
    page: Sequence[tuple[int, float, float]], cosines: Sequence[tuple[float | None, ...]], scores: np.ndarray, offset: int
) -> list[Hit]:
    return [
        Hit(image_id, score, rank, made_of, percentile(scores, score), recency)
        for rank, ((image_id, score, recency), made_of) in enumerate(zip(page, cosines), start=offset + 1)
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
