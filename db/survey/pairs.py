"""Which images are nearly the same: all pairs of a library by image vector or by perceptual hash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import Connection, sql

from ..encoders import active_encoder, no_vectors
from ..errors import LibraryError
from ..filters import EVERYTHING, Filter
from ..indexes.build import indexes_of
from ..phashes import read_phashes
from ..progress import Progress, silent
from ..records import StoredEncoder
from ..stream import count_vectors, read_column, read_ids, stream_vectors

EXACT_BELOW = 50_000  # vectors that are all compared with each other: on two cores as soon as by an index, on more sooner, and none is missed
EXACT_AT_MOST = 200_000  # without an index: minutes, and 0.8 GB
MOST_PAIRS = 20_000_000
_ASKED = 500  # vectors whose neighbours one statement looks for: about half a second
_BLOCK = 2048  # vectors that are compared with as many others at once, 16 MB of cosines
_BITS = 64
_LEAST_SET = 12  # bits; a hash has 32, but that of a picture of one colour hardly any, and all such are alike

_SCANNED = 2000  # of an index for one image's neighbours, at most: so far it goes on where many of the nearest don't count

_NEIGHBOURS = """
SELECT a.image_id, near.image_id, near.distance
FROM image_vectors a JOIN images mine ON mine.id = a.image_id
CROSS JOIN LATERAL (
    SELECT v.image_id, v.embedding::halfvec({dims}) <=> a.embedding::halfvec({dims}) AS distance
    FROM image_vectors v
    WHERE v.encoder_id = {encoder} AND EXISTS (SELECT FROM images i WHERE i.id = v.image_id AND ({counts}))
    ORDER BY v.embedding::halfvec({dims}) <=> a.embedding::halfvec({dims})
    LIMIT {k}
) near
WHERE a.encoder_id = {encoder} AND a.image_id = ANY(%(ids)s) AND near.image_id <> a.image_id AND near.distance <= %(most)s
"""


Columns = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image ids, image ids, and how close each two are."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, each once, the lower id first. `closeness` is the cosine, or the number of differing bits."""

    first: np.ndarray  # int64 [n]
    second: np.ndarray  # int64 [n]
    closeness: np.ndarray  # float32 [n]
    method: str = ""  # how they were found, in words

    def __len__(self) -> int:
        return len(self.first)


def look_alikes(
    conn: Connection,
    lowest: float,
    filter: Filter | None = None,
    *,
    neighbours: int = 16,
    progress: Progress = silent,
) -> Pairs:
    """The pairs whose image vectors have a cosine of at least `lowest`.

    Up to 50,000 images are all compared with each other. Beyond, each one's `neighbours` nearest are looked up in the
    vectors' HNSW index (in an IVFFlat index, an eighth of the vectors would be compared for each; in one of single bits, near is not
    near enough), and those that have so many near to them are compared with each other: so all hang together that should,
    though not by every pair. LibraryError where the library has no image vectors, where there are too many for what is asked,
    or where `lowest` takes in half the library.
    To be called in a transaction of its own: it sets the planner's options until that ends.
    """
    encoder, count, indexed = _way(conn, filter)
    if not indexed:
        found = _by_comparing(conn, encoder, count, lowest, filter, progress)
        return Pairs(*_each_once(*found), _all_compared(count))
    found = _each_once(*_by_index(conn, encoder, lowest, filter, neighbours, progress))
    joining, told = _joining(conn, encoder, lowest, found, neighbours, progress)
    return Pairs(*_each_once(*map(np.concatenate, zip(found, joining))), f"{_looked_up(count, neighbours)}{told}")


def look_alikes_of_other_prompts(
    conn: Connection,
    lowest: float,
    most: int,
    filter: Filter | None = None,
    *,
    neighbours: int = 8,
    progress: Progress = silent,
) -> Pairs:
    """The same, but of images of different prompts alone: `most` pairs, the most alike. The filter is to leave out images without one.

    Pairs of one prompt take nobody's place, neither among the `most` nor among the `neighbours`.
    """
    encoder, count, indexed = _way(conn, filter)
    if indexed:
        found = _by_index(conn, encoder, lowest, filter, neighbours, progress, other_prompts=True)
    else:
        prompts = read_column(conn, "i.prompt_id", "i.prompt_id IS NOT NULL", filter)
        found = _by_comparing(conn, encoder, count, lowest, filter, progress, prompts, most)
    found = [column[:most] for column in _each_once(*found)]
    return Pairs(*found, _looked_up(count, neighbours) if indexed else _all_compared(count))


def _way(conn: Connection, filter: Filter | None) -> tuple[StoredEncoder, int, bool]:
    """(the pictures' encoder, how many vectors are asked for, whether by its index)."""
    encoder = active_encoder(conn, "image")
    if encoder is None:
        raise LibraryError(no_vectors("image"))
    count = count_vectors(conn, "image", encoder, filter)
    indexed = count > EXACT_BELOW and "hnsw" in indexes_of(conn, encoder)
    if count > EXACT_AT_MOST and not indexed:
        raise LibraryError(
            f"{count} images can't all be compared with each other, and their vectors have no index by hnsw. Make one with Build Index, or "
            "choose fewer images with a filter."
        )
    return encoder, count, indexed


