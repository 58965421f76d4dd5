"""Groups of near-duplicates with the image to keep, and images that lie in more than one file. Nothing here deletes anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import Connection

from ..encoders import active_encoder
from ..filters import Filter
from ..records import StoredFile
from ..sizes import in_bytes
from ..stream import BATCH, read_ids, vectors_of
from .pairs import Pairs, bits_set, hanging_together, tells

_SURE = {"exact": 3, "inferred": 2, "unknown": 1}
_LOSSLESS = (".png", ".apng", ".tif", ".tiff", ".bmp", ".exr")
_ROUNDING = 1e-4  # by which a cosine that an index gave differs from ours
_COMPARED = 256  # members of a group that are compared with all of it at once

_MEMBERS = "SELECT i.id, i.width, i.height, i.rating, i.labels, i.prompt_confidence, i.phash FROM images i WHERE i.id = ANY(%s)"
_FILES = """
SELECT p.image_id, r.path, p.path, p.file_size, p.mtime_ns
FROM paths p JOIN roots r ON r.id = p.root_id
WHERE p.image_id = ANY(%s)
ORDER BY p.image_id, p.missing IS NOT NULL, p.mtime_ns, length(r.path) + length(p.path), p.root_id, p.path
"""
_COPIED = "i.id IN (SELECT p.image_id FROM paths p WHERE p.missing IS NULL GROUP BY p.image_id HAVING count(*) > 1)"


@dataclass(frozen=True)
class Place:
    """One file of an image; `note` says why it can't be read now, and is empty where it can."""

    path: str
    bytes: int
    note: str = ""


PlacesOf = Callable[[Sequence[StoredFile]], Sequence[Place]]
"""Of an image's files, the one to keep first, those that are to be told. One file under two names must be among them once:
whoever deletes a copy would delete the only one."""


def all_there(files: Sequence[StoredFile]) -> list[Place]:
    """Each file as the library knows it, without a look at the disk."""
    return [Place(os.path.join(file.root, *file.path.split("/")), file.size) for file in files]


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
    path: str  # of its files that are there the one to keep: the oldest; of equally old ones that with the shortest path
    bytes: int
    elsewhere: tuple[Place, ...] = ()  # its other files, those that are there first

    @property
    def copies(self) -> tuple[Place, ...]:
        """Its other files that are there: the same bytes once more."""
        return tuple(place for place in self.elsewhere if not place.note)


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
    ids, group = hanging_together(*(np.concatenate([getattr(one, side) for one in pairs]) for side in ("first", "second")))
    if not len(ids):
        return []
    order = np.argsort(group, kind="stable")
    found = np.split(ids[order], np.flatnonzero(np.diff(group[order])) + 1)
    return sorted(found, key=lambda members: (-len(members), members[0]))


def duplicate_groups(
    conn: Connection,
    groups: Sequence[np.ndarray],
    places_of: PlacesOf = all_there,
    alike: Alike | None = None,
) -> Iterator[Group]:
    """The groups of `groups_of` with the image to keep first. An image none of whose files is there is in no group.

    A near B and B near C hang together, though A may be unlike C: whoever keeps A and deletes the rest would lose C for good.
    With `alike` such a group comes in parts, in each of which all are near to the one to keep; who is near to none of these
    has no part. Without, it comes whole.
    """
    batch: list[np.ndarray] = []
    for group in groups:
        if batch and sum(map(len, batch)) + len(group) > BATCH:
            yield from _described(conn, batch, places_of, alike)
            batch = []
        batch.append(group)
    if batch:
        yield from _described(conn, batch, places_of, alike)


def ids_with_copies(conn: Connection, filter: Filter | None = None) -> list[int]:
    """The images of which the library knows more than one file that is there.

    The filter chooses images: the files of one that passes count wherever they lie.
    """
    return read_ids(conn, _COPIED, filter).tolist()


def copied_images(conn: Connection, ids: Sequence[int], places_of: PlacesOf = all_there) -> Iterator[Member]:
    """Those of these images that do lie in more than one file, in their order."""
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        members = _members(conn, some, places_of)
        yield from (members[id_] for id_ in some if id_ in members and members[id_].copies)


def best_first(members: Sequence[Member]) -> tuple[list[Member], str]:
    """The members, the one to keep first, and why it is that one.

    What a person did counts most (stars, labels), then the picture, then what the file tells, then the file, then age.
    """
    criteria: list[tuple[Callable[[Member], float], Callable[[Member], str]]] = [
        (lambda m: m.rating or 0, lambda m: f"rated {m.rating}" if m.rating else "not rejected"),
        (lambda m: bool(m.labels), lambda m: "it has labels"),
        (lambda m: m.width * m.height, lambda m: f"larger picture ({m.width} x {m.height})"),
        (lambda m: _SURE.get(m.prompt_confidence, 0), lambda m: f"its prompt is {m.prompt_confidence}"),
        (lambda m: m.path.lower().endswith(_LOSSLESS), lambda m: "lossless file"),
        (lambda m: m.bytes, lambda m: f"larger file ({in_bytes(m.bytes)})"),
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
    conn: Connection, groups: Sequence[np.ndarray], places_of: PlacesOf, alike: Alike | None
) -> Iterator[Group]:
    members = _members(conn, np.concatenate(groups).tolist(), places_of)
    vectors = _vectors(conn, list(members))
    for group in groups:
        known = [members[id_] for id_ in group.tolist() if id_ in members]
        for part in _parts(best_first(known)[0], vectors, alike) if alike and known else [known]:
            if len(part) < 2:
                continue
            ranked, reason = best_first(part)
            kept = ranked[0]
            cosines = [float(vectors[kept.id] @ vectors[m.id]) if {kept.id, m.id} <= vectors.keys() else None for m in ranked]
            bits = [_differing(kept.phash, member.phash) for member in ranked]
            yield Group(tuple(ranked), reason, tuple(cosines), tuple(bits))


def _members(conn: Connection, ids: Sequence[int], places_of: PlacesOf) -> dict[int, Member]:
    """Those of these images that have a file which is there, by id; one may have gone meanwhile."""
    files: dict[int, list[StoredFile]] = {}
    for image_id, *file in conn.execute(_FILES, [list(ids)]).fetchall():
        files.setdefault(image_id, []).append(StoredFile(*file))
    members = {}
    for row in conn.execute(_MEMBERS, [list(ids)]).fetchall():
        first, *others = sorted(places_of(files.get(row[0], [])), key=lambda place: bool(place.note)) or [None]
        if first and not first.note:
            members[row[0]] = Member(*row, first.path, first.bytes, tuple(others))
    return members


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
    return {} if encoder is None else vectors_of(conn, "image", encoder, ids)


def _differing(a: int | None, b: int | None) -> int | None:
    if a is None or b is None:
        return None
    return int(bits_set(np.array([a], np.int64).view(np.uint64) ^ np.array([b], np.int64).view(np.uint64))[0])
