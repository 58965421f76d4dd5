"""How a node takes a search's hits, one id or a list of ids."""

from __future__ import annotations

import copy
import json
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


def test_a_linked_id_knows_its_library(chosen):
    from diffusion_toolkit.nodes.links import ImageId

    own = [ImageId(12, "archive"), ImageId(15, "archive")]
    assert chosen.chosen_ids(None, own) == [12, 15] and {type(id_) for id_ in chosen.chosen_ids(None, own)} == {int}
    assert chosen.meant_library([], [], "default", own) == "archive"  # the widget is beside the point, as with hits
    assert copy.deepcopy(own)[0].library == "archive" and json.dumps(own) == "[12, 15]"  # in ComfyUI's history
    for of, linked, ids in (([hits(3)], [], own), ([], ["default"], own), ([], [], [*own, 3]), ([], [], [*own, ImageId(3, "work")])):
        with pytest.raises(ValueError, match="The images are of several libraries: .*image ids are of 'archive'"):
            chosen.meant_library(of, linked, "default", ids)


@pytest.mark.parametrize(("linked", "helps"), [([], "Choose the library of the image ids in library_name, or"), (["work"], "Disconnect library, or")])
def test_what_is_of_several_libraries_is_told_with_what_helps(chosen, linked, helps):
    from diffusion_toolkit.nodes.links import ImageId

    with pytest.raises(ValueError, match=helps):
        chosen.meant_library([], linked, "default", [ImageId(3, "archive"), 5])


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


@pytest.mark.parametrize("linked", [{"library": None}, {"library": None, "library_name": None}, {"library_name": None}])
def test_a_linked_library_is_never_taken_for_one_that_has_not_changed(chosen, linked: dict) -> None:
    """Which it is comes with the link, from any node: that of another pack says nothing of it."""
    from diffusion_toolkit.nodes.library_state import library_state

    assert library_state(**linked) != library_state(**linked)


@pytest.mark.parametrize(
    ("given", "asks"),
    [
        ({"hits": None}, False),
        ({"hits": None, "image_ids": ""}, False),
        ({"hits": None, "image_id": 0, "image_ids": ""}, False),
        ({"hits": None, "image_ids": "", "clip_l_hits": None, "clip_l_ids": ""}, False),
        ({"hits": None, "image_ids": "3"}, True),
        ({"hits": None, "image_ids": None}, True),
        ({"hits": None, "image_id": 3}, True),
        ({"hits": None, "image_id": None}, True),
        ({"hits": None, "image_ids": "", "disliked_ids": "3"}, True),
        ({"image_ids": "3"}, True),
        ({"image_ids": None}, True),
        ({}, True),
    ],
)
def test_only_where_hits_alone_choose_no_library_is_asked_before(chosen, given: dict, asks: bool) -> None:
    """What is linked is None; by a linked library one sees whether it is looked at."""
    from diffusion_toolkit.nodes.library_state import chosen_state

    assert bool(chosen_state(library=None, **given)) is asks
