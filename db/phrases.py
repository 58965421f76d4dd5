"""Texts that lie near a question, each once, and what else the library knows of how texts become vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from psycopg import Connection, sql

from .errors import LibraryError
from .filters import Filter, all_of
from .question import Question
from .read import find_text
from .records import StoredEncoder, TextPair
from .search import search
from .stream import vectors_of

ROUNDS = 8  # of searches: each finds at least one more text, mostly hundreds
_POOL = 4  # times as many images as texts are asked for at once: several images may share a text
_LEAST_POOL = 200
_SAMPLE = 1000  # images that stand for all others

_TEXTS = "SELECT i.id, t.id, t.joined FROM images i JOIN texts t ON t.id = i.{text_id} WHERE i.id = ANY(%(ids)s) AND t.joined <> ''"
_SOME = """
SELECT one.id, t.id, t.joined
FROM (SELECT i.id, i.{text_id} AS text_id FROM images i WHERE i.{text_id} IS NOT NULL AND ({condition})
      ORDER BY hashint8extended(i.id, 0), i.id LIMIT %(sampled)s) one
JOIN texts t ON t.id = one.text_id
WHERE t.joined <> ''
"""
_THEIRS = "SELECT DISTINCT i.{text_id} FROM images i WHERE i.id = ANY(%s) AND i.{text_id} IS NOT NULL"


@dataclass(frozen=True, slots=True)
class NearText:
    """A prompt or negative prompt, the score of the nearest image that has it, and that image."""

    text_id: int
    text: str
    score: float
    image_id: int


@dataclass(frozen=True, slots=True)
class TextOfImage:
    """An image with its prompt, or negative prompt."""

    image_id: int
    text_id: int
    text: str


def nearest_texts(conn: Connection, question: Question, n: int) -> tuple[list[NearText], list[TextOfImage]]:
    """The `n` different texts of the images that answer `question` best, and all images that were found with theirs.

    Negative prompts where the question is of these alone, else prompts. The texts of the images that it leaves out are left out
    too, whatever image has them. LibraryError where negative prompts are asked for together with something else.
    """
    text_id = text_column(question)
    skipped = _texts_of(conn, text_id, question.leave_out)
    near: dict[int, NearText] = {}
    images: list[TextOfImage] = []
    pool = max(_LEAST_POOL, _POOL * n)
    for turn in range(ROUNDS):
        others = _without(text_id, [*skipped, *near]) if turn or skipped else None  # at first most likely no filter, the fastest search
        hits = search(conn, replace(question, k=pool, offset=0, percentiles=False, filter=all_of([question.filter, others]))).hits
        rows = conn.execute(sql.SQL(_TEXTS).format(text_id=text_id), {"ids": [hit.image_id for hit in hits]})
        texts = {image_id: TextOfImage(image_id, *text) for image_id, *text in rows}
        for hit in hits:
            one = texts.get(hit.image_id)
            if one is not None:
                images.append(one)
                near.setdefault(one.text_id, NearText(one.text_id, one.text, hit.score, one.image_id))
        if len(near) >= n or len(hits) < pool:
            break
        if not turn:
            skipped += _empty(conn)
    return sorted(near.values(), key=lambda one: (-one.score, one.text_id))[:n], images


def some_texts(conn: Connection, question: Question) -> list[TextOfImage]:
    """Images of those that pass the question's filter, with their texts: always the same, spread over the library's age."""
    text_id = text_column(question)
    skipped = _texts_of(conn, text_id, question.leave_out)
    chosen = all_of([question.filter, _without(text_id, skipped) if skipped else None])
    statement = sql.SQL(_SOME).format(text_id=text_id, condition=chosen.condition)
    return [TextOfImage(*row) for row in conn.execute(statement, {**chosen.parameters, "sampled": _SAMPLE})]


def known_vectors(
    conn: Connection, kind: str, encoder: StoredEncoder, images: Sequence[TextOfImage]
) -> tuple[list[str], np.ndarray]:
    """(texts, unit vectors float32 [n, dims]) of these images where they have a vector of `kind`: of pictures one an image, else one a text."""
    texts = {image.image_id: image.text for image in images}
    if kind != "image":
        one_each = {image.text_id: image for image in reversed(images)}
        texts = {image.image_id: image.text for image in one_each.values()}
    vectors = vectors_of(conn, kind, encoder, texts)
    return [texts[image_id] for image_id in vectors], np.array([*vectors.values()], np.float32).reshape(-1, encoder.dims)


def text_column(question: Question) -> sql.Identifier:
    """The column of the texts that a question is about."""
    negative = {part.kind == "negative" for part in question.parts}
    if len(negative) > 1:
        raise LibraryError(
            "A prompt can't be made for negative prompts and something else at once. Ask for one of them, or use a node for each."
        )
    return sql.Identifier("negative_id" if negative == {True} else "prompt_id")


def _without(text_id: sql.Identifier, ids: Sequence[int]) -> Filter:
    """Images that have a text which is none of these."""
    condition = sql.SQL("i.{0} IS NOT NULL AND i.{0} <> ALL({1})").format(text_id, sql.Placeholder("texts_seen"))
    return Filter(condition, {"texts_seen": list(ids)})


def _texts_of(conn: Connection, text_id: sql.Identifier, images: Sequence[int]) -> list[int]:
    return [row[0] for row in conn.execute(sql.SQL(_THEIRS).format(text_id=text_id), [list(images)])] if images else []


def _empty(conn: Connection) -> list[int]:
    """The id of the empty text, where it is recorded."""
    found = find_text(conn, TextPair("", ""))
    return [] if found is None else [found]


def mean_vector(conn: Connection, kind: str, encoder: StoredEncoder, ids: Sequence[int]) -> tuple[np.ndarray | None, int]:
    """What images have in common: the mean [dims] of their unit vectors of `kind`, and how many have one. None where none has."""
    vectors = vectors_of(conn, kind, encoder, ids)
    return (np.mean([*vectors.values()], axis=0) if vectors else None), len(vectors)
