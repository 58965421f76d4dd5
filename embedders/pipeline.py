"""Bring a folder into a library: read what is new, make the vectors that are missing, hand both on in batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

import numpy as np

from .decode import ImageError, ImageFile, read_image
from .metadata import READER_VERSION, ImageMetadata, NodeDefinitions, Pieces, interpret, read_metadata
from .metadata.records import sureness
from .scan import FileEntry, scan

IMAGE_BATCH = 16
TEXT_BATCH = 32
PIECES_BATCH = 32  # images whose stored metadata is read anew in one transaction
TOKEN_STATE_BYTES = 329_000  # the most that one section of 77 tokens takes on disk; packed, it is mostly about 240,000
SECTION_CHARACTERS = 300  # of a prompt that mostly fill a section; for what a text will take, before it is encoded
LONGEST_TEXT = 50_000  # characters that are still encoded by CLIP: 50 MB of token states; files may hold far longer ones

T = TypeVar("T")


class Text(Protocol):
    """One distinct text as the library keeps it: SDXL's pair, and the one text that stands for it in search."""

    text_g: str
    text_l: str
    joined: str


class KnownFile(Protocol):
    """What a library remembers of a file: enough to see that neither it nor a text beside it has changed."""

    image_id: int
    size: int
    mtime_ns: int
    sidecar_mtime_ns: int


class Store(Protocol):
    """The library as the pipeline sees it. Each call is one transaction, so a cancelled run keeps what it wrote.

    `family` is one of `text`, `clip_l`, `clip_g`, `token_states`; the store knows the encoder behind each.
    """

    def known_files(self) -> Mapping[str, KnownFile]: ...
    def find_images(self, hashes: Sequence[bytes]) -> Mapping[bytes, int]: ...
    def link_files(self, files: Sequence[tuple[FileEntry, ImageFile, int]]) -> None: ...
    def add_images(self, images: Sequence[tuple[FileEntry, ImageFile]], vectors: np.ndarray | None) -> None: ...
    def label_files(self, paths: Collection[str]) -> None: ...  # known ones, found unchanged
    def images_read_before(self, version: int) -> Sequence[tuple[int, Sequence[str]]]: ...
    def stored_pieces(self, ids: Sequence[int]) -> Mapping[int, Pieces]: ...
    def update_readings(self, readings: Mapping[int, ImageMetadata], from_files: bool) -> None: ...
    def images_without_vector(self) -> Sequence[tuple[int, str]]: ...
    def add_image_vectors(self, ids: Sequence[int], vectors: np.ndarray) -> None: ...
    def texts_without(self, family: str) -> Sequence[tuple[int, Text]]: ...
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


@dataclass
class IndexReport:
    """What one run found and did. Counts are of this run; the library's totals are the library's to tell."""

    found: int = 0
    unchanged: int = 0
    added: int = 0
    known_elsewhere: int = 0
    sidecars_read: int = 0  # known images whose side-car text came, went or changed
    read_anew: int = 0  # known images, read by an older reader before
    opened_again: int = 0  # of these, the ones whose stored metadata was not enough
    prompts: dict[str, int] = field(default_factory=dict)  # of the images read in this run, by confidence, or "none"
    unknown: list[tuple[str, str]] = field(default_factory=list)  # path of an image whose prompt is unknown, and why
    vectors: dict[str, int] = field(default_factory=dict)
    states_kept: int = 0
    states_left_out: int = 0
    states_bytes: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)  # path, reason
    unread_metadata: list[tuple[str, str]] = field(default_factory=list)  # indexed, but without what this says
    seconds: float = 0.0

    def count(self, kind: str, n: int) -> None:
        self.vectors[kind] = self.vectors.get(kind, 0) + n

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


