"""How near a prompt lies to what a query asks for: by the encoder that made the vectors where it is connected, else by estimate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import db
from ...db import phrases as stored
from ...embedders.composing import WordVectors
from ...embedders.phrases import as_prompt, phrases_of, words_of
from ..links import KINDS, QueryPart
from ..search.asking import as_part
from ..search.vectors import direction

if TYPE_CHECKING:
    import numpy as np

Encode = Callable[[list[str]], "np.ndarray"]
"""Unit vectors [n, dims] of prompts as they are written."""
ROUGH = 0.9  # below this cosine with the truth an estimate is called rough
_NODE = {"prompt": "text_embedder", "negative": "text_embedder", "clip_l": "clip", "clip_g": "clip", "image": "description_encoder"}


class AnotherEncoder(ValueError):
    """What is connected is not what made the vectors that it would be compared with."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


@dataclass(frozen=True)
class Target:
    """A vector to come near to, of length 1, and the library's encoder that it compares with."""

    kind: str
    encoder: db.StoredEncoder
    vector: np.ndarray  # [dims]
    weight: float  # those of all targets together are 1


def targets_of(connection: db.Connection, parts: Sequence[QueryPart]) -> list[Target]:
    """What the parts of a query ask for. LibraryError where the library has nothing by a part's encoder."""
    total = sum(abs(part.weight) for part in parts)
    found = []
    for part in parts:
        encoder = db.encoder_of(connection, as_part(part))
        found.append(Target(part.kind, encoder, direction(part.vector), part.weight / total))
    return found


class Scoring:
    """Scores of prompts, each the weighted mean of its cosines with the targets.

    `guess` takes every kind by estimate, `score` by the connected encoders where there are some for it; it is None where no kind
    has one.
    """

    def __init__(self, targets: Sequence[Target], words: Mapping[str, WordVectors], encoders: Mapping[str, Encode]) -> None:
        """`words` and `encoders` by kind."""
        self._targets, self.words, self._encoders = targets, words, encoders
        self.score = self._score if encoders else None

    def guess(self, prompts: Sequence[Sequence[str]]) -> np.ndarray:
        return self._of(prompts, {})

    def _score(self, prompts: Sequence[Sequence[str]]) -> np.ndarray:
        return self._of(prompts, self._encoders)

    def _of(self, prompts: Sequence[Sequence[str]], encoders: Mapping[str, Encode]) -> np.ndarray:
        vectors = {}
        for kind in {target.kind for target in self._targets}:
            if kind in encoders:
                vectors[kind] = encoders[kind]([as_prompt(prompt) for prompt in prompts])
            else:
                vectors[kind] = self.words[kind].estimate([[word for phrase in prompt for word in words_of(phrase)] for prompt in prompts])
        return sum(target.weight * (vectors[target.kind] @ target.vector) for target in self._targets)

    @property
    def average(self) -> float:
        """What the library's own texts, or pictures, score on average."""
        return float(sum(target.weight * (self.words[target.kind].mean @ target.vector) for target in self._targets))

    @property
    def doubt(self) -> str:
        """How good the estimates are among the scores, by the worst kind; nothing where all is encoded."""
        estimated = {target.kind for target in self._targets} - set(self._encoders)
        if not estimated:
            return ""
        tried = [self.words[kind].held_out for kind in estimated]
        if None in tried:
            return "by estimate, and there are too few texts to tell how good that is: rough"
        worst = min(tried)
        return (
            f"by estimate, which on texts left out to try it had a cosine of {worst:.2f} with the true vectors"
            f"{': rough' * (worst < ROUGH)}"
        )

    def whole(self, near: stored.NearText, share: float) -> float:
        """What a stored text scores by the same measure as a prompt that is made; `share` is what its own score counts for."""
        kinds = {target.kind for target in self._targets}
        if "image" not in kinds and kinds <= set(self._encoders):
            return near.score / share
        return float((self.score or self.guess)([phrases_of(near.text)])[0])

    def how(self) -> list[str]:
        """A line a kind: whether its scores are the encoder's own or estimated, and then how good estimates are."""
        lines = []
        for target in {target.kind: target for target in self._targets}.values():
            name, kind = target.encoder.name, KINDS[target.kind]
            if target.kind in self._encoders:
                lines.append(f"{kind}: encoded now, to be compared with vectors by {name}")
                continue
            held_out = self.words[target.kind].held_out
            good = (
                f"texts left out to try it are told with a cosine of {held_out:.2f}" if held_out is not None
                else "there are too few texts to tell how good that is"
            )  # fmt: skip
            connect = _NODE[target.kind]
            lines.append(
                f"{kind}: ESTIMATED from what words do to the library's vectors by {name}; {good}. Connect its {connect} to have it encoded"
            )
        return lines


