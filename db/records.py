"""What goes into the library and comes out of it, as plain records."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ._clean import clean_text

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class TextPair:
    """One distinct text: what SDXL's CLIP-G and CLIP-L were given, mostly the same twice."""

    text_g: str
    text_l: str

    def __post_init__(self) -> None:
        # Two texts that PostgreSQL would store alike must be one text here too.
        object.__setattr__(self, "text_g", clean_text(self.text_g))
        object.__setattr__(self, "text_l", clean_text(self.text_l))

    @property
    def joined(self) -> str:
        """The text that is searched and shown; the same rule as the column `texts.joined`."""
        if self.text_g == self.text_l or not self.text_l:
            return self.text_g
        return f"{self.text_g}\n{self.text_l}" if self.text_g else self.text_l

    @property
    def hash(self) -> bytes:
        """sha256 of the pair; the length of the first keeps ("ab", "c") apart from ("a", "bc")."""
        first = self.text_g.encode()
        return hashlib.sha256(len(first).to_bytes(8, "big") + first + self.text_l.encode()).digest()


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One file as the indexer read it: `path` relative to its root, with '/'; `metadata` its own bytes by key."""

    hash: bytes
    width: int
    height: int
    path: str
    file_size: int
    mtime_ns: int
    prompt: TextPair | None = None
    negative: TextPair | None = None
    prompt_joined: bool = False
    negative_joined: bool = False
    seed: int | None = None
    steps: int | None = None
    cfg: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    checkpoint: str | None = None
    loras: list[dict[str, Any]] = field(default_factory=list)
    generator: str | None = None
    created: datetime | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an image, as it was when last indexed; `root` is absolute, `path` relative to it."""

    root: str
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """One image of the library, with the files it is known as: the latest seen first, none when forgotten."""

    id: int
    hash: bytes
    width: int
    height: int
    files: tuple[StoredFile, ...]
    prompt: str | None
    negative: str | None
    prompt_id: int | None
    negative_id: int | None
    prompt_joined: bool
    negative_joined: bool
    seed: int | None
    steps: int | None
    cfg: float | None
    sampler: str | None
    scheduler: str | None
    checkpoint: str | None
    loras: list[dict[str, Any]]
    generator: str | None
    created: datetime | None


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as it was when last indexed; unchanged size and mtime mean that it need not be read again."""

    image_id: int
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result: cosine similarity in -1..1, rank from 1."""

    image_id: int
    score: float
    rank: int


@dataclass(frozen=True, slots=True)
class Encoder:
    """The exact model that makes vectors. Family: 'text', 'image', 'clip_l', 'clip_g' or 'token_states'."""

    family: str
    fingerprint: str
    name: str
    dims: int
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredEncoder:
    """An encoder the library knows; one of each family is active: the one that the view and searches use."""

    id: int
    family: str
    fingerprint: str
    name: str
    dims: int
    details: dict[str, Any]
    active: bool


@dataclass(frozen=True, slots=True)
class TokenStates:
    """SDXL's conditioning of one text."""

    states: np.ndarray  # [tokens, 2048] float16
    pooled: np.ndarray  # [1280] float16


@dataclass(frozen=True, slots=True)
class Counts:
    """What the library holds; vectors by kind, of the active encoders; token states of all."""

    images: int
    paths: int
    texts: int
    vectors: dict[str, int]
    token_states: int
