"""How a stored text becomes token states and a pooled vector again, and from where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import db

if TYPE_CHECKING:
    import numpy as np

    from ...db import Connection, Library, StoredEncoder
    from ...embedders.conditioning.mixing import Conditioning

_SHOWN = 60  # characters of a text in an error


class NothingStored(RuntimeError):
    """The library has nothing to make the asked conditioning from."""

    __module__ = "diffusion_toolkit"  # what ComfyUI shows before the message; ours is a file path


@dataclass(frozen=True)
class Recalled:
    """Token states [T, 2048] and pooled output [1280], and where they came from in words."""

    states: np.ndarray
    pooled: np.ndarray
    source: str


def conditioning(of: Recalled | Conditioning) -> list:
    """ComfyUI's CONDITIONING: `[[states [1, T, 2048], {"pooled_output": [1, 1280]}]]`, float32 as CLIPTextEncode gives it."""
    import numpy as np
    import torch

    states, pooled = (torch.from_numpy(np.array(part, np.float32))[None] for part in (of.states, of.pooled))
    return [[states, {"pooled_output": pooled}]]


def unlike(live: Any, theirs: str) -> str:
    """That the connected CLIP is another encoder than `theirs`."""
    return f", which is another encoder ({db.told_encoder(live.name, live.fingerprint)}) than {theirs}"


def stored_by(connection: Connection, encoder: StoredEncoder) -> str:
    """That states were stored, and whose they are: another checkpoint's UNet has not learnt to read them."""
    active = db.active_encoder(connection, "token_states")
    other = "" if active is None or active.id == encoder.id else ", not the one last indexed with"
    return f"exact, from stored token states of {encoder.told}{other}"


def text_named(connection: Connection, text_id: int | None) -> str:
    """The text with this id, in an error: of many images it tells which to leave out."""
    words = " ".join(db.get_text(connection, text_id).joined.split()) if text_id is not None else ""
    if not words:
        return "the empty text"
    return f"the text {words[:_SHOWN] + '...' if len(words) > _SHOWN else words!r}"


class Recall:
    """One way from text ids to conditioning: by a connected CLIP, or by the library's active encoder. Never mixes two."""

    def __init__(self, library: Library, connection: Connection, clip: Any | None) -> None:
        """`connection` is one of the library's; what mends it has another."""
        self._library = library
        self.connection = connection
        self._live = None
        if clip is not None:
            from ...embedders.models.clip_text import SDXLTextEncoder

            self._live = SDXLTextEncoder(clip)
            self._fingerprint = self._live.fingerprint
            self._encoder = db.find_encoder(connection, "token_states", self._fingerprint)
        else:
            self._encoder = db.active_encoder(connection, "token_states")
        self._known: dict[int | None, Recalled] = {}  # many images share a negative
        self._damaged: set[int] = set()

    def text(self, text_id: int | None, missing: str | None = None) -> Recalled:
        """The text's conditioning; `None` is the empty text, unless `missing` says that there must be one.

        Raises:
            NothingStored: no states, no CLIP and no two vectors, or no text.
        """
        if text_id is None and missing is not None:
            raise NothingStored(
                f"This can't be recalled: {missing}. Choose an image whose prompt is known, or write the prompt "
                "into CLIP Text Encode."
            )
        if text_id is None:
            text_id = db.find_text(self.connection, db.TextPair("", ""))
        if text_id not in self._known:
            self._known[text_id] = self._recalled(text_id)
        return self._known[text_id]

    def empty(self) -> Recalled | None:
        """The empty text's conditioning; None where the library has nothing to make it from."""
        try:
            return self.text(None)
        except NothingStored:
            return None

    def _recalled(self, text_id: int | None) -> Recalled:
        stored = self._stored(text_id)
        if stored is not None:
            return Recalled(stored.states, stored.pooled, stored_by(self.connection, self._encoder))
        if self._live is not None:
            pair = db.get_text(self.connection, text_id) if text_id is not None else db.TextPair("", "")
            encoded = self._live.encode([(pair.text_g, pair.text_l)])
            source = f"exact, encoded now with the connected CLIP{self._unlike_stored()}"
            if text_id in self._damaged:
                state = db.TokenStates(encoded.states[0], encoded.clip_g[0])
                refused = db.mend_token_states(self._library, self._encoder.id, text_id, state)
                source += "; its stored token states were damaged, and " + (f"can't be stored anew: {refused}" if refused else "are stored anew")
            return Recalled(encoded.states[0], encoded.clip_g[0], source)
        return self._approximation(text_id)

    def _unlike_stored(self) -> str:
        """That the connected CLIP is not the one that the library's states are of, where that is so."""
        active = db.active_encoder(self.connection, "token_states")
        if active is None or active.fingerprint == self._fingerprint:
            return ""
        return unlike(self._live, f"the one last indexed with ({active.told})")

    def _stored(self, text_id: int | None) -> db.TokenStates | None:
        if self._encoder is None or text_id is None:
            return None
        try:
            return db.token_states(self.connection, text_id, self._encoder.id)
        except db.DamagedStates:
            if self._live is None:
                raise
            self._damaged.add(text_id)
            return None

    def _approximation(self, text_id: int | None) -> Recalled:
        """What the two pooled vectors of the active encoders and the text's tokens tell of the states; the pooled output is exact."""
        from .approximate import approximate

        halves = []
        for family in ("clip_l", "clip_g"):
            encoder = db.active_encoder(self.connection, family)
            vector = None
            if encoder is not None and text_id is not None:
                vector = db.text_vector(self.connection, text_id, encoder.id)
            if vector is None:
                made_by = f" by the CLIP that was last indexed with ({encoder.name})" if encoder is not None else ""
                raise NothingStored(
                    f"The library has neither token states nor CLIP vectors of {text_named(self.connection, text_id)}{made_by}. Connect the "
                    "SDXL CLIP to this node, or run Index Folder on the image's folder with it."
                )
            halves.append(vector)
        found = approximate(self.connection, *halves, db.get_text(self.connection, text_id))
        instead = ". No token states are stored for this text: connect the CLIP, or index again with a larger token_state_budget, for the exact conditioning"
        other = db.encoder_with_states(self.connection, text_id)
        if other is not None:
            instead = f". Exact ones are stored of {other.told}, not the one last indexed with: connect that CLIP to have them"
        return Recalled(found.states, halves[1], found.said + ("" if found.exact else instead))
