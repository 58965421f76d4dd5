"""Labels, namespaces and ratings: given by people, kept when files are read again, found by filters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from diffusion_toolkit import db
from host.filtering import passing
from psycopg import sql


def given(conn: db.Connection, image_id: int) -> tuple:
    [image] = db.get_images(conn, [image_id])
    return image.labels, image.namespace, image.rating


def test_labels_are_small_letters_each_once() -> None:
    assert db.normal_labels(["Cat,  Black   cat\nCAT", " ,dog"]) == ["black cat", "cat", "dog"]


def test_a_label_that_no_index_takes_is_refused(conn: db.Connection, root: int, image: Callable) -> None:
    with pytest.raises(ValueError, match="Shorten it"):
        db.label_images(conn, db.write_images(conn, root, [image(1)]), add=["x" * 3000])
    with pytest.raises(ValueError, match=r"^The namespace 'x+'\.\.\. is longer than 200 characters\. Shorten it\.$"):
        db.label_images(conn, [], namespace="x" * 3000)


def test_an_image_that_comes_again_keeps_its_labels_and_gains_new_ones(conn: db.Connection, root: int, image: Callable) -> None:
    [id_] = db.write_images(conn, root, [image(1, labels=("Draft",), namespace="Work", rating=3)])
    assert given(conn, id_) == (("draft",), "work", 3)
    db.write_images(conn, root, [image(1, labels=("cat", "draft"))])
    assert given(conn, id_) == (("cat", "draft"), "work", 3)
    db.write_images(conn, root, [image(1, namespace="other", rating=5)])
    assert given(conn, id_) == (("cat", "draft"), "other", 3)


def test_a_new_reading_rates_only_what_nobody_has_rated(conn: db.Connection, root: int, image: Callable) -> None:
    one, two = db.write_images(conn, root, [image(1, labels=("cat",)), image(2)])
    db.label_images(conn, [one], rating=-1)
    db.update_readings(conn, {id_: db.Reading(rating=4, reader=3) for id_ in (one, two)})
    assert given(conn, one) == (("cat",), "", -1) and given(conn, two) == ((), "", 4)


def test_label_images_adds_removes_moves_and_rates(conn: db.Connection, root: int, image: Callable) -> None:
    one, two = db.write_images(conn, root, [image(1, labels=("a", "b")), image(2, labels=("b",))])
    assert db.label_images(conn, [one, two], add=["c", "a"], remove=["b"], namespace="Mine", rating=5) == 2
    assert given(conn, one) == given(conn, two) == (("a", "c"), "mine", 5)
    assert db.label_images(conn, [one], add=["d"], namespace="", clear_rating=True) == 1
    assert given(conn, one) == (("a", "c", "d"), "", None)


def test_what_changes_nothing_leaves_the_generation(conn: db.Connection, root: int, image: Callable) -> None:
    [id_] = db.write_images(conn, root, [image(1, labels=("a",), rating=2)])
    before = db.generation(conn)
    assert db.label_images(conn, [id_], add=["A"], remove=["z"], rating=2) == 0
    assert db.label_files(conn, root, ["folder/1.png"], ["a"]) == []
    assert db.generation(conn) == before
    assert db.label_files(conn, root, ["folder/1.png", "folder/2.png"], ["b"], "work") == [id_]
    assert db.generation(conn) > before and given(conn, id_) == (("a", "b"), "work", 2)


def test_a_rating_that_is_none_is_refused(conn: db.Connection) -> None:
    with pytest.raises(ValueError, match="0 to 5 stars"):
        db.label_images(conn, [1], rating=6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label:Cat", [1]),
        ("label:cat,dog", [1, 2]),
        ('label:"black cat"', [2]),
        ("label:*cat", [1, 2]),
        ("label=*cat", []),
        ("label:ca", []),
        ("-label:cat", [2, 3]),
        ("has:label", [1, 2]),
        ("namespace:WORK", [1, 2]),
        ("namespace:w*", [1, 2]),
        ('namespace:""', [3]),
        ("-namespace:work", [3]),
        ("has:namespace", [1, 2]),
        ("rating:>=4", [1]),
        ("rating:rejected", [2]),
        ("-rating:rejected", [1, 3]),
        ("rating:3..5", [1]),
        ("rating:-1,5", [1, 2]),
        ("has:rating", [1, 2]),
    ],
)
def test_filters_by_labels(conn: db.Connection, root: int, image: Callable, text: str, expected: list[int]) -> None:
    records = [
        image(1, labels=("cat",), namespace="work", rating=5),
        image(2, labels=("dog", "black cat"), namespace="work", rating=-1),
        image(3),
    ]
    numbers = {id_: number for number, id_ in enumerate(db.write_images(conn, root, records), 1)}
    found = db.parse_filter(text)
    statement = sql.SQL("SELECT i.id FROM images i WHERE {} ORDER BY i.id").format(found.condition)
    assert [numbers[id_] for (id_,) in conn.execute(statement, found.parameters)] == expected


def test_a_star_in_a_label_is_looked_for_as_such_after_an_equals_sign(conn: db.Connection, root: int, image: Callable) -> None:
    starred, other = db.write_images(conn, root, [image(1, labels=("a*b",), namespace="5*"), image(2, labels=("axb",), namespace="5 stars")])
    for text in ("label=a*b", "label=a*b,none", "label:a*b -label:axb", "-label!=A*B", "namespace=5*", "namespace!=none -namespace=\"5 stars\""):
        assert passing(conn, db.parse_filter(text)) == [starred]
    assert passing(conn, db.parse_filter("label:a*b namespace:5*")) == [starred, other] and passing(conn, db.parse_filter("label=a*")) == []


def test_an_image_that_goes_since_its_files_were_overwritten_is_told_by_its_prompt(conn: db.Connection, root: int, image: Callable) -> None:
    from diffusion_toolkit.nodes.library.upkeep import place_of

    ids = db.write_images(conn, root, [image(1, prompt=db.TextPair("a heron\nby a lake", "")), image(2)])
    conn.execute("DELETE FROM paths")
    going = {lost.image_id: place_of(lost) for lost in db.going_images(conn, {}, 10)}
    assert going == {ids[0]: f"image {ids[0]}, without any known file: a heron by a lake", ids[1]: f"image {ids[1]}, without any known file"}
