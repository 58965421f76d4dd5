"""The vector kinds that are searched by: whose encoder makes them, where they are stored, and what a question asks of each."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from psycopg import sql
from psycopg.rows import dict_row

from .._index_sql import INDEX_METHODS, index_name, key_of
from ..encoders import nothing_by
from ..errors import LibraryError
from ..question import FAMILIES, TEXT_COLUMNS, Part
from ..records import StoredEncoder
from ..vectors import as_halfvecs
from ..words import CONNECT, kind_in_words

if TYPE_CHECKING:
    from ..connection import Connection

_PAGE = 8160  # usable bytes of a PostgreSQL page
_FEW_TEXTS = 1000
_ROW_OVERHEAD = 56  # of a row of text_vectors or image_vectors, beside its float16 numbers
SHAPES = {
    "near": "one query", "far": "a description", "unlike": "like one and unlike another", "between": "several at once",
    "opposite": "only unlike",
}  # fmt: skip
"""What a question asks of a kind, and that in words. Near to stored vectors, or far from all, as a description's is from pictures'."""
_LARGE = 300_000  # rows, from which on twice as many: at 1,000,000 ef 100 finds .98 of the best 10 and 200 finds .997, in the same time
_ALONE = 0.95  # cosine of a sum with one of its parts, from which on the others hardly count

# The size of the table tells its rows well enough, costs no scan, and is right before the first ANALYZE too.
_SOURCES = """
SELECT e.id, e.family, e.fingerprint, e.name, e.dims, e.details, e.active,
       pg_relation_size(CASE WHEN e.family = 'image' THEN 'image_vectors' ELSE 'text_vectors' END) AS bytes,
       (SELECT array_agg(ARRAY[c.relname::text, array_to_string(c.reloptions, ' '), obj_description(c.oid, 'pg_class')])
        FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid
        WHERE x.indisvalid AND x.indrelid IN ('text_vectors'::regclass, 'image_vectors'::regclass)) AS indexes,
       (SELECT json_object_agg(s.attname, CASE WHEN s.n_distinct >= 0 THEN s.n_distinct ELSE -s.n_distinct * c.reltuples END)
        FROM pg_stats s JOIN pg_class c ON c.oid = 'images'::regclass
        WHERE s.schemaname = c.relnamespace::regnamespace::text AND s.tablename = 'images'
          AND s.attname IN ('prompt_id', 'negative_id')) AS texts
FROM encoders e
WHERE e.family <> 'token_states'
"""
# Every write makes another generation; one that this transaction itself has made may yet be undone, and is not relied on.
_STATE = "SELECT generation, pg_current_xact_id_if_assigned() IS NULL FROM library"
_BELIEVED_SECONDS = 60.0
_MORE = "SELECT extract(epoch FROM created)::text, coalesce((SELECT max(id) FROM images), 0) FROM library"
_HAS = "EXISTS (SELECT FROM {table} v WHERE v.encoder_id = {encoder} AND v.{key} = i.{id})"


@dataclass(frozen=True, slots=True, eq=False)  # hashed by identity: sources are remembered, see `state_of`
class Source:
    """Where the vectors of one encoder are.

    `rows` is about how many its table has, `index` the way of its index, such as hnsw (None: there is none). `texts` is how
    many different texts PostgreSQL thinks that `images` have, by column.
    """

    encoder: StoredEncoder
    rows: int
    index: str | None
    lists: int = 0  # of an IVFFlat index
    texts: dict[str, float] = field(default_factory=dict)
    efforts: dict[str, int | None] | None = None  # as `effort.find_efforts` found them for this index,
    tried: int = 0  # when there were so many vectors by this encoder
    reached: float | None = None  # the cosine that the tenth best reaches for all but a few of the stored vectors

    @property
    def index_name(self) -> str:
        return index_name(self.encoder, self.index)

    def effort(self, shape: str) -> int | None:
        """The hnsw.ef_search that finds the best 50 for a question of this shape. None where the graph is not to be trusted with it."""
        if self.efforts is not None:
            return self.efforts[shape]
        near = 200 if self.rows >= _LARGE else 100  # not tried yet: what did for synthetic data, in which half was missed of the others
        return {"near": near, "far": 2 * near}.get(shape)


@dataclass(frozen=True, slots=True)
class State:
    """A library as it was at one generation; statistics change without one, so it is not believed for long."""

    generation: int
    until: float  # on the monotonic clock
    created: str  # tells one library from another in the same place
    newest: int  # image id
    sources: tuple[Source, ...]  # of all encoders


@dataclass(frozen=True, slots=True)
class Direction:
    """All that a question asks of one kind: the weighted sum of its query vectors, which is a query vector again.

    Cosines with unit vectors add up: w1 cos(q1, x) + w2 cos(q2, x) = `weight` cos(`vector`, x), whatever x. So two parts of
    one kind cost no more than one, and a negative weight is the search for what lies opposite.
    """

    kind: str
    source: Source
    vector: np.ndarray  # [dims] float16
    weight: float  # above 0
    constant: float = 0.0  # what having a vector of the kind adds, whatever it is
    shape: str = "near"

    @property
    def index(self) -> str | None:
        """The way of an index that finds this kind. None where the images have few texts of it, such as one negative prompt for
        all: then the index of all texts finds hardly one of those, and to compare with each takes no time.
        """
        return None if self.source.texts.get(TEXT_COLUMNS.get(self.kind, ""), _FEW_TEXTS) < _FEW_TEXTS else self.source.index

    @property
    def is_missed(self) -> bool:
        """Whether the index that finds this kind would miss too many for a question of this shape."""
        return self.index == "hnsw" and self.source.effort(self.shape) is None  # of single bits as many are compared as can be


def family_of(kind: str) -> str:
    """The family of the encoder that makes vectors of `kind`; LibraryError for a kind that there is not."""
    if kind not in FAMILIES:
        raise LibraryError(f"There is no vector kind {kind!r}. Choose one of: {', '.join(FAMILIES)}.")
    return FAMILIES[kind]


def has_vector(kind: str, source: Source) -> sql.Composed:
    """The condition that an image, in a statement's `images i`, has a vector of this kind."""
    return sql.SQL(_HAS).format(**key_of(kind, source.encoder))


