"""Texts, once each: their vectors, and SDXL's token states."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..conditioning.mixing import SECTION
from .ahead import Ahead, close_all
from .batches import Pace, usable_rows
from .records import Run, Text

TOKEN_STATE_BYTES = 329_000  # the most that one section of 77 tokens takes on disk; packed, it is mostly about 240,000
SECTION_CHARACTERS = 300  # of a prompt that mostly fill a section; for what a text will take, before it is encoded
LONGEST_TEXT = 50_000  # characters that are still encoded by CLIP: 50 MB of token states; files may hold far longer ones
BLOCK = 1024  # texts of like length, which one run goes through before it takes others
BATCH_CHARACTERS = 2_000_000  # fetched at once, of texts of any length
STATES_CHARACTERS = 128 * SECTION_CHARACTERS  # the same where token states are made: 0.6 MB for each section, several times over
BATCHES_AHEAD = 2
LITTLE_ROOM = 1000  # a budget is full when less than this part of it is left: what most texts take may never fit it to the end

Batch = tuple[int, Sequence[tuple[int, Text]], Any]  # how many texts were looked at for it, those that still lack something, prepared
Prepare = Callable[[Sequence[tuple[int, Text]]], Any]


@dataclass
class Texts:
    """Texts by number, ordered by length: 12 bytes each. A million of them are never in memory themselves."""

    ids: np.ndarray  # [n] int64
    lengths: np.ndarray  # [n] int32: characters, of the longer half

    def __len__(self) -> int:
        return len(self.ids)

    def where(self, chosen: np.ndarray) -> Texts:
        return Texts(self.ids[chosen], self.lengths[chosen])

    def blocks(self) -> Iterator[Texts]:
        """In an order by chance, each from a place by chance: two runs at the same texts meet seldom, and each passes by what the
        other has done."""
        starts = list(range(0, len(self), BLOCK))
        random.shuffle(starts)
        for start in starts:
            block = Texts(self.ids[start : start + BLOCK], self.lengths[start : start + BLOCK])
            turn = random.randrange(len(block))
            yield Texts(np.roll(block.ids, turn), np.roll(block.lengths, turn))


def fill_text_vectors(run: Run) -> None:
    encoder, pace = run.encoders.text, Pace.of(run.encoders.text)
    try:
        missing = Texts(*run.store.texts_without("text"))
        for batch, texts in _batches(run, missing, ["text"], "Prompt vectors", pace, BATCH_CHARACTERS, _joined):
            with _timed(pace, batch):
                vectors = encoder.encode_texts(texts)  # [n, 1024]
            ids, vectors = _usable(run, batch, range(len(batch)), vectors)
            run.put(partial(_write_vectors, run, "text", "prompt and negative", ids, vectors))
    finally:
        if (rest := getattr(encoder, "rest", None)) is not None:
            rest()
    run.writer.drain()


def fill_clip(run: Run, budget: int) -> None:
    """CLIP's two pooled vectors, and token states while they fit `budget` (bytes on disk, of the whole library).

    A text that gets token states gets its vectors from the same pass of the CLIP; the others are encoded for their vectors alone,
    which is several times faster, and come first.
    """
    lacking = {family: _encodable(run, family) for family in ("clip_l", "clip_g")}
    states = _States(run, budget)
    pooled = {family: np.sort(lacking[family].ids) for family in ("clip_l", "clip_g")}
    every = _united([lacking["clip_l"], lacking["clip_g"]])
    alone = every.where(~np.isin(every.ids, states.todo.ids))
    del every, lacking
    encoder, pace = run.encoders.clip, Pace.of(run.encoders.clip)
    pairs = partial(_pairs, getattr(encoder, "tokenized", list))
    for batch, texts in _batches(run, alone, ["clip_l", "clip_g"], "CLIP vectors", pace, BATCH_CHARACTERS, pairs):
        with _timed(pace, batch):
            encoded = encoder.encode(texts, states=False)
        run.put(partial(_write_clip, run, _both(run, batch, pooled, encoded), {}))
    pace = Pace.of(encoder)
    for batch, texts in _batches(run, states.todo, ["clip_l", "clip_g", "token_states"], states.stage, pace, STATES_CHARACTERS, pairs):
        with _timed(pace, batch):
            encoded = encoder.encode(texts)
        run.put(partial(_write_clip, run, _both(run, batch, pooled, encoded), states.kept(batch, encoded)))
        del encoded
    run.writer.drain()
    run.report.states_bytes = max(0, run.store.token_states_bytes() - states.before)


class _States:
    """Which texts' token states fit the budget: chosen by what their lengths let expect, then held to what they really take.

    Where it is full, nobody asks which texts have none: a library of some size has hundreds of thousands of them, at each run.
    """

    def __init__(self, run: Run, budget: int) -> None:
        self._run, self._budget = run, budget
        self.before = self._used = run.store.token_states_bytes()
        # dead rows make a section look larger than it is
        self._section = min(run.store.section_bytes() or TOKEN_STATE_BYTES, TOKEN_STATE_BYTES)
        lacking, left_out = Texts(np.empty(0, np.int64), np.empty(0, np.int32)), 0
        if budget and budget - self._used < max(self._section, budget // LITTLE_ROOM):
            left_out = run.store.count_without("token_states", LONGEST_TEXT)
        elif budget:  # without one none is asked for, and none is left out
            lacking = _encodable(run, "token_states")
        oldest = np.argsort(lacking.ids)
        wanted, fits = 0, np.zeros(len(lacking), bool)
        for row, takes in zip(oldest, ((1 + lacking.lengths[oldest].astype(np.int64) // SECTION_CHARACTERS) * self._section)):
            if self._used + wanted + self._section > budget:
                break
            if self._used + wanted + takes <= budget:
                wanted += int(takes)
                fits[row] = True
        self.todo = lacking.where(fits)
        run.report.states_left_out = left_out + len(lacking) - len(self.todo)
        self.stage = (
            f"CLIP vectors; token states for {len(self.todo)} texts, about {wanted / 1e6:.0f} MB more on disk "
            f"(budget {budget / 2**30:g} GiB, {self._used / 1e6:.0f} MB used)"
        )

    def kept(self, batch: Sequence[tuple[int, Text]], encoded: Any) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """(states, pooled) as float16, by text id."""
        kept = {}
        for row, (id_, text) in enumerate(batch):
            with np.errstate(over="ignore"):
                states, pooled = encoded.states[row].astype(np.float16), encoded.clip_g[row].astype(np.float16)
            size = len(states) // SECTION * self._section
            if not (np.isfinite(states).all() and np.isfinite(pooled).all()):
                self._run.report.skipped.append((_text_name(text), "its token states are not finite"))
            elif self._used + size > self._budget:  # longer than its characters let expect
                self._run.report.states_left_out += 1
            else:
                self._used += size
                kept[id_] = (states, pooled)
        return kept


def _batches(
    run: Run, texts: Texts, families: Sequence[str], stage: str, pace: Pace, characters: int, prepared: Prepare
) -> Iterator[tuple[Sequence[tuple[int, Text]], Any]]:
    """The texts, fetched and `prepared` a little ahead, in batches that take about a second; without those that another run has seen to."""
    done = 0
    ready: Ahead[Batch] = Ahead(_fetched(run, texts, families, pace, characters, prepared), "texts", BATCHES_AHEAD)
    try:
        while (fetched := run.next_of(ready, "texts")) is not None:
            run.progress(stage, done, len(texts))
            looked_at, batch, made = fetched
            if batch:
                yield batch, made
            done += looked_at
    finally:
        close_all(ready)


def _joined(batch: Sequence[tuple[int, Text]]) -> list[str]:
    return [text.joined for _, text in batch]


def _pairs(tokenized: Callable[[list[tuple[str, str]]], Any], batch: Sequence[tuple[int, Text]]) -> Any:
    """Tokenizing takes about as long as a GPU's forward of the vectors, so it is done ahead, where an encoder can."""
    return tokenized([(text.text_g, text.text_l) for _, text in batch])