def index_folder(
    root: Path,
    subfolder: str,
    store: Store,
    encoders: Encoders,
    *,
    recursive: bool = True,
    pattern: str = "",
    token_state_budget: int = 5 * 2**30,
    definitions: NodeDefinitions = {},
    progress: Progress = lambda stage, done, total: None,
) -> IndexReport:
    """Index the images under `root`/`subfolder`. `token_state_budget` is in bytes on disk, for the whole library.

    Files whose size and modification time are known are not opened; what an older reader made of their metadata is made
    anew from the metadata itself, which the library keeps. Images come first, model by model afterwards, so that one model
    at a time needs to be in memory. `definitions` are the running ComfyUI's, for the reader.
    """
    started = time.monotonic()
    report = IndexReport()
    files = _sorted_files(root, subfolder, recursive, pattern, store, report)
    store.label_files(files.unchanged)
    if encoders.image is not None:
        _fill_image_vectors(root, files.unchanged, store, encoders.image, report, progress)
    _read_files(root, files, store, encoders, definitions, report, progress)
    _read_anew(root, files.unchanged, store, definitions, report, progress)
    if encoders.text is not None:
        _fill_text_vectors(store, encoders.text, report, progress)
    if encoders.clip is not None:
        _fill_clip(store, encoders.clip, token_state_budget, report, progress)
    report.seconds = time.monotonic() - started
    return report


@dataclass
class _Files:
    """What lies in the folder, held against what the library knows of it."""

    changed: list[FileEntry] = field(default_factory=list)  # new, or another size or time, of the file or its side-car
    unchanged: set[str] = field(default_factory=set)
    other_sidecar: set[str] = field(default_factory=set)


def _sorted_files(
    root: Path, subfolder: str, recursive: bool, pattern: str, store: Store, report: IndexReport
) -> _Files:
    known, files = store.known_files(), _Files()
    for entry in scan(root, subfolder, recursive, pattern, on_error=lambda *problem: report.skipped.append(problem)):
        report.found += 1
        before = known.get(entry.path)
        if entry.sidecar_mtime_ns != (before.sidecar_mtime_ns if before is not None else 0):
            files.other_sidecar.add(entry.path)
            files.changed.append(entry)
        elif before is not None and (before.size, before.mtime_ns) == (entry.size, entry.mtime_ns):
            report.unchanged += 1
            files.unchanged.add(entry.path)
        else:
            files.changed.append(entry)
    return files


def _read_files(
    root: Path,
    files: _Files,
    store: Store,
    encoders: Encoders,
    definitions: NodeDefinitions,
    report: IndexReport,
    progress: Progress,
) -> None:
    """Read, embed and store new files; content that the library already has only gains a path, and a side-car's text."""
    older = {id_ for id_, _ in store.images_read_before(READER_VERSION)} if files.changed else set()
    for done, batch in _batches(files.changed, IMAGE_BATCH):
        progress("Reading images", done, len(files.changed))
        read = [(entry, image) for entry in batch if (image := _read(root, entry.path, report, definitions)) is not None]
        known = store.find_images([image.hash for _, image in read])
        linked = [(entry, image, known[image.hash]) for entry, image in read if image.hash in known]
        store.link_files(linked)
        told = {
            id_: (entry.path, image.metadata)
            for entry, image, id_ in linked
            if entry.path in files.other_sidecar or id_ in older
        }
        store.update_readings({id_: metadata for id_, (_, metadata) in told.items()}, from_files=True)
        report.read_anew += len(told.keys() & older)
        report.sidecars_read += len(told.keys() - older)
        older -= told.keys()
        fresh = [(entry, image) for entry, image in read if image.hash not in known]
        pictures: dict[bytes, tuple[str, ImageMetadata]] = {}  # a copy in a batch is one, with the text beside any of them
        for entry, image in fresh:
            if image.hash not in pictures or entry.sidecar_mtime_ns:
                pictures[image.hash] = (entry.path, image.metadata)
        report.added += len(pictures)
        report.known_elsewhere += len(read) - len(pictures) - len(told)
        for path, metadata in [*told.values(), *pictures.values()]:
            report.tell(path, metadata)
        if not fresh:
            continue
        if encoders.image is None:
            store.add_images(fresh, None)
        else:
            vectors = encoders.image.encode([image.pixels for _, image in fresh])  # [n, 1024]
            usable = _usable(vectors, [entry.path for entry, _ in fresh], report)
            store.add_images([fresh[row] for row in usable], vectors[usable])
            store.add_images([image for row, image in enumerate(fresh) if row not in usable], None)
            report.count("image", len({fresh[row][1].hash for row in usable}))