def state_of(conn: Connection) -> State:
    """The library as it is now; remembered with the connection until somebody writes."""
    generation, settled = conn.execute(_STATE).fetchone()
    state = conn.state
    if state is None or state.generation != generation or not settled or time.monotonic() > state.until:
        with conn.cursor(row_factory=dict_row) as cursor:
            sources = tuple(_source(**row) for row in cursor.execute(_SOURCES))
        state = State(generation, time.monotonic() + _BELIEVED_SECONDS, *conn.execute(_MORE).fetchone(), sources)
        conn.state, conn.estimates = state if settled else None, {}
    return state


def sources_of(state: State, parts: Sequence[Part]) -> list[Source]:
    """The source of each part. LibraryError where an encoder has nothing here, or makes other dimensions."""
    found = []
    for part in parts:
        family = family_of(part.kind)
        source = _among(state.sources, part, family)
        if source is None:
            active = next((other.encoder for other in state.sources if other.encoder.active and other.encoder.family == family), None)
            raise LibraryError(_none_such(part, family, active))
        _check(part, family, source.encoder)
        found.append(source)
    return found


def encoder_of(conn: Connection, part: Part) -> StoredEncoder:
    """The encoder that made a part's vector. LibraryError where the library has nothing by it, or it makes other dimensions."""
    return sources_of(state_of(conn), [part])[0].encoder


def directions_of(
    parts: Sequence[Part], sources: Sequence[Source], weights: Sequence[float], constants: Sequence[float]
) -> list[Direction]:
    """The parts by kind, with these weights in place of their own; a kind whose parts cancel each other out is left out.

    `constants` is what each part adds wherever its kind is present.

    LibraryError where nothing is left to search for, and for a vector without direction.
    """
    by_kind: dict[tuple[str, int], list[int]] = {}
    for place, (part, source) in enumerate(zip(parts, sources)):
        by_kind.setdefault((part.kind, source.encoder.id), []).append(place)
    directions = []
    for (kind, _), places in by_kind.items():
        units = [unit(parts[place].vector) for place in places]
        total = sum(weights[place] * one for place, one in zip(places, units))  # [dims]
        length = abs(weights[places[0]]) if len(places) == 1 else float(np.linalg.norm(total))
        if length > 1e-6 * sum(abs(weights[place]) for place in places):
            source = sources[places[0]]
            half, constant = _half(total / length, source), sum(constants[place] for place in places)
            shape = _shape([parts[place] for place in places], units, [weights[place] for place in places], total / length)
            directions.append(Direction(kind, source, half, length, constant, shape))
    if not directions:
        raise LibraryError("Nothing is left to search for: the weights are 0, or the queries cancel each other out. Change a weight.")
    return directions


def _shape(parts: Sequence[Part], units: Sequence[np.ndarray], weights: Sequence[float], total: np.ndarray) -> str:
    """Which of SHAPES the sum of these parts is: `units` are their vectors [dims] and `total` it, at length 1."""
    wanted = [(part, vector) for part, one, weight in zip(parts, units, weights) for vector in _wanted(part, one, weight)]
    if not wanted:
        return "opposite"
    alike = sum(vector for _, vector in wanted)  # to which images are to be like, before some are left out that are like others
    length = float(np.linalg.norm(alike))
    part, vector = max(wanted, key=lambda one: float(one[1] @ alike))
    if vector @ alike <= _ALONE * length * np.linalg.norm(vector):  # none is, where those that are wanted cancel each other out
        return "between"
    if alike @ total < _ALONE * length:
        return "unlike"
    return "far" if part.details else "near"  # by these a description finds the encoder whose other half made it


