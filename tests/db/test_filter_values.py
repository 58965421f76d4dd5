"""Filters of ages, sizes, shapes and numbers at the edges of what they let pass; the fields themselves are in test_filters.py."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from diffusion_toolkit import db
from psycopg import sql

DAYS = (3, 40, 400)


@pytest.fixture
def passing(conn, root, image):
    """Three images of ages DAYS, 1 to 3: which of them pass a text."""
    now = datetime.now(timezone.utc)
    rows = [(1344, 768, 500_000, 7.0), (1000, 1000, 2**19, 7.5), (640, 1280, 2_000_000, None)]
    ids = db.write_images(
        conn, root,
        [
            image(n, width=width, height=height, file_size=size, cfg=cfg, created=now - timedelta(days=days))
            for n, ((width, height, size, cfg), days) in enumerate(zip(rows, DAYS))
        ],
    )  # fmt: skip
    for image_id, rating in zip(ids, (3, 5, -1)):
        conn.execute("UPDATE images SET rating = %s WHERE id = %s", [rating, image_id])

    def found(text: str) -> list[int]:
        filter = db.parse_filter(text)
        rows = conn.execute(sql.SQL("SELECT i.id FROM images i WHERE {} ORDER BY i.id").format(filter.condition), filter.parameters)
        return [ids.index(image_id) + 1 for (image_id,) in rows]

    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("age:4d", [1]), ("age:<4d", [1]), ("age:2d", []), ("age:>2d", [1, 2, 3]), ("age:>4d", [2, 3]), ("age:>=30d", [2, 3]),
        ("age:71h", []), ("age:73h", [1]), ("age:5w", [1]), ("age:6w", [1, 2]), ("age:1mo", [1]), ("age:2mo", [1, 2]), ("age:1y", [1, 2]),
        ("age:2y", [1, 2, 3]), ("age:2d..4d", [1]), ("age:1d..2d", []), ("age:7w..2y", [3]), ("age:30d..", [2, 3]), ("age:..30d", [1]),
        ("filesize:500kB", [1]), ("filesize:0.5m", [1]), ("filesize:512KiB", [2]), ("filesize:0.5MiB", [2]), ("filesize:2000000b", [3]),
        ("filesize:<=500k", [1]), ("filesize:<500k", []), ("filesize:>=2mb", [3]), ("filesize:1MB..1GB", [3]),
        ("filesize:0..500kB", [1]), ("filesize:500000..1MB", [1, 2]), ("filesize:600000..2MB", [3]), ("filesize:1b..1MB", [1, 2]), ("filesize:1kB..500000", [1]), ("filesize:500kB..500000", [1]), ("filesize:..0.5MB", [1]), ("filesize:1MB..", [3]), ("filesize:1..500000", [1]), ("filesize:600000..", [3]),
        ("aspect:>=1.75", [1]), ("aspect:>1.75", []), ("aspect:<=0.5", [3]), ("aspect:<0.5", []), ("aspect:<=1", [2, 3]),
        ("aspect:1.71", []), ("aspect:1.72", [1]), ("aspect:1.78", [1]), ("aspect:1.79", []), ("aspect:..1", [2, 3]), ("aspect:1.72..", [1]),
        ("megapixels:1", [2]), ("megapixels:1.02", [1, 2]), ("megapixels:..1", [2, 3]), ("megapixels:0.8", []), ("megapixels:0.81", [3]), ("size:640x1279", []),
        ("cfg:7.0000001", [1]), ("cfg:7.001", []), ("cfg:>=7.5", [2]), ("cfg:<=7", [1]), ("cfg:7..7.5", [1, 2]),
        ("rating:rejected", [3]), ("rating:rejected..3", [1, 3]), ("rating:3..", [1, 2]), ("rating:<5", [1, 3]),
    ],
)  # fmt: skip
def test_a_value_lets_pass_what_lies_within_it(passing, text: str, expected: list[int]) -> None:
    assert passing(text) == expected
