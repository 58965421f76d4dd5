"""SDXL's token states from the two vectors and the text's own tokens: what a token looks like, by what stands before it.

A text's tokens are known without its encoder, so how many there are, where the text ends and which words stand where need not be
guessed from two vectors. One map for each tower, each the sum of three parts, fitted in closed form:

1. the mean at a position of words, of the end token, and of padding;
2. for words: the token's mean difference from that over the library, shrunk by how often it was seen (the between and within variance
   of a one-way analysis, so that a token seen once counts little where its states vary much);
3. ridge regression of what is left on the token, the one before it, the mean of all before it (a linear stand-in for
   attention, which looks only backwards), and the two vectors.

States of weighted tokens are estimated without their weight, which is then applied as ComfyUI does: away from the empty text's state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .approximation import Inputs
from .mixing import SECTION

END = 49407
WORD, ENDING, PADDING = 0, 1, 2
TOKENS = 3400  # in a table, the most frequent: 14 MB for both towers
SHORT_INPUTS, SHORT_TOKENS = 160, 96
_PRIOR = 4.0  # texts that the mean of a position is drawn to its kind's mean by
_TEXTS = 32  # whose rows are float32 in memory at once
_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Section:
    """77 tokens of one tower, with ComfyUI's weights; -1 is a vector of a textual inversion."""

    ids: np.ndarray  # [77] int64
    weights: np.ndarray  # [77] float32

    @property
    def kinds(self) -> np.ndarray:
        """[77]: what each position holds; the first end token ends the text."""
        ends = np.flatnonzero(self.ids == END)
        end = ends[0] if len(ends) else SECTION
        place = np.arange(SECTION)
        return np.where(place < end, WORD, np.where(place == end, ENDING, PADDING))


@dataclass(frozen=True)
class TokenMap:
    """The map of one tower of `width` dimensions; float16, but for the ids."""

    means: np.ndarray  # [3, 77, width]
    empty: np.ndarray  # [77, width]: the empty text's states
    ids: np.ndarray  # [tokens] int64, ascending
    table: np.ndarray  # [tokens, width]
    directions: np.ndarray  # [width, SHORT_TOKENS]: in which tokens differ
    weights: np.ndarray  # [3, features, width]

    def predict(self, section: Section, short: np.ndarray) -> np.ndarray:
        """States [77, width] float32; `short` are the short inputs [k], zeros where the vectors tell nothing (later sections)."""
        kinds = section.kinds
        base, rows = _base(self.means.astype(np.float32), kinds), _token_rows(self.ids, self.table, section.ids, kinds)
        seen = _features(rows @ self.directions.astype(np.float32), kinds, short)
        states = base + rows
        for kind in np.unique(kinds):
            at = kinds == kind
            states[at] += seen[at] @ self.weights[kind].astype(np.float32)
        states[0] = self.empty[0]
        empty = self.empty.astype(np.float32)
        return empty + (states - empty) * section.weights[:, None]


def fit_tokens(
    inputs: Inputs, clip_l: np.ndarray, clip_g: np.ndarray, sections: Sequence[Section], states: np.ndarray, empty: np.ndarray
) -> TokenMap:
    """The map of one tower on texts with these vectors [n, ..], first sections and their states [n, 77, width] float16.

    `empty` [77, width] are the empty text's states. Weighted positions teach nothing and are left out.
    """
    short = inputs.shortened(clip_l, clip_g)  # [n, k]
    all_kinds = np.stack([section.kinds for section in sections])  # [n, 77]
    counted = np.stack([section.weights == 1 for section in sections])
    counted[:, 0] = False  # the first position is the empty text's
    ids = np.stack([section.ids for section in sections])
    means = _position_means(states, all_kinds, counted)
    table_ids, table = _table(states, ids, all_kinds, counted, means)
    directions = _directions(table)
    weights = _regression(states, ids, all_kinds, counted, means, table_ids, table, directions, short)
    halves = (array.astype(np.float16) for array in (table, directions, weights))
    return TokenMap(means.astype(np.float16), empty.astype(np.float16), table_ids, *halves)


def common_start(ours: Sequence[Section], theirs: Sequence[Section]) -> list[int]:
    """For each of our sections, at how many positions from its first on the states are theirs, since all tokens until there are.

    A tower sees one section at a time and looks only backwards.
    """
    found = []
    for place, section in enumerate(ours):
        if place >= len(theirs):
            return [*found, *[0] * (len(ours) - place)]
        same = (section.ids == theirs[place].ids) & (section.weights == theirs[place].weights) & (section.ids >= 0)
        found.append(SECTION if same.all() else int(same.argmin()))
    return found


