"""From a question to its answer: the best images by score, then what is left of them, in the order that was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from psycopg import Connection

from ..errors import LibraryError
from ..question import Answer, Question
from ..records import Hit
from .arrange import MOST, arrange, arranges, newest, stretch_of
from .calibration import calibrate, lowest_of, percentiles
from .cosines import exact_cosines
from .kinds import Direction, directions_of, sources_of, state_of
from .one_kind import Scored
from .strategy import Best, best

_ORDERS = {"newest": "created DESC NULLS LAST", "oldest": "created NULLS LAST", "seed": "seed NULLS LAST"}
_LEAST_WEIGHT = 1e-100  # smaller ones' squares, and larger ones', are no numbers
_COLLAPSES = ("nothing", "variants", "lookalikes")
Row = tuple[int, float, float]
"""(image id, score, what being new adds to it for its place)."""


def search(conn: Connection, question: Question) -> Answer:
    """The images that answer `question`. LibraryError where an encoder has nothing here, or makes other dimensions."""
    _check(question)
    state = state_of(conn)
    sources = sources_of(state, question.parts)
    calibration = calibrate(conn, question.parts, sources, state) if _calibrates(question) else None
    weights, constants = [part.weight for part in question.parts], [0.0] * len(question.parts)
    if question.normalise:
        weights, constants = calibration.standard(weights)
    directions = directions_of(question.parts, sources, weights, constants)
    lowest = -math.inf if question.lowest_score is None else question.lowest_score
    if question.lowest_percentile > 0:
        lowest = max(lowest, lowest_of(calibration.scores(weights, constants), question.lowest_percentile))
    find = _arranged if arranges(question) else _as_found
    rows, found = find(conn, question, directions, lowest)
    page = rows[question.offset : question.offset + question.k]
    cosines = _cosines(conn, question, page, weights, constants, found)
    scores = calibration.scores(weights, constants) if calibration is not None else np.empty(0)
    hits = _hits(page, cosines, weights, constants, scores, question.offset)
    return Answer(_ordered(conn, hits, question.order), found.method, found.note)


def _calibrates(question: Question) -> bool:
    return question.normalise or question.percentiles or question.lowest_percentile > 0


def _as_found(conn: Connection, question: Question, directions: Sequence[Direction], lowest: float) -> tuple[list[Row], Best]:
    """The best by score, at least as many as the page ends with, where there are so many."""
    unwanted = set(question.leave_out)
    found = best(conn, directions, question.offset + question.k + len(unwanted), question.filter, question.exact)
    return [(*row, 0.0) for row in _kept(found.scored, lowest, unwanted)], found


def _arranged(conn: Connection, question: Question, directions: Sequence[Direction], lowest: float) -> tuple[list[Row], Best]:
    """The same in their places, found in ever larger pools until enough are left of them."""
    unwanted, wanted, stretch = set(question.leave_out), question.offset + question.k, stretch_of(question.k)
    new = _kept(newest(conn, directions, question.filter), lowest, unwanted) if question.recency else []
    pool = math.ceil(wanted / stretch) * stretch
    while True:
        found = best(conn, directions, pool + len(unwanted), question.filter, question.exact)
        kept = _kept(found.scored, lowest, unwanted)
        ended = found.whole or len(kept) < len(found.scored) - len(unwanted)  # some are below the lowest score: no better ones follow
        whole = ended and len(kept) <= pool
        rows, done = arrange(conn, question, directions, kept[:pool], new, whole)
        if len(rows) >= wanted or whole or pool >= MOST:
            break
        pool *= 2
    note = found.note
    if len(rows) < wanted and not whole:
        note = " ".join(filter(None, [note, f"Only the best {pool:,} images were looked at for this order; more may follow."]))
    return rows, replace(found, method="; ".join(filter(None, [found.method, done])), note=note)


def _kept(scored: Scored, lowest: float, unwanted: set[int]) -> Scored:
    return [(image_id, score) for image_id, score in scored if score >= lowest and image_id not in unwanted]


def _check(question: Question) -> None:
    if not question.parts:
        raise LibraryError("The search has nothing to look for. Connect at least one query.")
    for value, known, what in ((question.order, ("score", *_ORDERS), "order"), (question.collapse, _COLLAPSES, "way to collapse")):
        if value not in known:
            raise LibraryError(f"There is no {what} {value!r}. Choose one of: {', '.join(known)}.")
    numbers = [part.weight for part in question.parts] + [question.recency, question.diversity, question.lowest_percentile]
    if not all(map(math.isfinite, numbers)):
        raise LibraryError("A weight of the search is not a finite number. Correct it.")
    if beyond := [part.weight for part in question.parts if part.weight and not _LEAST_WEIGHT <= abs(part.weight) <= 1 / _LEAST_WEIGHT]:
        raise LibraryError(f"A weight of the search is {beyond[0]:g}, which can't be reckoned with. Only their shares count: give ordinary numbers.")
    if question.k < 1 or question.offset < 0 or question.recency_days <= 0 or not 0 <= question.diversity <= 1:
        raise LibraryError(
            f"The search asks for {question.k} hits from {question.offset} on, diversity {question.diversity:g}, half of the "
            f"recency after {question.recency_days:g} days. At least 1 hit, from 0 on, diversity from 0 to 1, and more than 0 days "
            "can be asked for."
        )
    if arranges(question) and question.offset + question.k > MOST:
        raise LibraryError(
            f"The search asks for hits up to number {question.offset + question.k:,}. With diversity, collapse or recency only the best "
            f"{MOST:,} images can be put in order. Ask for a lower offset, or leave these three out."
        )


def _cosines(
    conn: Connection,
    question: Question,
    page: Sequence[Row],
    weights: Sequence[float],
    constants: Sequence[float],
    found: Best,
) -> list[tuple[float | None, ...]]:
    """The cosines of each hit with the question's parts, by what was compared already where that tells it."""
    if len(question.parts) == 1:
        return [((score - constants[0]) / weights[0],) for _, score, _ in page]
    ids = [image_id for image_id, _, _ in page]
    if len({part.kind for part in question.parts}) == len(question.parts) and all(image_id in found.cosines for image_id in ids):
        signs, table = np.sign(weights), np.zeros((len(ids), len(question.parts)))
        table[:, signs != 0] = [found.cosines[image_id] for image_id in ids] if ids else 0
        table *= signs  # a direction is turned round where the weight is negative
        if not all(signs):
            weightless = [part for part, sign in zip(question.parts, signs) if not sign]
            table[:, signs == 0] = exact_cosines(conn, weightless, ids)
    else:
        table = exact_cosines(conn, question.parts, ids)
    return [tuple(None if math.isnan(cell) else cell for cell in row) for row in table.tolist()]


def _hits(
    page: Sequence[Row],
    cosines: Sequence[tuple[float | None, ...]],
    weights: Sequence[float],
    constants: Sequence[float],
    scores: np.ndarray,
    offset: int,
) -> list[Hit]:
    farther = percentiles(scores, [score for _, score, _ in page])
    return [
        Hit(image_id, score, rank, of_parts, share, recency, _gave(of_parts, weights, constants))
        for rank, ((image_id, score, recency), of_parts, share) in enumerate(zip(page, cosines, farther), start=offset + 1)
    ]


def _gave(cosines: Sequence[float | None], weights: Sequence[float], constants: Sequence[float]) -> tuple[float, ...]:
    """What each part put into the score; a kind that the image lacks put in nothing."""
    return tuple(0.0 if cosine is None else cosine * weight + constant for cosine, weight, constant in zip(cosines, weights, constants))


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
