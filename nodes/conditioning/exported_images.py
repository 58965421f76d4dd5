"""Stored images as the records that an exchange file takes, some at a time.

One reader's snapshot of the library lasts until the last image, which for a large library is hours: meanwhile VACUUM keeps what is
deleted, and CREATE INDEX CONCURRENTLY waits. Of images and texts some are in memory, of their ids all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ... import db
from ...db.token_states import sound_token_states
from ...embedders.exchange import Embeddings, MadeBy, States

if TYPE_CHECKING:
    from ...db import Connection, StoredEncoder, StoredImage, StoredVectors, TextPair

log = logging.getLogger("diffusion_toolkit")
BATCH = 16  # images in memory at once: 10 MB with the token states of 32 texts
SETTINGS = (
    "width", "height", "seed", "steps", "cfg", "guidance", "sampler", "scheduler", "denoise", "checkpoint", "vae", "text_encoders",
    "loras", "controlnets", "asked_width", "asked_height", "generator", "rating", "prompt_confidence", "negative_confidence", "namespace",
)  # fmt: skip


def encoders_told(encoders: Mapping[str, StoredEncoder]) -> dict[str, MadeBy]:
    """The library's active encoders as a file tells them, by family."""
    return {family: MadeBy(encoder.fingerprint, encoder.name, encoder.dims) for family, encoder in encoders.items()}


def exported(
    connection: Connection,
    ids: Sequence[int],
    encoders: Mapping[str, StoredEncoder],
    with_states: bool,
    tell: Callable[[str], None] = log.warning,
) -> Iterator[tuple[StoredImage, Embeddings]]:
    """The images of these ids in order. NoSuchImage ends it; a text whose token states are damaged is told, once while it is in
    memory, and its images go without them."""
    states: dict[int, db.TokenStates | None] = {}
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        images, vectors = db.get_images(connection, batch), db.stored_vectors(connection, batch, encoders)
        if with_states and "token_states" in encoders:
            wanted = {text_id for one in vectors for text_id in (one.prompt_id, one.negative_side) if text_id is not None}
            states = {text_id: state for text_id, state in states.items() if text_id in wanted}  # many images share a negative
            found, damaged = sound_token_states(connection, sorted(wanted - states.keys()), encoders["token_states"].id)
            states |= found | dict.fromkeys(damaged)
            for error in damaged.values():
                tell(str(error))
        for image, one in zip(images, vectors, strict=True):
            sides = {"positive": one.prompt_id, "negative": one.negative_side}
            of_sides = {
                side: States(found.states, found.pooled, text_id)
                for side, text_id in sides.items()
                if (found := states.get(text_id)) is not None
            }
            yield image, Embeddings(image.id, one.vectors, of_sides, _about(image, one))


def _about(image: StoredImage, stored: StoredVectors) -> dict[str, Any]:
    """What is known of an image, as JSON takes it. Of its path only the part below its root: the rest tells of the computer."""
    settings = {name: getattr(image, name) for name in SETTINGS}
    return {
        "hash": image.hash.hex(),
        "hashed_by": image.hashed_by,
        "path": image.files[0].path if image.files else None,
        "prompt": image.prompt,
        "negative_prompt": image.negative,
        "prompt_texts": _pair(stored.prompt),
        "negative_texts": _pair(stored.negative),
        "created": image.created.isoformat() if image.created is not None else None,
        "labels": list(image.labels),
        **{name: value for name, value in settings.items() if value is not None and value != []},
    }


def _pair(text: TextPair | None) -> list[str] | None:
    """What CLIP-G and CLIP-L were given, which a joined text no longer tells."""
    return [text.text_g, text.text_l] if text is not None else None
