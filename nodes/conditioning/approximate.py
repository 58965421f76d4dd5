"""Estimated token states for texts that have none stored: the library's own map, fitted when it has grown, and how sure it is.

Of a text that begins like a stored one the states are exact as far as both have the same tokens, since CLIP's text towers look only
backwards. The rest is estimated, see `embedders.conditioning.estimate`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import db
from ...embedders.conditioning.mixing import CLIP_L, SECTION, spread

if TYPE_CHECKING:
    import numpy as np

    from ...db import Connection, Library, TextPair
    from ...embedders.conditioning.estimate import Estimator, KnownTexts, Sections

_TOKENS_KNOWN = 0.8  # of the texts: with fewer, the tokens are not those that the encoder was given
Progress = Callable[[str, int, int], None]
log = logging.getLogger("diffusion_toolkit")


@dataclass(frozen=True)
class Approximated:
    """Token states [77 * sections, 2048] float32, and in words what they are and how far from exact."""

    states: np.ndarray
    said: str
    exact: bool = False  # a stored text has the very same tokens


def approximate(connection: Connection, clip_l: np.ndarray, clip_g: np.ndarray, text: TextPair | None = None) -> Approximated:
    """Token states by the active encoders from their vectors [768] and [1280], and from the text where it is known.

    Without a map yet, or with a damaged one, the vectors stand at every position, and that is said.
    """
    from ...embedders.conditioning.estimate import LEAST

    sections = sections_of(text) if text is not None else None
    estimator, details = None, {}
    try:
        estimator, details = _estimator(connection, with_text=sections is not None)
    except ValueError as error:
        said = (
            f"APPROXIMATION, the vectors repeated at every position, far from the truth: the library's map is damaged ({error}). Remove it "
            "(DELETE FROM approximations;) and queue Index Folder with the CLIP: it makes another"
        )
    else:
        said = (
            "APPROXIMATION, the CLIP-L and CLIP-G vectors repeated at every position, far from the truth: a better one is fitted by Index Folder "
            f"once {LEAST} texts have token states"
        )
    if estimator is None:
        return Approximated(spread(clip_l, clip_g), said)
    if sections is None or estimator.towers is None:
        return Approximated(estimator.of_vectors(clip_l, clip_g), _said(details, "vectors"))
    states = estimator.of_text(clip_l, clip_g, sections)
    exact = _copy_beginnings(connection, text, sections, states)
    if exact == len(states):
        return Approximated(states, "exact, from the stored token states of texts with the same tokens", exact=True)
    alike = f"; {exact} of {len(states)} positions are exact, those of a stored text that begins alike" if exact else ""
    return Approximated(states, _said(details, "text") + alike)


_last: tuple[str, bool, Estimator] | None = None  # version, whether it knows texts: 0.1 GB, which would be read and parsed for each text else


def _estimator(connection: Connection, with_text: bool) -> tuple[Estimator | None, dict[str, Any]]:
    """The library's map and its details; None where there is none of this version. The one used last is kept. ValueError where it is damaged."""
    global _last
    from ...embedders.conditioning.estimate import VERSION, Estimator

    last = _last if _last is not None and (_last[1] or not with_text) else None
    found = db.approximation(connection, with_text, {"version": VERSION}, last[0] if last is not None else "")
    if found is None:
        return None, {}
    if last is None or found.version != last[0]:
        last = _last = (found.version, with_text, Estimator.from_bytes(found.by_vectors, found.by_text))
    return last[2], found.details


def refresh_approximation(library: Library, progress: Progress | None = None) -> str:
    """Fit the library's map where there is none yet or the library has grown; a line for the person, "" where nothing was to do."""
    from ...db.approximations import write_attempt
    from ...embedders.conditioning.estimate import LEAST, MOST, VERSION, fit

    tell = progress or (lambda stage, done, total: None)
    try:
        with library.connection() as connection:
            wanted = db.wanted_approximation(connection, LEAST, {"version": VERSION})
            if wanted is None:
                return ""
            known = _known_texts(connection, wanted, min(wanted.texts, MOST), tell)
        if len(known.states) < LEAST:
            with library.connection() as connection:
                write_attempt(connection, wanted)
            return ""
        estimator, details = fit(known, lambda done, total: tell("Fitting the approximation of token states", done, total))
        made = db.Approximation(*estimator.to_bytes(), details)
        with library.connection() as connection:
            db.write_approximation(connection, wanted, made)
    except db.LibraryError as error:
        return f"the approximation of token states was not fitted: {error}"
    return f"fitted on {details['fitted_on']:,} texts, {_errors(details, 'text' if 'text' in details else 'vectors')}"


def _said(details: dict[str, Any], way: str) -> str:
    by = "the text's tokens and its CLIP-L and CLIP-G vectors" if way == "text" else "the CLIP-L and CLIP-G vectors alone"
    return f"APPROXIMATION, {_errors(details, way)}: from {by}, by the map fitted on {details['fitted_on']:,} texts of the library"


