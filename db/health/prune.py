"""Remove from a library what is gone from the disk: files that are marked as missing, and images that have no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from psycopg import Connection
from psycopg.rows import class_row

from .._generation import bump_generation, one_writer
from ..claims import running
from ..connection import Library
from ..errors import LibraryError
from ..files import mark_missing, unmark_missing
from ..records import TextPair

AT_ONCE = 1000

# Told by name, not by marks: a user who may only read can ask this.
_OF_GONE = """
WITH gone AS (SELECT p.root_id, p.path, p.image_id, p.missing FROM paths p
              JOIN unnest(%(roots)s::integer[], %(paths)s::text[]) g (root_id, path) USING (root_id, path)),
     lost AS (SELECT image_id AS id FROM gone GROUP BY image_id
              HAVING count(*) = (SELECT count(*) FROM paths p WHERE p.image_id = gone.image_id))
"""
_GIVEN = "(i.labels <> '{}' OR i.namespace <> '' OR i.rating IS NOT NULL)"
_GONE = f"""{_OF_GONE}
SELECT (SELECT count(*) FROM gone), (SELECT count(DISTINCT image_id) FROM gone), count(*), count(*) FILTER (WHERE {_GIVEN})
FROM lost JOIN images i USING (id)
"""
# IN as a value is looked up in a hash. As a join the planner, which takes few images to be lost, may compare each with each.
_JUDGED = f"""{_OF_GONE},
     judged AS MATERIALIZED (SELECT root_id, path, image_id, missing, image_id IN (SELECT id FROM lost) AS goes FROM gone)
"""
_BY_ROOT = f"""{_JUDGED}
SELECT root_id, count(DISTINCT image_id) FILTER (WHERE NOT goes), count(*) FILTER (WHERE goes),
       count(*) FILTER (WHERE goes AND missing IS NULL)
FROM judged GROUP BY root_id
"""
_GOING = f"""{_OF_GONE},
     going AS (SELECT id FROM lost UNION ALL SELECT i.id FROM images i WHERE NOT EXISTS (SELECT FROM paths p WHERE p.image_id = i.id))
SELECT i.id AS image_id, coalesce(r.name, '') AS root, coalesce(p.path, '') AS path, i.labels, i.namespace, i.rating,
       coalesce((SELECT left(t.text_g, 60) FROM texts t WHERE t.id = i.prompt_id), '') AS prompt
FROM going JOIN images i USING (id)
LEFT JOIN LATERAL (SELECT root_id, path FROM paths WHERE image_id = i.id ORDER BY seen DESC, root_id, path LIMIT 1) p ON true
LEFT JOIN roots r ON r.id = p.root_id
ORDER BY i.labels = '{{}}' AND i.namespace = '' AND i.rating IS NULL, p.path IS NULL, r.name, p.path, i.id
LIMIT %(most)s
"""
_PLACES_OF_STAYING = f"""{_JUDGED}
SELECT r.name, j.path, count(*) OVER () FROM judged j JOIN roots r ON r.id = root_id
WHERE NOT goes ORDER BY r.name, j.path LIMIT %(most)s
"""
# Against the names, whose number the planner knows: of a sum over them it knows nothing, and may compare each image with each.
_TEXTS_LEFT = """
WITH staying AS (SELECT DISTINCT p.image_id AS id FROM paths p
                 WHERE NOT EXISTS (SELECT FROM unnest(%(roots)s::integer[], %(paths)s::text[]) g (root_id, path)
                                   WHERE g.root_id = p.root_id AND g.path = p.path)),
     kept AS (SELECT prompt_id, negative_id FROM images JOIN staying USING (id))