@contextmanager
def _timed(pace: Pace, batch: Sequence[Any]) -> Iterator[None]:
    """The model's time alone: a library that is slow to write is no reason for smaller batches."""
    began = time.monotonic()
    yield
    pace.took(len(batch), time.monotonic() - began)


def _fetched(run: Run, texts: Texts, families: Sequence[str], pace: Pace, characters: int, prepared: Prepare) -> Iterator[Batch]:
    for block in texts.blocks():
        start = 0
        while start < len(block):
            some = block.lengths[start : start + pace.size].cumsum(dtype=np.int64)
            end = start + max(1, int(np.searchsorted(some, characters, side="right")))
            found = run.store.fetch_texts(block.ids[start:end].tolist(), families)
            yield end - start, found, prepared(found)
            start = end


def _both(
    run: Run, batch: Sequence[tuple[int, Text]], lacking: Mapping[str, np.ndarray], encoded: Any
) -> dict[str, tuple[list[int], np.ndarray]]:
    """(ids, vectors) of each family, of the texts that lack it: `lacking` are their ids, sorted."""
    ids, both = np.array([id_ for id_, _ in batch]), {}
    for family, vectors in (("clip_l", encoded.clip_l), ("clip_g", encoded.clip_g)):
        known = lacking[family]
        at = np.searchsorted(known, ids)
        rows = [row for row, place in enumerate(at) if place < len(known) and known[place] == ids[row]]
        both[family] = _usable(run, batch, rows, vectors)
    return both


