"""From the images found by score to the hits in their places: variants collapsed, new ones lifted, unlike ones first.

All of this looks at a pool of the best images, never at the whole library, and goes by stretches of it: first the best 200, say,
get their places among each other, then the next 200. Diversity takes memory and time by the square of a stretch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from psycopg import Connection, sql
from psycopg.rows import dict_row

from ..encoders import active_encoder
from ..filters import EVERYTHING, Filter
from ..question import Question
from ..stream import vectors_of
from .cosines import cosines_of, scored
from .kinds import Direction
from .one_kind import Scored
from .strategy import reach_of

LOOKALIKE = 0.97  # cosine of two image vectors that are nearly one picture
_LOOKALIKE_BITS = 6  # of 64 that differ, of two perceptual hashes
_NEWEST = 500  # images that are looked at for being new alone
MOST = 3200  # images that are looked at: no hit is deeper
_CHOICE = 4  # times as many as a page shows,
_SMALLEST_STRETCH, _LARGEST_STRETCH = 200, 1600
_BLOCK = 256  # rows that are compared with all at once

_FACTS = """
SELECT id, seed, prompt_id, phash, extract(epoch FROM now() - created)::float8 / 86400 AS days
FROM images WHERE id = ANY(%s)
"""


def arranges(question: Question) -> bool:
    """Whether more images must be found than are asked for, since some will be left out or change places."""
    return question.diversity > 0 or question.collapse != "nothing" or question.recency != 0


def newest(conn: Connection, directions: Sequence[Direction], filter: Filter | None) -> Scored:
    """The newest images, equals by id, with their scores: they may be worth a place for being new."""
    chosen = filter or EVERYTHING
    statement = sql.SQL("SELECT i.id FROM images i WHERE ({}) AND i.created IS NOT NULL ORDER BY i.created DESC, i.id DESC LIMIT {}").format(
        chosen.condition, _NEWEST
    )
    ids = [row[0] for row in conn.execute(statement, chosen.parameters)]
    return scored(directions, ids, cosines_of(conn, directions, ids))


def stretch_of(k: int) -> int:
    """Of how many of the best images, by score, a place is made at a time: so many that pages of `k` hits leave a choice.

    Never by the offset, and what follows a stretch changes nothing in it: so pages of one size don't repeat each other's hits.
    """
    return min(_LARGEST_STRETCH, reach_of(max(_SMALLEST_STRETCH, _CHOICE * k)))


def arrange(
    conn: Connection, question: Question, directions: Sequence[Direction], pool: Scored, new: Scored, whole: bool
) -> tuple[list[tuple[int, float, float]], str]:
    """(image id, score, what being new adds) of the pool in their places, stretch by stretch; and what was done.

    `new` are images that may be worth a place for being new. One that is not worth one among the pool is left out, unless
    the pool is the `whole` of what there is.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        facts = {row["id"]: row for row in cursor.execute(_FACTS, [[image_id for image_id, _ in (*pool, *new)]])}
    pool, new = ([row for row in found if row[0] in facts] for found in (pool, new))  # some may have been removed since
    bonus = {image_id: _worth(question, fact["days"]) for image_id, fact in facts.items()}
    stretches = _stretches(pool, new, bonus, stretch_of(question.k), whole)
    scores = {**dict(new), **dict(pool)}
    rows = [(image_id, scores[image_id], bonus[image_id]) for image_id in stretches]
    rows.sort(key=lambda row: (stretches[row[0]], -row[1] - row[2], row[0]))
    done = [f"newer ones first by {question.recency:g}"] if question.recency else []
    vectors = by_what = None
    if question.diversity > 0 or question.collapse == "lookalikes":
        vectors, by_what = _vectors(conn, directions, [row[0] for row in rows], sum(not stretches[row[0]] for row in rows))
    if question.collapse != "nothing":
        looks = vectors if question.collapse == "lookalikes" and by_what == "image" else None
        kept = _collapsed(rows, facts, looks, question.collapse == "lookalikes")
        left_out = len(rows) - len(kept)
        done.append(f"{left_out} {question.collapse if left_out != 1 else question.collapse[:-1]} left out")
        rows = kept
    if question.diversity > 0:
        parts = [list(part) for _, part in itertools.groupby(rows, lambda row: stretches[row[0]])]
        rows = [row for part in parts for row in _diverse(part, vectors, question.diversity)]
        done.append(f"made diverse by {'looks' if by_what == 'image' else by_what}")
    return rows, "; ".join(done)


