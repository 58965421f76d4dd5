"""Filters by where an image lies, or has lain: its folder, file and root."""

from __future__ import annotations

from typing import Any

import pytest
from diffusion_toolkit import db
from host.filtering import passing
from psycopg import sql


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("folder:inbox", [3]),
        ("folder=inbox", [3]),
        ("folder:output/inbox", [3]),
        ("folder:in*", [3]),
        ("folder:/pictures/inbox", [3]),
        ("-folder:inbox", [1, 2]),
        ("folder:kept", [1, 3]),
        ("path:lost", [2]),
        ("folder:lost -has:file", [2]),
        ("file:new,old", [2, 3]),
        ("format:webp", [2, 3]),
        ("filesize:5", [2, 3]),
        ("root:output", [2, 3]),
        ("-root:output", [1]),
        ("root:output,input", [1, 2, 3]),
    ],
)
def test_a_place_that_an_image_has_left_for_another_is_none_of_it(conn, root, image, text: str, expected: list[int]) -> None:
    """Image 1 was moved to another root, 2 is gone with all of its files, and 3 has lost none of its two."""
    names = [("inbox/new.webp", "lost/old.webp", "inbox/new or not.webp"), ("kept/1.png", None, "kept/3.png")]
    first = db.write_images(conn, root, [image(n, path=path, file_size=5) for n, path in enumerate(names[0])])
    there = [image(n, path=path, file_size=7) for n, path in enumerate(names[1]) if path]
    assert {*db.write_images(conn, db.ensure_root(conn, "input", "/other"), there)} < {*first}
    db.mark_missing(conn, root, names[0][:2])
    numbers = dict(zip(first, (1, 2, 3)))
    assert [numbers[image_id] for image_id in passing(conn, db.parse_filter(text))] == expected


def test_an_image_that_is_gone_altogether_is_found_by_each_place_that_it_was_known_in(conn, root, image) -> None:
    [moved] = db.write_images(conn, root, [image(1, path="first/a.png")])
    db.mark_missing(conn, root, ["first/a.png"])
    db.write_images(conn, root, [image(1, path="second/a.png")])
    there = passing(conn, db.parse_filter("folder:first"))
    db.mark_missing(conn, root, ["second/a.png"])
    assert (there, passing(conn, db.parse_filter("folder:first")), passing(conn, db.parse_filter("folder:second"))) == ([], [moved], [moved])


@pytest.fixture
def many(conn, root) -> None:
    """6000 images, 60 each in folders 0 to 99."""
    conn.execute(
        "INSERT INTO images (hash, width, height, prompt_joined, negative_joined, loras, reader)"
        " SELECT int8send(n), 8, 8, false, false, '[]', 1 FROM generate_series(1, 6000) n"
    )
    conn.execute(
        "INSERT INTO paths (root_id, path, image_id, file_size, mtime_ns)"
        " SELECT %s, format('%%s/%%s.png', n %% 100, n), n, 5, 6 FROM generate_series(1, 6000) n",
        [root],
    )


@pytest.mark.parametrize("text", ["format:png", "file:png", "root:output", "filesize:>1", "folder:*7", "folder:7", "folder:/pictures"])
@pytest.mark.parametrize("lost", [0, 3000])
def test_of_a_library_that_was_never_analysed_no_image_is_compared_with_each_file(conn, root, many, text: str, lost: int) -> None:
    conn.execute("UPDATE paths SET missing = now() WHERE image_id <= %s", [lost])
    found = db.parse_filter(text)
    explain = "EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) SELECT count(*) FROM images i WHERE {}"
    [[plan]] = conn.execute(sql.SQL(explain).format(found.narrow), found.parameters)
    assert compared(plan[0]["Plan"]) < 60_000, plan


def compared(plan: dict[str, Any]) -> int:
    """Rows that a plan brought together, and that did not belong together."""
    own = plan.get("Rows Removed by Join Filter", 0) * plan["Actual Loops"]
    return own + sum(compared(part) for part in plan.get("Plans", ()))


def test_the_planner_guesses_well_how_many_lie_in_a_folder(conn, many) -> None:
    """By its guess a search chooses its way."""
    conn.execute("ANALYZE images; ANALYZE paths; ANALYZE roots")
    for text in ("folder:7", "folder:output/7"):
        found = db.parse_filter(text)
        [[plan]] = conn.execute(sql.SQL("EXPLAIN (FORMAT JSON) SELECT i.id FROM images i WHERE {}").format(found.condition), found.parameters)
        assert 20 <= plan[0]["Plan"]["Plan Rows"] <= 240, text  # 60 are in it
