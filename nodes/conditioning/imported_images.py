"""From the record of an exchange file to CONDITIONING, CLIP_VISION_OUTPUT and queries, and where each came from in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ... import db
from ...embedders.conditioning.mixing import spread
from ..config import ConfigurationError
from ..links import KINDS, Query, QueryPart
from .approximate import approximate
from .recall import NothingStored, Recall, Recalled, stored_by, unlike

if TYPE_CHECKING:
    import numpy as np

    from ...db import Connection, Library, StoredEncoder
    from ...embedders.exchange import Embeddings, MadeBy

_NORMALISED = 1e-3  # a length nearer to 1 than this is no accident
_ROUNDED = 1e-3  # what float16 and a text's digits lose
_PREFIX = {"positive": "", "negative": "negative_"}
_TEXTS = {"positive": "prompt_texts", "negative": "negative_texts"}


class Imported:
    """One way from records to conditioning: by a connected CLIP, else by the file's own encoder. Never mixes two unsaid.

    A library is opened only where the file alone is not enough: for an approximation, or the empty text.
    """

    def __init__(self, open_library: Callable[[], Library], clip: Any | None) -> None:
        self._open, self._live = open_library, None
        if clip is not None:
            from ...embedders.models.clip_text import SDXLTextEncoder

            self._live = SDXLTextEncoder(clip)
            self._fingerprint = self._live.fingerprint
        self._encoded: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}

    def conditioning(self, record: Embeddings, side: str) -> Recalled:
        """Of the prompt ('positive') or the negative prompt. NothingStored where there is nothing to make it from."""
        states, made_by = record.states.get(side), record.made_by.get("token_states")
        same = self._live is None or (made_by is not None and made_by.fingerprint == self._fingerprint)
        if states is not None and same:
            of = f" by {_told(made_by)}" if made_by is not None else ""
            return Recalled(states.states, states.pooled, f"exact, from the file's token states{of}{self._of_empty(record, side)}")
        if self._live is not None:
            text = self._text(record, side)
            if text is not None:
                return self._encode(text, self._unlike(made_by) + self._of_empty(record, side))
        name = _PREFIX[side]
        if f"{name}clip_l" in record.vectors and f"{name}clip_g" in record.vectors:
            return self._approximation(record, side)
        if side == "negative" and self._text(record, "positive") is None and record.vectors:
            return self._empty_text(record)
        if side == "positive" and record.made_by and self._text(record, side) is None:
            raise NothingStored(
                f"The file knows no prompt of image {record.image_id}, so there is nothing to make its conditioning from. Choose another "
                "image, or write the prompt into CLIP Text Encode."
            )
        wanted = "token states, text or CLIP-L and CLIP-G vectors" if self._live is not None else "token states or CLIP-L and CLIP-G vectors"
        raise NothingStored(
            f"The file has no {wanted} of image {record.image_id}'s {'prompt' if side == 'positive' else 'negative prompt'}. Export it "
            "again once its folder is indexed with an SDXL CLIP, or choose another image."
        )

    def _text(self, record: Embeddings, side: str) -> tuple[str, str] | None:
        """(text_g, text_l); the empty ones for a negative prompt that is not known, None where the file has no texts at all."""
        given = record.about.get(_TEXTS[side])
        if isinstance(given, list) and len(given) == 2 and all(isinstance(text, str) for text in given):
            return given[0], given[1]
        told = record.about.get(_TEXTS["positive"])
        return ("", "") if side == "negative" and isinstance(told, list) else None

    def _of_empty(self, record: Embeddings, side: str) -> str:
        return " (none known: the empty text)" if side == "negative" and record.about.get(_TEXTS[side]) is None else ""

    def _unlike(self, made_by: MadeBy | None) -> str:
        if made_by is None or made_by.fingerprint == self._fingerprint:
            return ""
        return unlike(self._live, f"the file's ({_told(made_by)})")

    def _encode(self, text: tuple[str, str], said: str) -> Recalled:
        if text not in self._encoded:
            encoded = self._live.encode([text])
            self._encoded[text] = encoded.states[0], encoded.clip_g[0]
        return Recalled(*self._encoded[text], f"exact, encoded now with the connected CLIP{said}")

    def _approximation(self, record: Embeddings, side: str) -> Recalled:
        """From the two vectors; by the library's map where they are of its encoders, or of some that the file does not tell."""
        families = ("clip_l", "clip_g")
        vectors = [record.vectors[_PREFIX[side] + family] for family in families]
        told = all(family in record.made_by for family in families)
        said = "" if told else "; the file does not tell which encoder made the vectors"
        if self._live is not None:
            said += "; the connected CLIP is not used, since the file has no text"
        text = self._text(record, side)
        better = ". The file has the text: connect an SDXL CLIP, and it is exact" if self._live is None and text is not None else ""
        try:
            library = self._open()
        except (db.LibraryError, ConfigurationError, ImportError) as error:
            return _spread(*vectors, f"{said}; no library could be asked ({error}){better}")
        with library.connection() as connection:
            active = db.active_encoders(connection)
            if told:
                theirs = {family: record.made_by[family] for family in (*families, "token_states") if family in record.made_by}
                if any(family not in active or active[family].fingerprint != one.fingerprint for family, one in theirs.items()):
                    other = _told(theirs.get("token_states", theirs["clip_g"]))
                    why = f"{other} is not this library's encoder" if "clip_g" in active else f"the library {library.name!r} has no SDXL encoder yet"
                    return _spread(*vectors, f"; {why}, so nothing of the library is used{said}{better}")
            else:
                vectors, scaled = _of_usual_length(connection, active, vectors)
                said += scaled
            if side == "negative" and (empty := _stored_empty(connection, active, vectors)) is not None:
                return Recalled(empty.states, empty.pooled, empty.source + said)
            found = approximate(connection, *vectors, db.TextPair(*text) if text is not None else None)
        return Recalled(found.states, vectors[1], f"{found.said}{said}{'' if found.exact else better}")

    def _empty_text(self, record: Embeddings) -> Recalled:
        """Of a file without any negative: by the connected CLIP, else by the library."""
        if self._live is not None:
            return self._encode(("", ""), " (the file has no negative prompt: the empty text)")
        try:
            library = self._open()
            with library.connection() as connection:
                encoder = db.active_encoder(connection, "token_states") or db.active_encoder(connection, "clip_g")
                found = Recall(library, connection, None).text(None)
        except (db.LibraryError, ConfigurationError, ImportError, NothingStored) as error:
            lacks = "The library has nothing to make it from." if isinstance(error, NothingStored) else str(error)
            raise NothingStored(
                f"The file has no negative of image {record.image_id}, so the empty text's is wanted. {lacks} Connect an SDXL CLIP to Load Embeddings."
            ) from error
        by = f" by the library's own encoder, {encoder.told}: the file does not tell its own" if encoder is not None else ""
        return Recalled(found.states, found.pooled, f"the file has none: the empty text{by}; {found.source}")


