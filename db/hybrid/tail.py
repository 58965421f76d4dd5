"""What was written since the hybrid index was made: noted by the writers, searched beside it, and folded in by `refresh`."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import Connection

TAIL_MOST = 5000  # images beside the index that are compared one by one, at some 2 microseconds a kind; with more, searches do without it

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