def _all_compared(count: int) -> str:
    return f"exact, {_images(count)} compared with each other"


def _looked_up(count: int, neighbours: int) -> str:
    return f"index, the {neighbours} nearest of each of {_images(count)}"


def same_hashes(
    conn: Connection, most_bits: int, filter: Filter | None = None, *, progress: Progress = silent
) -> Pairs:
    """The pairs whose perceptual hashes differ in at most `most_bits` bits.

    Hashes that differ in so few bits are equal in at least one of `most_bits` + 1 parts, so only those that share a part are
    compared. Of images with one and the same hash only the pairs with the first are given. Pictures of one colour are left
    out: their hashes say nothing.
    """
    ids, hashes = telling_hashes(conn, filter)
    distinct, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    others = np.flatnonzero(first[inverse] != np.arange(len(ids)))
    found = [(ids[first[inverse[others]]], ids[others], np.zeros(len(others)))]
    edges = np.linspace(0, _BITS, most_bits + 2).astype(np.uint64)
    count = len(others)
    for part, (start, end) in enumerate(zip(edges[:-1], edges[1:])):
        for a, b, bits in _sharing(distinct, start, end - start, most_bits):
            progress("Comparing perceptual hashes", part, most_bits + 1)
            found.append((ids[first[a]], ids[first[b]], bits))
            count += len(a)
            _refuse_too_many(count, "Allow fewer different bits")
    return Pairs(*_each_once(*map(np.concatenate, zip(*found)), nearest=np.minimum), f"perceptual hashes of {_images(len(ids))}")


