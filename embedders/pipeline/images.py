"""New and changed files: read, embed, store; and vectors of images that an earlier run had no encoder for."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from ..decode import ImageError, ImageFile, read_image
from ..metadata import READER_VERSION, ImageMetadata, NodeDefinitions
from .batches import batches, usable_rows
from .files import FoundFiles
from .records import Encoders, IndexReport, Progress, Store

IMAGE_BATCH = 16


def read_files(
    root: Path,
    files: FoundFiles,
    store: Store,
    encoders: Encoders,
    definitions: NodeDefinitions,
    report: IndexReport,
    progress: Progress,
) -> None:
    """Read, embed and store new files; content that the library already has only gains a path, and a side-car's text."""
    older = {id_ for id_, _ in store.images_read_before(READER_VERSION)}
    done, changed = 0, iter(files)
    while batch := list(islice(changed, IMAGE_BATCH)):
        progress("Reading images", done, files.changed)
        done += len(batch)
        read = [(entry, image) for entry in batch if (image := _read(root, entry.path, report, definitions)) is not None]
        known = store.find_images([image.hash for _, image in read])
        other_sidecar = {entry.path for entry, _ in read if files.other_sidecar(entry)}
        linked = [(entry, image, known[image.hash]) for entry, image in read if image.hash in known]
        store.link_files(linked)
        told = {
            id_: (entry.path, image.metadata)
            for entry, image, id_ in linked
            if entry.path in other_sidecar or id_ in older
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
            usable = usable_rows(vectors, [entry.path for entry, _ in fresh], report)
            store.add_images([fresh[row] for row in usable], vectors[usable])
            store.add_images([image for row, image in enumerate(fresh) if row not in usable], None)
            report.count("image", len({fresh[row][1].hash for row in usable}))


def fill_image_vectors(
    root: Path, unchanged: Callable[[str], bool], store: Store, encoder: Any, report: IndexReport, progress: Progress
) -> None:
    """Embed images that were indexed without this encoder, from files that still hold them."""
    files = {image_id: path for image_id, path in store.images_without_vector() if unchanged(path)}
    missing = list(files.items())
    for done, batch in batches(missing, IMAGE_BATCH):
        progress("Image vectors", done, len(missing))
        read = [(id_, path, image) for id_, path in batch if (image := _read(root, path, report)) is not None]
        if read:
            vectors = encoder.encode([image.pixels for _, _, image in read])  # [n, 1024]
            usable = usable_rows(vectors, [path for _, path, _ in read], report)
            store.add_image_vectors([read[row][0] for row in usable], vectors[usable])
            report.count("image", len(usable))


def _read(root: Path, path: str, report: IndexReport, definitions: NodeDefinitions = {}) -> ImageFile | None:
    try:
        return read_image(root / path, definitions=definitions)
    except ImageError as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    report.skipped.append((path, reason))
    return None
