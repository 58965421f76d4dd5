"""How many images a question can reach, and what the others lack: for a search that found nothing."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import Connection, sql

from .filters import EVERYTHING
from .question import FAMILIES, TEXT_COLUMNS, Question
from .search.kinds import has_vector, sources_of, state_of

_COUNT = "SELECT {columns} FROM images i WHERE i.id <> ALL(%(comparable_left_out)s)"


@dataclass(frozen=True, slots=True)
class Lack:
    """How many of the images that pass lack the vector of a kind that is asked for."""

    kind: str
    family: str  # of the encoder that makes it
    no_text: int  # since they have no such text, and nothing can give them one
    no_vector: int  # though they could have one


@dataclass(frozen=True, slots=True)
class Comparable:
    """Images beside those that the question leaves out: all, those that its filter passes, and those of these with a vector."""

    images: int
    passing: int
    comparable: int  # with a vector of at least one of the kinds
    lacks: tuple[Lack, ...]  # one a kind


def count_comparable(conn: Connection, question: Question) -> Comparable:
    """How many images `question` could have found. It looks at every image, so it is for questions without an answer."""
    sources = {part.kind: source for part, source in zip(question.parts, sources_of(state_of(conn), question.parts))}
    has = [has_vector(kind, source) for kind, source in sources.items()]
    texts = [TEXT_COLUMNS.get(kind, "id") for kind in sources]
    columns = [sql.SQL("true"), sql.SQL(" OR ").join(has)]
    for one, text in zip(has, texts):
        columns += [sql.SQL("i.{} IS NULL").format(sql.Identifier(text)), sql.SQL("i.{} IS NOT NULL AND NOT {}").format(sql.Identifier(text), one)]
    chosen = question.filter or EVERYTHING
    counts = sql.SQL(", ").join(sql.SQL("count(*) FILTER (WHERE ({}))").format(column) for column in columns)
    left_out = {"comparable_left_out": list(question.leave_out)}
    statement = sql.SQL(_COUNT + " AND ({passes})").format(columns=counts, passes=chosen.narrow)
    passing, comparable, *lacking = conn.execute(statement, {**chosen.parameters, **left_out}).fetchone()
    [images] = conn.execute(sql.SQL(_COUNT).format(columns=sql.SQL("count(*)")), left_out).fetchone()
    lacks = tuple(Lack(kind, FAMILIES[kind], *lacking[2 * n : 2 * n + 2]) for n, kind in enumerate(sources))
    return Comparable(images, passing, comparable, lacks)
