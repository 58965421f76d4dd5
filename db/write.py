"""Write images with their texts, paths and metadata. Each function takes the writer's lock and bumps the generation."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
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
_Key = TypeVar("_Key", bytes, int)
_SETTINGS = [field.name for field in fields(ImageSettings)]
_READING = ["prompt_id", "negative_id", *_SETTINGS]
_FIELDS = ["width", "height", "created", "created_own", *_READING]
_KEPT = {  # what a person may have given an image stays when its file is read again; so does the best that is known of its date
    "created": "CASE WHEN excluded.created_own THEN excluded.created WHEN images.created_own THEN images.created"
    " ELSE least(images.created, excluded.created) END",
    "created_own": "images.created_own OR excluded.created_own",
    "rating": "coalesce(images.rating, {new})",
    "labels": "(SELECT coalesce(array_agg(DISTINCT label ORDER BY label), '{{}}') FROM unnest(images.labels || {new}) label)",
    "namespace": "coalesce(nullif({new}, ''), images.namespace)",
}
_ALL = [*_FIELDS, "labels", "namespace"]


def _set(name: str, new: str) -> str:
    return f"{name} = {_KEPT[name].format(new=new) if name in _KEPT else new}"


_WRITE_IMAGE = (
    f"INSERT INTO images (hash, {', '.join(_ALL)}) VALUES (%s{', %s' * len(_ALL)})"
    f" ON CONFLICT (hash) DO UPDATE SET {', '.join(_set(name, f'excluded.{name}') for name in _ALL)}"
)
_UPDATE_READING = f"UPDATE images SET {', '.join(_set(name, '%s') for name in _READING)} WHERE id = %s"
_WRITE_PATH = """
INSERT INTO paths (root_id, path, file_size, mtime_ns, sidecar_mtime_ns, image_id) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (root_id, path) DO UPDATE
SET file_size = excluded.file_size, mtime_ns = excluded.mtime_ns, sidecar_mtime_ns = excluded.sidecar_mtime_ns,
    image_id = excluded.image_id, seen = excluded.seen
"""
_EARLIER = "UPDATE images SET created = least(created, %s) WHERE id = %s AND NOT created_own"
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_WRITE_METADATA = """
INSERT INTO metadata (image_id, key, place, raw, data) VALUES (%s, %s, %s, %s, %s::jsonb)
ON CONFLICT (image_id, key) DO UPDATE SET place = excluded.place, raw = excluded.raw, data = excluded.data
"""


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
    one_writer(conn)
    text_ids = _text_ids(conn, [text for record in records for text in (record.prompt, record.negative) if text])
    images: dict[bytes, ImageRecord] = {}  # a copy in the same batch is one image, with the text beside any of them
    for record in records:
        if record.hash not in images or record.sidecar_mtime_ns:
            images[record.hash] = record
    changed = _earliest((record.hash, record.mtime_ns) for record in records)
    with conn.cursor() as cursor:
        cursor.executemany(
            _WRITE_IMAGE,
            [
                [record.hash, record.width, record.height, *_date(record, changed), *_values(record, text_ids)]
                + [normal_labels(record.labels), normal_label(record.namespace)]
                for record in images.values()
            ],
        )
        ids = find_images(conn, list(images))
        cursor.executemany(
            _WRITE_PATH,
            [
                [root_id, record.path, record.file_size, record.mtime_ns, record.sidecar_mtime_ns, ids[record.hash]]
                for record in records
            ],
        )
    _write_pieces(conn, {ids[record.hash]: (record.metadata, record.places) for record in images.values()})
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
    one_writer(conn)
    text_ids = _text_ids(conn, [text for reading in readings.values() for text in (reading.prompt, reading.negative) if text])
    with conn.cursor() as cursor:
        cursor.executemany(
            _UPDATE_READING, [[*_values(reading, text_ids), image_id] for image_id, reading in readings.items()]
        )
    _write_pieces(conn, {image_id: (found.metadata, found.places) for image_id, found in (pieces or {}).items()})
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
    with conn.cursor() as cursor:
        cursor.executemany(
            _WRITE_PATH,
            [[root_id, path, file.size, file.mtime_ns, file.sidecar_mtime_ns, file.image_id] for path, file in files],
        )
        changed = _earliest((file.image_id, file.mtime_ns) for _, file in files)
        cursor.executemany(_EARLIER, [[moment, image_id] for image_id, moment in changed.items()])
    bump_generation(conn)


def find_images(conn: Connection, hashes: Sequence[bytes]) -> dict[bytes, int]:
    """Ids of the images of these contents, where known."""
    return dict(conn.execute("SELECT hash, id FROM images WHERE hash = ANY(%s)", [list(hashes)]).fetchall())


def _text_ids(conn: Connection, texts: Sequence[TextPair]) -> dict[bytes, int]:
    by_hash = {text.hash: text for text in texts}
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO texts (hash, text_g, text_l) VALUES (%s, %s, %s) ON CONFLICT (hash) DO NOTHING",
            [[hash, text.text_g, text.text_l] for hash, text in by_hash.items()],
        )
    return dict(conn.execute("SELECT hash, id FROM texts WHERE hash = ANY(%s)", [list(by_hash)]).fetchall())


def _write_pieces(conn: Connection, pieces: Mapping[int, tuple[Mapping[str, bytes], Mapping[str, str]]]) -> None:
    """Make (raw bytes by key, places by key) all that is known of what these images' files carry."""
    conn.execute("DELETE FROM metadata WHERE image_id = ANY(%s)", [list(pieces)])
    with conn.cursor() as cursor:
        cursor.executemany(
            _WRITE_METADATA,
            [
                [image_id, clean_text(key), clean_text(places.get(key, "")), zlib.compress(raw), json_or_none(raw)]
                for image_id, (metadata, places) in pieces.items()
                for key, raw in metadata.items()
            ],
        )


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
