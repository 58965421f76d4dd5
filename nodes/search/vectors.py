"""Arithmetic of directions, and vectors that a person writes; without ComfyUI."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..links import KINDS, AskedPart, Query, QueryPart
from .asking import in_words

if TYPE_CHECKING:
    import numpy as np


def direction(vector: np.ndarray) -> np.ndarray:
    """`vector` [dims] at length 1, float32; ValueError for zero or not finite."""
    import numpy as np

    vector = np.asarray(vector, np.float64)
    length = np.linalg.norm(vector)
    if not (np.isfinite(length) and length > 0):
        raise ValueError("A vector without a direction (all zeros, or not finite) can't be searched with.")
    return (vector / length).astype(np.float32)


def terms_of(part: QueryPart) -> tuple[tuple[float, np.ndarray], ...]:
    """The weights and vectors at length 1 whose sum has the part's direction, and length 1 too."""
    import numpy as np

    if not part.terms:
        return ((1.0, direction(part.vector)),)
    terms = [(weight, direction(vector)) for weight, vector in part.terms]
    length = float(np.linalg.norm(sum(weight * vector for weight, vector in terms)))
    return tuple((weight / length, vector) for weight, vector in terms)


def mean_direction(vectors: np.ndarray) -> np.ndarray:
    """Of [n, dims], each counting alike whatever its length; the vector itself where there is one."""
    import numpy as np

    return vectors[0] if len(vectors) == 1 else direction(np.mean([direction(vector) for vector in vectors], axis=0))


def combine(terms: Sequence[tuple[float, Query]]) -> Query:
    """The weighted sum of queries, kind by kind, of vectors at length 1: one query of the first one's kinds and encoders.

    Raises:
        ValueError: there is none, or the queries are not of the same kinds, are by different models, or cancel each other out.
    """
    import numpy as np

    if not terms:
        raise ValueError("Every connected query has the weight 0, so nothing is asked. Set a weight above 0.")
    kinds = [_spaces(query) for _, query in terms]
    for other, (_, query) in zip(kinds[1:], terms[1:]):
        if list(other) != list(kinds[0]):
            raise ValueError(
                f"Query Arithmetic adds queries of one kind: {terms[0][1].label} is of {_named(kinds[0])}, {query.label} of "
                f"{_named(other)}. For a mix of kinds connect each to Search and set its weights there."
            )
        for space in other:
            _check_models(kinds[0][space], other[space])
    parts = []
    for space, first in kinds[0].items():
        total = sum(weight * direction(kind[space].vector) for (weight, _), kind in zip(terms, kinds))
        if np.linalg.norm(total) < 1e-3:
            raise ValueError(f"{_formula(terms)} leaves nothing: the queries cancel each other out. Change a weight.")
        known = next((kind[space] for kind in kinds if kind[space].fingerprint is not None), first)
        details = {name: value for kind in kinds for name, value in kind[space].details.items()}
        made_of = tuple((weight * of, vector) for (weight, _), kind in zip(terms, kinds) for of, vector in terms_of(kind[space]))
        parts.append(replace(known, kind=first.kind, vector=direction(total), weight=first.weight, details=details, terms=made_of))
    if len(parts) > 1:
        parts = [replace(part, label=f"{_formula(terms)}, {KINDS[part.kind]}") for part in parts]
    else:
        parts = [replace(parts[0], label=_formula(terms))]
    return Query(tuple(parts), frozenset().union(*(query.leave_out for _, query in terms)))


def read_vector(text: str) -> np.ndarray:
    """[dims] float32 of a person's JSON list, or of numbers parted by commas or spaces; ValueError says what is wrong."""
    import numpy as np

    text = text.strip()
    asked = "Paste its numbers as a JSON list: [0.12, -0.5, ...]."
    if not text:
        raise ValueError(f"The vector is empty. {asked}")
    try:
        values: Any = json.loads(text) if text[0] in "[{" else _numbers(text)
    except ValueError as error:
        raise ValueError(f"The vector is no JSON list of numbers ({error}). {asked}") from error
    if isinstance(values, list) and len(values) == 1 and isinstance(values[0], list):
        values = values[0]  # a batch of one, as embedding services answer
    if not isinstance(values, list) or not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        raise ValueError("The vector must be one JSON list of numbers, such as [0.12, -0.5, ...].")
    if not values:
        raise ValueError(f"The vector is empty. {asked}")
    try:
        vector = np.array(values, np.float64)
    except OverflowError as error:
        raise ValueError("A number of the vector is beyond what can be computed with.") from error
    return direction(vector)


def _numbers(text: str) -> list[float]:
    """Those of a text without brackets; ValueError names what is none."""
    words = re.split(r"[,;\s]+", text.strip(",; "))
    for word in words:
        try:
            float(word)
        except ValueError:
            raise ValueError(f"{word[:40]!r} is no number") from None
    return [float(word) for word in words]


def _spaces(query: Query) -> dict[str, QueryPart]:
    """The parts by the space that their vectors lie in: prompts and negative prompts share one."""
    return {"prompt" if part.kind == "negative" else part.kind: part for part in query.parts}


def _named(spaces: dict[str, QueryPart]) -> str:
    return " and ".join(KINDS[kind] for kind in spaces)


def _check_models(one: QueryPart, other: QueryPart) -> None:
    """What can be told before a library is asked; an image and its description are told apart there."""
    unlike = one.fingerprint and other.fingerprint and one.fingerprint != other.fingerprint
    if unlike or any(other.details.get(name, value) != value for name, value in one.details.items()):
        raise ValueError(
            f"{one.label} was made by {one.model}, {other.label} by another model ({other.model}): their vectors can't be added. "
            "Use one model for both."
        )


def _formula(terms: Sequence[tuple[float, Query]]) -> str:
    return f"({in_words([AskedPart('', query.label, weight) for weight, query in terms])})"