SELECT count(*) FROM (
    SELECT id FROM texts WHERE hash <> %(empty)s EXCEPT SELECT prompt_id FROM kept EXCEPT SELECT negative_id FROM kept
) t
"""
# Those that are marked still: somebody may have written one anew since the disk was looked at.
_REMOVE_PATHS = "DELETE FROM paths WHERE root_id = %s AND path = ANY(%s) AND missing IS NOT NULL RETURNING path, image_id"
_REMOVE_IMAGES = f"""
DELETE FROM images i WHERE id = ANY(%s) AND NOT EXISTS (SELECT FROM paths p WHERE p.image_id = i.id) RETURNING id, {_GIVEN}
"""
_IMAGE_AT = f"SELECT p.path, i.id FROM paths p JOIN images i ON i.id = p.image_id WHERE p.root_id = %s AND p.path = ANY(%s) AND {_GIVEN}"
_WITHOUT_FILE = """
SELECT i.id, i.labels, i.namespace, i.rating FROM images i
WHERE i.id = ANY(%s) AND NOT EXISTS (SELECT FROM paths p WHERE p.image_id = i.id)
"""
_MARKED = "SELECT path FROM paths WHERE root_id = %s AND missing IS NOT NULL ORDER BY path LIMIT %s"


@dataclass(frozen=True, slots=True)
class Gone:
    """What there is to remove."""

    files: int
    images_of_them: int
    images: int  # that have no other file
    given: int  # of these, the ones that a person gave a label, a namespace or a rating


@dataclass(frozen=True, slots=True)
class GoneOfRoot:
    """Of one root: what its files that are gone mean."""

    elsewhere: int  # images that have another file, which is gone in no root
    lost: int  # files of the others
    unsought: int  # of these, the ones not marked yet: nobody has looked whether they were only moved


@dataclass(frozen=True, slots=True)
class GoingImage:
    """One that has no other file, or none at all: where it was seen last ("" where none is known), how its prompt begins, and what a person gave it."""

    image_id: int
    root: str
    path: str
    labels: list[str]
    namespace: str
    rating: int | None
    prompt: str


def refuse_beside_a_run(conn: Connection) -> None:
    """LibraryError while somebody indexes: a run counts on the images that it has found to stay.

    Asked by the one writer, it holds until the end of the transaction: a run that begins waits for that.
    """
    if who := running(conn):
        raise LibraryError(f"{', '.join(who)} is indexing into this library. Try again when it is done.")


def mark_all(conn: Connection, root_id: int, gone: Sequence[str], there: Sequence[str]) -> None:
    """Mark what is gone and unmark what is there, of one root."""
    for start in range(0, len(gone), AT_ONCE):
        mark_missing(conn, root_id, gone[start : start + AT_ONCE])
    for start in range(0, len(there), AT_ONCE):
        unmark_missing(conn, root_id, there[start : start + AT_ONCE])


def count_gone(conn: Connection, gone: Mapping[int, Sequence[str]]) -> Gone:
    """Of these files, by root, which need not be marked yet."""
    return Gone(*conn.execute(_GONE, _named(gone)).fetchone())


def gone_by_root(conn: Connection, gone: Mapping[int, Sequence[str]]) -> dict[int, GoneOfRoot]:
    """Of these files, which need not be marked yet; no entry for a root that has none of them."""
    return {root_id: GoneOfRoot(*counts) for root_id, *counts in conn.execute(_BY_ROOT, _named(gone))}


def going_images(conn: Connection, gone: Mapping[int, Sequence[str]], most: int) -> list[GoingImage]:
    """The first images that go with these files, and those without any: what a person gave something comes first, then by place."""
    with conn.cursor(row_factory=class_row(GoingImage)) as cursor:
        return cursor.execute(_GOING, {**_named(gone), "most": most}).fetchall()


def given_images_at(conn: Connection, root_id: int, paths: Sequence[str]) -> dict[str, int]:
    """The images of these files of a root to which a person gave a label, a namespace or a rating, by path."""
    return dict(conn.execute(_IMAGE_AT, [root_id, list(paths)]).fetchall())


def without_file(conn: Connection, lost: Mapping[int, tuple[str, str]]) -> list[GoingImage]:
    """Those of these images that no file is known of, and what a person gave them; by their last place, (root, path), which the library
    no longer has."""
    rows = conn.execute(_WITHOUT_FILE, [list(lost)])
    return sorted((GoingImage(id_, *lost[id_], *given, "") for id_, *given in rows), key=lambda image: (image.root, image.path))


def places_of_staying(conn: Connection, gone: Mapping[int, Sequence[str]], most: int) -> list[tuple[str, str, int]]:
    """(root's name, path, how many there are) of the first of these files whose image has another: moved, or copies."""
    return conn.execute(_PLACES_OF_STAYING, {**_named(gone), "most": most}).fetchall()


def count_texts_left(conn: Connection, gone: Mapping[int, Sequence[str]]) -> int:
    """Texts that no image has once these files, and the images without any known file, are removed."""
    return conn.execute(_TEXTS_LEFT, {**_named(gone), "empty": TextPair("", "").hash}).fetchone()[0]


def _named(gone: Mapping[int, Sequence[str]]) -> dict[str, list[int] | list[str]]:
    roots = [root_id for root_id, paths in gone.items() for _ in paths]
    return {"roots": roots, "paths": [path for paths in gone.values() for path in paths]}


def remove_missing(
    library: Library,
    root_id: int,
    still_gone: Callable[[list[str]], list[str]],
    progress: Callable[[int], None],
    files: dict[str, int] | None = None,
    images: dict[int, bool] | None = None,
) -> tuple[dict[str, int], dict[int, bool]]:
    """Remove the marked files of a root, and the images that have no other.

    What was removed: the image of each path; of each image whether a person gave it a label, a namespace or a rating.
    `still_gone` is asked of each lot just before, and tells which of them are; it may raise, and take minutes, in which no
    writer waits. The rest is unmarked. LibraryError while a run goes on. `files` and `images` are what is filled and returned,
    for one who must tell of it when this ends in an error.
    """
    files, images = {} if files is None else files, {} if images is None else images
    while True:
        progress(len(files))
        with library.reading() as conn:
            paths = [path for (path,) in conn.execute(_MARKED, [root_id, AT_ONCE])]
        if not paths:
            return files, images
        gone = still_gone(paths)
        with library.connection() as conn:
            one_writer(conn)
            refuse_beside_a_run(conn)  # one that begins from now on waits until this lot is gone
            unmark_missing(conn, root_id, sorted(set(paths) - set(gone)))
            of = dict(conn.execute(_REMOVE_PATHS, [root_id, gone]))
            went = conn.execute(_REMOVE_IMAGES, [list(of.values())]).fetchall()
            bump_generation(conn)
        files.update(of)
        images.update(went)
