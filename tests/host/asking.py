"""Questions of one part, asked of a library, for the tests of its search."""

from __future__ import annotations

import numpy as np
from diffusion_toolkit import db


def ask(conn: db.Connection, kind: str, vector: np.ndarray, k: int = 50, encoder_id: int | None = None, **more) -> db.Answer:
    """`more` is of the question."""
    return db.search(conn, db.Question(parts=(db.Part(kind, vector, encoder_id=encoder_id),), k=k, **more))


def ids_of(answer: db.Answer) -> list[int]:
    return [hit.image_id for hit in answer.hits]
