"""The texts that an encoder has not seen, of a library that is small enough to hold them all."""

from __future__ import annotations

from typing import Any


def lacking_texts(conn: Any, encoder_id: int, root_id: int, under: str) -> list[tuple[int, Any]]:
    """(id, text), by id."""
    from diffusion_toolkit import db

    ids, _ = db.texts_lacking(conn, encoder_id, root_id, under)
    return db.texts_still_lacking(conn, [encoder_id], ids.tolist())
