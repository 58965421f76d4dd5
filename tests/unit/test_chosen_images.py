"""How a node takes a search's hits, one id or a list of ids."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def chosen():
    import_comfy()
    from diffusion_toolkit.nodes import chosen_images

    return chosen_images


def hits(*ids: int) -> SimpleNamespace:
    return SimpleNamespace(ids=ids, library="default")


@pytest.mark.parametrize(
    ("of", "given", "meant"),
    [
        (None, "12", [12]),
        (None, " 12, 15 18;\n#20 ", [12, 15, 18, 20]),
        (None, "[12, 15]", [12, 15]),
        (None, 12, [12]),
        (None, [12, "15 16", (3,)], [12, 15, 16, 3]),
        (hits(4, 2), "", [4, 2]),
        (hits(4, 2), None, [4, 2]),
        (hits(4, 2), "9 2 9", [4, 2, 9]),
    ],
)
def test_ids_are_taken_hits_first_each_once_in_order(chosen, of, given, meant):
    assert chosen.chosen_ids(of, given) == meant


@pytest.mark.parametrize("given", ["a fox", "12 fox", "-3", "1.5", 1.5, True, "\u0661", {"id": 3}, "1" * 40])
def test_what_is_no_id_is_named_with_what_to_write(chosen, given):
    with pytest.raises(chosen.NoSuchChoice, match="is no image id. Write the ids"):
        chosen.chosen_ids(None, given)


@pytest.mark.parametrize("given", ["0", 0, 2**63])
def test_an_id_that_no_image_can_have_is_told_before_the_library_is_asked(chosen, given):
    with pytest.raises(chosen.NoSuchChoice, match=f"No image has the id {given}"):
        chosen.chosen_ids(None, given)


@pytest.mark.parametrize(("of", "given"), [(None, ""), (None, None), (None, []), (hits(), " , ")])
def test_no_choice_says_what_to_connect(chosen, of, given):
    with pytest.raises(chosen.NoSuchChoice, match="No images are chosen. Connect the hits"):
        chosen.chosen_ids(of, given)


def test_a_thousand_images_are_the_most(chosen):
    assert len(chosen.chosen_ids(hits(*range(1, 1001)), "")) == 1000
    with pytest.raises(chosen.NoSuchChoice, match="1,001 images are chosen, 1,000 are the most"):
        chosen.chosen_ids(hits(*range(1, 1001)), "1001")


def test_what_is_given_twice_is_told_and_can_be_kept(chosen):
    assert chosen.counted_once(hits(4, 2), "9 2 9") == ["2 is there twice, 9 is there twice, and counted once"]
    assert chosen.counted_once(hits(4, 2), "") == [] and chosen.chosen_ids(None, "1 2 1", repeats=True) == [1, 2, 1]
    with pytest.raises(ValueError, match=r"3 weights for 2 images \(4 is there twice, and counted once\)"):
        chosen.read_weights("1 1 1", 2, chosen.counted_once(None, "4 4 2"))
