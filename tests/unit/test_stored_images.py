"""A stored image in words."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def stored_images():
    import_comfy()
    from diffusion_toolkit.nodes import stored_images

    return stored_images


@pytest.mark.parametrize(
    ("order", "fields", "told"),
    [
        ("newest", {"created": datetime(2025, 3, 1, 14, 5), "created_own": True}, "2025-03-01 14:05"),
        ("oldest", {"created": datetime(2025, 3, 1, 14, 5), "created_own": False}, "2025-03-01 14:05 (its file's)"),
        ("newest", {"created": None, "created_own": False}, "no date"),
        ("last indexed", {"indexed": datetime(2025, 3, 1, 14, 5)}, "indexed 2025-03-01 14:05"),
        ("rating", {"rating": 1}, "1 star"),
        ("rating", {"rating": 0}, "0 stars"),
        ("rating", {"rating": -1}, "rejected"),
        ("rating", {"rating": None}, "not rated"),
        ("seed", {"seed": 2**64 - 1}, f"seed {2**64 - 1}"),
        ("seed", {"seed": None}, "no seed"),
        ("score", {}, ""),
    ],
)
def test_the_value_that_a_list_is_ordered_by_is_told(stored_images, order, fields, told):
    assert stored_images.ordered_by(SimpleNamespace(**fields), order) == told


def test_the_line_of_an_image_has_its_id_what_it_is_ordered_by_its_prompt_on_one_line_and_a_note(stored_images):
    image = SimpleNamespace(id=7, prompt="a fox\n in the snow")
    assert stored_images.image_line(image) == "#7  a fox in the snow"
    assert stored_images.image_line(image, "the file is gone", "seed 5") == "#7  seed 5  a fox in the snow  [the file is gone]"
    assert stored_images.image_line(SimpleNamespace(id=8, prompt=None)) == "#8  (no prompt known)"
    assert stored_images.image_line(SimpleNamespace(id=9, prompt="x" * 121)) == "#9  " + "x" * 119 + "\u2026"


def test_of_a_search_by_negative_prompt_that_text_is_told_as_what_it_is_and_beside_the_prompt_where_both_were_asked(stored_images):
    image = SimpleNamespace(id=7, prompt="a fox", negative="blurry\n hands")
    assert stored_images.image_line(image, kinds=["negative"]) == "#7  negative: blurry hands"
    assert stored_images.image_line(image, "gone", kinds=["prompt", "negative"]) == "#7  a fox  negative: blurry hands  [gone]"
    assert stored_images.image_line(image, kinds=["prompt", "image"]) == stored_images.image_line(image) == "#7  a fox"
    assert stored_images.image_line(SimpleNamespace(id=8, prompt="a", negative=None), kinds=["negative"]) == "#8  negative: (none known)"
    long = SimpleNamespace(id=9, prompt="a", negative="x" * 121)
    assert stored_images.image_line(long, kinds=["negative"]) == "#9  negative: " + "x" * 119 + "\u2026"
