"""Questions of three kinds, asked of the hybrid index, for the tests of its search and of its making."""

from __future__ import annotations

import threading

import numpy as np
from diffusion_toolkit import db
from diffusion_toolkit.db.hybrid import whole
from diffusion_toolkit.db.hybrid.candidates import candidates
from diffusion_toolkit.db.search.kinds import directions_of, sources_of, state_of

DIMS = 8
FAMILIES = {"prompt": "text", "image": "image", "clip_g": "clip_g"}


def parts_of(weights: dict[str, float], seed: int = 9) -> tuple[db.Part, ...]:
    rng = np.random.default_rng(seed)
    return tuple(db.Part(kind, rng.normal(size=DIMS).astype(np.float32), weight) for kind, weight in weights.items())


def asked(conn, parts, n=20, filter=None, constants=None, passing=0.0):
    """The candidates by the short vectors alone."""
    sources = sources_of(state_of(conn), parts)
    directions = directions_of(parts, sources, [part.weight for part in parts], constants or [0.0] * len(parts))
    return candidates(conn, directions, n, lambda heavy: [], filter, passing)


def best_of(ids, vectors, parts, n=20) -> list[int]:
    scores = sum(part.weight * vectors[part.kind] @ (part.vector / np.linalg.norm(part.vector)) for part in parts)
    return [ids[place] for place in np.argsort(-scores)[:n]]


def read_whole(library: db.Library) -> None:
    """Search until this process has the whole vectors."""
    for _ in range(whole._ASKED):
        with library.reading() as conn:
            db.search(conn, db.Question(parts=parts_of(dict.fromkeys(FAMILIES, 1.0)), k=20))
    for thread in threading.enumerate():
        if thread.name == "whole vectors":
            thread.join()
