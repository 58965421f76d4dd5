"""What a search is asked, and what it answers: plain records that every way in and every way out share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from .filters import Filter
    from .records import Hit

FAMILIES = {"prompt": "text", "negative": "text", "image": "image", "clip_l": "clip_l", "clip_g": "clip_g"}
"""The five vector kinds, in the order in which they are always listed, each with the family of the encoder that makes them."""
KINDS = tuple(FAMILIES)
TEXT_COLUMNS = {"prompt": "prompt_id", "negative": "negative_id", "clip_l": "prompt_id", "clip_g": "prompt_id"}
"""Of each kind whose vectors are of texts, the column of `images` that names an image's text."""


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that an image is to be like, or with a negative weight unlike.

    `vector` [dims] may have any length: only its direction counts. The encoder that made it is told by `encoder_id`, by its
    `fingerprint`, or by entries that its own `details` must have; with none of these it is the active one of the kind. Vectors
    of two encoders are never compared. `label` is what the person asked and `model` the encoder's name, for messages. Of a `vector`
    that is a sum, `terms` are what it is the sum of, each a weight and a vector that counts by its direction: an index may miss what
    lies between two.
    """

    kind: str
    vector: np.ndarray
    weight: float = 1.0
    encoder_id: int | None = None
    label: str = ""
    fingerprint: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    terms: tuple[tuple[float, np.ndarray], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A search. The score of an image is the sum over the parts of weight x cosine similarity.

    One part of weight 1 is a plain search, whose score is the cosine. With several parts an image that lacks a kind scores
    0 in it. `normalise` first takes each part's cosines to standard scores: (cosine - mean) / deviation over the
    library, since the kinds spread differently; a missing kind then counts as the mean.
    """

    parts: tuple[Part, ...]
    k: int = 8
    offset: int = 0
    filter: Filter | None = None
    lowest_score: float | None = None
    lowest_percentile: float = 0.0  # 0 to 100: nearer than this share of the library is
    order: str = "score"  # or newest, oldest, seed: of the hits that were found by score
    diversity: float = 0.0  # 0 to 1: how much being unlike the better hits counts (maximal marginal relevance)
    collapse: str = "nothing"  # or variants (one seed and prompt), lookalikes (these, and nearly one picture): the best one stays
    recency: float = 0.0  # weight of being new, against scores of 1: changes the order, not the scores
    recency_days: float = 30.0  # after so many days it is worth half
    normalise: bool = False
    exact: bool = False  # compare with every vector, use no index
    leave_out: tuple[int, ...] = ()  # image ids that are never hits
    percentiles: bool = False  # say of every hit how much of the library is farther


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits, best first, and in words how they were found (`method`) and what a person should know (`note`)."""

    hits: list[Hit]
    method: str
    note: str = ""
