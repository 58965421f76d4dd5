"""How far a graph over one kind has to be searched in this very library, for each shape of question: found by trying.

A graph leads from near to nearer. So it finds what is near to one stored vector with few steps, and may miss half of the best for a
question that is near to none: the sum of two pictures that have nothing in common, or what is least like one. How many more steps
help, and whether any number does, is a matter of how the vectors lie.
"""

from __future__ import annotations

import bisect
import functools
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from pgvector import HalfVector
from psycopg import Connection, sql

from .._builder_lock import alone
from .._generation import bump_generation, one_writer
from .._index_sql import TABLES, count_rows, index_name, other_owner, searched_rows
from ..connection import Library
from ..hybrid.candidates import LEAST_RECALL
from ..hybrid.check import EQUAL, WANTED
from ..progress import Progress, silent
from ..records import StoredEncoder
from ..search.kinds import SHAPES, Source, state_of
from ..search.one_kind import NEAREST
from ..search.strategy import enough
from ..stream import sound_rows, stream_encoder, unit_rows
from ..vectors import as_halfvecs

EFFORTS = (100, 125, 150, 175, 200, 250, 300, 350, 400, 500, 600, 800, 1000)  # values of hnsw.ef_search
_GROWN = 2  # times the vectors, or the part of them, that there were when an index was tried: then it is tried again
_TOLD_LEAST = 1.5  # times a table's rows as its size tells them are never fewer than there are
_GOOD = (0.99, 0.985)  # recall of the 10 and of the 50 best
_FAIR = (0.97, 0.97)  # the same of other shapes than `near`: of 64 questions one that misses a whole cluster is more than a hundredth
_AS_GOOD = 0.002  # less recall, of an effort that is as good as another
_STEPS = (EFFORTS[0], 200, 400, EFFORTS[-1])  # tried one after the other until enough is found
_FEW = 0.05  # of the stored vectors, those that lie farthest from all others
_DRAWN = 512  # stored vectors, of which questions are made
_FEWER = 64  # for what takes longer
_HEARD = 16  # questions, after which a cancel is heard
_NOISE, _GAP = 0.3, 2.0  # lengths, of vectors that are added to stored ones of length 1
_NEAREST = """
SELECT 1 - (found.embedding <=> %(query)s) FROM (
    SELECT v.embedding FROM {table} v WHERE {rows} ORDER BY v.embedding::halfvec({dims}) <=> %(query)s LIMIT {wanted}
) found
"""


def find_efforts(library: Library, encoder: StoredEncoder, progress: Progress) -> dict[str, int | None]:
    """The least hnsw.ef_search by which the encoder's HNSW index finds enough, for each of SHAPES; None where none does.

    Kept as a comment on the index, which goes and is given other names with it. Of vectors so few that searches compare with each
    nothing is found and kept, {}: what was tried with those that are gone says nothing of others that come.
    """
    with library.connection() as conn:
        rows = count_rows(conn, encoder)
        if rows < enough():
            _keep(conn, encoder, None)
            return {}
        questions = _questions(conn, encoder)
        best = _best(conn, encoder, questions, progress)
        tenth = best["near"][:, NEAREST - 1].clip(min=-1)  # where fewer than ten are sound there is none
        reached = round(float(np.quantile(tenth, _FEW)), 4) if len(tenth) else None
        efforts = {}
        for place, shape in enumerate(SHAPES):
            tell = functools.partial(progress, "Trying the index", place, len(SHAPES))
            good, least = (_GOOD, LEAST_RECALL) if shape == "near" else (_FAIR, min(_FAIR))
            recalls = functools.partial(_recalls, conn, encoder, questions[shape], best[shape], tell, least - _AS_GOOD)
            efforts[shape] = _least(recalls, good, least)
    with library.connection() as conn:
        rows = min(rows, count_rows(conn, encoder))  # if they came or went meanwhile, twice the fewer are soon there, and it is tried again
        _keep(conn, encoder, json.dumps({"rows": rows, "efforts": efforts, "reached": reached}))
    return efforts


def _keep(conn: Connection, encoder: StoredEncoder, said: str | None) -> None:
    """Write down of the encoder's index what was found, or that it is as if it had never been tried."""
    one_writer(conn)
    conn.execute(sql.SQL("COMMENT ON INDEX {} IS {}").format(sql.Identifier(index_name(encoder, "hnsw")), sql.Literal(said)))
    bump_generation(conn)


def try_grown(library: Library, progress: Progress = silent) -> int:
    """Try the active encoders' HNSW indexes that were not tried yet, or have twice or half the vectors since; how many these were.

    Where those that are left are few, what was found before is forgotten instead.
    Those that are another PostgreSQL user's are left to them: what was found can be written down by an index's owner alone.
    LibraryError while another process makes an index.
    """
    with library.connection() as conn:
        sources = [source for source in state_of(conn).sources if source.encoder.active and source.index == "hnsw"]
        sources = [source for source in sources if source.tried or source.rows >= enough()]  # there may be as many: some share a table
        wanted = [source.encoder for source in sources if is_due(count_rows(conn, source.encoder, _telling(source)), source.tried)]
        ours = [encoder for encoder in wanted if not other_owner(conn, index_name(encoder, "hnsw"))]
    if not ours:
        return 0
    with alone(library):
        return sum(bool(find_efforts(library, encoder, progress)) for encoder in ours)


