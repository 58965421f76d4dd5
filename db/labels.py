"""Labels, namespaces and ratings: what people give to images, by which they find them again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import Connection, Cursor

from ._clean import clean_text
from ._generation import bump_generation, one_writer

MAX_LABEL = 200  # characters; an index takes no key of some thousands
_CHANGE = """
UPDATE images i
SET labels = ARRAY(SELECT DISTINCT label FROM unnest(i.labels || %(add)s::text[]) label
                   WHERE label <> ALL(%(remove)s::text[]) ORDER BY label),
    namespace = coalesce(%(namespace)s::text, i.namespace),
    rating = CASE WHEN %(rate)s THEN %(rating)s::smallint ELSE i.rating END
WHERE i.id {}
  AND (NOT i.labels @> %(add)s::text[] OR i.labels && %(remove)s::text[] OR i.namespace <> %(namespace)s::text
       OR (%(rate)s AND i.rating IS DISTINCT FROM %(rating)s::smallint))
"""
_BY_ID = _CHANGE.format("= ANY(%(ids)s)")
_BY_PATH = _CHANGE.format("IN (SELECT p.image_id FROM paths p WHERE p.root_id = %(root)s AND p.path = ANY(%(paths)s))") + "RETURNING i.id"


def normal_label(text: str, what: str = "label") -> str:
    """A label, or a namespace, as it is kept: small letters, single spaces. ValueError when it is too long."""
    label = " ".join(clean_text(text).lower().split())
    if len(label) > MAX_LABEL:
        part = ", or part labels by commas" if what == "label" else ""
        raise ValueError(f"The {what} {label[:40]!r}... is longer than {MAX_LABEL} characters. Shorten it{part}.")
    return label


def normal_labels(texts: Iterable[str]) -> list[str]:
    """Labels as they are kept, each once, in the order of the alphabet; a text may hold several, parted by commas or new lines."""
    parts = (part for text in texts for line in text.splitlines() for part in line.split(","))
    return sorted({label for part in parts if (label := normal_label(part))})


def label_images(
    conn: Connection,
    ids: Sequence[int],
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    namespace: str | None = None,
    rating: int | None = None,
    clear_rating: bool = False,
) -> int:
    """Give these images labels, take labels from them, move them to a namespace ("" is none), rate them; None leaves as it is.

    How many changed. Ids that the library does not have are passed over. ValueError for a rating that is none (-1 to 5).
    """
    if rating is not None and not -1 <= rating <= 5:
        raise ValueError(f"{rating} is no rating. Give 0 to 5 stars, or -1 for rejected.")
    return _change(
        conn, _BY_ID, add=add, remove=remove, namespace=namespace, rating=rating, clear_rating=clear_rating, ids=list(ids)
    ).rowcount


def label_files(conn: Connection, root_id: int, paths: Iterable[str], labels: Iterable[str], namespace: str = "") -> list[int]:
    """Give labels, and a namespace that is not empty, to the images of these files; the ids of those that changed."""
    changed = _change(conn, _BY_PATH, add=labels, namespace=namespace or None, root=root_id, paths=list(paths))
    return [id_ for (id_,) in changed]


def _change(
    conn: Connection,
    statement: str,
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    namespace: str | None = None,
    rating: int | None = None,
    clear_rating: bool = False,
    **which: object,
) -> Cursor:
    taken = normal_labels(remove)
    values = {
        "add": [label for label in normal_labels(add) if label not in taken],
        "remove": taken,
        "namespace": None if namespace is None else normal_label(namespace, "namespace"),
        "rate": rating is not None or clear_rating,
        "rating": rating,
    }
    one_writer(conn)
    changed = conn.execute(statement, {**values, **which})
    if changed.rowcount:
        bump_generation(conn)
    return changed