def _read_anew(
    root: Path, unchanged: set[str], store: Store, definitions: NodeDefinitions, report: IndexReport, progress: Progress
) -> None:
    """Let this reader read what an older one has read: the metadata that the library keeps, byte for byte.

    A file is opened again only where that holds no prompt, since this reader also looks in places that the older did not.
    Where no file of such an image was found unchanged, it waits for a run that finds one.
    """
    older = store.images_read_before(READER_VERSION)
    for done, batch in _batches(older, PIECES_BATCH):
        progress("Reading prompts anew", done, len(older))
        pieces, from_pieces, from_files = store.stored_pieces([id_ for id_, _ in batch]), {}, {}
        for id_, (path, *others) in batch:
            found = interpret(pieces[id_], name=PurePosixPath(path).name, definitions=definitions)
            if found.prompt is not None or found.prompt_origin.where:
                from_pieces[id_] = found
            else:
                here = next((one for one in (path, *others) if one in unchanged), None)
                if here is None:
                    continue
                try:
                    found = from_files[id_] = read_metadata(root / here, definitions=definitions)
                except OSError:  # gone since the scan
                    continue
            report.tell(path, found)
        store.update_readings(from_pieces, from_files=False)
        store.update_readings(from_files, from_files=True)
        report.read_anew += len(from_pieces) + len(from_files)
        report.opened_again += len(from_files)


def _fill_image_vectors(
    root: Path, unchanged: set[str], store: Store, encoder: Any, report: IndexReport, progress: Progress
) -> None:
    """Embed images that were indexed without this encoder, from files that still hold them."""
    files = {image_id: path for image_id, path in store.images_without_vector() if path in unchanged}
    missing = list(files.items())
    for done, batch in _batches(missing, IMAGE_BATCH):
        progress("Image vectors", done, len(missing))
        read = [(id_, path, image) for id_, path in batch if (image := _read(root, path, report)) is not None]
        if read:
            vectors = encoder.encode([image.pixels for _, _, image in read])  # [n, 1024]
            usable = _usable(vectors, [path for _, path, _ in read], report)
            store.add_image_vectors([read[row][0] for row in usable], vectors[usable])
            report.count("image", len(usable))


def _fill_text_vectors(store: Store, encoder: Any, report: IndexReport, progress: Progress) -> None:
    missing = _by_length(store.texts_without("text"))
    for done, batch in _batches(missing, TEXT_BATCH):
        progress("Prompt vectors", done, len(missing))
        vectors = encoder.encode_texts([text.joined for _, text in batch])  # [n, 1024]
        usable = _usable(vectors, [_text_name(text) for _, text in batch], report)
        store.add_text_vectors("text", [batch[row][0] for row in usable], vectors[usable])
        report.count("prompt and negative", len(usable))