def is_due(rows: int, tried: int) -> bool:
    """Whether an index over so many `rows` is to be tried, that was `tried` when there were so many (0: never)."""
    # `tried` was once read off the size of a table that encoders share: such an index may seem to have lost half, and is tried anew.
    return rows >= max(enough(), _GROWN * tried) or _GROWN * rows < tried


def _telling(source: Source) -> int:
    """How many vectors tell whether an index is due, and none beyond is counted: each run ends with this.

    It has grown only if its table is as large; otherwise all that counts is whether half are there.
    """
    grown = max(enough(), _GROWN * source.tried)
    return grown if _TOLD_LEAST * source.rows >= grown else source.tried // _GROWN + 1


def _questions(conn: Connection, encoder: StoredEncoder) -> dict[str, np.ndarray]:
    """Unit vectors [n, dims] float32 by shape, as PostgreSQL is asked them, made of stored ones that are drawn by chance."""
    statement = sql.SQL("SELECT embedding FROM {} WHERE {} ORDER BY random() LIMIT %s").format(_table(encoder), _rows(encoder))
    drawn = [row[0].to_numpy() for row in conn.execute(statement, [_DRAWN], binary=True)]
    stored = sound_rows(np.array(drawn, np.float32).reshape(-1, encoder.dims))
    noise = unit_rows(np.random.default_rng(encoder.id).standard_normal((len(stored) + 1, encoder.dims), np.float32))
    new = stored + _NOISE * noise[1:]  # a question is no stored vector, and two of them are never equal
    some, others, third = (np.roll(new, by, axis=0)[:_FEWER] for by in range(3))
    some_less_third = some - third * (np.arange(len(some)) % 2)[:, None]
    made = (new, some + _GAP * np.roll(noise, 1, axis=0)[: len(some)], some - others, some_less_third + others, -some)
    halves = (as_halfvecs(16 * unit_rows(of), encoder.dims) for of in made)
    return {shape: unit_rows(of.astype(np.float32)) for shape, of in zip(SHAPES, halves, strict=True)}


def _best(conn: Connection, encoder: StoredEncoder, questions: Mapping[str, np.ndarray], progress: Progress) -> dict[str, np.ndarray]:
    """The best 50 cosines [n, 50] that there are, best first."""
    total = count_rows(conn, encoder)
    asked = np.concatenate(list(questions.values()))
    best, seen = np.full((len(asked), WANTED), -np.inf, np.float32), 0
    for vectors in stream_encoder(conn, encoder):
        progress("Comparing with all, to try the index", seen, total)
        scores = np.concatenate([best, asked @ vectors.T], axis=1)
        best = np.partition(scores, scores.shape[1] - WANTED, axis=1)[:, -WANTED:]
        seen += len(vectors)
    ends = np.cumsum([len(of) for of in questions.values()])
    return dict(zip(questions, np.split(np.sort(best, axis=1)[:, ::-1], ends)))


def _recalls(
    conn: Connection, encoder: StoredEncoder, questions: np.ndarray, best: np.ndarray, tell: Callable[[], None], least: float, effort: int
) -> tuple[float, float]:
    """Of the 10 and of the 50 best, the share that the index finds, by score: equals are as good.

    Given up as soon as one of them is sure to be below `least`: what is told then is below it too, and more than would be found.
    """
    if not len(questions):  # of damaged vectors alone nothing can be asked
        return 0.0, 0.0
    conn.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(effort)])
    statement = sql.SQL(_NEAREST).format(
        table=_table(encoder), rows=_rows(encoder), dims=sql.Literal(encoder.dims), wanted=sql.Literal(WANTED)
    )
    missed = np.zeros(2)
    for number, (question, right) in enumerate(zip(questions, best)):
        if number % _HEARD == 0:
            tell()
        rows = conn.execute(statement, {"query": HalfVector(16 * question)}).fetchall()
        found = np.array(rows, float)[:, 0] if rows else np.empty(0)
        missed += [max(0.0, 1 - (found >= right[k - 1] - EQUAL).sum() / k) for k in (10, WANTED)]
        if missed.max() > (1 - least) * len(questions):
            break
    return tuple((1 - missed / len(questions)).tolist())


def _least(recalls: Callable[[int], tuple[float, float]], good: Sequence[float], least: float) -> int | None:
    """The least effort whose recalls are good; where none is, one that is as good as any, if that is no less than `least`."""
    recalls = functools.cache(recalls)  # the larger ones take seconds
    for effort in _STEPS:
        if _reach(recalls(effort), good):
            return _least_of(recalls, good, effort)
    most = recalls(EFFORTS[-1])
    wanted = [min(recall, found - _AS_GOOD) for recall, found in zip(good, most)]
    return None if min(most) < least else _least_of(recalls, wanted, EFFORTS[-1])


def _least_of(recalls: Callable[[int], tuple[float, float]], wanted: Sequence[float], effort: int) -> int:
    """The least effort that finds so much, which this one does."""
    lower = EFFORTS[: EFFORTS.index(effort)]
    return EFFORTS[bisect.bisect_left(lower, True, key=lambda one: _reach(recalls(one), wanted))]


def _reach(recalls: Sequence[float], wanted: Sequence[float]) -> bool:
    return all(recall >= least for recall, least in zip(recalls, wanted))


def _table(encoder: StoredEncoder) -> sql.Identifier:
    return sql.Identifier(TABLES[encoder.family])


def _rows(encoder: StoredEncoder) -> sql.Composed:
    return searched_rows(encoder.family, encoder.id)
