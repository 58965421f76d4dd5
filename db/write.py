"""Write images with their texts, paths and metadata. Each function takes the writer's lock and bumps the generation."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime

from psycopg import Connection

from ._clean import clean_json, clean_optional, clean_text, json_or_none
from ._generation import bump_generation, one_writer
from .records import ImageRecord, TextPair

_FIELDS = [
    "width",
    "height",
    "prompt_id",
    "negative_id",
    "prompt_joined",
    "negative_joined",
    "seed",
    "steps",
    "cfg",
    "sampler",
    "scheduler",
    "checkpoint",
    "loras",
    "generator",
    "created",
]
_WRITE_IMAGE = (
    f"INSERT INTO images (hash, {', '.join(_FIELDS)}) VALUES (%s{', %s' * len(_FIELDS)})"
    f" ON CONFLICT (hash) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _FIELDS)}"
)
_WRITE_PATH = """
INSERT INTO paths (root_id, path, file_size, mtime_ns, image_id) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (root_id, path) DO UPDATE
SET file_size = excluded.file_size, mtime_ns = excluded.mtime_ns, image_id = excluded.image_id, seen = excluded.seen
"""
_WRITE_METADATA = """
INSERT INTO metadata (image_id, key, raw, data) VALUES (%s, %s, %s, %s::jsonb)
ON CONFLICT (image_id, key) DO UPDATE SET raw = excluded.raw, data = excluded.data
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
    images = {record.hash: record for record in records}  # a copy in the same batch is one image
    with conn.cursor() as cursor:
        cursor.executemany(_WRITE_IMAGE, [[record.hash, *_fields(record, text_ids)] for record in images.values()])
        ids = find_images(conn, list(images))
        cursor.executemany(
            _WRITE_PATH,
            [[root_id, record.path, record.file_size, record.mtime_ns, ids[record.hash]] for record in records],
        )
        cursor.executemany(
            _WRITE_METADATA,
            [
                [ids[record.hash], clean_text(key), zlib.compress(raw), json_or_none(raw)]
                for record in images.values()
                for key, raw in record.metadata.items()
            ],
        )
    bump_generation(conn)
    return [ids[record.hash] for record in records]


def link_paths(conn: Connection, root_id: int, files: Iterable[tuple[str, int, int, int]]) -> None:
    """Record known images under further, renamed or touched files: (path, size, mtime_ns, image_id) each.

    ValueError as in `write_images`.
    """
    files = list(files)
    _refuse_unstorable(path for path, *_ in files)
    if not files:
        return
    one_writer(conn)
    with conn.cursor() as cursor:
        cursor.executemany(_WRITE_PATH, [[root_id, *file] for file in files])
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


def _fields(record: ImageRecord, text_ids: dict[bytes, int]) -> list:
    """Values of `_FIELDS`; what a file claims beyond a column's range is left out."""
    return [
        record.width,
        record.height,
        text_ids[record.prompt.hash] if record.prompt else None,
        text_ids[record.negative.hash] if record.negative else None,
        record.prompt_joined,
        record.negative_joined,
        _in_range(record.seed, 10**20),
        _in_range(record.steps, 2**63),
        record.cfg,
        clean_optional(record.sampler),
        clean_optional(record.scheduler),
        clean_optional(record.checkpoint),
        clean_json(record.loras),
        clean_optional(record.generator),
        _with_zone(record.created),
    ]


def _in_range(number: int | None, limit: int) -> int | None:
    return number if number is not None and abs(number) < limit else None


def _with_zone(moment: datetime | None) -> datetime | None:
    """A time without a zone is this computer's, not the server's."""
    return moment.astimezone() if moment is not None and moment.tzinfo is None else moment


def _refuse_unstorable(paths: Iterable[str]) -> None:
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"The file name {ascii(path)} is not valid UTF-8 and cannot be recorded. Rename the file."
            ) from None
