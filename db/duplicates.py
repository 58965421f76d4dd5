"""Groups of near-duplicates, and which image of each is the one to keep. Nothing here deletes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import Connection, sql
from psycopg.rows import class_row

from .encoders import active_encoder
from .filters import Filter
from .pairs import Pairs, bits_set, tells
from .stream import BATCH, stream_vectors

_SURE = {"exact": 3, "inferred": 2, "unknown": 1}
_LOSSLESS = (".png", ".apng", ".tif", ".tiff", ".bmp", ".exr")
_ROUNDING = 1e-4  # by which a cosine that an index gave differs from ours
_COMPARED = 256  # members of a group that are compared with all of it at once

_MEMBERS = """
SELECT i.id, i.width, i.height, i.rating, i.labels, i.prompt_confidence, i.phash, p.path, coalesce(p.file_size, 0) AS bytes
FROM images i
LEFT JOIN LATERAL (
    SELECT CASE WHEN r.path ~ '[/\\\\]$' THEN r.path ELSE r.path || '/' END || p.path AS path, p.file_size
    FROM paths p JOIN roots r ON r.id = p.root_id WHERE p.image_id = i.id
    ORDER BY p.missing IS NOT NULL, p.seen DESC, p.root_id, p.path LIMIT 1
) p ON true
WHERE i.id = ANY(%s)
"""


@dataclass(frozen=True)
class Member:
    """One image of a group, with what tells whether it is the one to keep."""

    id: int
    width: int
    height: int
    rating: int | None
    labels: list[str]
    prompt_confidence: str | None
    phash: int | None
    path: str | None  # where a file of it was seen last, of those that are not gone if there are any
    bytes: int


@dataclass(frozen=True)
class Group:
    """Near-duplicates, the one to keep first, and why; `cosines` and `bits` to that one, None where not known."""

    members: tuple[Member, ...]
    reason: str
    cosines: tuple[float | None, ...] = ()
    bits: tuple[int | None, ...] = ()


@dataclass(frozen=True)
class Alike:
    """What makes two images near-duplicates: a cosine of `lowest`, hashes that differ in `most_bits`, either or `both`; None: it is not asked."""

    lowest: float | None = None
    most_bits: int | None = None
    both: bool = False

    def near(self, of: np.ndarray, vectors: np.ndarray, hashes: np.ndarray, telling: np.ndarray) -> np.ndarray:
        """Which images are near to those at the places `of` [m]: bool [m, n].

        By their unit `vectors` [n, dims], NaN where not known, and uint64 `hashes` [n], of which those count that are `telling`.
        """
        found = []
        if self.lowest is not None:
            found.append(vectors[of] @ vectors.T >= self.lowest - _ROUNDING)
        if self.most_bits is not None:
            bits = bits_set(hashes[of, None] ^ hashes).reshape(len(of), -1)
            found.append((bits <= self.most_bits) & telling & telling[of, None])
        return np.all(found, axis=0) if self.both else np.any(found, axis=0)


def groups_of(*pairs: Pairs) -> list[np.ndarray]:
    """The images that hang together by any of these pairs, each group by id; the largest first."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first = np.concatenate([one.first for one in pairs])
    second = np.concatenate([one.second for one in pairs])
    ids, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    if not len(ids):
        return []
    links = coo_array((np.ones(len(first), bool), (places[: len(first)], places[len(first) :])), shape=(len(ids), len(ids)))
    _, group = connected_components(links, directed=False)
    order = np.argsort(group, kind="stable")
    found = np.split(ids[order], np.flatnonzero(np.diff(group[order])) + 1)
    return sorted(found, key=lambda members: (-len(members), members[0]))


def duplicate_groups(
    conn: Connection,
    groups: Sequence[np.ndarray],
    is_there: Callable[[Member], bool] = lambda member: True,
    alike: Alike | None = None,
) -> Iterator[Group]:
    """The groups of `groups_of` with the image to keep first. `is_there` tells whether a member's file can still be read.

    A near B and B near C hang together, though A may be unlike C: whoever keeps A and deletes the rest would lose C for good.
    With `alike` such a group comes in parts, in each of which all are near to the one to keep; who is near to none of these
    has no part. Without, it comes whole.
    """
    batch: list[np.ndarray] = []
    for group in groups:
        if batch and sum(map(len, batch)) + len(group) > BATCH:
            yield from _described(conn, batch, is_there, alike)
            batch = []
        batch.append(group)
    if batch:
        yield from _described(conn, batch, is_there, alike)


