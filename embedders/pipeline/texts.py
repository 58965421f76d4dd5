"""Texts, once each: their vectors, and SDXL's token states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .batches import batches, usable_rows
from .records import IndexReport, Progress, Store, Text

TEXT_BATCH = 32
TOKEN_STATE_BYTES = 329_000  # the most that one section of 77 tokens takes on disk; packed, it is mostly about 240,000
SECTION_CHARACTERS = 300  # of a prompt that mostly fill a section; for what a text will take, before it is encoded
LONGEST_TEXT = 50_000  # characters that are still encoded by CLIP: 50 MB of token states; files may hold far longer ones


def fill_text_vectors(store: Store, encoder: Any, report: IndexReport, progress: Progress) -> None:
    missing = _by_length(store.texts_without("text"))
    for done, batch in batches(missing, TEXT_BATCH):
        progress("Prompt vectors", done, len(missing))
        vectors = encoder.encode_texts([text.joined for _, text in batch])  # [n, 1024]
        usable = usable_rows(vectors, [_text_name(text) for _, text in batch], report)
        store.add_text_vectors("text", [batch[row][0] for row in usable], vectors[usable])
        report.count("prompt and negative", len(usable))


def fill_clip(store: Store, encoder: Any, budget: int, report: IndexReport, progress: Progress) -> None:
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
    for done, batch in batches(todo, TEXT_BATCH):
        progress(stage, done, len(todo))
        encoded = encoder.encode([(text.text_g, text.text_l) for _, text in batch])
        names = [_text_name(text) for _, text in batch]
        for family, vectors in (("clip_l", encoded.clip_l), ("clip_g", encoded.clip_g)):
            rows = [row for row, (id_, _) in enumerate(batch) if id_ in lacking[family]]
            rows = [rows[i] for i in usable_rows(vectors[rows], [names[row] for row in rows], report)]
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

def _text_name(text: Text) -> str:
    return f"the text {text.joined[:60]!r}"


def _by_length(texts: Sequence[tuple[int, Text]]) -> list[tuple[int, Text]]:
    """Texts of like length together, so that a batch is padded little."""
    return sorted(texts, key=lambda item: len(item[1].joined))
