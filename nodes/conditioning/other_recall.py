"""How a stored text becomes what the refiner, Stable Diffusion 3 and Flux read, and from where; as `recall` does for SDXL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import db
from ...embedders.conditioning.other_models import FLUX, REFINER, SD3, Piece, no_t5
from ..links import KINDS
from .recall import NothingStored, Recall, stored_by, text_named

if TYPE_CHECKING:
    import numpy as np

    from ...db import Connection, Library, StoredEncoder

_TOWERS = ("clip_l", "clip_g")
STORED_VECTOR = "exact, the stored CLIP-L vector"


@dataclass(frozen=True)
class RecalledPiece:
    """SDXL's side of a text for the target, and where it came from in words."""

    piece: Piece
    source: str


class OtherRecall:
    """One way from text ids to what a target reads. A connected CLIP chooses the encoder by the towers that it has.

    Never mixes two: where the library has nothing by the connected CLIP's towers, all of a text is encoded with that CLIP.
    """

    def __init__(self, library: Library, connection: Connection, target: str, clip: Any | None) -> None:
        from ...embedders.models.other_clips import OtherCLIP, is_sdxl

        self.connection, self._target = connection, target
        self._live: OtherCLIP | None = None
        sdxl = None
        if clip is not None and target == REFINER and is_sdxl(clip):
            sdxl = clip
        elif clip is not None:
            self._live = OtherCLIP(clip, target)
        self._recall = Recall(library, connection, sdxl)
        self._states, self._vectors = self._encoders()
        self._known: dict[int | None, RecalledPiece] = {}  # many images share a negative
        self._read: dict[str, np.ndarray] = {}

    @property
    def has_t5(self) -> bool:
        return self._live is not None and self._live.has_t5

    def text(self, text_id: int | None, missing: str | None = None) -> RecalledPiece:
        """SDXL's side of a text; `None` is the empty text, unless `missing` says that there must be one.

        Raises:
            NothingStored: the library has nothing of it, and no CLIP that could encode it is connected.
        """
        if text_id is None and missing is not None:
            self._recall.text(None, missing)  # words the error
        if text_id is None:
            text_id = db.find_text(self.connection, db.TextPair("", ""))
        if text_id not in self._known:
            self._known[text_id] = self._recalled(text_id)
        return self._known[text_id]

    def t5(self, text: str) -> np.ndarray | None:
        """T5's states of a text by the connected CLIP. Without a T5 zeros for Flux, which attends to nothing else, and None for others.

        One array for each text, and for all zeros: it takes 4 MB.
        """
        if not self.has_t5:
            if self._target != FLUX:
                return None
            text = ""
        if text not in self._read:
            self._read[text] = self._live.t5(text) if self.has_t5 else no_t5()
        return self._read[text]

    def _encoders(self) -> tuple[StoredEncoder | None, StoredEncoder | None]:
        """Those of the stored token states and of the stored CLIP-L vectors that count here."""
        find, active, connection = db.find_encoder, db.active_encoder, self.connection
        towers = self._live.towers if self._live is not None else ()
        if self._target == FLUX:
            return None, find(connection, "clip_l", self._live.fingerprint("clip_l")) if towers else active(connection, "clip_l")
        states = db.find_encoder_with(connection, "token_states", self._live.halves) if towers else active(connection, "token_states")
        of = states.details.get("clip_l") if states is not None else None
        return states, find(connection, "clip_l", of) if of else active(connection, "clip_l")

    def _recalled(self, text_id: int | None) -> RecalledPiece:
        if self._target == FLUX:
            vector = self._clip_l(text_id)
            if vector is not None:
                return RecalledPiece(Piece(None, vector, None), STORED_VECTOR)
            return self._encoded(text_id) or self._nothing(text_id)
        if self._live is not None and self._live.towers:
            stored, damaged = self._stored(text_id)
            vector = self._clip_l(text_id) if stored is not None else None
            if stored is not None and (vector is not None or self._target == REFINER):
                return RecalledPiece(Piece(stored.states, vector, stored.pooled), stored_by(self.connection, self._states))
            encoded = self._encoded(text_id)
            return RecalledPiece(encoded.piece, encoded.source + damaged)
        vector = self._clip_l(text_id)
        if vector is None and self._target != REFINER:
            return self._nothing(text_id)
        recalled = self._recall.text(text_id)
        return RecalledPiece(Piece(recalled.states, vector, recalled.pooled), recalled.source)

    def _stored(self, text_id: int | None) -> tuple[db.TokenStates | None, str]:
        """The token states by the encoder that counts, and what is to be said where they are damaged: the Loader can mend them."""
        if self._states is None or text_id is None:
            return None, ""
        try:
            return db.token_states(self.connection, text_id, self._states.id), ""
        except db.DamagedStates:
            return None, "; its stored token states are damaged: the Loader with the SDXL CLIP mends them"

    def _clip_l(self, text_id: int | None) -> np.ndarray | None:
        if self._vectors is None or text_id is None:
            return None
        return db.text_vector(self.connection, text_id, self._vectors.id)

    def _encoded(self, text_id: int | None) -> RecalledPiece | None:
        """By the connected CLIP; None where it has no tower to do it with."""
        if self._live is None or not self._live.towers:
            return None
        pair = db.get_text(self.connection, text_id) if text_id is not None else db.TextPair("", "")
        lacking = [tower for tower in _TOWERS if tower not in self._live.towers] if self._target == SD3 else []
        zero = "".join(f"; it has no {KINDS[tower]}: zeros" for tower in lacking)
        return RecalledPiece(self._live.encode(pair.text_g, pair.text_l), f"exact, encoded now with the connected CLIP{self._unlike_stored()}{zero}")

    def _unlike_stored(self) -> str:
        """That a tower of the connected CLIP is another than the one that the library was last indexed with, where that is so."""
        for tower in _TOWERS:
            active = db.active_encoder(self.connection, tower)
            if tower in self._live.towers and active is not None and active.fingerprint != (mine := self._live.fingerprint(tower)):
                return f", whose {db.told_encoder(KINDS[tower], mine)} is another than the one last indexed with ({active.told}): nothing stored was used"
        return ""

    def _nothing(self, text_id: int | None) -> RecalledPiece:
        raise NothingStored(
            f"The library has no CLIP-L vector of {text_named(self.connection, text_id)}. Connect the CLIP of {self._target}, or run Index Folder "
            "on the image's folder with the SDXL CLIP."
        )