def best_first(members: Sequence[Member], is_there: Callable[[Member], bool] = lambda member: True) -> tuple[list[Member], str]:
    """The members, the one to keep first, and why it is that one.

    What a person did counts most (stars, labels), then the picture, then what the file tells, then the file, then age.
    """
    there = {member.id: is_there(member) for member in members}
    criteria: list[tuple[Callable[[Member], float], Callable[[Member], str]]] = [
        (lambda m: there[m.id], lambda m: "its file is there"),
        (lambda m: m.rating or 0, lambda m: f"rated {m.rating}" if m.rating else "not rejected"),
        (lambda m: bool(m.labels), lambda m: "it has labels"),
        (lambda m: m.width * m.height, lambda m: f"larger picture ({m.width} x {m.height})"),
        (lambda m: _SURE.get(m.prompt_confidence, 0), lambda m: f"its prompt is {m.prompt_confidence}"),
        (lambda m: (m.path or "").lower().endswith(_LOSSLESS), lambda m: "lossless file"),
        (lambda m: m.bytes, lambda m: f"larger file ({m.bytes / 1e6:.1f} MB)"),
    ]
    ranked = sorted(members, key=lambda m: (*(-value(m) for value, _ in criteria), m.id))
    kept, others = ranked[0], ranked[1:]
    reasons = [
        words(kept)
        for value, words in criteria
        if all(value(kept) >= value(other) for other in others) and any(value(kept) > value(other) for other in others)
    ]
    return ranked, "; ".join(reasons) or "indexed first; nothing else tells them apart"


def _described(
    conn: Connection, groups: Sequence[np.ndarray], is_there: Callable[[Member], bool], alike: Alike | None
) -> Iterator[Group]:
    ids = np.concatenate(groups).tolist()
    with conn.cursor(row_factory=class_row(Member)) as cursor:
        members = {member.id: member for member in cursor.execute(_MEMBERS, [ids])}
    vectors = _vectors(conn, ids)
    for group in groups:
        known = [members[id_] for id_ in group.tolist() if id_ in members]  # one may have gone meanwhile
        for part in _parts(best_first(known, is_there)[0], vectors, alike) if alike and known else [known]:
            if len(part) < 2:
                continue
            ranked, reason = best_first(part, is_there)
            kept = ranked[0]
            cosines = [float(vectors[kept.id] @ vectors[m.id]) if {kept.id, m.id} <= vectors.keys() else None for m in ranked]
            bits = [_differing(kept.phash, member.phash) for member in ranked]
            yield Group(tuple(ranked), reason, tuple(cosines), tuple(bits))


def _parts(ranked: Sequence[Member], vectors: dict[int, np.ndarray], alike: Alike) -> Iterator[list[Member]]:
    """The best with all that are near to it, then the best of the rest with those near to that one, and so on."""
    unknown = np.full(len(next(iter(vectors.values()), ())), np.nan, np.float32)
    units = np.stack([vectors.get(member.id, unknown) for member in ranked])  # [n, dims]
    hashes = np.array([member.phash or 0 for member in ranked], np.int64).view(np.uint64)  # 0 tells nothing
    telling = tells(hashes)
    left = np.ones(len(ranked), bool)
    while left.any():
        some = np.flatnonzero(left)[:_COMPARED]
        for place, near in zip(some, alike.near(some, units, hashes, telling)):
            if left[place]:
                part = left & near
                part[place] = False
                yield [ranked[one] for one in (place, *np.flatnonzero(part))]
                left &= ~part
                left[place] = False


def _vectors(conn: Connection, ids: Sequence[int]) -> dict[int, np.ndarray]:
    encoder = active_encoder(conn, "image")
    if encoder is None:
        return {}
    among = Filter(sql.SQL("i.id = ANY({})").format(sql.Placeholder("members")), {"members": list(ids)})
    streamed = stream_vectors(conn, "image", encoder, among)
    return {int(id_): vector for some, vectors in streamed for id_, vector in zip(some, vectors)}


def _differing(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return None
    return int(bits_set(np.array([a], np.int64).view(np.uint64) ^ np.array([b], np.int64).view(np.uint64))[0])