def _told(made_by: MadeBy) -> str:
    return db.told_encoder(made_by.name, made_by.fingerprint)


def _stored_empty(connection: Connection, active: Mapping[str, StoredEncoder], vectors: list[np.ndarray]) -> Recalled | None:
    """The library's own states of the empty text, where that is what the two vectors are of and it has them."""
    import numpy as np

    text_id, encoder = db.find_text(connection, db.TextPair("", "")), active.get("token_states")
    if text_id is None or encoder is None:
        return None
    for family, vector in zip(("clip_l", "clip_g"), vectors):
        own = db.text_vector(connection, text_id, active[family].id) if family in active else None
        if own is None or not np.allclose(own, vector, rtol=_ROUNDED, atol=_ROUNDED):
            return None
    try:
        stored = db.token_states(connection, text_id, encoder.id)
    except db.DamagedStates:
        return None
    return Recalled(stored.states, stored.pooled, f"the empty text, {stored_by(connection, encoder)}") if stored is not None else None


def _spread(clip_l: np.ndarray, clip_g: np.ndarray, said: str) -> Recalled:
    said = f"APPROXIMATION, the file's CLIP-L and CLIP-G vectors repeated at every position, far from the truth{said}"
    return Recalled(spread(clip_l, clip_g), clip_g, said)


def _of_usual_length(
    connection: Connection, active: Mapping[str, StoredEncoder], vectors: list[np.ndarray]
) -> tuple[list[np.ndarray], str]:
    """Vectors of nobody knows which encoder: those of length 1 are no pooled output of SDXL, whose length is its own."""
    import numpy as np

    if any(abs(float(np.linalg.norm(vector)) - 1) > _NORMALISED for vector in vectors):
        return vectors, ""
    lengths = [db.typical_length(connection, active[family].id) if family in active else None for family in ("clip_l", "clip_g")]
    if not all(lengths):
        return vectors, " and they were normalised, so the conditioning is far too weak: index a folder with an SDXL CLIP, whose vectors tell their length"
    scaled = [vector * np.float32(length) for vector, length in zip(vectors, lengths)]
    return scaled, f" and they were normalised: brought to this library's usual lengths, {lengths[0]:.1f} and {lengths[1]:.1f}"


def query(record: Embeddings, name: str, file: str) -> Query | None:
    """To be like one of the record's vectors; None where it has none such. Its encoder, where told, is checked by the search."""
    if name not in record.vectors:
        return None
    family = db.FAMILIES[name]
    made_by = record.made_by.get(family)
    label = f"{KINDS[name]} of image {record.image_id} in {file}"
    if made_by is None:
        return Query((QueryPart(name, record.vectors[name], model=f"an encoder that {file} does not tell", label=label),))
    return Query((QueryPart(name, record.vectors[name], made_by.fingerprint, made_by.name, label=label),))
