"""What travels over our links: plain records without ComfyUI, so that the HTTP routes share them with the nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ..db import Hit

KINDS = {  # as a person reads them, in db.KINDS' order and db.words' names: those need psycopg, and nodes load without it
    "prompt": "prompt",
    "negative": "negative prompt",
    "image": "image",
    "clip_l": "CLIP-L",
    "clip_g": "CLIP-G",
}


class ImageId(int):
    """An image's id that knows its library, since in another one it means another image. To all other nodes it is a number."""

    library: str

    def __new__(cls, id_: int, library: str) -> ImageId:
        made = super().__new__(cls, id_)
        made.library = library
        return made

    def __getnewargs__(self) -> tuple[int, str]:
        """For copies, as ComfyUI makes of its history."""
        return int(self), self.library


@dataclass(frozen=True)
class QueryPart:
    """A vector of one kind to be like (or with a negative weight unlike), before any library is asked.

    Which of a library's encoders made it is told by `fingerprint`; or by `details`, entries that the encoder's own details
    must have (a text tower knows its picture tower so); with neither it is the kind's active encoder.
    """

    kind: str
    vector: np.ndarray  # [dims], of any length: only its direction counts
    fingerprint: str | None = None
    model: str = ""  # the encoder's name, for messages
    weight: float = 1.0
    label: str = ""  # what the person asked: 'a shark', the picture of image 12
    details: Mapping[str, Any] = field(default_factory=dict)
    terms: tuple[tuple[float, np.ndarray], ...] = ()  # (weight, vector) of which `vector` is the sum, each by its direction; of one: none


@dataclass(frozen=True)
class Query:
    """DIFFUSION_TOOLKIT_QUERY: one part, or several of different kinds that belong together (both halves of a style).

    `leave_out` names images, by library and id, that the query was made of and that shall not be its hits.
    """

    parts: tuple[QueryPart, ...]
    leave_out: frozenset[tuple[str, int]] = frozenset()

    @property
    def label(self) -> str:
        """All of it in words."""
        return " and ".join(dict.fromkeys(part.label for part in self.parts))


@dataclass(frozen=True)
class SearchOptions:
    """DIFFUSION_TOOLKIT_SEARCH_OPTIONS: how hits are chosen and ordered. Each field is the one of db.Question."""

    order: str = "score"
    diversity: float = 0.0
    collapse: str = "nothing"
    recency: float = 0.0
    recency_days: float = 30.0
    lowest_percentile: float = 0.0
    normalise: bool = False
    exact: bool = False


@dataclass(frozen=True)
class AskedPart:
    """What a part of a question was, for explanations; aligned with `Hit.cosines` and `Hit.gave`."""

    kind: str
    label: str
    weight: float


@dataclass(frozen=True)
class Hits:
    """DIFFUSION_TOOLKIT_HITS: one search's hits, best first, as one object and no list: later nodes run once for all of them."""

    library: str  # its name
    hits: tuple[Hit, ...]
    parts: tuple[AskedPart, ...] = ()
    method: str = ""  # how they were found, in words
    note: str = ""
    given: Mapping[str, Sequence[Any]] = field(default_factory=dict, compare=False)  # what the node's outputs of these names gave, for each hit

    @property
    def ids(self) -> tuple[int, ...]:
        """The image ids in the library."""
        return tuple(hit.image_id for hit in self.hits)
