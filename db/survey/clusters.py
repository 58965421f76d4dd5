"""A library in so many parts: images that look (or are prompted) alike together, one that stands for each, and words that name it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from psycopg import Connection, sql

from ..encoders import active_encoder
from ..errors import LibraryError
from ..filters import Filter, all_of
from ..filters.none_pass import why_none_pass
from ..progress import Progress, silent
from ..records import StoredEncoder
from ..search.kinds import family_of
from ..stream import BATCH, count_vectors, stream_vectors, unit_rows
from ..words import CONNECT, kind_in_words

SAMPLE = 20_000  # vectors from which the centres are found at first: 80 MB
_TURNS = 8  # through the sample
_SEED = 7
_NAMED_BY = 300  # images of a cluster whose prompts are read for its words
_WORDS = 5
_MORE_FREQUENT = 1.2  # times as in all prompts
_WORD = re.compile(r"[^\W\d_]{3,}")
_PROMPT_READ = 2000  # characters
_SHOW_SOMETHING = frozenset("back bill bottom cry detail empty fire front full mill mine side system thick thin top".split())


@dataclass(frozen=True)
class Cluster:
    """Some images of a library. `cosine` says how near they are to their centre on average."""

    members: np.ndarray  # image ids, int64 [size], the nearest to the centre first
    cosines: np.ndarray  # float32 [size], of each with the centre
    centre: np.ndarray  # [dims] float32, of length 1
    words: tuple[str, ...]  # frequent here and rarer elsewhere, best first; empty where no prompts are known

    @property
    def representative(self) -> int:
        """The id of the image that is nearest to the centre."""
        return int(self.members[0])

    @property
    def cosine(self) -> float:
        return float(self.cosines.mean())


def cluster_images(
    conn: Connection,
    kind: str,
    count: int,
    filter: Filter | None = None,
    *,
    progress: Progress = silent,
) -> list[Cluster]:
    """At most `count` clusters of all images that have a vector of `kind`, the largest first; the same library gives the same.

    Mini-batch k-means on unit vectors: centres from a sample, moved by a pass over all, then a pass that assigns. A batch
    is in memory at a time, so a million images take no more of it than the sample. LibraryError where there are no vectors.
    """
    encoder = active_encoder(conn, family_of(kind))
    total = count_vectors(conn, kind, encoder, filter) if encoder is not None else 0
    if encoder is None or not total:
        raise LibraryError(
            f"There are no {kind_in_words(kind)} vectors to put in clusters. Index a folder with {CONNECT[family_of(kind)]} connected to Index "
            f"Folder, or let the filter pass more images. {why_none_pass(conn, filter)}".rstrip()
        )
    centres = _centres(conn, kind, encoder, count, total, filter, progress)
    ids, cluster, cosines = _assigned(conn, kind, encoder, centres, total, filter, progress)
    order = np.lexsort((ids, -cosines, cluster))  # within a cluster by nearness
    ids, cluster, cosines = ids[order], cluster[order], cosines[order]
    starts = np.flatnonzero(np.r_[True, np.diff(cluster) != 0])
    members, nearness = np.split(ids, starts[1:]), np.split(cosines, starts[1:])
    progress("Reading prompts", 0, 1)
    words = _naming_words(conn, members)
    found = [Cluster(*parts) for parts in zip(members, nearness, centres[cluster[starts]], words)]
    return sorted(found, key=lambda one: (-len(one.members), one.representative))


def _centres(
    conn: Connection, kind: str, encoder: StoredEncoder, count: int, total: int, filter: Filter | None, progress: Progress
) -> np.ndarray:
    """Unit centres [at most count, dims]."""
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    progress("Reading a sample", 0, 1)
    among = filter
    if total > SAMPLE:  # chosen by a hash of the id, so that it is spread over the library's age and always the same
        chosen = Filter(
            sql.SQL("hashint8extended(i.id, 0) & 65535 < {}").format(sql.Placeholder("sample")), {"sample": 65536 * SAMPLE // total}
        )
        among = all_of([filter, chosen])
    sample = np.concatenate([vectors for _, vectors in stream_vectors(conn, kind, encoder, among)] or [np.empty((0, encoder.dims))])
    if not len(sample):
        raise LibraryError("The sample of the library is empty. Ask for clusters again.")
    count = min(count, len(np.unique(sample, axis=0)))
    model = MiniBatchKMeans(count, n_init=1, random_state=_SEED, reassignment_ratio=0.0)
    with threadpool_limits(1):  # OpenMP's threads wait for each other in busy loops: on busy cores one is five times as fast
        for done, some in _turns(sample):  # by `partial_fit`, since `fit` could not be cancelled
            progress("Finding centres", done, _TURNS * len(sample))
            if len(some) >= count:  # the first batch gives the centres to begin with
                model.partial_fit(some)
        done = 0
        for ids, vectors in stream_vectors(conn, kind, encoder, filter) if total > len(sample) else ():
            progress("Moving centres", done, total)
            model.partial_fit(vectors)
            done += len(ids)
    return unit_rows(model.cluster_centers_.astype(np.float32))


def _turns(sample: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(vectors before, batch) of some turns through the sample, each in another order."""
    random = np.random.default_rng(_SEED)
    for turn in range(_TURNS):
        order = random.permutation(len(sample))
        for start in range(0, len(sample), BATCH):
            yield turn * len(sample) + start, sample[order[start : start + BATCH]]


