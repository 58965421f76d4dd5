"""What was written since the hybrid index was made: noted by the writers, searched beside it, and folded in at the end of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psycopg import Connection

from .._generation import one_writer
from ..progress import Progress, silent

if TYPE_CHECKING:
    from ..connection import Library

AUTOMATIC_FROM = 20_000  # images, below which comparing one by one takes some milliseconds
TAIL_MOST = 5000  # images beside the index that are compared one by one, at some 2 microseconds a kind; with more, searches do without it
REFIT_AT = 2.0  # times the images that there were when the index was made
_FILLING = 1.3  # times what an index takes to make: its rows are read and projected besides
_FOLDED = 200  # images in one transaction, in which no one else writes

# With no index there is nothing to keep up, which PostgreSQL finds out before it looks at any image.
_NOTE_IMAGES = """
INSERT INTO hybrid_tail SELECT id FROM images
WHERE EXISTS (SELECT FROM hybrids WHERE kinds <> '{}') AND id = ANY(%(ids)s) ON CONFLICT DO NOTHING
"""
_NOTE_TEXTS = """
INSERT INTO hybrid_tail SELECT id FROM images
WHERE EXISTS (SELECT FROM hybrids WHERE %(encoder)s = ANY(encoder_ids)) AND (prompt_id = ANY(%(ids)s) OR negative_id = ANY(%(ids)s))
ON CONFLICT DO NOTHING
"""


def note_images(conn: Connection, ids: Sequence[int]) -> None:
    """These images are new, or have other texts or vectors now."""
    conn.execute(_NOTE_IMAGES, {"ids": [int(image_id) for image_id in ids]})


def note_texts(conn: Connection, encoder_id: int, ids: Sequence[int]) -> None:
    """These texts have a vector by this encoder now."""
    conn.execute(_NOTE_TEXTS, {"encoder": encoder_id, "ids": [int(text_id) for text_id in ids]})


def refresh_hybrid(library: Library, progress: Progress = silent) -> str:
    """Bring the hybrid index up to date, and say in words what was done; "" where there was nothing to do.

    Folds the tail in. The index is made anew where that takes less, where the library has twice the images that it had then, another
    encoder than then, more kinds, or where its making was broken off; and for the first time at 20,000 images, unless a person said none.
    """
    from .._builders import alone
    from .._builds import graph_bytes, making_pays, memory_for
    from .._index_sql import M
    from .build import build_hybrid, choose_kinds

    with library.connection() as conn:
        state = conn.execute(
            "SELECT id, kinds, encoder_ids, dims, fitted_on, ready, details, (SELECT count(*) FROM hybrid_tail),"
            " (SELECT count(*) FROM images) FROM (VALUES (0)) one LEFT JOIN hybrids ON true"
        ).fetchone()
        hybrid_id, kinds, encoder_ids, dims, fitted_on, ready, details, tail, images = state
        if kinds == [] or (hybrid_id is None and images < AUTOMATIC_FROM):
            return ""
        chosen = _kinds_for(conn, kinds, (details or {}).get("chosen", False), choose_kinds)
        row = graph_bytes(dims or 0, (details or {}).get("m", M))
        large = tail > _FOLDED and making_pays(tail, max(images - tail, 0), row, memory_for(library, conn), _FILLING)
    if chosen is None:
        return ""
    current = ready and "compared" in details and list(chosen.names) == kinds and [encoder.id for encoder in chosen.encoders] == encoder_ids
    if not current or images >= REFIT_AT * fitted_on or large:
        made = build_hybrid(library, chosen.names if (details or {}).get("chosen") else None, progress, **(details or {}).get("given", {}))
        return f"hybrid index made over {', '.join(chosen.names)} (recall {made['recall']:.3f} with {made['efforts']['even']} candidates)"
    if not tail:
        return ""
    with alone(library):
        folded = _fold(library, hybrid_id, chosen, tail, progress)
    return f"{folded} images added to the hybrid index"


def _kinds_for(conn: Connection, kinds: list[str] | None, by_person: bool, choose: Any) -> Any:
    """The kinds that the index is to have now; None where there are not two."""
    from ..errors import LibraryError

    try:
        return choose(conn, kinds if by_person else None)
    except LibraryError:
        return None


def _fold(library: Library, hybrid_id: int, kinds: Any, total: int, progress: Progress) -> int:
    from .candidates import projection_of, ready_hybrid
    from .rows import read_images, write_rows

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
            conn.execute("DELETE FROM hybrid_vectors WHERE hybrid_id = %s AND image_id = ANY(%s)", [hybrid_id, ids])
            projection = projection_of(conn, ready_hybrid(conn, 1))
            for present, vectors in read_images(conn, kinds, ids):
                if len(present):
                    write_rows(conn, hybrid_id, present, projection.rows(vectors))
        done += len(ids)