def _stretches(pool: Scored, new: Scored, bonus: dict[int, float], size: int, whole: bool) -> dict[int, int]:
    """The stretch of each image, from 0: by its place, or the first one whose last image a new one passes by."""
    of = {image_id: place // size for place, (image_id, _) in enumerate(pool)}
    lowest = [pool[min(end, len(pool)) - 1][1] for end in range(size, len(pool) + size, size)]
    for image_id, score in new:
        passed = [number for number, least in enumerate(lowest) if score + bonus[image_id] >= least][:1]
        if not passed and whole:
            passed = [max(0, len(lowest) - 1)]
        if passed:
            of[image_id] = min(of.get(image_id, passed[0]), passed[0])
    return of


def _worth(question: Question, days: float | None) -> float:
    if days is None:
        return 0.0
    return question.recency * 0.5 ** (max(days, 0.0) / question.recency_days)


def _vectors(
    conn: Connection, directions: Sequence[Direction], ids: Sequence[int], first: int
) -> tuple[dict[int, np.ndarray], str]:
    """Unit vectors of the images by id, and their kind: how they look where that is known of most of the `first`, else the question's
    main kind.
    """
    main = max(directions, key=lambda direction: direction.weight)
    active = active_encoder(conn, "image")
    candidates = [(d.kind, d.source.encoder) for d in directions if d.kind == "image"]
    if not candidates and active is not None:
        candidates = [("image", active)]
    for kind, encoder in [*candidates, (main.kind, main.source.encoder)]:
        vectors = vectors_of(conn, kind, encoder, ids)
        if 2 * sum(image_id in vectors for image_id in ids[:first]) >= first:
            break
    return vectors, kind


def _collapsed(rows: list, facts: dict, looks: dict[int, np.ndarray] | None, hashes: bool) -> list:
    """The first of each group of variants; with `looks`, an image that looks like one that stays goes too."""
    matrix = _matrix(rows, looks or {})
    signs = _signs([facts[row[0]]["phash"] if hashes else None for row in rows])
    kept, seen, gone = [], set(), np.zeros(len(rows), bool)
    for start in range(0, len(rows), _BLOCK):
        block = slice(start, start + _BLOCK)
        alike = (matrix[block] @ matrix.T >= LOOKALIKE) | (signs[block] @ signs.T >= 64 - 2 * _LOOKALIKE_BITS)  # [block, rows]
        for place, like in enumerate(alike, start):
            fact = facts[rows[place][0]]
            made = (fact["seed"], fact["prompt_id"])
            if gone[place] or (None not in made and made in seen):
                continue
            kept.append(rows[place])
            seen.add(made)
            gone |= like
    return kept


def _matrix(rows: list, vectors: dict[int, np.ndarray]) -> np.ndarray:
    """[rows, dims], zeros where an image has no vector."""
    matrix = np.zeros((len(rows), len(next(iter(vectors.values()))) if vectors else 1), np.float32)
    for place, row in enumerate(rows):
        if row[0] in vectors:
            matrix[place] = vectors[row[0]]
    return matrix


def _signs(hashes: Sequence[int | None]) -> np.ndarray:
    """The bits of perceptual hashes as -1 and 1, [n, 64], zeros for None: two of which d bits differ have the inner product 64 - 2 d."""
    numbers = np.array([number or 0 for number in hashes], np.int64)
    bits = np.unpackbits(numbers.view(np.uint8).reshape(-1, 8), axis=1)  # [n, 64]
    known = np.array([number is not None for number in hashes], bool)
    return (2 * bits.astype(np.float32) - 1) * known[:, None]


def _diverse(rows: list, vectors: dict[int, np.ndarray], diversity: float) -> list:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998): each next one is good, and unlike those that were taken.

    Scores and likenesses are both taken to 0..1 over the rows, so that `diversity` means the same for every kind.
    """
    if len(rows) < 2:
        return rows
    matrix = _matrix(rows, vectors)
    known = np.array([row[0] in vectors for row in rows])
    alike = matrix @ matrix.T
    pairs = alike[np.ix_(known, known)][np.triu_indices(int(known.sum()), 1)]
    low, high = (float(pairs.min()), float(pairs.max())) if len(pairs) else (0.0, 1.0)
    alike = np.clip((alike - low) / max(high - low, 1e-6), 0, 1)
    alike[~known] = 0
    alike[:, ~known] = 0
    scores = np.array([row[1] + row[2] for row in rows])
    worth = (scores - scores.min()) / max(float(scores.max() - scores.min()), 1e-6)
    taken, left = [0], np.ones(len(rows), bool)
    left[0] = False
    nearest = alike[0].copy()
    while len(taken) < len(rows):
        value = np.where(left, (1 - diversity) * worth - diversity * nearest, -np.inf)
        best = int(np.argmax(value))
        taken.append(best)
        left[best] = False
        nearest = np.maximum(nearest, alike[best])
    return [rows[place] for place in taken]
