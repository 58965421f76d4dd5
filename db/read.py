"""Read images, files and counts, and what still lacks a vector."""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any

from psycopg import Connection, sql

from .claims import FileState
from .encoders import active_encoders
from .errors import LibraryError, NoSuchImage
from .files import beginning
from .question import FAMILIES, TEXT_COLUMNS
from .records import Counts, StoredFile, StoredImage, StoredPieces, TextPair
from .token_states import token_states_bytes

_NAMED = 20  # images in an error
_JSON = ("text_encoders", "loras", "controlnets", "reading")
_SELECTED = {  # a field of StoredImage: what it is in SQL, where that is not the column of its name
    "prompt": "(SELECT t.joined FROM texts t WHERE t.id = i.prompt_id)",  # planned faster than a join
    "negative": "(SELECT t.joined FROM texts t WHERE t.id = i.negative_id)",
    **{name: f"i.{name}::text" for name in _JSON},  # parsed here: most are empty
}
_FIELDS = [field.name for field in fields(StoredImage) if field.name != "files"]
_IMAGES = f"SELECT {', '.join(_SELECTED.get(name, f'i.{name}') for name in _FIELDS)} FROM images i WHERE i.id = ANY(%s)"
_FILES = """
SELECT p.image_id, r.path, p.path, p.file_size, p.mtime_ns
FROM paths p JOIN roots r ON r.id = p.root_id
WHERE p.image_id = ANY(%s)
ORDER BY p.image_id, p.missing IS NOT NULL, p.seen DESC, p.root_id, p.path
"""
_IMAGES_WITHOUT = """
SELECT p.image_id, p.path, p.file_size, p.mtime_ns, p.sidecar_mtime_ns
FROM paths p
WHERE p.root_id = %(root)s AND p.path ^@ %(under)s AND p.image_id IN (
    SELECT n.image_id
    FROM paths n
    WHERE n.root_id = %(root)s AND n.path ^@ %(under)s AND n.image_id > %(after)s
      AND NOT EXISTS (SELECT FROM image_vectors v WHERE v.encoder_id = %(encoder)s AND v.image_id = n.image_id)
    GROUP BY n.image_id
    ORDER BY n.image_id
    LIMIT %(limit)s
)
ORDER BY p.image_id, p.path
"""
_READ_BEFORE = """
SELECT i.id, array_agg(p.path ORDER BY p.path)
FROM paths p JOIN images i ON i.id = p.image_id
WHERE p.root_id = %(root)s AND p.path ^@ %(under)s AND i.reader < %(version)s AND i.id > %(after)s
GROUP BY i.id
ORDER BY i.id
LIMIT %(limit)s
"""


def images_without_vector(
    conn: Connection, encoder_id: int, root_id: int, under: str, after: int = 0, limit: int | None = None
) -> list[tuple[int, FileState]]:
    """(image id, file) of the files below the folder `under` ("" is the whole root) whose image the encoder has not seen.

    Of the first `limit` images whose ids are above `after`, and of these every file there.
    """
    values = {"root": root_id, "under": beginning(under), "encoder": encoder_id, "after": after, "limit": limit}
    return [(image_id, FileState(*file)) for image_id, *file in conn.execute(_IMAGES_WITHOUT, values)]


def still_without_vector(conn: Connection, encoder_id: int, image_ids: Collection[int]) -> set[int]:
    """Those of these images that the encoder has not seen by now: another run may be at the same ones."""
    seen = "SELECT image_id FROM image_vectors WHERE encoder_id = %s AND image_id = ANY(%s)"
    return set(image_ids) - {image_id for (image_id,) in conn.execute(seen, [encoder_id, list(image_ids)])}


def images_read_before(
    conn: Connection, version: int, root_id: int, under: str, after: int = 0, limit: int | None = None
) -> list[tuple[int, list[str]]]:
    """(image id, its paths there) of the images below `under` that a reader older than `version` has read; the first `limit`."""
    values = {"root": root_id, "under": beginning(under), "version": version, "after": after, "limit": limit}
    return conn.execute(_READ_BEFORE, values).fetchall()


def read_before(conn: Connection, version: int, ids: Collection[int]) -> set[int]:
    """Those of these images that a reader older than `version` has read."""
    rows = conn.execute("SELECT id FROM images WHERE id = ANY(%s) AND reader < %s", [list(ids), version])
    return {image_id for (image_id,) in rows}


