"""A library in memory, and encoders that count what they are given, for tests of the indexing pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from diffusion_toolkit.embedders.folders.known_files import KnownFiles
from diffusion_toolkit.embedders.folders.scan import FileEntry
from diffusion_toolkit.embedders.metadata import Pieces
from diffusion_toolkit.embedders.pipeline.texts import TOKEN_STATE_BYTES
from PIL import Image


def forty_pictures(folder: Path) -> Path:
    """`folder` with 40 small PNGs of 40 colours in it."""
    for i in range(40):
        Image.new("RGB", (8, 8), (i * 5, 0, 0)).save(folder / f"{i:02}.png")
    return folder


@dataclass
class MemoryStore:
    """A library of dictionaries, to which tests add texts themselves. Its lists come in pages of two images."""

    files: dict = field(default_factory=dict)
    labelled: set = field(default_factory=set)
    labels: dict = field(default_factory=dict)  # their own, by path
    images: dict = field(default_factory=dict)
    vectors: dict = field(default_factory=dict)
    texts: dict = field(default_factory=dict)
    made: dict = field(default_factory=lambda: {"text": {}, "clip_l": {}, "clip_g": {}, "token_states": {}})
    readings: dict = field(default_factory=dict)  # by image id
    pieces: dict = field(default_factory=dict)
    older: set = field(default_factory=set)  # image ids that an older reader has read
    section: int = TOKEN_STATE_BYTES  # what 77 tokens take here

    labels_files: bool = True
    missing: set = field(default_factory=set)
    page: int = 2  # so that a few images take several
    others: set = field(default_factory=set)  # paths that another run has
    released: set = field(default_factory=set)
    expected: list = field(default_factory=list)

    def known_files(self):
        rows = [(path, f.size, f.mtime_ns, f.sidecar_mtime_ns, path in self.missing) for path, f in self.files.items()]
        return KnownFiles([rows])

    def mark_missing(self, paths):
        self.missing |= set(paths)
        return len(paths), 0

    def count_unmarked(self, paths):
        return len(set(paths) - self.missing)

    def unmark_missing(self, paths):
        self.missing -= set(paths)

    def claim(self, entries):
        return [entry for entry in entries if entry.path not in self.others]

    def release(self, paths):
        self.released |= set(paths)

    def expect(self, files):
        self.expected.append(files)

    def find_images(self, hashes):
        return {hash_: self.images[hash_] for hash_ in hashes if hash_ in self.images}

    def known_contents(self):
        return np.array(sorted(int.from_bytes(hash_[:8], "big", signed=True) for hash_ in self.images), np.int64)

    def older_sizes(self):
        return ()

    def renew_hashes(self, hashes):
        raise AssertionError("a library without older hashes is asked for none")

    def link_files(self, files):
        for entry, image, image_id in files:
            self.files[entry.path] = SimpleNamespace(
                image_id=image_id, size=image.size, mtime_ns=image.mtime_ns, sidecar_mtime_ns=entry.sidecar_mtime_ns
            )
        return 0

    def label_files(self, paths, labels=()):
        self.labelled |= set(paths)
        for path in paths:
            self.labels.setdefault(path, set()).update(labels)

    def add_images(self, images, vectors):
        for row, (entry, image) in enumerate(images):
            image_id = self.images.setdefault(image.hash, len(self.images) + 1)
            self.link_files([(entry, image, image_id)])
            self.update_readings({image_id: image.metadata}, from_files=True)
            if vectors is not None:
                self.vectors[image_id] = vectors[row]

    def images_read_before(self, version, after=0):
        paths = {file.image_id: path for path, file in self.files.items()}
        return [(id_, [paths[id_]]) for id_ in sorted(self.older) if id_ > after][: self.page]

    def read_before(self, version, ids):
        return self.older & set(ids)

    def stored_pieces(self, ids):
        return {id_: Pieces(dict(self.pieces[id_])) for id_ in ids}

    def update_readings(self, readings, from_files):
        self.older -= readings.keys()
        self.readings.update(readings)
        if from_files:
            self.pieces.update({id_: found.raw for id_, found in readings.items()})

    def images_without_vector(self, after=0):
        files = sorted((file.image_id, path) for path, file in self.files.items())
        lacking = sorted({id_ for id_, _ in files if id_ > after and id_ not in self.vectors})[: self.page]
        return [(id_, self._entry(path)) for id_, path in files if id_ in lacking]

    def _entry(self, path):
        file = self.files[path]
        return FileEntry(path, file.size, file.mtime_ns, file.sidecar_mtime_ns)

    def still_without_vector(self, ids):
        return set(ids) - self.vectors.keys()

    def add_image_vectors(self, ids, vectors):
        self.vectors.update(zip(ids, vectors))

    def texts_without(self, family):
        lacking = [(len(text.joined), id_) for id_, text in self.texts.items() if id_ not in self.made[family]]
        lengths, ids = zip(*sorted(lacking)) if lacking else ((), ())
        return np.array(ids, np.int64), np.array(lengths, np.int32)

    def count_without(self, family, longest):
        return sum(len(self.texts[id_].joined) <= longest for id_ in self.texts.keys() - self.made[family].keys())

    def fetch_texts(self, ids, families):
        return [(id_, self.texts[id_]) for id_ in ids if any(id_ not in self.made[family] for family in families)]

    def add_text_vectors(self, family, ids, vectors):
        self.made[family].update(zip(ids, vectors))

    def add_token_states(self, states):
        self.made["token_states"].update(states)

    def token_states_bytes(self):
        return sum(len(states) for states, _ in self.made["token_states"].values()) // 77 * self.section

    def section_bytes(self):
        return self.section if self.made["token_states"] else None


class CountingEncoder:
    """Deterministic vectors; `seen` lists everything that was encoded."""

    def __init__(self):
        self.seen = []

    def encode(self, items, states=True):
        self.seen += items
        n = len(items)
        if isinstance(items[0], tuple):
            return SimpleNamespace(clip_l=np.ones((n, 768)), clip_g=np.ones((n, 1280)), states=[np.ones((77, 2048))] * n)
        return np.array([item.mean(axis=(0, 1)) + 1 for item in items])

    def encode_texts(self, texts):
        self.seen += texts
        return np.array([[len(text)] for text in texts])


def text(content: str) -> SimpleNamespace:
    return SimpleNamespace(text_g=content, text_l=content, joined=content)