def _wanted(part: Part, one: np.ndarray, weight: float) -> list[np.ndarray]:
    """What images are to be like [dims] by a part of this weight, at the lengths that count; nothing of what they are to be unlike."""
    if not part.terms:
        return [weight * one] if weight > 0 else []
    terms = [(share, unit(vector)) for share, vector in part.terms]
    length = float(np.linalg.norm(sum(share * vector for share, vector in terms))) or 1.0
    return [weight * share / length * vector for share, vector in terms if weight * share > 0]


def unit(vector: np.ndarray) -> np.ndarray:
    """`vector` [dims] at length 1, float64; ValueError when it is zero or not finite."""
    vector = np.asarray(vector, np.float64)
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        raise ValueError("a query vector is zero or not finite: it has no direction to search in")
    return vector / length


def direction_of(part: Part, source: Source) -> Direction:
    """The direction of one part alone, of weight 1."""
    return Direction(part.kind, source, _half(unit(part.vector), source), 1.0)


def _half(unit_vector: np.ndarray, source: Source) -> np.ndarray:
    """float16 [dims], longer than 1 so that small components do not sink into float16's subnormal numbers."""
    return as_halfvecs(unit_vector[None] * 16, source.encoder.dims)[0]


def _source(bytes: int, indexes: list[list[str | None]] | None, texts: dict[str, float] | None, **columns: object) -> Source:
    encoder = StoredEncoder(**columns)
    rows = bytes // 8192 * max(1, _PAGE // (2 * encoder.dims + _ROW_OVERHEAD))
    there = {name: (options or "", comment) for name, options, comment in indexes or ()}
    for method in INDEX_METHODS:
        source = Source(encoder, rows, method, texts=texts or {})
        if source.index_name in there:
            options, comment = there[source.index_name]
            lists = re.search(r"\blists=(\d+)", options)
            efforts, tried, reached = _trial(comment)
            return replace(source, lists=int(lists[1]) if lists else 100, efforts=efforts, tried=tried, reached=reached)
    return Source(encoder, rows, None, texts=texts or {})


def _trial(comment: str | None) -> tuple[dict[str, int | None] | None, int, float | None]:
    """What was written down of an index: `efforts`, `tried` and `reached` of its source; (None, 0, None) where nothing was, or another's words stand."""
    try:
        told = json.loads(comment or "")
        efforts, rows = {shape: _effort(told["efforts"][shape]) for shape in SHAPES}, int(told["rows"])
        if "reached" not in told:  # by a former version: good as it is, and to be tried again
            return efforts, 0, None
        return efforts, rows, None if told["reached"] is None else float(told["reached"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return None, 0, None


def _effort(told: float | str | None) -> int | None:
    return None if told is None else min(1000, max(1, int(told)))


def _among(known: Sequence[Source], part: Part, family: str) -> Source | None:
    """The source of the part's encoder; of several that it may be the active one before others, else the oldest."""

    def is_it(encoder: StoredEncoder) -> bool:
        if part.encoder_id is not None:
            return encoder.id == part.encoder_id
        if part.fingerprint is not None and encoder.fingerprint != part.fingerprint:
            return False
        told = part.fingerprint is not None or part.details
        return encoder.family == family and (encoder.active or bool(told)) and part.details.items() <= encoder.details.items()

    return min((source for source in known if is_it(source.encoder)), key=lambda source: (not source.encoder.active, source.encoder.id), default=None)


def _none_such(part: Part, family: str, active: StoredEncoder | None) -> str:
    """What to tell a person whose query no encoder of the library has made."""
    if part.encoder_id is not None:
        return f"The library has no encoder {part.encoder_id}. Index the folder again, with the same models connected."
    if active is None or not part.details:
        return nothing_by(active, family, part.fingerprint or "", part.model)
    return (
        f"{part.model} can't be compared with the library's {kind_in_words(family)} vectors, which are made by {active.told}: "
        "its other half made none of them. Index a folder with that one connected to Index Folder, so "
        "for a description with Load CLIP Vision on the same file as Load Description Encoder; a folder that was indexed by an "
        "older version, once more."
    )


def _check(part: Part, family: str, encoder: StoredEncoder) -> None:
    if encoder.family != family:
        raise ValueError(f"encoder {encoder.id} is of family {encoder.family!r}, not {family!r}")
    shape = np.shape(part.vector)
    if shape == (encoder.dims,):
        return
    if part.fingerprint is None and not part.details and len(shape) == 1:  # no model of ours made it, so it may have any length
        raise LibraryError(
            f"{kind_in_words(part.kind)} needs {encoder.dims} numbers, you gave {shape[0]}. Paste all numbers of the vector as a JSON list, "
            f"[0.12, -0.5, ...], and choose the kind that it was made for (this library's were made by {encoder.name})."
        )
    raise LibraryError(
        f"The query has the shape {list(shape)}, the library's vectors {encoder.dims} dimensions (by {encoder.name}). "
        f"Connect that model, or index the folder again with {CONNECT[family]} of the new one."
    )