def _fill_clip(store: Store, encoder: Any, budget: int, report: IndexReport, progress: Progress) -> None:
    """One pass of the CLIP gives both pooled vectors and the token states; each is stored where it is missing.

    States are kept while they fit `budget`; a text whose states do not fit is encoded for its vectors alone, once.
    """
    lacking = {family: _encodable(store.texts_without(family), report) for family in ("clip_l", "clip_g", "token_states")}
    before = used = store.token_states_bytes()
    section = min(store.section_bytes() or TOKEN_STATE_BYTES, TOKEN_STATE_BYTES)  # dead rows make a section look larger than it is
    to_keep, wanted = {}, 0
    for id_, text in lacking["token_states"].items():
        takes = _sections(text) * section
        if used + wanted + takes <= budget:
            to_keep[id_] = text
            wanted += takes
    report.states_left_out = len(lacking["token_states"]) - len(to_keep)
    todo = _by_length(list({**lacking["clip_l"], **lacking["clip_g"], **to_keep}.items()))
    stage = (
        f"CLIP vectors; token states for {len(to_keep)} texts, about {wanted / 1e6:.0f} MB more on disk "
        f"(budget {budget / 2**30:g} GiB, {used / 1e6:.0f} MB used)"
    )
    for done, batch in _batches(todo, TEXT_BATCH):
        progress(stage, done, len(todo))
        encoded = encoder.encode([(text.text_g, text.text_l) for _, text in batch])
        names = [_text_name(text) for _, text in batch]
        for family, vectors in (("clip_l", encoded.clip_l), ("clip_g", encoded.clip_g)):
            rows = [row for row, (id_, _) in enumerate(batch) if id_ in lacking[family]]
            rows = [rows[i] for i in _usable(vectors[rows], [names[row] for row in rows], report)]
            store.add_text_vectors(family, [batch[row][0] for row in rows], vectors[rows])
            report.count(family, len(rows))
        states = {}
        for row, (id_, _) in enumerate(batch):
            if id_ in to_keep and _all_finite(encoded.states[row]) and _all_finite(encoded.clip_g[row]):
                size = len(encoded.states[row]) // 77 * section
                if used + size > budget:  # longer than its characters let expect
                    report.states_left_out += 1
                    continue
                used += size
                states[id_] = (encoded.states[row], encoded.clip_g[row])
            elif id_ in to_keep:
                report.skipped.append((names[row], "its token states are not finite"))
        if states:
            store.add_token_states(states)
            report.states_kept += len(states)
    report.states_bytes = max(0, store.token_states_bytes() - before)


def _encodable(texts: Sequence[tuple[int, Text]], report: IndexReport) -> dict[int, Text]:
    """The texts by id, without those that are no prompts by their length; they are named once."""
    too_long = [(_text_name(text), f"{len(text.joined)} characters are too many for CLIP") for _, text in texts if _too_long(text)]
    report.skipped += [problem for problem in too_long if problem not in report.skipped]
    return {id_: text for id_, text in texts if not _too_long(text)}


def _too_long(text: Text) -> bool:
    return len(text.joined) > LONGEST_TEXT


def _sections(text: Text) -> int:
    """How many sections a text will fill, by its length; its tokens are not known before it is encoded."""
    return 1 + max(len(text.text_g), len(text.text_l)) // SECTION_CHARACTERS


def _all_finite(values: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.isfinite(values.astype(np.float16)).all())


def _read(root: Path, path: str, report: IndexReport, definitions: NodeDefinitions = {}) -> ImageFile | None:
    try:
        return read_image(root / path, definitions=definitions)
    except ImageError as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    report.skipped.append((path, reason))
    return None


def _usable(vectors: np.ndarray, names: Sequence[str], report: IndexReport) -> list[int]:
    """The rows that a cosine is defined for once they are float16; each other one is reported, and ends nothing."""
    with np.errstate(over="ignore"):
        halves = vectors.astype(np.float16)
    good = np.isfinite(halves).all(axis=1) & halves.any(axis=1)
    report.skipped += [(names[row], "its vector is zero or not finite") for row in np.flatnonzero(~good)]
    return np.flatnonzero(good).tolist()


def _text_name(text: Text) -> str:
    return f"the text {text.joined[:60]!r}"


def _by_length(texts: Sequence[tuple[int, Text]]) -> list[tuple[int, Text]]:
    """Texts of like length together, so that a batch is padded little."""
    return sorted(texts, key=lambda item: len(item[1].joined))


def _batches(items: Sequence[T], size: int) -> Iterator[tuple[int, Sequence[T]]]:
    for start in range(0, len(items), size):
        yield start, items[start : start + size]
