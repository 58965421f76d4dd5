"""Images by filter alone, in order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from diffusion_toolkit import db
from diffusion_toolkit.nodes.search.asking import list_by_filter


@pytest.fixture
def ids(conn: db.Connection, root: int, image: Callable[..., db.ImageRecord]) -> list[int]:
    dates = [datetime(2025, 1, 2), None, datetime(2025, 1, 3), datetime(2025, 1, 1)]
    ratings, seeds = [None, 5, 1, 5], [3, 2, None, 1]
    records = [image(n, created=date, rating=stars, seed=seed) for n, (date, stars, seed) in enumerate(zip(dates, ratings, seeds), 1)]
    return db.write_images(conn, root, records)


@pytest.mark.parametrize(
    ("order", "expected"),
    [("newest", [3, 1, 4, 2]), ("oldest", [4, 1, 3, 2]), ("last indexed", [4, 3, 2, 1]), ("rating", [4, 2, 3, 1]), ("seed", [4, 2, 1, 3])],
)
def test_images_come_in_order_with_the_unknown_last(conn: db.Connection, ids: list[int], order: str, expected: list[int]) -> None:
    assert [ids.index(id_) + 1 for id_ in db.list_images(conn, order=order)] == expected


def test_pages_of_a_filter_are_cut_from_one_list(conn: db.Connection, ids: list[int]) -> None:
    rated = db.parse_filter("has:rating")
    pages = [db.list_images(conn, rated, k=2, offset=offset) for offset in (0, 2, 4)]
    assert pages == [[ids[2], ids[3]], [ids[1]], []] and db.count_images(conn, rated) == 3 and db.count_images(conn) == 4


def test_an_unknown_order_is_named(conn: db.Connection) -> None:
    with pytest.raises(ValueError, match="newest, oldest"):
        db.list_images(conn, order="best")


def test_an_image_that_is_removed_while_a_list_is_read_is_still_in_it(library: db.Library, image: Callable[..., db.ImageRecord], monkeypatch) -> None:
    with library.connection() as conn:
        ids = db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(n) for n in range(3)])
    count = db.count_images

    def removed_meanwhile(conn: db.Connection, filter: db.Filter | None) -> int:
        with library.connection() as other:
            other.execute("DELETE FROM images WHERE id = %s", [ids[0]])
        return count(conn, filter)

    monkeypatch.setattr(db, "count_images", removed_meanwhile)
    listed = list_by_filter(library, None, "newest", 5, 0)
    assert ({one.id for one in listed.images}, listed.total) == ({*ids}, 3)
    assert [one.id for one in list_by_filter(library, None, "seed", 5, 0).images] == ids[1:]


def test_a_list_of_nothing_says_what_helps(library: db.Library, image: Callable[..., db.ImageRecord]) -> None:
    def why(text: str, offset: int = 0) -> str:
        filter = db.parse_filter(text)
        listed = list_by_filter(library, filter, "newest", 5, offset)
        assert not listed.images
        return listed.why_nothing(filter, offset)

    assert why("") == "There are no images. Run Index Folder."
    with library.connection() as conn:
        db.write_images(conn, db.ensure_root(conn, "output", "/pictures"), [image(1, seed=7), image(2, rating=1)])
    assert why("", offset=9) == "Of 2 images none is after the first 9. Lower offset."
    assert why("has:seed", offset=1_000) == "Of 1 image that passes has:seed none is after the first 1,000. Lower offset."
    assert why("has:seed has:rating") == "There are no images that pass has:seed has:rating. Loosen the filter."
