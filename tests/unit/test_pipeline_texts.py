"""The indexing pipeline's texts, with a store in memory: each once, and token states within their budget."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from diffusion_toolkit.embedders.folders.scan import Scan
from diffusion_toolkit.embedders.pipeline import Encoders, index_folder, texts
from diffusion_toolkit.embedders.pipeline.texts import TOKEN_STATE_BYTES
from host.memory_store import CountingEncoder, MemoryStore, text
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        Image.new("RGB", (8, 8), (i * 50, 0, 0)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_a_text_is_embedded_once(folder):
    store, encoder = MemoryStore(texts={1: text("a fox"), 2: text("a cat")}), CountingEncoder()
    index_folder(folder, Scan(folder), store, Encoders(text=encoder))
    index_folder(folder, Scan(folder), store, Encoders(text=encoder))
    assert sorted(encoder.seen) == ["a cat", "a fox"]


def test_one_clip_pass_gives_vectors_and_states(folder):
    store, encoder = MemoryStore(texts={1: text("a fox")}), CountingEncoder()
    report = index_folder(folder, Scan(folder), store, Encoders(clip=encoder))
    assert encoder.seen == [("a fox", "a fox")]
    assert report.vectors == {"clip_l": 1, "clip_g": 1} and report.states_kept == 1


def test_states_stop_at_the_budget_while_vectors_go_on(folder):
    store, encoder = MemoryStore(texts={i: text(f"text {i}") for i in range(5)}), CountingEncoder()
    budget = 2 * TOKEN_STATE_BYTES
    report = index_folder(folder, Scan(folder), store, Encoders(clip=encoder), token_state_budget=budget)
    assert (report.states_kept, report.states_left_out, report.vectors["clip_l"]) == (2, 3, 5)


def test_what_sections_take_in_this_library_decides_how_many_more_fit(folder):
    store = MemoryStore(texts={1: text("text 1")}, section=TOKEN_STATE_BYTES // 2)
    budget = 2 * TOKEN_STATE_BYTES
    assert index_folder(folder, Scan(folder), store, Encoders(clip=CountingEncoder()), token_state_budget=budget).states_kept == 1
    store.texts |= {i: text(f"text {i}") for i in range(2, 7)}
    report = index_folder(folder, Scan(folder), store, Encoders(clip=CountingEncoder()), token_state_budget=budget)
    assert (report.states_kept, report.states_left_out, report.states_bytes) == (3, 2, 3 * store.section)


def test_dead_rows_do_not_make_a_section_take_more_than_the_most_that_one_takes(folder):
    class MostlyDead(MemoryStore):
        def section_bytes(self):
            return 10 * TOKEN_STATE_BYTES

    store = MostlyDead(texts={n: text(f"text {n}") for n in range(3)})
    budget = 2 * TOKEN_STATE_BYTES
    assert index_folder(folder, Scan(folder), store, Encoders(clip=CountingEncoder()), token_state_budget=budget).states_kept == 2


def test_texts_left_out_by_the_budget_are_not_encoded_again(folder):
    store, encoder = MemoryStore(texts={i: text(f"text {i}") for i in range(5)}), CountingEncoder()
    budget = 2 * TOKEN_STATE_BYTES
    index_folder(folder, Scan(folder), store, Encoders(clip=encoder), token_state_budget=budget)
    encoder.seen.clear()
    index_folder(folder, Scan(folder), store, Encoders(clip=encoder), token_state_budget=budget)
    assert encoder.seen == []


@pytest.mark.parametrize(("room", "full"), [(0.5, True), (2, False)])
def test_which_texts_lack_token_states_is_not_asked_where_none_fits(folder, room, full):
    asked = []

    class Asked(MemoryStore):
        def texts_without(self, family):
            asked.append(family)
            return super().texts_without(family)

    store = Asked(texts=many(9))
    store.made["token_states"][0] = (np.ones((77, 2048)), None)
    report = index_folder(folder, Scan(folder), store, Encoders(clip=CountingEncoder()), token_state_budget=int((1 + room) * TOKEN_STATE_BYTES))
    assert ("token_states" in asked) is not full
    assert (report.states_kept, report.states_left_out, report.vectors["clip_g"]) == ((0, 8, 9) if full else (2, 6, 9))


def test_a_large_budget_is_full_with_little_room_left_which_the_longer_texts_would_never_fill(folder, monkeypatch):
    monkeypatch.setattr(texts, "LITTLE_ROOM", 2)
    store = MemoryStore(texts=many(9))
    store.made["token_states"] |= {number: (np.ones((77, 2048)), None) for number in range(3)}
    report = index_folder(folder, Scan(folder), store, Encoders(clip=CountingEncoder()), token_state_budget=5 * TOKEN_STATE_BYTES)
    assert (report.states_kept, report.states_left_out) == (0, 6)


@pytest.mark.parametrize(("budget", "left_out"), [(0, 0), (TOKEN_STATE_BYTES // 2, 9)])
def test_neither_texts_that_no_budget_lets_in_nor_any_without_a_budget_count_as_left_out(folder, monkeypatch, budget, left_out):
    monkeypatch.setattr(texts, "LONGEST_TEXT", 20)
    store = MemoryStore(texts={**many(9), 10: text("x" * 21)})
    report = index_folder(folder, Scan(folder), store, Encoders(clip=CountingEncoder()), token_state_budget=budget)
    assert (report.states_kept, report.states_left_out, report.vectors["clip_l"]) == (0, left_out, 9)


def test_long_texts_count_against_the_budget_by_what_they_take(folder):
    class Long(CountingEncoder):
        def encode(self, items):
            return SimpleNamespace(clip_l=np.ones((5, 768)), clip_g=np.ones((5, 1280)), states=[np.ones((770, 2048))] * 5)

    store = MemoryStore(texts={i: text(f"text {i}") for i in range(5)})
    budget = 25 * TOKEN_STATE_BYTES
    report = index_folder(folder, Scan(folder), store, Encoders(clip=Long()), token_state_budget=budget)
    assert (report.states_kept, report.states_left_out, report.states_bytes) == (2, 3, 20 * TOKEN_STATE_BYTES)


def test_token_states_that_are_not_finite_are_reported_and_not_kept(folder):
    class Overflowing(CountingEncoder):
        def encode(self, items):
            return SimpleNamespace(clip_l=np.ones((1, 768)), clip_g=np.ones((1, 1280)), states=[np.full((77, 2048), np.inf)])

    store = MemoryStore(texts={1: text("a fox")})
    report = index_folder(folder, Scan(folder), store, Encoders(clip=Overflowing()))
    assert (report.states_kept, store.made["token_states"]) == (0, {})
    assert report.skipped == [("the text 'a fox'", "its token states are not finite")]


def test_a_text_of_endless_length_is_not_given_to_clip(folder):
    store, encoder = MemoryStore(texts={1: text("x" * 60_000), 2: text("a fox")}), CountingEncoder()
    report = index_folder(folder, Scan(folder), store, Encoders(clip=encoder))
    assert encoder.seen == [("a fox", "a fox")]
    [(_, reason)] = report.skipped
    assert "60000 characters" in reason


def many(count: int) -> dict:
    return {i: text(f"text {i}") for i in range(count)}


def test_texts_are_fetched_a_batch_at_a_time(folder, monkeypatch):
    fetched = []

    class Watched(MemoryStore):
        def fetch_texts(self, ids, families):
            fetched.append(len(ids))
            return super().fetch_texts(ids, families)

    monkeypatch.setattr(texts, "BATCH_CHARACTERS", 30)  # of 6 or 7 each
    store, encoder = Watched(texts={**many(40), 40: text("x" * 99)}), CountingEncoder()
    index_folder(folder, Scan(folder), store, Encoders(text=encoder))
    assert sum(fetched) == len(store.made["text"]) == 41 and max(fetched) <= 5


def test_texts_that_another_run_has_embedded_meanwhile_are_passed_by(folder):
    class Shared(MemoryStore):
        def texts_without(self, family):
            lacking = super().texts_without(family)
            self.made[family][7] = "by another run"
            return lacking

    store, encoder = Shared(texts=many(20)), CountingEncoder()
    report = index_folder(folder, Scan(folder), store, Encoders(text=encoder))
    assert len(encoder.seen) == 19 and store.made["text"][7] == "by another run"
    assert report.vectors == {"prompt and negative": 19}


def test_token_states_are_made_only_for_texts_that_they_are_kept_of(folder):
    asked = {True: [], False: []}

    class Noting(CountingEncoder):
        def encode(self, items, states=True):
            asked[states] += items
            return super().encode(items)

    index_folder(folder, Scan(folder), MemoryStore(texts=many(5)), Encoders(clip=Noting()), token_state_budget=2 * TOKEN_STATE_BYTES)
    assert (len(asked[True]), len(asked[False])) == (2, 3)


def test_a_text_too_long_for_what_is_left_of_the_budget_is_passed_over_for_shorter_ones(folder):
    """Not only when it was encoded: the pass that gives token states takes several times as long."""
    asked = {True: [], False: []}

    class Noting(CountingEncoder):
        def encode(self, items, states=True):
            asked[states] += [len(one) for one, _ in items]
            return super().encode(items)

    long = 4 * texts.SECTION_CHARACTERS
    store = MemoryStore(texts={1: text("x"), 2: text("x" * long), 3: text("xx"), 4: text("xxx")})
    report = index_folder(folder, Scan(folder), store, Encoders(clip=Noting()), token_state_budget=2 * TOKEN_STATE_BYTES)
    assert {states: sorted(lengths) for states, lengths in asked.items()} == {True: [1, 2], False: [3, long]}
    assert report.states_left_out == 2


def test_a_vector_that_is_there_is_not_written_again(folder):
    store = MemoryStore(texts=many(3))
    store.made["clip_l"] = {1: "there"}
    report = index_folder(folder, Scan(folder), store, Encoders(clip=CountingEncoder()), token_state_budget=0)
    assert store.made["clip_l"][1] == "there"
    assert report.vectors == {"clip_l": 2, "clip_g": 3}


def test_a_run_cancelled_among_texts_keeps_its_batches(folder):
    store, encoder = MemoryStore(texts=many(60)), CountingEncoder()

    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "Prompt vectors" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index_folder(folder, Scan(folder), store, Encoders(text=encoder), progress=cancel)
    assert 0 < len(store.made["text"]) < 60
    index_folder(folder, Scan(folder), store, Encoders(text=encoder))
    assert sorted(encoder.seen) == sorted(f"text {i}" for i in range(60))


def test_copies_on_other_devices_are_given_back_when_the_texts_are_done(folder):
    class Resting(CountingEncoder):
        rested = 0

        def rest(self):
            self.rested += 1

    encoder = Resting()
    index_folder(folder, Scan(folder), MemoryStore(texts=many(1)), Encoders(text=encoder))
    assert encoder.rested == 1


def test_what_an_encoder_prepares_is_made_by_another_thread(folder):
    class Tokenizing(CountingEncoder):
        threads = set()

        def tokenized(self, pairs):
            self.threads.add(threading.get_ident())
            return [(*pair, "tokenized") for pair in pairs]

    encoder = Tokenizing()
    index_folder(folder, Scan(folder), MemoryStore(texts=many(1)), Encoders(clip=encoder))
    assert encoder.seen == [("text 0", "text 0", "tokenized")]
    assert threading.get_ident() not in encoder.threads
