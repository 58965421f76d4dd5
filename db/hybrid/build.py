"""Make the hybrid index: fit its projection, fill its rows, index them, and check what a search finds."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence

import numpy as np
from psycopg import Connection, errors, sql

from .._builder_lock import alone
from .._generation import bump_generation, one_writer
from .._index_sql import EF_CONSTRUCTION, M
from ..connection import Library
from ..encoders import active_encoders
from ..errors import LibraryError
from ..indexes._graph_cost import graph_bytes
from ..indexes.build import build_index, check_graph
from ..progress import Progress, silent
from ..question import KINDS
from ..search.kinds import family_of
from ..stream import count_vectors
from .candidates import in_order
from .check import EFFORTS, GOOD_MEAN, GOOD_WORST, MIXES, Check
from .projection import DIMS, Projection, fit
from .rows import Kinds, read_images, write_rows

Recalls = dict[int, tuple[float, float]]
"""Of one effort, by how many of what it finds are compared: the mean recall, and that of the worst mix."""
INDEX = "hybrid_vectors_hnsw"
_ATTEMPTS, _PATIENCE = 60, 2.0  # seconds of each, and between them
_SAMPLED = 8000  # images that a projection is fitted on
_FEW = 0.05  # of the images: a kind that fewer have is left out, since its dimensions would be taken from the others


def build_hybrid(
    library: Library,
    kinds: Sequence[str] | None = None,
    progress: Progress = silent,
    m: int | None = None,
    ef_construction: int | None = None,
    dims: int = DIMS,
) -> dict:
    """Make the hybrid index over these kinds, by default all that the library has, in place of the one there is.

    Returns the index's details, its kinds and its images. LibraryError where there is nothing to make it of, or another process is making one. Until
    it is ready, searches do without one, since two would take twice the disk; writers go on meanwhile, and what they write is in
    `hybrid_tail`. When `progress` raises, nothing of it stays in use, and `refresh_hybrid` makes it anew with the same settings.
    """
    given = {name: value for name, value in (("m", m), ("ef_construction", ef_construction)) if value is not None}  # by a person
    m, ef_construction = m or M, ef_construction or EF_CONSTRUCTION
    check_graph(m, ef_construction)
    with alone(library), library.connection() as conn:
        chosen = choose_kinds(conn, kinds)
        settings = {"m": m, "ef_construction": ef_construction, "given": given, "chosen": kinds is not None}  # by a person, or all that there are
        hybrid_id, images = _replace(library, chosen.names, [encoder.id for encoder in chosen.encoders], settings, progress)
        sample = _sample(conn, chosen)
        progress("Fitting the hybrid index", 0, 1)
        projection = fit([of_kind[~np.isnan(of_kind[:, 0])] for of_kind in sample], dims)
        check = Check(sample, np.random.default_rng(hybrid_id))
        filled = _fill(library, conn, hybrid_id, chosen, projection, check, progress)
        _index(library, hybrid_id, projection.dims, m, ef_construction, filled, progress)
        details = {**settings, "sizes": projection.sizes, "kept": projection.kept}
        details |= _try_out(library, hybrid_id, chosen, projection, check, progress)
        _finish(library, hybrid_id, projection, details, images)
    return {**details, "kinds": list(chosen.names), "images": filled}


def drop_hybrid(library: Library, wanted: bool = True) -> None:
    """Remove the hybrid index; when it is not `wanted`, Index Folder makes none by itself from now on."""
    with alone(library):
        _replace(library, [], [], {}, silent)  # an index over nothing, never ready: Index Folder makes none
        if wanted:
            with library.connection() as conn:
                conn.execute("DELETE FROM hybrids")


def choose_kinds(conn: Connection, names: Sequence[str] | None = None) -> Kinds:
    """These kinds, or all that enough images have, with their active encoders."""
    active = active_encoders(conn)
    images = conn.execute("SELECT count(*) FROM images").fetchone()[0]
    chosen = []
    for name in KINDS:
        encoder = active.get(family_of(name))
        if names is not None and name not in names:
            continue
        count = count_vectors(conn, name, encoder) if encoder else 0
        if count and (names is not None or count >= _FEW * images):
            chosen.append((name, encoder))
        elif names is not None:
            raise LibraryError(f"The library has no {name} vectors, so no index can be made over them. Index a folder with its model first.")
    if len(chosen) < 2:
        raise LibraryError("A hybrid index is over two kinds or more; one kind has an index of its own. Choose more kinds.")
    return Kinds(tuple(name for name, _ in chosen), tuple(encoder for _, encoder in chosen))


def _replace(library: Library, kinds: Sequence[str], encoder_ids: Sequence[int], settings: dict, progress: Progress) -> tuple[int, int]:
    """Remove the index there is, and record another that is not made yet; its id, and how many images there are.

    From here on writers note what they change. Kinds and settings are recorded now, for the case that the making is broken off.
    To remove it, nobody may be reading it: whoever comes meanwhile waits behind us, so we wait shortly, and again.
    """
    for attempt in itertools.count(1):
        with library.connection() as conn:
            one_writer(conn)
            conn.execute("SELECT set_config('lock_timeout', %s, true)", [f"{_PATIENCE:g}s"])
            try:
                conn.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(INDEX)))
                conn.execute("TRUNCATE hybrid_vectors, hybrid_tail")
            except errors.LockNotAvailable:
                if attempt == _ATTEMPTS:
                    raise
                conn.rollback()
                progress("Waiting for searches to end", attempt, _ATTEMPTS)
                time.sleep(_PATIENCE)
                continue
            conn.execute("DELETE FROM hybrids")
            bump_generation(conn)
            images = conn.execute("SELECT count(*) FROM images").fetchone()[0]
            hybrid_id = conn.execute(
                "INSERT INTO hybrids (kinds, encoder_ids, dims, projection, details, fitted_on) VALUES (%s, %s, 1, '', %s::jsonb, 0)"
                " RETURNING id",
                [list(kinds), list(encoder_ids), json.dumps(settings)],
            ).fetchone()[0]
            return hybrid_id, images


def _sample(conn: Connection, kinds: Kinds) -> list[np.ndarray]:
    ids = [row[0] for row in conn.execute("SELECT id FROM images ORDER BY random() LIMIT %s", [_SAMPLED])]
    batches = [vectors for _, vectors in read_images(conn, kinds, ids)]
    return [np.concatenate(of_kind) for of_kind in zip(*batches)]


def _fill(
    library: Library, conn: Connection, hybrid_id: int, kinds: Kinds, projection: Projection, check: Check, progress: Progress
) -> int:
    """Write the rows of all images, batch by batch in transactions of their own; returns how many."""
    conn.commit()  # so that the images of writers who did not know of this index yet are seen
    total, done = conn.execute("SELECT count(*) FROM images").fetchone()[0], 0
    for ids, vectors in read_images(conn, kinds):
        progress("Filling the hybrid index", done, total)
        check.see(vectors)
        with library.connection() as writer:
            write_rows(writer, hybrid_id, ids, projection.rows(vectors))
        done += len(ids)
        conn.commit()  # no lock on the vectors' tables is held for longer than a batch
    return done


def _index(library: Library, hybrid_id: int, dims: int, m: int, ef_construction: int, rows: int, progress: Progress) -> None:
    statement = sql.SQL(
        "CREATE INDEX {} ON hybrid_vectors USING hnsw ((embedding::halfvec({})) halfvec_ip_ops)"
        " WITH (m = {}, ef_construction = {}) WHERE hybrid_id = {}"
    ).format(sql.Identifier(INDEX), sql.Literal(dims), sql.Literal(m), sql.Literal(ef_construction), sql.Literal(hybrid_id))
    build_index(library, statement, "Indexing the hybrid vectors", progress, need=rows * graph_bytes(dims, m))
    with library.connection() as conn:
        conn.execute("ANALYZE hybrid_vectors")


def _try_out(library: Library, hybrid_id: int, kinds: Kinds, projection: Projection, check: Check, progress: Progress) -> dict:
    """For each sort of mix the least effort at which the index finds enough, how many of what it finds are to be compared exactly
    for that, and the recall of the worst mix then."""
    tried: dict[str, dict[int, Recalls]] = {mix: {} for mix in MIXES}  # by effort
    queries = check.queries(projection)
    with library.connection() as conn:
        scores = _Scores(conn, kinds, check)
        for place, effort in enumerate(EFFORTS):
            progress("Checking the hybrid index", place, len(EFFORTS))
            mixes = [mix for mix, recalls in tried.items() if not any(map(_good, recalls.values()))]
            if not mixes:
                break
            conn.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(effort)])
            asked = [question for mix in mixes for question in check.of(mix)]
            found = scores.of({question: in_order(conn, hybrid_id, queries[question], effort) for question in asked})
            for mix in mixes:
                tried[mix][effort] = {n: check.recall(found, mix, n) for n in EFFORTS if n <= effort}
    efforts = {mix: _least(recalls) for mix, recalls in tried.items()}
    compared = {mix: _without_loss(effort, tried[mix][effort]) for mix, effort in efforts.items()}
    recalls = {mix: tried[mix][efforts[mix]][compared[mix]][1] for mix in MIXES}
    return {"efforts": efforts, "compared": compared, "recalls": recalls, "recall": min(recalls.values()), "tried": tried}


def _good(recalls: Recalls) -> bool:
    """Whether enough is found with all compared that was found."""
    mean, worst = _of_all(recalls)
    return mean >= GOOD_MEAN and worst >= GOOD_WORST


def _of_all(recalls: Recalls) -> tuple[float, float]:
    return recalls[max(recalls)]


def _least(tried: dict[int, Recalls]) -> int:
    """The least effort that is good; where none is, the least that finds as good as all that the others do."""
    good = [effort for effort, recalls in tried.items() if _good(recalls)]
    most = [max(of) - 0.002 for of in zip(*map(_of_all, tried.values()))]
    as_good = [effort for effort, recalls in tried.items() if all(one >= least for one, least in zip(_of_all(recalls), most))]
    return min(good or as_good or [max(tried)])


def _without_loss(effort: int, recalls: Recalls) -> int:
    """How many are to be compared, of these numbers with the recall of each, so that as good as nothing is lost against all.

    Half of the effort at least: mixes that are not among the questions, such as (1, .5, -.3), take more, and one costs a fifth of the effort for it.
    """
    least = [of - 0.001 for of in _of_all(recalls)]
    return min(n for n, of in recalls.items() if 2 * n >= effort and all(one >= enough for one, enough in zip(of, least)))


class _Scores:
    """The true scores of what is found, each image read once: the more candidates, the more of them were among the fewer before.

    Compared in batches: ten thousand images of five kinds are 200 MB.
    """

    def __init__(self, conn: Connection, kinds: Kinds, check: Check) -> None:
        self._conn, self._kinds, self._check = conn, kinds, check
        self._ids = np.empty(0, np.int64)  # [n], ascending
        self._scores = np.empty((len(check.weights), 0), np.float32)  # [questions, n]

    def of(self, found: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """By question, those of the images [n] that were found for it."""
        new = np.setdiff1d(np.concatenate([*found.values()]), self._ids)
        scores = np.full((len(self._scores), len(new)), -np.inf, np.float32)
        for batch, vectors in read_images(self._conn, self._kinds, new.tolist()):
            scores[:, np.searchsorted(new, batch)] = self._check.compare(vectors)
            self._conn.commit()  # no lock on the vectors' tables is held for longer than a batch
        ids = np.concatenate([self._ids, new])
        order = np.argsort(ids)
        self._ids, self._scores = ids[order], np.concatenate([self._scores, scores], axis=1)[:, order]
        return {question: self._scores[question, np.searchsorted(self._ids, of)] for question, of in found.items()}


def _finish(library: Library, hybrid_id: int, projection: Projection, details: dict, images: int) -> None:
    """`images` is all that the library had, those without any of the kinds too: by them `refresh_hybrid` sees it grow."""
    with library.connection() as conn:
        conn.execute(
            "UPDATE hybrids SET dims = %s, projection = %s, details = %s::jsonb, fitted_on = %s, ready = true WHERE id = %s",
            [projection.dims, projection.to_bytes(), json.dumps(details), images, hybrid_id],
        )
        bump_generation(conn)
