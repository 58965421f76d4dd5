"""Write images with their texts, paths and metadata. Each function takes the writer's lock and bumps the generation."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from psycopg import Connection

from ._clean import clean_json, clean_text, json_or_none
from ._generation import bump_generation, one_writer
from .hybrid.tail import note_images
from .labels import normal_label, normal_labels
from .records import ImageRecord, ImageSettings, KnownFile, Reading, StoredPieces, TextPair

MAX_NAME = 500  # characters of a checkpoint's or sampler's name; an index takes no key of some thousands, whatever a file claims
_PART_BYTES = 16 * 2**20  # of texts or metadata in one statement, not much exceeded
_Key = TypeVar("_Key", bytes, int)
_SETTINGS = [field.name for field in fields(ImageSettings)]
_READING = ["prompt_id", "negative_id", *_SETTINGS]
_ALL = ["hash", "width", "height", "created", "created_own", *_READING, "labels", "namespace", "phash"]
# A batch is one statement a table, its columns arrays: that took an eighth of the time of a statement a row, which the server parses and
# plans each time (prepared ones would break behind a pooler), and nearly as little as COPY, which can neither replace nor give ids back.
_TYPES = {
    **dict.fromkeys(["prompt_id", "negative_id", "steps", "asked_width", "asked_height", "phash"], "bigint"),
    **dict.fromkeys(["width", "height", "reader"], "integer"),
    **dict.fromkeys(["prompt_joined", "negative_joined", "created_own"], "boolean"),
    **dict.fromkeys(["cfg", "guidance", "denoise"], "double precision"),
    **dict.fromkeys(["text_encoders", "loras", "controlnets", "reading"], "jsonb"),
    **{"hash": "bytea", "seed": "numeric", "rating": "smallint", "created": "timestamptz"},
}  # of columns that are no text; labels come as the text of an array, since arrays of arrays must be all of one length
_KEPT = {  # what a person may have given an image stays when its file is read again; so does the best that is known of its date
    "created": "CASE WHEN {new}_own THEN {new} WHEN images.created_own THEN images.created ELSE least(images.created, {new}) END",
    "created_own": "images.created_own OR {new}",
    "rating": "coalesce(images.rating, {new})",
    "labels": "(SELECT coalesce(array_agg(DISTINCT label ORDER BY label), '{{}}') FROM unnest(images.labels || {new}) label)",
    "namespace": "coalesce(nullif({new}, ''), images.namespace)",
    "phash": "coalesce({new}, images.phash)",
}


def _set(names: Sequence[str], row: str) -> str:
    """SET's list: these columns take their values of `row`, by the rules of `_KEPT`."""
    return ", ".join(f"{name} = {_KEPT.get(name, '{new}').format(new=f'{row}.{name}')}" for name in names)


def _arrays(names: Sequence[str]) -> str:
    """The rows of a batch, out of parameters that are a column each."""
    columns = ", ".join(f"%({name})s::{_TYPES.get(name, 'text')}[]" for name in names)
    return f"unnest({columns}) AS new ({', '.join(names)})"


