"""The library as the indexing pipeline sees it: one folder, one set of encoders, one transaction a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import db

if TYPE_CHECKING:
    import numpy as np

    from ..embedders.decode import ImageFile
    from ..embedders.pipeline import Encoders, KnownFile, Text


def encoder_records(encoders: Encoders) -> list[db.Encoder]:
    """What the library is told of the models of a run."""
    records = []
    if encoders.text is not None:
        records.append(db.Encoder("text", encoders.text.fingerprint, encoders.text.name, encoders.text.dims, {}))
    if encoders.image is not None:
        records.append(db.Encoder("image", encoders.image.fingerprint, encoders.image.name, encoders.image.dims, {}))
    if encoders.clip is not None:
        clip = encoders.clip
        records.append(db.Encoder("clip_l", clip.clip_l_fingerprint, clip.name, 768, {}))
        records.append(db.Encoder("clip_g", clip.clip_g_fingerprint, clip.name, 1280, {}))
        records.append(db.Encoder("token_states", clip.fingerprint, clip.name, 2048, {}))
    return records


class FolderStore:
    """`embedders.pipeline.Store` over a library. `activate` makes this run's encoders the active ones, at its end."""

    def __init__(self, library: db.Library, root_name: str, root: Path, subfolder: str, encoders: Encoders) -> None:
        self._library = library
        self._under = subfolder
        self._encoder_ids = {}
        for record in encoder_records(encoders):
            with library.connection() as connection:  # its own: making an index holds up other writers
                self._encoder_ids[record.family] = db.ensure_encoder(connection, record)
        with library.connection() as connection:
            self._root_id = db.ensure_root(connection, root_name, str(root))
            # A library's first encoders serve at once; later ones when their run is done, not when it is cancelled early.
            active = db.active_encoders(connection)
            db.activate_encoders(connection, [id_ for family, id_ in self._encoder_ids.items() if family not in active])
            # An image without a negative prompt is recalled with the conditioning of the empty text.
            db.ensure_text(connection, db.TextPair("", ""))

    def activate(self) -> None:
        with self._library.connection() as connection:
            db.activate_encoders(connection, list(self._encoder_ids.values()))

    def known_files(self) -> Mapping[str, KnownFile]:
        with self._library.connection() as connection:
            return db.known_files(connection, self._root_id)

    def find_images(self, hashes: Sequence[bytes]) -> Mapping[bytes, int]:
        with self._library.connection() as connection:
            return db.find_images(connection, hashes)

    def link_files(self, files: Sequence[tuple[str, ImageFile, int]]) -> None:
        if files:
            links = [(path, image.size, image.mtime_ns, image_id) for path, image, image_id in files]
            with self._library.connection() as connection:
                db.link_paths(connection, self._root_id, links)

    def add_images(self, images: Sequence[tuple[str, ImageFile]], vectors: np.ndarray | None) -> None:
        if not images:
            return
        records = [_record(path, image) for path, image in images]
        with self._library.connection() as connection:
            ids = db.write_images(connection, self._root_id, records)
            if vectors is not None:
                db.write_image_vectors(connection, self._encoder_ids["image"], ids, vectors)

    def images_without_vector(self) -> Sequence[tuple[int, str]]:
        with self._library.connection() as connection:
            return db.images_without_vector(connection, self._encoder_ids["image"], self._root_id, self._under)

    def add_image_vectors(self, ids: Sequence[int], vectors: np.ndarray) -> None:
        with self._library.connection() as connection:
            db.write_image_vectors(connection, self._encoder_ids["image"], ids, vectors)

    def texts_without(self, family: str) -> Sequence[tuple[int, Text]]:
        with self._library.connection() as connection:
            return db.texts_without_vector(connection, self._encoder_ids[family], self._root_id, self._under)

    def add_text_vectors(self, family: str, ids: Sequence[int], vectors: np.ndarray) -> None:
        with self._library.connection() as connection:
            db.write_text_vectors(connection, self._encoder_ids[family], ids, vectors)

    def add_token_states(self, states: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> None:
        import numpy as np

        records = {id_: db.TokenStates(s.astype(np.float16), p.astype(np.float16)) for id_, (s, p) in states.items()}
        with self._library.connection() as connection:
            db.write_token_states(connection, self._encoder_ids["token_states"], records)

    def token_states_bytes(self) -> int:
        with self._library.connection() as connection:
            return db.token_states_bytes(connection)


def _record(path: str, image: ImageFile) -> db.ImageRecord:
    found = image.metadata
    return db.ImageRecord(
        hash=image.hash,
        width=image.width,
        height=image.height,
        path=path,
        file_size=image.size,
        mtime_ns=image.mtime_ns,
        prompt=db.TextPair(*found.prompt) if found.prompt is not None else None,
        negative=db.TextPair(*found.negative) if found.negative is not None else None,
        prompt_joined=found.prompt_joined,
        negative_joined=found.negative_joined,
        seed=found.seed,
        steps=found.steps,
        cfg=found.cfg,
        sampler=found.sampler,
        scheduler=found.scheduler,
        checkpoint=found.checkpoint,
        loras=found.loras,
        generator=found.generator,
        created=found.created,
        metadata=found.raw,
    )