def _assigned(
    conn: Connection, kind: str, encoder: StoredEncoder, centres: np.ndarray, total: int, filter: Filter | None, progress: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(image ids, the nearest centre of each, the cosine with it)."""
    found, done = [], 0
    for ids, vectors in stream_vectors(conn, kind, encoder, filter):
        progress("Putting images in clusters", done, total)
        cosines = vectors @ centres.T  # [n, clusters]
        nearest = cosines.argmax(axis=1)
        found.append((ids, nearest, cosines[np.arange(len(ids)), nearest]))
        done += len(ids)
    if not found:
        raise LibraryError("The images were removed while they were put in clusters. Ask for clusters again.")
    return tuple(map(np.concatenate, zip(*found)))


def _naming_words(conn: Connection, members: Sequence[np.ndarray]) -> list[tuple[str, ...]]:
    """For each cluster the words whose share of its prompts is high, and higher than their share of all prompts.

    By share x log(share / share of all): a word in every prompt of the library names nothing, nor does one that is rare in the
    cluster, nor a word like "with". The prompts are the nearest images', each text once a cluster.
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    meaningless = ENGLISH_STOP_WORDS - _SHOW_SOMETHING  # scikit-learn's list has some that a picture can show
    sampled = [some[:_NAMED_BY].tolist() for some in members]
    texts = _prompts(conn, [id_ for some in sampled for id_ in some])
    shares = []
    for some in sampled:
        prompts = {texts[id_] for id_ in some if id_ in texts}
        counted = Counter(word for prompt in prompts for word in set(_WORD.findall(prompt.lower())) - meaningless)
        least = 2 if len(prompts) > 3 else 1  # what only one of many prompts says is its own
        shares.append({word: n / len(prompts) for word, n in counted.items() if n >= least})
    total = sum(map(len, members))
    everywhere: Counter[str] = Counter()
    for some, share in zip(members, shares):
        for word, part in share.items():
            everywhere[word] += part * len(some) / total
    named = []
    for share in shares:
        worth = {
            word: part * np.log(part / everywhere[word])
            for word, part in share.items()
            if part >= _MORE_FREQUENT * everywhere[word]
        }
        if len(shares) == 1:  # nothing to differ from
            worth = share
        named.append(tuple(sorted(worth, key=lambda word: (-worth[word], word))[:_WORDS]))
    return named


def _prompts(conn: Connection, ids: Sequence[int]) -> dict[int, str]:
    statement = (
        "SELECT i.id, left(t.joined, %s) FROM images i JOIN texts t ON t.id = i.prompt_id WHERE i.id = ANY(%s) AND t.joined <> ''"
    )
    found: dict[int, str] = {}
    for start in range(0, len(ids), BATCH):
        found.update(conn.execute(statement, [_PROMPT_READ, list(ids[start : start + BATCH])]).fetchall())
    return found