_WRITE_IMAGES = (
    f"INSERT INTO images ({', '.join(_ALL)}, hashed_by)"
    f" SELECT {', '.join('labels::text[]' if name == 'labels' else name for name in _ALL)}, 'blake3' FROM {_arrays(_ALL)}"
    f" ON CONFLICT (hash) DO UPDATE SET {_set(_ALL[1:], 'excluded')} RETURNING hash, id, xmax = 0"  # the last: it is new
)
_UPDATE_READINGS = (
    f"UPDATE images SET {_set(_READING, 'new')} FROM {_arrays([*_READING, 'id'])} WHERE images.id = new.id::bigint"
)
_WRITE_PATHS = """
INSERT INTO paths (root_id, path, file_size, mtime_ns, sidecar_mtime_ns, image_id)
SELECT %(root)s, path, size, mtime, sidecar, image
FROM unnest(%(paths)s::text[], %(sizes)s::bigint[], %(mtimes)s::bigint[], %(sidecars)s::bigint[], %(images)s::bigint[])
     AS new (path, size, mtime, sidecar, image)
ON CONFLICT (root_id, path) DO UPDATE
SET file_size = excluded.file_size, mtime_ns = excluded.mtime_ns, sidecar_mtime_ns = excluded.sidecar_mtime_ns,
    image_id = excluded.image_id, seen = excluded.seen, missing = NULL
"""
_WRITE_TEXTS = """
INSERT INTO texts (hash, text_g, text_l) SELECT * FROM unnest(%s::bytea[], %b::text[], %b::text[]) RETURNING hash, id
"""
_EARLIER = """
UPDATE images SET created = least(created, new.moment) FROM unnest(%s::bigint[], %s::timestamptz[]) AS new (id, moment)
WHERE images.id = new.id AND NOT created_own
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_WRITE_METADATA = """
INSERT INTO metadata (image_id, key, place, raw, data)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %b::bytea[], %b::text[]::jsonb[])
"""
_Row = tuple[str, str, bytes, "str | None"]
"""What is stored of one piece of metadata: key, place, raw bytes compressed, and JSON."""


def ensure_root(conn: Connection, name: str, path: str) -> int:
    """The id of the root at this absolute path; `name` is the label it goes by now."""
    _refuse_unstorable([path])
    known = conn.execute("SELECT id FROM roots WHERE path = %s AND name = %s", [path, name]).fetchone()
    if known:
        return known[0]
    one_writer(conn)
    return conn.execute(
        "INSERT INTO roots (name, path) VALUES (%s, %s) ON CONFLICT (path) DO UPDATE SET name = excluded.name "
        "RETURNING id",
        [name, path],
    ).fetchone()[0]


def ensure_text(conn: Connection, text: TextPair) -> int:
    """The id of one text, recorded when new."""
    one_writer(conn)
    return _text_ids(conn, [text])[text.hash]


def write_images(conn: Connection, root_id: int, records: Sequence[ImageRecord]) -> list[int]:
    """Record a batch, replacing what was known of the same content or path; image ids aligned with `records`.

    ValueError before anything is written when a file's name is not valid Unicode (surrogateescape): it names the file.
    """
    _refuse_unstorable(record.path for record in records)
    if not records:
        return []
    images: dict[bytes, ImageRecord] = {}  # a copy in the same batch is one image, with the text beside any of them
    for record in records:
        if record.hash not in images or record.sidecar_mtime_ns:
            images[record.hash] = record
    changed = _earliest((record.hash, record.mtime_ns) for record in records)
    pieces = {hash: _metadata_rows(record.metadata, record.places) for hash, record in images.items()}  # while others still write
    one_writer(conn)
    text_ids = _text_ids(conn, [text for record in records for text in (record.prompt, record.negative) if text])
    rows = [
        [record.hash, record.width, record.height, *_date(record, changed), *_values(record, text_ids)]
        + [_array(normal_labels(record.labels)), normal_label(record.namespace, "namespace"), record.phash]
        for record in images.values()
    ]
    written = conn.execute(_WRITE_IMAGES, _columns(_ALL, rows)).fetchall()
    ids = {hash: image_id for hash, image_id, _ in written}
    _write_paths(
        conn,
        root_id,
        {
            record.path: (record.file_size, record.mtime_ns, record.sidecar_mtime_ns, ids[record.hash])
            for record in records
        },
    )
    known = [image_id for _, image_id, new in written if not new]
    _write_pieces(conn, {ids[hash]: found for hash, found in pieces.items()}, known)
    note_images(conn, list(ids.values()))
    bump_generation(conn)
    return [ids[record.hash] for record in records]


def update_readings(
    conn: Connection, readings: Mapping[int, Reading], pieces: Mapping[int, StoredPieces] | None = None
) -> None:
    """Replace what was read of these images by new readings; and, of those in `pieces`, what their files carry.

    A text that no image uses any more stays, with its vectors: another image may bring it back.
    """
    if not readings:
        return
    stored = {image_id: _metadata_rows(found.metadata, found.places) for image_id, found in (pieces or {}).items()}
    one_writer(conn)
    text_ids = _text_ids(conn, [text for reading in readings.values() for text in (reading.prompt, reading.negative) if text])
    rows = [[*_values(reading, text_ids), str(image_id)] for image_id, reading in readings.items()]
    conn.execute(_UPDATE_READINGS, _columns([*_READING, "id"], rows))
    _write_pieces(conn, stored, list(stored))
    note_images(conn, list(readings))
    bump_generation(conn)


def link_paths(conn: Connection, root_id: int, files: Iterable[tuple[str, KnownFile]]) -> None:
    """Record known images under further, renamed or touched files, by their paths.

    ValueError as in `write_images`.
    """
    files = list(files)
    _refuse_unstorable(path for path, _ in files)
    if not files:
        return
    one_writer(conn)
    _write_paths(conn, root_id, {path: (file.size, file.mtime_ns, file.sidecar_mtime_ns, file.image_id) for path, file in files})
    changed = _earliest((file.image_id, file.mtime_ns) for _, file in files)
    conn.execute(_EARLIER, [list(changed), list(changed.values())])
    bump_generation(conn)


def find_images(conn: Connection, hashes: Sequence[bytes]) -> dict[bytes, int]:
    """Ids of the images of these contents, where known."""
    return dict(conn.execute("SELECT hash, id FROM images WHERE hash = ANY(%s)", [list(hashes)]).fetchall())


def _text_ids(conn: Connection, texts: Sequence[TextPair]) -> dict[bytes, int]:
    by_hash = {text.hash: text for text in texts}
    ids = dict(conn.execute("SELECT hash, id FROM texts WHERE hash = ANY(%s)", [list(by_hash)]).fetchall())
    new = [(hash, text.text_g, text.text_l) for hash, text in by_hash.items() if hash not in ids]
    for part in _in_parts(new):
        ids |= dict(conn.execute(_WRITE_TEXTS, [list(column) for column in zip(*part)]).fetchall())
    return ids


def _write_paths(conn: Connection, root_id: int, files: Mapping[str, tuple[int, int, int, int]]) -> None:
    """Record these files by path: size, time, time of the text beside it, image id."""
    sizes, mtimes, sidecars, images = (list(column) for column in zip(*files.values()))
    values = {"root": root_id, "paths": list(files), "sizes": sizes, "mtimes": mtimes, "sidecars": sidecars, "images": images}
    conn.execute(_WRITE_PATHS, values)


def _metadata_rows(metadata: Mapping[str, bytes], places: Mapping[str, str]) -> list[_Row]:
    rows = {clean_text(key): (clean_text(places.get(key, "")), raw) for key, raw in metadata.items()}
    return [(key, place, zlib.compress(raw), json_or_none(raw)) for key, (place, raw) in rows.items()]


def _write_pieces(conn: Connection, pieces: Mapping[int, Sequence[_Row]], known: Sequence[int]) -> None:
    """Make these all that is known of what these images' files carry; those in `known` may have others."""
    if known:
        conn.execute("DELETE FROM metadata WHERE image_id = ANY(%s)", [list(known)])
    rows = [(image_id, *row) for image_id, of_image in pieces.items() for row in of_image]
    for part in _in_parts(rows):
        conn.execute(_WRITE_METADATA, [list(column) for column in zip(*part)])