def stored_pieces(conn: Connection, ids: Sequence[int]) -> dict[int, StoredPieces]:
    """What the files of these images carried, byte for byte, by image id."""
    images = conn.execute("SELECT id, CASE WHEN created_own THEN created END, width, height FROM images WHERE id = ANY(%s)", [list(ids)])
    found = {image_id: StoredPieces({}, {}, created, (width, height)) for image_id, created, width, height in images}
    rows = conn.execute(
        "SELECT image_id, key, place, raw FROM metadata WHERE image_id = ANY(%s) ORDER BY image_id, key", [list(ids)]
    )
    for image_id, key, place, raw in rows:
        found[image_id].metadata[key] = zlib.decompress(raw)
        if place:
            found[image_id].places[key] = place
    return found


def find_text(conn: Connection, text: TextPair) -> int | None:
    """The id of a text, where it is recorded."""
    row = conn.execute("SELECT id FROM texts WHERE hash = %s", [text.hash]).fetchone()
    return row[0] if row else None


def get_text(conn: Connection, text_id: int) -> TextPair:
    """The text of this id; LibraryError when there is none."""
    row = conn.execute("SELECT text_g, text_l FROM texts WHERE id = %s", [text_id]).fetchone()
    if row is None:
        raise LibraryError(f"The library has no text {text_id}. Take the image's own from a search node.")
    return TextPair(*row)


def get_images(conn: Connection, ids: Sequence[int], gone_ones: bool = False) -> list[StoredImage]:
    """The images of these ids, aligned with them; NoSuchImage names the ids that do not exist.

    With `gone_ones` such may be among them, and are left out: images that a search has found may be removed just after.
    """
    files: dict[int, list[StoredFile]] = {}
    wanted = "{" + ",".join(map(str, ids)) + "}"  # psycopg takes as long to write a list of 50 as PostgreSQL to find its files
    for image_id, *file in conn.execute(_FILES, [wanted]).fetchall():  # all at once: row by row holds up other threads
        files.setdefault(image_id, []).append(StoredFile(*file))
    images = {image.id: image for image in (_image(row, files) for row in conn.execute(_IMAGES, [wanted]).fetchall())}
    missing = [] if gone_ones else sorted(set(ids) - images.keys())
    if missing:
        empty = not conn.execute("SELECT EXISTS (SELECT FROM images)").fetchone()[0]
        next_step = (
            "It is empty: queue Index Folder on a folder with images, or choose another library."
            if empty
            else "Take an id from a search, or choose the library that the id came from."
        )
        named = ", ".join(map(str, missing[:_NAMED])) + (f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else "")
        raise NoSuchImage(f"The library has no image {named}. {next_step}")
    return [images[image_id] for image_id in ids if image_id in images]


def counts(conn: Connection) -> Counts:
    """How much the library holds."""
    images, paths, texts, states = conn.execute(
        "SELECT (SELECT count(*) FROM images), (SELECT count(*) FROM paths), (SELECT count(*) FROM texts),"
        " (SELECT count(*) FROM token_states)"
    ).fetchone()
    active = active_encoders(conn)
    vectors, images_with = {}, {}
    for kind, text_id in TEXT_COLUMNS.items():
        encoder = active.get(FAMILIES[kind])
        statement = sql.SQL(
            "SELECT count(*), coalesce(sum(used.images), 0)::bigint FROM text_vectors v"
            " JOIN (SELECT {id}, count(*) AS images FROM images GROUP BY {id}) used ON used.{id} = v.text_id WHERE v.encoder_id = %s"
        ).format(id=sql.Identifier(text_id))
        vectors[kind], images_with[kind] = conn.execute(statement, [encoder.id]).fetchone() if encoder else (0, 0)
    image_encoder = active.get("image")
    vectors["image"] = (
        conn.execute("SELECT count(*) FROM image_vectors WHERE encoder_id = %s", [image_encoder.id]).fetchone()[0]
        if image_encoder
        else 0
    )
    images_with["image"] = vectors["image"]
    return Counts(images, paths, texts, vectors, states, images_with, token_states_bytes(conn))


def _parsed(text: str) -> Any:
    return [] if text == "[]" else {} if text == "{}" else json.loads(text)


_CONVERTED = {
    "seed": lambda number: None if number is None else int(number),
    "labels": tuple,
    **dict.fromkeys(_JSON, _parsed),
}
_CONVERSIONS = [(place, _CONVERTED[name]) for place, name in enumerate(_FIELDS) if name in _CONVERTED]
# A frozen record's constructor takes longer for 50 images than PostgreSQL took to find them; its slots are set directly.
_SETTERS = [getattr(StoredImage, name).__set__ for name in _FIELDS]
_SET_FILES = StoredImage.files.__set__


def _image(row: tuple, files: dict[int, list[StoredFile]]) -> StoredImage:
    values = list(row)
    for place, convert in _CONVERSIONS:
        values[place] = convert(values[place])
    image = object.__new__(StoredImage)
    for setter, value in zip(_SETTERS, values):
        setter(image, value)
    _SET_FILES(image, tuple(files.get(image.id, ())))
    return image
