"""What the stages of a run share: the library as they see it, the models of the run, and what it found and did."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from ..folders.known_files import KnownFiles
from ..folders.scan import FileEntry
from ..metadata import ImageMetadata, NodeDefinitions, Pieces
from ..metadata.records import sureness
from ..pictures.decode import ImageFile

if TYPE_CHECKING:
    from .ahead import Ahead
    from .telling import Telling
    from .writer import Writer

TICK_SECONDS = 0.5  # between two looks for a cancel, while anything is waited for
NAMED = 10_000  # files that a report names of each sort; a million of them would be a report of 200 MB


T = TypeVar("T")
_naming = threading.Lock()


class Text(Protocol):
    """One distinct text as the library keeps it: SDXL's pair, and the one text that stands for it in search."""

    text_g: str
    text_l: str
    joined: str


class Store(Protocol):
    """The library as the pipeline sees it. Each call is one transaction, so a cancelled run keeps what it wrote.

    `family` is one of `text`, `clip_l`, `clip_g`, `token_states`; the store knows the encoder behind each. Calls come from
    several threads at once: `claim` from one, `find_images` from another, most that writes from a third.
    """

    labels_files: bool  # whether this run gives labels or a namespace

    def known_files(self) -> KnownFiles: ...
    def mark_missing(self, paths: Collection[str]) -> tuple[int, int]: ...  # how many were not marked yet; of images that lie elsewhere too
    def count_unmarked(self, paths: Collection[str]) -> int: ...  # of these, by this run or another
    def unmark_missing(self, paths: Collection[str]) -> None: ...
    def claim(self, entries: Sequence[FileEntry]) -> Sequence[FileEntry]: ...  # without those that another run has, or has written
    def release(self, paths: Collection[str]) -> None: ...  # claimed files that were refused; written ones are released by it
    def expect(self, files: int) -> None: ...  # so many are to be read; told again, with more, as the scan finds more
    def find_images(self, hashes: Sequence[bytes]) -> Mapping[bytes, int]: ...
    def known_contents(self) -> np.ndarray: ...  # sorted int64: the first 8 bytes of the hash of each
    def older_sizes(self) -> Collection[int] | None: ...  # of files of images known by an older hash; None: any size may be
    def renew_hashes(self, hashes: Mapping[bytes, bytes]) -> None: ...  # new ones by older ones; find_images is asked afterwards
    def link_files(self, files: Sequence[tuple[FileEntry, ImageFile, int]]) -> int: ...  # former places that it marks as gone
    def add_images(self, images: Sequence[tuple[FileEntry, ImageFile]], vectors: np.ndarray | None) -> None: ...
    def label_files(self, paths: Collection[str], labels: Sequence[str] = ()) -> None: ...  # known ones, found unchanged
    def images_read_before(self, version: int, after: int = 0) -> Sequence[tuple[int, Sequence[str]]]: ...  # some, of ids above `after`
    def read_before(self, version: int, ids: Collection[int]) -> Collection[int]: ...  # those of these images
    def stored_pieces(self, ids: Sequence[int]) -> Mapping[int, Pieces]: ...
    def update_readings(self, readings: Mapping[int, ImageMetadata], from_files: bool) -> None: ...
    def images_without_vector(self, after: int = 0) -> Sequence[tuple[int, FileEntry]]: ...  # some, of image ids above `after`
    def still_without_vector(self, ids: Collection[int]) -> Collection[int]: ...  # another run may have made some meanwhile
    def add_image_vectors(self, ids: Sequence[int], vectors: np.ndarray) -> None: ...
    def texts_without(self, family: str) -> tuple[np.ndarray, np.ndarray]: ...  # ids [n] int64, characters [n] int32; by characters
    def count_without(self, family: str, longest: int) -> int: ...  # of the whole library, of at most so many characters
    def fetch_texts(self, ids: Sequence[int], families: Sequence[str]) -> Sequence[tuple[int, Text]]: ...  # that still lack one of these
    def add_text_vectors(self, family: str, ids: Sequence[int], vectors: np.ndarray) -> None: ...
    def add_token_states(self, states: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> None: ...
    def token_states_bytes(self) -> int: ...
    def section_bytes(self) -> int | None: ...  # on disk, as this library has it; None where it has too few to tell


@dataclass(frozen=True)
class Encoders:
    """The models of one run; a kind whose model is None is left out."""

    image: Any = None  # clip_vision.ImageEncoder
    text: Any = None  # text_embedder.TextEmbedder
    clip: Any = None  # clip_text.SDXLTextEncoder


class Named(list[tuple[str, str]]):
    """Files, each with a reason: all are counted in `total`, the first NAMED are kept by name."""

    total = 0

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        self.extend(items)

    def append(self, item: tuple[str, str]) -> None:
        with _naming:  # the scan's thread names files too
            self.total += 1
            if len(self) < NAMED:
                super().append(item)

    def extend(self, items: Iterable[tuple[str, str]]) -> None:
        for item in items:
            self.append(item)

    def __iadd__(self, items: Iterable[tuple[str, str]]) -> Named:
        self.extend(items)
        return self


@dataclass
class IndexReport:
    """What one run found and did. Counts are of this run; the library's totals are the library's to tell."""

    found: int = 0
    unchanged: int = 0
    missing: int = 0  # known files found to be gone, and marked now
    moved: int = 0  # of these, files of images that lie under another path
    all_gone: int = 0  # known files of a folder that has none of them left, or is empty: likely a drive that is not mounted, so not marked
    elsewhere: int = 0  # files that another run is reading, or has written since this one looked
    overwritten: set[tuple[int, str, str]] = field(default_factory=set)  # (image with something of a person's, root, path) that has another now
    replaced: set[tuple[str, str]] = field(default_factory=set)  # (family, encoder) that searches used until this run
    others: set[str] = field(default_factory=set)  # the runs that were reading some of these
    added: int = 0
    known_elsewhere: int = 0
    reread: int = 0  # files of known images that were read again, for one of the next two; those among the unchanged are not in it
    sidecars_read: int = 0  # known images whose side-car text came, went or changed
    read_anew: int = 0  # known images, read by an older reader before
    opened_again: int = 0  # of these, the ones whose stored metadata was not enough
    prompts: dict[str, int] = field(default_factory=dict)  # of the images read in this run, by confidence, or "none"
    unknown: Named = field(default_factory=Named)  # path of an image whose prompt is unknown, and why
    vectors: dict[str, int] = field(default_factory=dict)
    states_kept: int = 0
    states_left_out: int = 0  # texts whose token states do not fit the budget; where it is full, those of the whole library
    states_bytes: int = 0
    skipped: Named = field(default_factory=Named)  # path, reason
    unread_metadata: Named = field(default_factory=Named)  # indexed, but without what this says
    seconds: float = 0.0
    seconds_after: float = 0.0  # and then, until what searches use was up to date
    waited: dict[str, float] = field(default_factory=dict)  # seconds in which the models had nothing to do, by what for
    labels: set[str] = field(default_factory=set)  # that this run gives to each image
    labels_of_lines: set[str] = field(default_factory=set)  # and those that single lines of a list gave to theirs
    namespaces: set[str] = field(default_factory=set)
    labelled: set[int] = field(default_factory=set)  # ids of images that were without one of these, or of their own of a list
    unfinished: bool = False  # it stood back before its end; the next run goes on
    unrefreshed: bool = False  # all is indexed, and what searches use was not brought up to date

    def count(self, kind: str, n: int) -> None:
        self.vectors[kind] = self.vectors.get(kind, 0) + n

    def wait(self, what: str, seconds: float) -> None:
        self.waited[what] = self.waited.get(what, 0.0) + seconds

    def tell(self, path: str, metadata: ImageMetadata) -> None:
        """Count what was read of one image, and name it where something is missing."""
        kind = sureness(metadata.prompt is not None, metadata.prompt_origin) or "none"
        self.prompts[kind] = self.prompts.get(kind, 0) + 1
        if kind == "unknown":
            self.unknown.append((path, metadata.prompt_origin.where))
        if metadata.problem:
            self.unread_metadata.append((path, metadata.problem))


Progress = Callable[[str, int, int], None]
"""Told (stage, done, total) before each batch; it may raise to cancel the run."""


class StandBack(Exception):
    """Raised by `progress`, to end a run early and in order: what is embedded is written, and the report says so."""


@dataclass(frozen=True)
class Run:
    """One run, as its stages share it. What is here to call is for the thread that called the pipeline, and for no other."""

    root: Path
    store: Store
    encoders: Encoders
    definitions: NodeDefinitions
    report: IndexReport
    writer: Writer
    progress: Telling

    def next_of(self, ready: Ahead[T], what: str, tick: Callable[[], None] | None = None) -> T | None:
        """What a stage has made next, None at its end. What is waited is time in which the models have nothing to do.

        Raises also what the writer met meanwhile, and what progress raises, which is told by `tick` or told again.
        """
        began = time.monotonic()
        while True:
            try:
                item = ready.take(TICK_SECONDS)
            except TimeoutError:
                self.writer.check()
                (tick or self.progress.again)()
            else:
                self.report.wait(what, time.monotonic() - began)
                return item

    def put(self, job: Callable[[], None]) -> None:
        """Hand a job to the writer, which may have too many already."""
        began = time.monotonic()
        self.writer.put(job)
        self.report.wait("the library", time.monotonic() - began)