def _in_parts(rows: Iterable[tuple]) -> Iterator[list[tuple]]:
    """The rows, together as long as they are small: a parameter of PostgreSQL's takes a gigabyte, and a file may carry megabytes."""
    part, size = [], 0
    for row in rows:
        part.append(row)
        size += sum(len(value) for value in row if isinstance(value, (str, bytes)))
        if size > _PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _columns(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: list(column) for name, column in zip(names, zip(*rows))}


def _array(texts: Sequence[str]) -> str:
    """PostgreSQL's own writing of an array of texts."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def _values(reading: Reading, text_ids: dict[bytes, int]) -> list:
    """Values of `_READING`."""
    texts = [text_ids[text.hash] if text else None for text in (reading.prompt, reading.negative)]
    return [*texts, *(_storable(name, getattr(reading, name)) for name in _SETTINGS)]


def _storable(name: str, value: Any) -> Any:
    """`value` as the column takes it; a number that a file claims beyond the column's range is left out."""
    if isinstance(value, str):
        return clean_text(value)[:MAX_NAME]
    if isinstance(value, (list, dict)):
        return clean_json(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _in_range(value, 10**20 if name == "seed" else 2**63)
    return value


def _in_range(number: int, limit: int) -> int | None:
    return number if abs(number) < limit else None


def _date(record: ImageRecord, changed: Mapping[bytes, datetime]) -> tuple[datetime | None, bool]:
    """Values of `created` and `created_own`: the file's own date, else when a file of this content was last changed."""
    own = _with_zone(record.created)
    return (own, True) if own is not None else (changed.get(record.hash), False)


def _earliest(changes: Iterable[tuple[_Key, int]]) -> dict[_Key, datetime]:
    """The earliest time by key, of times in ns since 1970; those of a clock that was never set are left out."""
    first: dict[_Key, datetime] = {}
    for key, nanoseconds in changes:
        moment = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
        if moment - _EPOCH > timedelta(days=1):
            first[key] = min(moment, first.get(key, moment))
    return first


def _with_zone(moment: datetime | None) -> datetime | None:
    """A time without a zone is this computer's, not the server's. A clock that was never set tells none."""
    if moment is None or not 1800 < moment.year < 9000:  # beyond them neither Python nor psycopg can shift it between zones
        return None
    try:
        return moment if moment.tzinfo is not None else moment.astimezone()
    except (OSError, OverflowError, ValueError):  # Windows knows no local time before 1970
        return None


def _refuse_unstorable(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"The file name {ascii(path)} is not valid UTF-8 and cannot be recorded. Rename the file."
            ) from None