def _errors(details: dict[str, Any], way: str) -> str:
    error = details[way]
    return f"relative error {error['relative']:.2f} on {error['texts']} held-out texts, cosine {error['cosine']:.3f}"


def _known_texts(connection: Connection, wanted: Any, most: int, tell: Progress) -> KnownTexts:
    """Texts whose number of tokens is not that of their states (other tokenizer options, a lost textual inversion) are left out;
    where there are many of them, tokens are given up."""
    import numpy as np

    from ...embedders.conditioning.estimate import KnownTexts

    clip_l, clip_g, tokens = [], [], []
    states = np.empty((most, SECTION, wanted.encoders["token_states"].dims), np.float16)
    for sample in db.sample_texts(connection, wanted, most):
        done = len(tokens)
        if done % 32 == 0:
            tell("Reading token states to fit their approximation on", done, most)
        if len(sample.states) < SECTION:
            continue
        states[done] = sample.states[:SECTION]
        clip_l.append(sample.clip_l)
        clip_g.append(sample.clip_g)
        sections = sections_of(sample.text)
        alike = sections is not None and len(sections[0]) * SECTION == len(sample.states)
        tokens.append((sections[0][0], sections[1][0]) if alike else None)
    alike = [place for place, of_text in enumerate(tokens) if of_text is not None]
    use_tokens = len(alike) > _TOKENS_KNOWN * len(tokens)
    chosen = alike if use_tokens else list(range(len(tokens)))
    for place, row in enumerate(chosen):  # within itself: a copy would take as much memory again
        if place < row:
            states[place] = states[row]
    states = states[: len(chosen)]
    empty_id = db.find_text(connection, db.TextPair("", ""))
    empty = db.token_states(connection, empty_id, wanted.encoders["token_states"].id) if empty_id is not None else None
    return KnownTexts(
        np.array(clip_l, np.float32)[chosen],
        np.array(clip_g, np.float32)[chosen],
        states,
        ([tokens[place][0] for place in chosen], [tokens[place][1] for place in chosen]) if use_tokens else None,
        empty.states[:SECTION] if empty is not None else None,
    )


def _copy_beginnings(connection: Connection, text: TextPair, sections: Sections, states: np.ndarray) -> int:
    """Put in the exact states as far as a stored text has the same tokens; at how many positions both halves are exact now.

    The first position alone doesn't count: it is the same in all texts.
    """
    encoder = db.active_encoder(connection, "token_states")
    parts = ((text.text_l, "text_l", slice(0, CLIP_L)), (text.text_g, "text_g", slice(CLIP_L, None)))
    exact = []
    for number, (written, side, columns) in enumerate(parts):
        best = [0] * len(sections[number])
        for text_id, pair in db.texts_that_begin_alike(connection, encoder.id, written, side):
            lengths = _common(sections[number], pair, number)
            if sum(lengths) <= sum(best):
                continue
            try:
                stored = db.token_states(connection, text_id, encoder.id)
            except db.DamagedStates as error:  # said where that text itself is recalled; here nothing of it is used
                log.warning("%s", error)
                continue
            if stored is None or len(stored.states) < SECTION * sum(map(bool, lengths)):
                continue
            best = lengths
            for place, length in enumerate(lengths):
                at = slice(place * SECTION, place * SECTION + length)
                states[at, columns] = stored.states[at, columns]
        exact.append(best)
    return sum(length for pair in zip(*exact) if (length := min(pair)) > 1)


def _common(ours: Sequence[Any], theirs: TextPair, number: int) -> list[int]:
    from ...embedders.conditioning.token_approximation import common_start

    found = sections_of(theirs)
    return common_start(ours, found[number]) if found is not None else [0] * len(ours)


def sections_of(text: TextPair) -> Sections | None:
    """The text's tokens as ComfyUI's SDXL gives them to its two towers; None where they are not in sections of 77."""
    import numpy as np

    from ...embedders.conditioning.token_approximation import Section
    from ...embedders.models.clip_text import filled_up

    tokenizer = _tokenizer()
    tokens = {"g": tokenizer.clip_g.tokenize_with_weights(text.text_g), "l": tokenizer.clip_l.tokenize_with_weights(text.text_l)}
    tokens = filled_up(tokens, tokenizer.tokenize_with_weights)
    if any(len(section) != SECTION for tower in tokens.values() for section in tower):
        return None
    made = {
        tower: [
            Section(np.array([pair[0] if isinstance(pair[0], int) else -1 for pair in section]), np.array([pair[1] for pair in section], np.float32))
            for section in of_tower
        ]
        for tower, of_tower in tokens.items()
    }
    return made["l"], made["g"]


@functools.lru_cache(maxsize=1)
def _tokenizer() -> Any:
    """ComfyUI's, which is no model: vocabulary and merges. With the textual inversions' folders, so that they are told from words."""
    import folder_paths
    from comfy.sdxl_clip import SDXLTokenizer

    return SDXLTokenizer(embedding_directory=folder_paths.get_folder_paths("embeddings"))