def telling_hashes(conn: Connection, filter: Filter | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(image ids int64, hashes uint64) of the pictures that are of more than one colour."""
    ids, hashes = read_phashes(conn, filter)
    hashes = hashes.view(np.uint64)
    telling = tells(hashes)
    return ids[telling], hashes[telling]


def tells(hashes: np.ndarray) -> np.ndarray:
    """Which of the uint64 hashes are of pictures of more than one colour."""
    count = bits_set(hashes)
    return (count >= _LEAST_SET) & (count <= _BITS - _LEAST_SET)


def bits_set(values: np.ndarray) -> np.ndarray:
    """How many bits are set in each uint64; NumPy has `bitwise_count` only since 2.0."""
    sixteens = np.ascontiguousarray(values).view(np.uint16).reshape(-1, 4)
    return _COUNTS[sixteens].sum(axis=1, dtype=np.uint8)


_COUNTS = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


def _sharing(hashes: np.ndarray, shift: np.uint64, width: np.uint64, most_bits: int) -> Iterator[tuple[np.ndarray, ...]]:
    """(places, other places, differing bits) of the distinct `hashes` that are equal in `width` bits from `shift` on.

    Given often, and often empty: where a part is one in many hashes it is a long way, on which a cancel must be heard.
    """
    part = (hashes >> shift) & np.uint64((1 << int(width)) - 1)
    order = np.argsort(part, kind="stable")
    part, ordered = part[order], hashes[order]
    here, apart = np.arange(len(part)), 1
    while True:  # each with the next one of its part, then with the one after that, while any has one
        here = here[here + apart < len(part)]
        here = here[part[here] == part[here + apart]]
        if not len(here):
            return
        bits = bits_set(ordered[here] ^ ordered[here + apart])
        near = bits <= most_bits
        yield order[here[near]], order[here[near] + apart], bits[near].astype(np.float64)
        apart += 1


def hanging_together(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ids, the number of the group of each) of all images in these pairs, by id: who is linked, over whatever others, is of one group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ids, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    links = coo_array((np.ones(len(first), bool), (places[: len(first)], places[len(first) :])), shape=(len(ids), len(ids)))
    return ids, connected_components(links, directed=False)[1]


def _by_index(
    conn: Connection,
    encoder: StoredEncoder,
    lowest: float,
    filter: Filter | None,
    neighbours: int,
    progress: Progress,
    other_prompts: bool = False,
) -> Columns:
    """Pairs as they are found, from both sides: of each image that passes the filter its nearest that do."""
    chosen = filter or EVERYTHING
    counts = sql.SQL("{} AND i.prompt_id <> mine.prompt_id" if other_prompts else "{}").format(chosen.condition)
    ids = read_ids(conn, "true", filter)
    statement = sql.SQL(_NEIGHBOURS).format(
        dims=sql.Literal(encoder.dims), encoder=sql.Literal(encoder.id), counts=counts, k=sql.Literal(neighbours + 1)  # itself is one
    )
    # A nearly equal vector is found with any breadth; the scan goes on where rows are dropped, as those that were removed just now.
    conn.execute(
        "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),"
        " set_config('hnsw.max_scan_tuples', %s, true), set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true)",
        [str(max(100, 2 * neighbours)), str(_SCANNED)],
    )
    found, count = [np.empty((0, 3))], 0
    for start in range(0, len(ids), _ASKED):
        progress("Looking for near images", start, len(ids))
        asked = {**chosen.parameters, "ids": ids[start : start + _ASKED].tolist(), "most": 1 - lowest}
        rows = conn.execute(statement, asked, binary=True).fetchall()
        found.append(np.array(rows, np.float64).reshape(-1, 3))  # ids below 2^53 are exact in it
        count += len(rows)
        _refuse_too_many(count)
    pairs = np.concatenate(found)
    return pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64), 1 - pairs[:, 2]


def _joining(conn: Connection, encoder: StoredEncoder, lowest: float, found: Columns, neighbours: int, progress: Progress) -> tuple[Columns, str]:
    """Pairs between groups that `found` leaves apart, and what is to be said of it.

    Of a pair that both sides' nearest crowded out, as where twenty equal pictures lie near to twenty others, both images have so many
    near to them as were looked up.
    """
    ids, groups = hanging_together(*found[:2])
    near = np.bincount(np.searchsorted(ids, np.concatenate(found[:2])), minlength=len(ids))
    crowded = near >= neighbours
    none = tuple(column[:0] for column in found)
    if len(np.unique(groups[crowded])) < 2:
        return none, ""
    if (count := int(crowded.sum())) > EXACT_AT_MOST:
        return none, f"; groups of more than {neighbours} may come in parts"
    among = Filter.of_ids(ids[crowded])
    joining = _by_comparing(conn, encoder, count, lowest, among, progress, (ids[crowded], groups[crowded]))
    return joining, f", and {_images(count)} in crowds compared with each other"


def _by_comparing(
    conn: Connection,
    encoder: StoredEncoder,
    count: int,
    lowest: float,
    filter: Filter | None,
    progress: Progress,
    labels: tuple[np.ndarray, np.ndarray] | None = None,
    most: int | None = None,
) -> Columns:
    """Pairs by every cosine, in blocks of the upper triangle; by `labels` (ids, by id, and a number of each) only those of different ones.

    With `most` the nearest so many at least, and not all of them; without, too many are refused.
    """
    ids, vectors = np.empty(count, np.int64), np.empty((count, encoder.dims), np.float32)
    filled = 0
    for some, batch in stream_vectors(conn, "image", encoder, filter):
        progress("Reading vectors", filled, count)
        some, batch = some[: count - filled], batch[: count - filled]  # others may be written meanwhile
        ids[filled : filled + len(some)], vectors[filled : filled + len(some)] = some, batch
        filled += len(some)
    own = None if labels is None else _looked_at(ids[:filled], *labels)
    found = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    blocks, near = range(0, filled, _BLOCK), 0
    for number, start in enumerate(blocks):
        left = vectors[start : min(start + _BLOCK, filled)]
        for other in range(start, filled, _BLOCK):
            progress("Comparing images", number, len(blocks))
            cosines = left @ vectors[other : min(other + _BLOCK, filled)].T  # [b, b]
            a, b = np.nonzero(cosines >= lowest)
            keep = a + start < b + other
            if own is not None:
                keep &= own[start + a] != own[other + b]
            a, b = a[keep], b[keep]
            found.append((ids[start + a], ids[other + b], cosines[a, b].astype(np.float64)))
            near += len(a)
            if most is None:
                _refuse_too_many(near)
            elif near > 4 * most:
                found = [_nearest(found, most)]
                near, lowest = most, max(lowest, found[0][2].min())
    return tuple(map(np.concatenate, zip(*found)))


def _looked_at(ids: np.ndarray, known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The label of each of `ids`; -1 of one that was written meanwhile."""
    if not len(known):
        return np.full(len(ids), -1)
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[places] == ids, labels[places], -1)


def _nearest(found: Sequence[Columns], most: int) -> Columns:
    """The `most` pairs of these that are most alike."""
    columns = tuple(map(np.concatenate, zip(*found)))
    chosen = np.argpartition(-columns[2], most - 1)[:most]
    return tuple(column[chosen] for column in columns)


def _each_once(
    first: np.ndarray, second: np.ndarray, closeness: np.ndarray, nearest: np.ufunc = np.maximum
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each pair once, the lower id first, the nearest first; its closeness is the nearest that was found."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((high, low))
    low, high, closeness = low[order], high[order], closeness[order]
    if not len(low):
        return low, high, closeness.astype(np.float32)
    starts = np.flatnonzero(np.r_[True, (np.diff(low) != 0) | (np.diff(high) != 0)])
    best = nearest.reduceat(closeness, starts)
    order = np.argsort(best if nearest is np.minimum else -best, kind="stable")
    return low[starts][order], high[starts][order], best[order].astype(np.float32)


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


def _refuse_too_many(count: int, step: str = "Raise lowest_similarity, or choose fewer images with a filter") -> None:
    if count > MOST_PAIRS:
        raise LibraryError(f"More than {MOST_PAIRS} pairs of images are that near to each other, which is no near-duplicate. {step}.")