def _usable(run: Run, batch: Sequence[tuple[int, Text]], rows: Sequence[int], vectors: np.ndarray) -> tuple[list[int], np.ndarray]:
    """(ids, vectors) of those of these rows that can be stored."""
    rows = list(rows)
    usable = [rows[i] for i in usable_rows(vectors[rows], [_text_name(batch[row][1]) for row in rows], run.report)]
    return [batch[row][0] for row in usable], vectors[usable]


def _write_vectors(run: Run, family: str, told: str, ids: Sequence[int], vectors: np.ndarray) -> None:
    if ids:
        run.store.add_text_vectors(family, ids, vectors)
        run.report.count(told, len(ids))


def _write_clip(
    run: Run, both: Mapping[str, tuple[Sequence[int], np.ndarray]], states: Mapping[int, tuple[np.ndarray, np.ndarray]]
) -> None:
    for family, (ids, vectors) in both.items():
        _write_vectors(run, family, family, ids, vectors)
    if states:
        run.store.add_token_states(states)
        run.report.states_kept += len(states)


def _encodable(run: Run, family: str) -> Texts:
    """Those that lack what the family makes, without such that are no prompts by their length; they are named once."""
    texts = Texts(*run.store.texts_without(family))
    too_long = texts.lengths > LONGEST_TEXT
    for id_ in texts.ids[too_long].tolist():
        for _, text in run.store.fetch_texts([id_], [family]):
            problem = (_text_name(text), f"{len(text.joined)} characters are too many for CLIP")
            if problem not in run.report.skipped:
                run.report.skipped.append(problem)
    return texts.where(~too_long)


def _united(parts: Sequence[Texts]) -> Texts:
    ids, first = np.unique(np.concatenate([part.ids for part in parts]), return_index=True)
    lengths = np.concatenate([part.lengths for part in parts])[first]
    order = np.lexsort((ids, lengths))
    return Texts(ids[order], lengths[order])


def _text_name(text: Text) -> str:
    return f"the text {text.joined[:60]!r}"
