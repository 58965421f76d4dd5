"""From the images found by score to the hits in their places: variants collapsed, new ones lifted, unlike ones first.

All of this looks at a pool of the best images, some times as many as are asked for, never at the whole library.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from psycopg import Connection, sql
from psycopg.rows import dict_row

from ..encoders import active_encoder
from ..filters import Filter
from ..question import Question
from .cosines import cosines_of, scored
from .kinds import Direction, key_of, source_of_active
from .one_kind import Scored

LOOKALIKE = 0.97  # cosine of two image vectors that are nearly one picture
_LOOKALIKE_BITS = 6  # of 64 that differ, of two perceptual hashes
_NEWEST = 500  # images that are looked at for being new alone

_FACTS = """
SELECT id, seed, prompt_id, phash, extract(epoch FROM now() - created)::float8 / 86400 AS days
FROM images WHERE id = ANY(%s)
"""
_VECTORS = "SELECT i.id, v.embedding FROM images i JOIN {table} v ON v.encoder_id = {encoder} AND v.{key} = i.{id} WHERE i.id = ANY(%s)"


def arranges(question: Question) -> bool:
    """Whether more images must be found than are asked for, since some will be left out or change places."""
    return question.diversity > 0 or question.collapse != "nothing" or question.recency != 0


def newest(conn: Connection, directions: Sequence[Direction], filter: Filter | None) -> Scored:
    """The newest images, with their scores: they may be worth a place for being new."""
    condition = filter.condition if filter else sql.SQL("true")
    statement = sql.SQL("SELECT i.id FROM images i WHERE ({}) AND i.created IS NOT NULL ORDER BY i.created DESC LIMIT {}").format(
        condition, _NEWEST
    )
    ids = [row[0] for row in conn.execute(statement, filter.parameters if filter else {})]
    return scored(directions, ids, cosines_of(conn, directions, ids))


def arrange(
    conn: Connection, question: Question, directions: Sequence[Direction], pool: Scored
) -> tuple[list[tuple[int, float, float]], str]:
    """(image id, score, what being new adds) of the pool in their places, as many as are wanted or all; and what was done."""
    ids = [image_id for image_id, _ in pool]
    with conn.cursor(row_factory=dict_row) as cursor:
        facts = {row["id"]: row for row in cursor.execute(_FACTS, [ids])}
    bonus = {image_id: _worth(question, facts[image_id]["days"]) for image_id in ids}
    rows = sorted(((image_id, score, bonus[image_id]) for image_id, score in pool), key=lambda row: (-row[1] - row[2], row[0]))
    done = [f"newer ones first by {question.recency:g}"] if question.recency else []
    vectors = by_what = None
    if question.diversity > 0 or question.collapse == "lookalikes":
        vectors, by_what = _vectors(conn, directions, ids)
    if question.collapse != "nothing":
        looks = vectors if question.collapse == "lookalikes" and by_what == "image" else None
        kept = _collapsed(rows, facts, looks, question.collapse == "lookalikes")
        done.append(f"{len(rows) - len(kept)} {question.collapse} left out")
        rows = kept
    if question.diversity > 0:
        rows = _diverse(rows, vectors, question.diversity, question.offset + question.k)
        done.append(f"made diverse by {'looks' if by_what == 'image' else by_what}")
    return rows, "; ".join(done)


def _worth(question: Question, days: float | None) -> float:
    if days is None:
        return 0.0
    return question.recency * 0.5 ** (max(days, 0.0) / question.recency_days)


def _vectors(conn: Connection, directions: Sequence[Direction], ids: Sequence[int]) -> tuple[dict[int, np.ndarray], str]:
    """Unit vectors of the pool by image id, and their kind: how the images look where that is known of most, else the question's main kind."""
    main = max(directions, key=lambda direction: direction.weight)
    encoder = active_encoder(conn, "image")
    candidates = [(d.kind, d.source) for d in directions if d.kind == "image"]
    if not candidates and encoder is not None:
        candidates = [("image", source_of_active(encoder))]
    for kind, source in [*candidates, (main.kind, main.source)]:
        statement = sql.SQL(_VECTORS).format(**key_of(kind, source))
        rows = conn.execute(statement, [list(ids)], binary=True)
        vectors = {image_id: embedding.to_numpy().astype(np.float32) for image_id, embedding in rows}
        if 2 * len(vectors) >= len(ids):
            break
    return {image_id: vector / np.linalg.norm(vector) for image_id, vector in vectors.items()}, kind


def _collapsed(rows: list, facts: dict, looks: dict[int, np.ndarray] | None, hashes: bool) -> list:
    """The first of each group of variants; with `looks`, an image that looks like one that stays goes too."""
    kept, seen, kept_vectors, kept_hashes = [], set(), [], []
    for row in rows:
        fact = facts[row[0]]
        made = (fact["seed"], fact["prompt_id"])
        variant = None not in made and made in seen
        vector = looks.get(row[0]) if looks else None
        alike = vector is not None and kept_vectors and float(np.max(np.stack(kept_vectors) @ vector)) >= LOOKALIKE
        bits = fact["phash"] if hashes else None
        alike = alike or (bits is not None and any(_differing(bits, other) <= _LOOKALIKE_BITS for other in kept_hashes))
        if variant or alike:
            continue
        kept.append(row)
        seen.add(made)
        if vector is not None:
            kept_vectors.append(vector)
        if bits is not None:
            kept_hashes.append(bits)
    return kept


def _differing(one: int, other: int) -> int:
    return ((one ^ other) & 0xFFFF_FFFF_FFFF_FFFF).bit_count()


def _diverse(rows: list, vectors: dict[int, np.ndarray], diversity: float, wanted: int) -> list:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998): each next one is good, and unlike those that were taken.

    Scores and likenesses are both taken to 0..1 over the pool, so that `diversity` means the same for every kind.
    """
    if len(rows) < 2:
        return rows
    dims = len(next(iter(vectors.values()))) if vectors else 1
    matrix = np.stack([vectors.get(row[0], np.zeros(dims, np.float32)) for row in rows])  # [pool, dims]
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
    while len(taken) < min(wanted, len(rows)):
        value = np.where(left, (1 - diversity) * worth - diversity * nearest, -np.inf)
        best = int(np.argmax(value))
        taken.append(best)
        left[best] = False
        nearest = np.maximum(nearest, alike[best])
    return [rows[place] for place in taken]
