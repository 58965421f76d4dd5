"""The library as the indexing pipeline sees it: one folder, one set of encoders, one transaction a call."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import db
from ...embedders.folders.known_files import KnownFiles
from ...embedders.graph import Settings, Text
from ...embedders.metadata import READER_VERSION, ImageMetadata, Pieces
from ...embedders.metadata.records import sureness
from .former_places import FormerPlaces
from .patience import Patience, patient

if TYPE_CHECKING:
    import numpy as np

    from ...embedders import pipeline
    from ...embedders.folders.scan import FileEntry
    from ...embedders.pictures.decode import ImageFile
    from ...embedders.pipeline import Encoders, Progress

PAGE = 20_000  # images asked for at once, of those that lack something
PASSES_KEPT = 32  # of an image; the library keeps the whole graph beside them
PASS_TEXT_KEPT = 100_000  # characters in all passes, beyond which they are kept without their texts


def encoder_records(encoders: Encoders) -> list[db.Encoder]:
    """What the library is told of the models of a run."""
    records = []
    if encoders.text is not None:
        records.append(db.Encoder("text", encoders.text.fingerprint, encoders.text.name, encoders.text.dims, {}))
    if encoders.image is not None:
        details = {"picture_tower": encoders.image.weights}  # by which a description encoder knows its other half
        records.append(db.Encoder("image", encoders.image.fingerprint, encoders.image.name, encoders.image.dims, details))
    if encoders.clip is not None:
        clip = encoders.clip
        records.append(db.Encoder("clip_l", clip.clip_l_fingerprint, clip.name, 768, {}))
        records.append(db.Encoder("clip_g", clip.clip_g_fingerprint, clip.name, 1280, {}))
        records.append(db.Encoder("token_states", clip.fingerprint, clip.name, 2048, clip.halves))
    return records


def this_process() -> str:
    """As other runs tell of this one."""
    return f"{platform.node()}, process {os.getpid()}"


def told_apart(encoders: Iterable[db.StoredEncoder]) -> set[tuple[str, str]]:
    """(family, name [fingerprint]) of each."""
    return {(encoder.family, encoder.told) for encoder in encoders}


class FolderStore:
    """`embedders.pipeline.Store` over a library. `activate` makes this run's encoders the active ones, at its end.

    Each call is one transaction, or some that may be done twice, and is tried again where the server went away (`patience`).
    Use it in a `with` statement, or `close` it: what it has claimed and not written is then free for other runs at once.
    """

    def __init__(
        self,
        library: db.Library,
        root_name: str,
        root: Path,
        subfolder: str,
        encoders: Encoders,
        labels: Sequence[str] = (),
        namespace: str = "",
        progress: Progress | None = None,
    ) -> None:
        """`progress` is told while a server is waited for, also by this constructor, and may raise to cancel."""
        self._library = library
        self.labels, self.namespace = tuple(db.normal_labels(labels)), db.normal_label(namespace, "namespace")
        self.labels_files = bool(self.labels or self.namespace)
        self.labelled: set[int] = set()  # images that were given some, by id: two files of a list may be one
        self.labels_of_lines: set[str] = set()  # that these were given for themselves
        self.overwritten: set[tuple[int, str, str]] = set()  # images with something of a person's whose file another image has now
        self._root_name, self._under = root_name, subfolder
        self.patience = Patience()
        if progress is not None:
            self.patience.telling(progress)
        self._run = db.Run(library, this_process())
        self.others: set[str] = set()  # runs, by computer and process, that had files which this one wanted
        self._encoder_ids: dict[str, int] = {}
        self._root_id = 0
        self._known = KnownFiles()
        try:
            self._enrol(root_name, root, encoder_records(encoders))
            self._former = FormerPlaces(library, self._root_id)
            self._begin()
        except BaseException:
            self.close()
            raise

    @patient
    def _enrol(self, root_name: str, root: Path, encoders: Sequence[db.Encoder]) -> None:
        for record in encoders:
            with self._library.connection() as connection:  # its own: making an index holds up other writers
                self._encoder_ids[record.family] = db.ensure_encoder(connection, record)
        with self._library.connection() as connection:
            self._root_id = db.ensure_root(connection, root_name, str(root))
            # A library's first encoders serve at once; later ones when their run is done, not when it is cancelled early.
            active = db.active_encoders(connection)
            db.activate_encoders(connection, [id_ for family, id_ in self._encoder_ids.items() if family not in active])
            # An image without a negative prompt is recalled with the conditioning of the empty text.
            db.ensure_text(connection, db.TextPair("", ""))

    @patient
    def _begin(self) -> None:
        """Be a run to others, who neither make indexes nor remove anything beside one; anew where a server that restarted forgot it."""
        self._run.begin()

    def __enter__(self) -> FolderStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the run that claims files; nobody waits any more for a server that went away, such as a batch that is left over."""
        self.patience.give_up()
        self._run.end()

    @patient
    def activate(self) -> set[tuple[str, str]]:
        """Let searches go by this run's encoders; (family, encoder) of those that they went by before."""
        with self._library.connection() as connection:
            return told_apart(db.activate_encoders(connection, list(self._encoder_ids.values())))

    @patient
    def known_files(self) -> KnownFiles:
        with self._library.connection() as connection:
            self._known = KnownFiles(db.files_of_root(connection, self._root_id, self._under))
        return self._known

    @patient
    def mark_missing(self, paths: Sequence[str]) -> tuple[int, int]:
        with self._library.connection() as connection:
            return db.mark_missing(connection, self._root_id, paths)

    @patient
    def count_unmarked(self, paths: Sequence[str]) -> int:
        with self._library.connection() as connection:
            return db.count_unmarked(connection, self._root_id, paths)

    @patient
    def unmark_missing(self, paths: Sequence[str]) -> None:
        with self._library.connection() as connection:
            db.unmark_missing(connection, self._root_id, paths)

    @patient
    def claim(self, entries: Sequence[FileEntry]) -> Sequence[FileEntry]:
        """Those that this run may read: no other living run has them, nor has one written them since the scan.

        The transaction that writes a file gives its claim back, `release` that of a file that is refused, and `close` the rest.
        """
        if not entries:
            return []
        files = [db.FileState(entry.path, entry.size, entry.mtime_ns, entry.sidecar_mtime_ns) for entry in entries]
        claimed = self._run.claim(self._root_id, files)
        self.others.update(claimed.others)
        self._label([entry for entry in entries if entry.path in claimed.done])
        return [entry for entry in entries if entry.path in claimed.taken]

    @patient
    def release(self, paths: Collection[str]) -> None:
        if paths:
            with self._library.connection() as connection:
                db.unmark_missing(connection, self._root_id, list(paths))  # it can't be read, but it is there
                db.release_files(connection, self._run, self._root_id, list(paths))

    @patient
    def expect(self, files: int) -> None:
        """How many files this run will read, as far as it knows by now; more with each call."""
        self._expect("image", files)

    def _expect(self, family: str, vectors: int) -> None:
        """So many are to be written: when it is many, the index over them is made at the end of the run."""
        if family in self._encoder_ids and family != "token_states":
            self._begin()
            db.postpone_indexes(self._library, {self._encoder_ids[family]: vectors})

    @patient
    def find_images(self, hashes: Sequence[bytes]) -> Mapping[bytes, int]:
        with self._library.connection() as connection:
            return db.find_images(connection, hashes)

    @patient
    def known_contents(self) -> np.ndarray:
        with self._library.connection() as connection:
            return db.known_contents(connection)

    @patient
    def older_sizes(self) -> Sequence[int] | None:
        with self._library.connection() as connection:
            return db.older_sizes(connection)

    @patient
    def renew_hashes(self, hashes: Mapping[bytes, bytes]) -> None:
        with self._library.connection() as connection:
            db.renew_hashes(connection, hashes)

    @patient
    def link_files(self, files: Sequence[tuple[FileEntry, ImageFile, int]]) -> int:
        """With the marks in the same transaction: files that are linked are unchanged to the next run, which asks nothing about them."""
        if not files:
            return 0
        links = [
            (entry.path, db.KnownFile(image_id, image.size, image.mtime_ns, entry.sidecar_mtime_ns)) for entry, image, image_id in files
        ]
        paths = [path for path, _ in links]
        gone = self._former.gone([image_id for _, _, image_id in files], paths)  # the disk is looked at outside of the transaction
        with self._library.connection() as connection:
            self._note_overwritten(connection, {path: file.image_id for path, file in links})
            db.link_paths(connection, self._root_id, links)
            marked = db.mark_others(connection, gone)
            decoded = {image_id: image.phash for _, image, image_id in files if image.phash is not None}
            db.write_phashes(connection, decoded)
            db.release_files(connection, self._run, self._root_id, paths)
        self._known.gone([file.path for file in gone if file.root_id == self._root_id])
        self._label([entry for entry, _, _ in files])
        return marked

    def _note_overwritten(self, connection: db.Connection, images: Mapping[str, int | None]) -> None:
        """Before these files are written, by path with the image that each has now, where it is a known one."""
        if len(self._known):
            were = db.given_images_at(connection, self._root_id, list(images)).items()
            self.overwritten |= {(image_id, self._root_name, path) for path, image_id in were if image_id != images[path]}

    @patient
    def label_files(self, paths: Collection[str], labels: Sequence[str] = ()) -> None:
        """Give these known files what the run gives, and `labels` of their own."""
        if paths and (labels or self.labels_files):
            with self._library.connection() as connection:
                changed = db.label_files(connection, self._root_id, paths, (*self.labels, *labels), self.namespace)
            self.labelled.update(changed)
            self.labels_of_lines.update(labels if changed else ())

    def _label(self, entries: Sequence[FileEntry]) -> None:
        together: dict[tuple[str, ...], list[str]] = {}
        for entry in entries:
            together.setdefault(entry.labels, []).append(entry.path)
        for labels, paths in together.items():
            self.label_files(paths, labels)

    @patient
    def add_images(self, images: Sequence[tuple[FileEntry, ImageFile]], vectors: np.ndarray | None) -> None:
        if not images:
            return
        records = [replace(_record(entry, image), labels=(*self.labels, *entry.labels), namespace=self.namespace) for entry, image in images]
        with self._library.connection() as connection:
            self._note_overwritten(connection, dict.fromkeys(record.path for record in records))
            ids = db.write_images(connection, self._root_id, records)
            if vectors is not None:
                db.write_image_vectors(connection, self._encoder_ids["image"], ids, vectors)
            db.release_files(connection, self._run, self._root_id, [entry.path for entry, _ in images])
        self.labelled.update(id_ for id_, record in zip(ids, records) if record.labels or record.namespace)
        self.labels_of_lines.update(label for entry, _ in images for label in entry.labels)

    @patient
    def images_read_before(self, version: int, after: int = 0) -> Sequence[tuple[int, Sequence[str]]]:
        with self._library.connection() as connection:
            return db.images_read_before(connection, version, self._root_id, self._under, after, PAGE)

    @patient
    def read_before(self, version: int, ids: Collection[int]) -> Collection[int]:
        with self._library.connection() as connection:
            return db.read_before(connection, version, ids)

    @patient
    def stored_pieces(self, ids: Sequence[int]) -> Mapping[int, Pieces]:
        with self._library.connection() as connection:
            stored = db.stored_pieces(connection, ids)
        return {id_: Pieces(found.metadata, found.places, found.created, size=found.size) for id_, found in stored.items()}

    @patient
    def update_readings(self, readings: Mapping[int, ImageMetadata], from_files: bool) -> None:
        if not readings:
            return
        pieces = {id_: db.StoredPieces(found.raw, found.places, found.created) for id_, found in readings.items()}
        new = {id_: db.Reading(**_reading(found)) for id_, found in readings.items()}
        with self._library.connection() as connection:
            db.update_readings(connection, new, pieces if from_files else None)

    @patient
    def images_without_vector(self, after: int = 0) -> Sequence[tuple[int, FileEntry]]:
        from ...embedders.folders.scan import FileEntry

        self._begin()
        with self._library.connection() as connection:
            files = db.images_without_vector(connection, self._encoder_ids["image"], self._root_id, self._under, after, PAGE)
        return [(id_, FileEntry(file.path, file.size, file.mtime_ns, file.sidecar_mtime_ns)) for id_, file in files]

    @patient
    def still_without_vector(self, ids: Collection[int]) -> Collection[int]:
        with self._library.connection() as connection:
            return db.still_without_vector(connection, self._encoder_ids["image"], ids)

    @patient
    def add_image_vectors(self, ids: Sequence[int], vectors: np.ndarray) -> None:
        with self._library.connection() as connection:
            db.write_image_vectors(connection, self._encoder_ids["image"], ids, vectors)

    @patient
    def texts_without(self, family: str) -> tuple[np.ndarray, np.ndarray]:
        with self._library.connection() as connection:
            found = db.texts_lacking(connection, self._encoder_ids[family], self._root_id, self._under)
            searched = db.count_searched(connection, self._encoder_ids[family], found[0])
        self._expect(family, searched)
        return found

    @patient
    def count_without(self, family: str, longest: int) -> int:
        with self._library.connection() as connection:
            return db.count_lacking(connection, self._encoder_ids[family], longest)

    @patient
    def fetch_texts(self, ids: Sequence[int], families: Sequence[str]) -> Sequence[tuple[int, pipeline.Text]]:
        self._begin()
        with self._library.connection() as connection:
            return db.texts_still_lacking(connection, [self._encoder_ids[family] for family in families], ids)

    @patient
    def add_text_vectors(self, family: str, ids: Sequence[int], vectors: np.ndarray) -> None:
        with self._library.connection() as connection:
            db.write_text_vectors(connection, self._encoder_ids[family], ids, vectors)

    @patient
    def add_token_states(self, states: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> None:
        import numpy as np

        records = {id_: db.TokenStates(s.astype(np.float16), p.astype(np.float16)) for id_, (s, p) in states.items()}
        with self._library.connection() as connection:
            db.write_token_states(connection, self._encoder_ids["token_states"], records)

    @patient
    def token_states_bytes(self) -> int:
        with self._library.connection() as connection:
            return db.token_states_bytes(connection)

    @patient
    def section_bytes(self) -> int | None:
        with self._library.connection() as connection:
            return db.section_bytes(connection)


def _record(entry: FileEntry, image: ImageFile) -> db.ImageRecord:
    return db.ImageRecord(
        hash=image.hash,
        width=image.width,
        height=image.height,
        path=entry.path,
        file_size=image.size,
        mtime_ns=image.mtime_ns,
        sidecar_mtime_ns=entry.sidecar_mtime_ns,
        created=image.metadata.created,
        metadata=image.metadata.raw,
        places=image.metadata.places,
        phash=image.phash,
        **_reading(image.metadata),
    )


def _reading(found: ImageMetadata) -> dict[str, Any]:
    """The fields of `db.Reading`: every setting under its own name, but for the size that was asked for."""
    settings = {field.name: getattr(found, field.name) for field in fields(Settings)}
    origins = {"prompt": found.prompt_origin, "negative": found.negative_origin, "settings": found.settings_origin}
    has = {"prompt": found.prompt is not None, "negative": found.negative is not None, "settings": any(settings.values())}
    return {
        **{name: value for name, value in settings.items() if name not in ("width", "height")},
        **{f"{name}_confidence": sureness(has[name], origin) for name, origin in origins.items()},
        "asked_width": found.width,
        "asked_height": found.height,
        "prompt": _pair(found.prompt),
        "negative": _pair(found.negative),
        "prompt_joined": found.prompt_joined,
        "negative_joined": found.negative_joined,
        "generator": found.generator,
        "rating": found.rating,
        "reading": {**{name: origin.where for name, origin in origins.items() if origin.where}, "passes": _passes(found)},
        "reader": READER_VERSION,
    }


def _pair(text: Text | None) -> db.TextPair | None:
    return db.TextPair(*text) if text is not None else None


def _passes(found: ImageMetadata) -> list[dict[str, Any]]:
    passes = [asdict(one) for one in found.passes[:PASSES_KEPT]]
    if sum(len(half) for one in passes for pair in (*one["positive"], *one["negative"]) for half in pair) > PASS_TEXT_KEPT:
        passes = [{name: value for name, value in one.items() if name not in ("positive", "negative")} for one in passes]
    return passes
