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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """What a reader found beside the texts, each under its column's name; None, or empty, where the file does not tell.

    The confidences are 'exact', 'inferred' or 'unknown', None where the file has no such thing at all. `reading` says in
    words where each answer came from, and holds the sampler's passes; `reader` is the reader's version. `rating` is XMP's:
    -1 rejected, 1 to 5 stars; a person's own, once given, is never replaced by the file's.
    """

    prompt_joined: bool = False
    negative_joined: bool = False
    seed: int | None = None
    steps: int | None = None
    cfg: float | None = None
    guidance: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    denoise: float | None = None
    checkpoint: str | None = None  # or the diffusion model
    vae: str | None = None
    text_encoders: list[str] = field(default_factory=list)
    loras: list[dict[str, Any]] = field(default_factory=list)
    controlnets: list[dict[str, Any]] = field(default_factory=list)
    asked_width: int | None = None  # of the sampler; `width` is the file's
    asked_height: int | None = None
    generator: str | None = None
    rating: int | None = None
    prompt_confidence: str | None = None
    negative_confidence: str | None = None
    settings_confidence: str | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    reader: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(ImageSettings):
    """All that a reader made of an image's metadata; a later version of it may find more in the same bytes."""

    prompt: TextPair | None = None
    negative: TextPair | None = None


@dataclass(frozen=True, slots=True)
class ImageRecord(Reading):
    """One file as the indexer read it: `path` relative to its root, with '/'; `metadata` its own bytes by key.

    `places` says of each key where in the file it lay; `sidecar_mtime_ns` is 0 where no text lies beside the file. `created`
    is what the file itself tells; without it the library takes the time of the file. An image that is known keeps its labels
    and gains these; it keeps its namespace where this one is empty.
    """

    hash: bytes
    width: int
    height: int
    path: str
    file_size: int
    mtime_ns: int
    sidecar_mtime_ns: int = 0
    created: datetime | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    namespace: str = ""
    phash: int | None = None  # 64 bits, signed; None where the picture was not decoded for it


@dataclass(frozen=True, slots=True)
class StoredPieces:
    """What an image's file carried, as `ImageRecord` has it: no date that only the file system told."""

    metadata: dict[str, bytes]
    places: dict[str, str]
    created: datetime | None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an image, as it was when last indexed; `root` is absolute, `path` relative to it."""

    root: str
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class StoredImage(ImageSettings):
    """One image of the library, with the files it is known as: those that are gone last, the latest seen first, none when forgotten.

    `created_own`: its metadata tells when it was made; else `created` is the earliest time seen of its files, if any is known.
    """

    id: int
    hash: bytes
    width: int
    height: int
    files: tuple[StoredFile, ...]
    prompt: str | None
    negative: str | None
    prompt_id: int | None
    negative_id: int | None
    created: datetime | None
    labels: tuple[str, ...] = ()
    namespace: str = ""
    created_own: bool = True
    indexed: datetime | None = None
    hashed_by: str = "blake3"  # or sha256: of an image that no newer version has read


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as it was when last indexed; unchanged size and times mean that it need not be read again."""

    image_id: int
    size: int
    mtime_ns: int
    sidecar_mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result: rank from 1, and the score with what it is made of.

    `cosines` is aligned with the question's parts, None where the image has no vector of the kind. `percentile`
    (0 to 100) is the share of the library that is farther from the question, where that was asked. `recency` is what being
    new added to the score before the hits were ranked; it is not in `score`. `gave`, aligned with the parts too, is what each
    put into the score: weight x cosine, or weight x standard score; together they are the score.
    """

    image_id: int
    score: float
    rank: int
    cosines: tuple[float | None, ...] = ()
    percentile: float | None = None
    recency: float = 0.0
    gave: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Encoder:
    """The exact model that makes vectors. Family: 'text', 'image', 'clip_l', 'clip_g' or 'token_states'."""

    family: str
    fingerprint: str
    name: str
    dims: int
    details: dict[str, Any] = field(default_factory=dict)


def told_encoder(name: str, fingerprint: str) -> str:
    """An encoder for a person: its name, and the beginning of its fingerprint, since files of one name differ."""
    return f"{name} [{fingerprint[:8]}]"


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

    @property
    def told(self) -> str:
        """For a person, as `told_encoder`."""
        return told_encoder(self.name, self.fingerprint)


@dataclass(frozen=True, slots=True)
class TokenStates:
    """SDXL's conditioning of one text."""

    states: np.ndarray  # [tokens, 2048] float16
    pooled: np.ndarray  # [1280] float16


@dataclass(frozen=True, slots=True)
class Counts:
    """What the library holds; vectors by kind, of the active encoders; token states of all, and their bytes on disk.

    Images share a text's vector: `images_with` tells, also by kind, how many images have one.
    """

    images: int
    paths: int
    texts: int
    vectors: dict[str, int]
    token_states: int
    images_with: dict[str, int]
    token_states_bytes: int = field(default=0, compare=False)  # also of an empty table
