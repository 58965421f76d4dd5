"""Bring the hybrid index up to date at the end of a run: fold in what was written since, or make it anew."""

from __future__ import annotations

import numpy as np
from psycopg import Connection

from .._builder_lock import alone
from .._generation import bump_generation, one_writer
from ..connection import Library
from ..errors import LibraryError
from ..progress import Progress, silent
from .build import build_hybrid, choose_kinds
from .candidates import ready_hybrid
from .held import read_projection
from .rows import Kinds, read_images, write_rows

AUTOMATIC_FROM = 20_000  # images, below which comparing one by one takes some milliseconds
REFIT_AT = 1.25  # times the images that there were when the index was made: of another sort of pictures its short vectors tell less
# Who has the former row of an image that lacks all kinds now is told so by a new one.
_BARE = "SELECT id FROM images i WHERE id = ANY(%s) AND NOT EXISTS (SELECT FROM hybrid_vectors h WHERE h.image_id = i.id)"
_FOLDED = 500  # images in one transaction, in which no one else writes


def refresh_hybrid(library: Library, progress: Progress = silent) -> str:
    """Bring the hybrid index up to date, and say in words what was done; "" where there was nothing to do.

    Folds the tail in. The index is made anew where the library has a quarter more images than it had then, another encoder than then, more
    kinds, or where its making was broken off; and for the first time at 20,000 images, unless a person said none.
    """
    with library.connection() as conn:
        row = conn.execute(
            "SELECT id, kinds, encoder_ids, fitted_on, ready, details, (SELECT count(*) FROM hybrid_tail),"
            " (SELECT count(*) FROM images) FROM (VALUES (0)) one LEFT JOIN hybrids ON true"
        ).fetchone()
        hybrid_id, kinds, encoder_ids, fitted_on, ready, details, tail, images = row
        if kinds == [] or (hybrid_id is None and images < AUTOMATIC_FROM):
            return ""
        details = details or {}
        by_person = details.get("chosen", False)
        chosen = _kinds_for(conn, kinds, by_person)
    if chosen is None:
        return ""
    told = {"candidates", "last"} <= details.keys()  # a former version wrote less down
    current = ready and told and list(chosen.names) == kinds and [encoder.id for encoder in chosen.encoders] == encoder_ids
    if not current or images >= REFIT_AT * fitted_on:
        made = build_hybrid(library, chosen.names if by_person else None, progress)
        return f"hybrid index made over {', '.join(chosen.names)} (recall {made['recall']:.3f})"
    if not tail:
        return ""
    with alone(library):
        folded = _fold(library, chosen, tail, progress)
    return f"{folded:,} image{'s' * (folded != 1)} added to the hybrid index" if folded else ""


def _kinds_for(conn: Connection, kinds: list[str] | None, by_person: bool) -> Kinds | None:
    """The kinds that the index is to have now; None where there are not two."""
    try:
        return choose_kinds(conn, kinds if by_person else None)
    except LibraryError:
        return None


def _fold(library: Library, kinds: Kinds, total: int, progress: Progress) -> int:
    with library.connection() as conn:
        ready = ready_hybrid(conn)
        if ready is None or ready["kinds"] != list(kinds.names):  # another process has made or removed one meanwhile
            return 0
        projection = read_projection(conn, ready)
    done = 0
    while True:
        progress("Adding to the hybrid index", done, max(done, total))
        with library.connection() as conn:
            one_writer(conn)  # whoever changes one of these images does it before or after, and notes it again
            taken = conn.execute(
                "DELETE FROM hybrid_tail WHERE image_id IN (SELECT image_id FROM hybrid_tail LIMIT %s) RETURNING image_id", [_FOLDED]
            ).fetchall()
            if not taken:
                return done
            ids = [row[0] for row in taken]
            conn.execute("DELETE FROM hybrid_vectors WHERE image_id = ANY(%s)", [ids])
            for present, vectors in read_images(conn, kinds, ids):
                if len(present):
                    write_rows(conn, ready["id"], present, projection.rows(vectors))
            bare = np.array([row[0] for row in conn.execute(_BARE, [ids])], np.int64)
            write_rows(conn, ready["id"], bare, projection.rows([np.full((len(bare), size), np.nan) for size in kinds.sizes]))
            bump_generation(conn)  # searches remember what is in the tail
        done += len(ids)
