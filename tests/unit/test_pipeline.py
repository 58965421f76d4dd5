"""The indexing pipeline with a store in memory and encoders that count what they are given."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit.embedders.decode import read_image
from diffusion_toolkit.embedders.known_files import KnownFiles
from diffusion_toolkit.embedders.metadata import Pieces
from diffusion_toolkit.embedders.pipeline import Encoders, images, index_folder
from diffusion_toolkit.embedders.pipeline.texts import TOKEN_STATE_BYTES
from host.sampled_graphs import basic, node, png
from PIL import Image


@dataclass
class MemoryStore:
    """A library of dictionaries, to which tests add texts themselves."""

    files: dict = field(default_factory=dict)
    labelled: set = field(default_factory=set)
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

    def known_files(self):
        rows = [(path, f.size, f.mtime_ns, f.sidecar_mtime_ns, path in self.missing) for path, f in self.files.items()]
        return KnownFiles([rows])

    def mark_missing(self, paths, gone):
        self.missing = self.missing | set(paths) if gone else self.missing - set(paths)

    def find_images(self, hashes):
        return {hash_: self.images[hash_] for hash_ in hashes if hash_ in self.images}

    def link_files(self, files):
        for entry, image, image_id in files:
            self.files[entry.path] = SimpleNamespace(
                image_id=image_id, size=image.size, mtime_ns=image.mtime_ns, sidecar_mtime_ns=entry.sidecar_mtime_ns
            )

    def label_files(self, paths):
        self.labelled |= set(paths)

    def add_images(self, images, vectors):
        for row, (entry, image) in enumerate(images):
            image_id = self.images.setdefault(image.hash, len(self.images) + 1)
            self.link_files([(entry, image, image_id)])
            self.update_readings({image_id: image.metadata}, from_files=True)
            if vectors is not None:
                self.vectors[image_id] = vectors[row]

    def images_read_before(self, version):
        paths = {file.image_id: path for path, file in self.files.items()}
        return [(id_, [paths[id_]]) for id_ in sorted(self.older)]

    def stored_pieces(self, ids):
        return {id_: Pieces(dict(self.pieces[id_])) for id_ in ids}

    def update_readings(self, readings, from_files):
        self.older -= readings.keys()
        self.readings.update(readings)
        if from_files:
            self.pieces.update({id_: found.raw for id_, found in readings.items()})

    def images_without_vector(self):
        return [(file.image_id, path) for path, file in self.files.items() if file.image_id not in self.vectors]

    def add_image_vectors(self, ids, vectors):
        self.vectors.update(zip(ids, vectors))

    def texts_without(self, family):
        return [(id_, text) for id_, text in self.texts.items() if id_ not in self.made[family]]

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

    def encode(self, items):
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        Image.new("RGB", (8, 8), (i * 50, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_new_images_are_read_embedded_and_stored(folder):
    store, encoder = MemoryStore(), CountingEncoder()
    report = index_folder(folder, "", store, Encoders(image=encoder))
    assert (report.found, report.added, report.vectors) == (3, 3, {"image": 3})
    assert store.vectors.keys() == {1, 2, 3}


def test_an_unchanged_folder_is_not_opened(folder, monkeypatch):
    store, encoder = MemoryStore(), CountingEncoder()
    index_folder(folder, "", store, Encoders(image=encoder))
    encoder.seen.clear()
    monkeypatch.setattr(images, "read_image", lambda path, **_: pytest.fail(f"{path} was opened"))
    report = index_folder(folder, "", store, Encoders(image=encoder))
    assert (report.unchanged, report.added, encoder.seen) == (3, 0, [])


def test_known_content_at_a_new_path_is_linked_not_embedded(folder):
    store, encoder = MemoryStore(), CountingEncoder()
    index_folder(folder, "", store, Encoders(image=encoder))
    encoder.seen.clear()
    (folder / "0.png").rename(folder / "renamed.png")
    report = index_folder(folder, "", store, Encoders(image=encoder))
    assert (report.added, report.known_elsewhere, encoder.seen) == (0, 1, [])
    assert store.files["renamed.png"].image_id == 1


def test_a_file_that_is_no_image_is_skipped_with_its_reason(folder):
    (folder / "broken.png").write_bytes(b"nothing")
    report = index_folder(folder, "", MemoryStore(), Encoders())
    assert report.added == 3
    [(path, reason)] = report.skipped
    assert path == "broken.png" and "PNG" in reason


def test_a_model_connected_later_embeds_what_is_missing(folder):
    store = MemoryStore()
    index_folder(folder, "", store, Encoders())
    report = index_folder(folder, "", store, Encoders(image=CountingEncoder()))
    assert (report.unchanged, report.vectors) == (3, {"image": 3})


def test_a_text_is_embedded_once(folder):
    store, encoder = MemoryStore(texts={1: text("a fox"), 2: text("a cat")}), CountingEncoder()
    index_folder(folder, "", store, Encoders(text=encoder))
    index_folder(folder, "", store, Encoders(text=encoder))
    assert sorted(encoder.seen) == ["a cat", "a fox"]


def test_one_clip_pass_gives_vectors_and_states(folder):
    store, encoder = MemoryStore(texts={1: text("a fox")}), CountingEncoder()
    report = index_folder(folder, "", store, Encoders(clip=encoder))
    assert encoder.seen == [("a fox", "a fox")]
    assert report.vectors == {"clip_l": 1, "clip_g": 1} and report.states_kept == 1


def test_states_stop_at_the_budget_while_vectors_go_on(folder):
    store, encoder = MemoryStore(texts={i: text(f"text {i}") for i in range(5)}), CountingEncoder()
    budget = 2 * TOKEN_STATE_BYTES
    report = index_folder(folder, "", store, Encoders(clip=encoder), token_state_budget=budget)
    assert (report.states_kept, report.states_left_out, report.vectors["clip_l"]) == (2, 3, 5)


def test_what_sections_take_in_this_library_decides_how_many_more_fit(folder):
    store = MemoryStore(texts={1: text("text 1")}, section=TOKEN_STATE_BYTES // 2)
    budget = 2 * TOKEN_STATE_BYTES
    assert index_folder(folder, "", store, Encoders(clip=CountingEncoder()), token_state_budget=budget).states_kept == 1
    store.texts |= {i: text(f"text {i}") for i in range(2, 7)}
    report = index_folder(folder, "", store, Encoders(clip=CountingEncoder()), token_state_budget=budget)
    assert (report.states_kept, report.states_left_out, report.states_bytes) == (3, 2, 3 * store.section)


def test_dead_rows_do_not_make_a_section_take_more_than_the_most_that_one_takes(folder):
    class MostlyDead(MemoryStore):
        def section_bytes(self):
            return 10 * TOKEN_STATE_BYTES

    store = MostlyDead(texts={n: text(f"text {n}") for n in range(3)})
    budget = 2 * TOKEN_STATE_BYTES
    assert index_folder(folder, "", store, Encoders(clip=CountingEncoder()), token_state_budget=budget).states_kept == 2


def test_texts_left_out_by_the_budget_are_not_encoded_again(folder):
    store, encoder = MemoryStore(texts={i: text(f"text {i}") for i in range(5)}), CountingEncoder()
    budget = 2 * TOKEN_STATE_BYTES
    index_folder(folder, "", store, Encoders(clip=encoder), token_state_budget=budget)
    encoder.seen.clear()
    index_folder(folder, "", store, Encoders(clip=encoder), token_state_budget=budget)
    assert encoder.seen == []


def test_a_vector_that_is_not_finite_is_reported_and_ends_nothing(folder):
    class Overflowing(CountingEncoder):
        def encode(self, items):
            vectors = super().encode(items)
            vectors[1] = np.nan
            return vectors

    store = MemoryStore()
    report = index_folder(folder, "", store, Encoders(image=Overflowing()))
    assert (report.added, report.vectors) == (3, {"image": 2})
    assert report.skipped == [("1.png", "its vector is zero or not finite")]


def test_a_vector_that_is_missing_is_not_made_from_a_file_that_changed(folder):
    store, encoder = MemoryStore(), CountingEncoder()
    index_folder(folder, "", store, Encoders())
    Image.new("RGB", (9, 9), (0, 0, 255)).save(folder / "0.png")
    index_folder(folder, "", store, Encoders(image=encoder))
    assert store.vectors.keys() == {2, 3, 4}  # 1 was the picture that 0.png no longer holds


def test_missing_vectors_are_made_only_for_files_that_were_asked_for(folder):
    store = MemoryStore()
    index_folder(folder, "", store, Encoders())
    report = index_folder(folder, "", store, Encoders(image=CountingEncoder()), pattern="1.*")
    assert (report.found, report.vectors) == (1, {"image": 1})


def test_two_copies_in_one_batch_are_one_image(folder):
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    report = index_folder(folder, "", MemoryStore(), Encoders(image=CountingEncoder()))
    assert (report.found, report.added, report.known_elsewhere, report.vectors) == (4, 3, 1, {"image": 3})


def test_long_texts_count_against_the_budget_by_what_they_take(folder):
    class Long(CountingEncoder):
        def encode(self, items):
            return SimpleNamespace(clip_l=np.ones((5, 768)), clip_g=np.ones((5, 1280)), states=[np.ones((770, 2048))] * 5)

    store = MemoryStore(texts={i: text(f"text {i}") for i in range(5)})
    budget = 25 * TOKEN_STATE_BYTES
    report = index_folder(folder, "", store, Encoders(clip=Long()), token_state_budget=budget)
    assert (report.states_kept, report.states_left_out, report.states_bytes) == (2, 3, 20 * TOKEN_STATE_BYTES)


def test_token_states_that_are_not_finite_are_reported_and_not_kept(folder):
    class Overflowing(CountingEncoder):
        def encode(self, items):
            return SimpleNamespace(clip_l=np.ones((1, 768)), clip_g=np.ones((1, 1280)), states=[np.full((77, 2048), np.inf)])

    store = MemoryStore(texts={1: text("a fox")})
    report = index_folder(folder, "", store, Encoders(clip=Overflowing()))
    assert (report.states_kept, store.made["token_states"]) == (0, {})
    assert report.skipped == [("the text 'a fox'", "its token states are not finite")]


def test_a_text_of_endless_length_is_not_given_to_clip(folder):
    store, encoder = MemoryStore(texts={1: text("x" * 60_000), 2: text("a fox")}), CountingEncoder()
    report = index_folder(folder, "", store, Encoders(clip=encoder))
    assert encoder.seen == [("a fox", "a fox")]
    [(_, reason)] = report.skipped
    assert "60000 characters" in reason


def test_a_cancelled_run_keeps_its_batches_and_the_next_goes_on(folder):
    for i in range(3, 40):
        Image.new("RGB", (8, 8), (i, i, 0)).save(folder / f"{i}.png")
    store, encoder = MemoryStore(), CountingEncoder()

    def cancel(stage: str, done: int, total: int) -> None:
        if done >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_folder(folder, "", store, Encoders(image=encoder), progress=cancel)
    report = index_folder(folder, "", store, Encoders(image=encoder))
    assert (report.unchanged, report.added, len(encoder.seen)) == (32, 8, 40)


def prompts(store: MemoryStore) -> dict:
    return {id_: found.prompt and found.prompt[0] for id_, found in store.readings.items()}


@pytest.fixture
def read_by_an_older_one(tmp_path: Path) -> MemoryStore:
    """The library of a folder with one picture, whose prompt the reader of then did not find."""
    (tmp_path / "fox.png").write_bytes(png({"prompt": json.dumps(basic())}))
    store = MemoryStore()
    index_folder(tmp_path, "", store, Encoders())
    store.older, store.readings = {1}, {}
    return store


def test_what_an_older_reader_read_is_read_anew_from_the_library(tmp_path, read_by_an_older_one, monkeypatch):
    monkeypatch.setattr(Path, "open", lambda path, *_: pytest.fail(f"{path} was opened"))
    store = read_by_an_older_one
    report = index_folder(tmp_path, "", store, Encoders())
    assert prompts(store) == {1: "a red fox"}
    assert (report.read_anew, report.opened_again, report.unchanged, report.prompts) == (1, 0, 1, {"exact": 1})


def test_a_file_gone_since_is_read_anew_all_the_same(tmp_path, read_by_an_older_one):
    (tmp_path / "fox.png").unlink()
    assert index_folder(tmp_path, "", read_by_an_older_one, Encoders()).read_anew == 1
    assert prompts(read_by_an_older_one) == {1: "a red fox"}


def test_a_file_is_opened_again_where_the_library_keeps_nothing_of_a_prompt(tmp_path, read_by_an_older_one):
    read_by_an_older_one.pieces = {1: {}}  # the reader of then did not look where this one does
    report = index_folder(tmp_path, "", read_by_an_older_one, Encoders())
    assert prompts(read_by_an_older_one) == {1: "a red fox"}
    assert (report.read_anew, report.opened_again) == (1, 1)
    assert "prompt" in read_by_an_older_one.pieces[1]


def test_nothing_is_read_anew_a_second_time(tmp_path, read_by_an_older_one):
    index_folder(tmp_path, "", read_by_an_older_one, Encoders())
    assert index_folder(tmp_path, "", read_by_an_older_one, Encoders()).read_anew == 0


def test_texts_beside_a_known_image_are_read_when_they_appear_change_and_go(folder):
    store, encoder = MemoryStore(), CountingEncoder()
    index_folder(folder, "", store, Encoders(image=encoder))
    encoder.seen.clear()
    counts = []
    for step, content in enumerate(["a red square", "a dark red square", None, None]):
        if content is None:
            (folder / "0.txt").unlink(missing_ok=True)
        else:
            (folder / "0.txt").write_text(content, encoding="utf-8")
            os.utime(folder / "0.txt", ns=(step, 10**18 + step))
        report = index_folder(folder, "", store, Encoders(image=encoder))
        counts.append((report.sidecars_read, report.unchanged, report.known_elsewhere, store.readings[1].raw.get("sidecar.txt")))
    assert counts == [(1, 2, 0, b"a red square"), (1, 2, 0, b"a dark red square"), (1, 2, 0, None), (0, 3, 0, None)]
    assert encoder.seen == []


def test_a_copy_without_the_text_beside_it_leaves_the_text_that_is_known(folder):
    (folder / "0.txt").write_text("a red square", encoding="utf-8")
    store = MemoryStore()
    index_folder(folder, "", store, Encoders())
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    assert index_folder(folder, "", store, Encoders()).known_elsewhere == 1
    assert store.readings[1].raw["sidecar.txt"] == b"a red square"


def test_prompts_are_counted_by_how_sure_they_are_and_unknown_ones_are_named(folder):
    (folder / "exact.png").write_bytes(png({"prompt": json.dumps(basic())}))
    made = basic(pos=node("CLIPTextEncode", text=["llm", 0], clip=["ckpt", 1]), llm=node("SomeLLM", seed=1, instruction="write of a fox"))
    (folder / "made.png").write_bytes(png({"prompt": json.dumps(made)}))
    report = index_folder(folder, "", MemoryStore(), Encoders())
    assert report.prompts == {"none": 3, "exact": 1, "unknown": 1}
    [(path, why)] = report.unknown
    assert path == "made.png" and why


def test_copies_of_one_picture_are_counted_once(folder):
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    assert index_folder(folder, "", MemoryStore(), Encoders()).prompts == {"none": 3}


def older_library(folder) -> MemoryStore:
    """Image 1 has a text beside it now; an older reader, which did not look there, found no prompt."""
    store = MemoryStore()
    index_folder(folder, "", store, Encoders())
    store.older.add(1)
    (folder / "0.png").write_bytes(png({"parameters": "a red fox\nSteps: 20, Sampler: Euler"}))
    image = read_image(folder / "0.png")
    store.images = {image.hash if id_ == 1 else hash_: id_ for hash_, id_ in store.images.items()}
    store.pieces[1] = {}
    return store


def test_an_older_image_without_a_prompt_waits_for_a_run_that_finds_its_file(folder):
    store = older_library(folder)
    report = index_folder(folder, "", store, Encoders(), pattern="1.png")
    assert (store.older, report.read_anew) == ({1}, 0)


def test_an_older_image_whose_file_was_touched_is_read_anew_from_it(folder):
    store = older_library(folder)
    os.utime(folder / "0.png", ns=(1, 1))
    report = index_folder(folder, "", store, Encoders())
    assert (store.older, report.read_anew, store.readings[1].prompt) == (set(), 1, ("a red fox", "a red fox"))