def _base(means: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    return means[kinds, np.arange(SECTION)]


def _token_rows(table_ids: np.ndarray, table: np.ndarray, ids: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """[77, width] float32: what the table has of each word, zeros for other positions and tokens that it lacks."""
    rows = np.zeros((SECTION, table.shape[1]), np.float32)
    if len(table_ids):
        at = np.minimum(np.searchsorted(table_ids, ids), len(table_ids) - 1)
        known = (table_ids[at] == ids) & (kinds == WORD)
        known[0] = False
        rows[known] = table[at[known]]
    return rows


def _features(tokens: np.ndarray, kinds: np.ndarray, short: np.ndarray) -> np.ndarray:
    """[77, features] of the short token rows [77, t]: the token, the one before, the mean of the words before, the vectors, one."""
    before = np.zeros_like(tokens)
    before[1:] = tokens[:-1]
    words = (kinds == WORD).astype(np.float32)
    words[0] = 0
    counts = np.cumsum(words) - words
    context = (np.cumsum(tokens, axis=0) - tokens) / np.maximum(counts, 1)[:, None]
    return np.concatenate([tokens, before, context, np.broadcast_to(short, (SECTION, len(short))), np.ones((SECTION, 1))], axis=1, dtype=np.float32)


def _position_means(states: np.ndarray, kinds: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """[3, 77, width] float32, drawn to the kind's own mean where few texts have the kind at that position."""
    width = states.shape[2]
    means = np.zeros((3, SECTION, width), np.float32)
    for kind in (WORD, ENDING, PADDING):
        here = counted & (kinds == kind)
        sums = np.stack([states[here[:, place], place].sum(axis=0, dtype=np.float32) for place in range(SECTION)])
        counts = here.sum(axis=0)
        middle = sums.sum(axis=0) / max(counts.sum(), 1)
        means[kind] = (sums + _PRIOR * middle) / (counts + _PRIOR)[:, None]
    return means


def _table(
    states: np.ndarray, ids: np.ndarray, kinds: np.ndarray, counted: np.ndarray, means: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent tokens, ascending, and how their states differ from the position's mean, shrunk by how often they were seen."""
    words = counted & (kinds == WORD) & (ids >= 0)
    found, counts = np.unique(ids[words], return_counts=True)
    often = np.sort(np.argsort(-counts, kind="stable")[:TOKENS])
    found, counts = found[often], counts[often]
    sums, within = np.zeros((len(found), states.shape[2]), np.float32), 0.0
    for part in _parts(len(states)):
        rows_ids, rows = ids[part][words[part]], _rows(states[part], kinds[part], words[part], means)
        at = np.searchsorted(found, rows_ids)
        known = (at < len(found)) & (found[np.minimum(at, len(found) - 1)] == rows_ids) if len(found) else np.zeros(len(rows_ids), bool)
        order = np.argsort(at[known], kind="stable")
        places, starts = np.unique(at[known][order], return_index=True)
        if len(places):
            sums[places] += np.add.reduceat(rows[known][order], starts, axis=0)
        within += float((rows[known].astype(np.float64) ** 2).sum())
    if not len(found):
        return found, sums
    table = sums / counts[:, None]
    between = float((counts[:, None] * table.astype(np.float64) ** 2).sum())
    within = max(within - between, 0.0) / max(counts.sum() - len(found), 1)  # variance of a token's states
    of_means = max(between / counts.sum() - within * len(found) / counts.sum(), 1e-6 * max(within, 1e-12))  # of tokens' true means
    return found, table * (counts / (counts + within / of_means))[:, None].astype(np.float32)


def _rows(states: np.ndarray, kinds: np.ndarray, wanted: np.ndarray, means: np.ndarray) -> np.ndarray:
    """[m, width] float32: the wanted positions' states less the mean of their kind and position."""
    places = np.broadcast_to(np.arange(SECTION), kinds.shape)[wanted]
    return states[wanted].astype(np.float32) - means[kinds[wanted], places]


def _directions(table: np.ndarray) -> np.ndarray:
    """[width, SHORT_TOKENS] float32: principal directions of the table."""
    moments = table.T @ table
    _, vectors = np.linalg.eigh(moments.astype(np.float64))
    return np.ascontiguousarray(vectors[:, ::-1][:, :SHORT_TOKENS]).astype(np.float32)


def _regression(
    states: np.ndarray, ids: np.ndarray, kinds: np.ndarray, counted: np.ndarray, means: np.ndarray, table_ids: np.ndarray, table: np.ndarray,
    directions: np.ndarray, short: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """[3, features, width] float32. Every fifth part of the texts chooses the penalty, then all count."""
    size, width = 3 * SHORT_TOKENS + short.shape[1] + 1, states.shape[2]
    moments = np.zeros((2, 3, size, size))
    targets = np.zeros((2, 3, size, width))
    for number, part in enumerate(_parts(len(states))):
        token_rows = np.stack([_token_rows(table_ids, table, *pair) for pair in zip(ids[part], kinds[part])])
        seen = np.stack([_features(rows @ directions, *pair) for rows, *pair in zip(token_rows, kinds[part], short[part])])
        for kind in (WORD, ENDING, PADDING):
            wanted = counted[part] & (kinds[part] == kind)
            left = _rows(states[part], kinds[part], wanted, means) - token_rows[wanted]
            half = int(number % 5 == 4)
            moments[half, kind] += seen[wanted].T @ seen[wanted]
            targets[half, kind] += seen[wanted].T @ left
    return np.stack([_ridge(moments[:, kind], targets[:, kind]) for kind in (WORD, ENDING, PADDING)]).astype(np.float32)


def _ridge(moments: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of features' moments [2, f, f] and their products with the targets [2, f, width], the second ones for choosing the penalty."""

    def solved(of: np.ndarray, products: np.ndarray, penalty: float) -> np.ndarray:
        scale = penalty * max(np.trace(of) / len(of), 1e-12)
        return np.linalg.solve(of + scale * np.eye(len(of)), products)

    def missed(penalty: float) -> float:
        weights = solved(moments[0], targets[0], penalty)
        return float(np.vdot(weights, moments[1] @ weights) - 2 * np.vdot(weights, targets[1]))

    best = min(_PENALTIES, key=missed) if moments[1].any() else _PENALTIES[-2]
    return solved(moments.sum(axis=0), targets.sum(axis=0), best)


def _parts(n: int) -> Iterator[slice]:
    return (slice(start, start + _TEXTS) for start in range(0, n, _TEXTS))