def word_vectors(
    connection: db.Connection, targets: Sequence[Target], images: Sequence[stored.TextOfImage]
) -> dict[str, WordVectors]:
    """By kind, what words add to the stored vectors of these images' texts or pictures."""
    found = {}
    for target in {target.kind: target for target in targets}.values():
        texts, vectors = stored.known_vectors(connection, target.kind, target.encoder, images)
        if not texts:
            raise db.LibraryError(
                f"None of the texts found has a {KINDS[target.kind]} vector by {target.encoder.name}. Run Index Folder with "
                f"{db.encoders.CONNECT[target.encoder.family]} connected."
            )
        found[target.kind] = WordVectors(texts, vectors)
    return found


def encoders_of(
    targets: Sequence[Target], text_embedder: Any | None, clip: Any | None, description_encoder: Any | None
) -> tuple[dict[str, Encode], list[str]]:
    """By kind what encodes prompts, of what is connected, and what of it is of no use here.

    Raises:
        AnotherEncoder: one that is connected did not make the library's vectors.
    """
    kinds = {target.kind for target in targets}
    found: dict[str, Encode] = {}
    if text_embedder is not None:
        for kind in kinds & {"prompt", "negative"}:
            _check(targets, kind, text_embedder.fingerprint, text_embedder.name)
            found[kind] = lambda texts: _unit(text_embedder.encode_texts(texts))
    if clip is not None and kinds & {"clip_l", "clip_g"}:
        from ...embedders.models.clip_text import SDXLTextEncoder

        encoder = SDXLTextEncoder(clip)
        encoded = _Both(encoder)
        for kind, fingerprint in (("clip_l", encoder.clip_l_fingerprint), ("clip_g", encoder.clip_g_fingerprint)):
            if kind in kinds:
                _check(targets, kind, fingerprint, encoder.name)
                found[kind] = encoded.halves(kind)
    if description_encoder is not None and "image" in kinds:
        _check(targets, "image", description_encoder.picture_tower, description_encoder.name, "picture_tower")
        found["image"] = lambda texts: _unit_each(description_encoder.encode_query, texts)
    connected = {"text_embedder": text_embedder, "clip": clip, "description_encoder": description_encoder}
    used = {_NODE[kind] for kind in found}
    idle = [name for name, model in connected.items() if model is not None and name not in used]
    return found, [f"{name} is not used: nothing is asked that it encodes" for name in idle]


class _Both:
    """CLIP-L's and CLIP-G's vectors come of one forward; what was asked for last is kept for the other half."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._texts: list[str] | None = None
        self._encoded: Any = None

    def halves(self, kind: str) -> Encode:
        def encode(texts: list[str]) -> np.ndarray:
            if texts != self._texts:
                self._texts, self._encoded = texts, self._encoder.encode([(text, text) for text in texts])
            return _unit(getattr(self._encoded, kind))

        return encode


def _check(targets: Sequence[Target], kind: str, fingerprint: str, name: str, detail: str = "") -> None:
    for target in targets:
        known = target.encoder.details.get(detail) if detail else target.encoder.fingerprint
        if target.kind == kind and known != fingerprint:
            raise AnotherEncoder(
                f"The {_NODE[kind]} that is connected ({db.told_encoder(name, fingerprint)}) did not make the library's {KINDS[kind]} vectors: "
                f"{db.told_encoder(target.encoder.name, known or 'unknown')} did. Connect that one, or none: then phrases are scored by estimate."
            )


def _unit(vectors: np.ndarray) -> np.ndarray:
    import numpy as np

    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _unit_each(encode: Callable[[str], np.ndarray], texts: list[str]) -> np.ndarray:
    import numpy as np

    return _unit(np.stack([encode(text) for text in texts]))
