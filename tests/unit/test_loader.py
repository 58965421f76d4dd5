"""Which images the Loader loads where its inputs are lists."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def loader():
    import_comfy()
    from diffusion_toolkit.nodes.conditioning import loader

    return loader


def hits(*ids: int) -> SimpleNamespace:
    return SimpleNamespace(ids=ids, library="default")


@pytest.mark.parametrize(
    ("image_id", "of", "image_ids", "meant"),
    [
        ([5, 5, 6], [None], [""], [5, 5, 6]),
        ([5, 6, 7], [hits(5, 6, 7)], [""], [5, 6, 7]),
        ([1], [hits(5, 6)], [5, 6, 9], [5, 6, 9]),
        ([1], [None], ["3, 4"], [3, 4]),
        ([0], [None], ["3 3 4"], [3, 3, 4]),  # two seeds beside it are of one image
        ([1], [None], [3, 4, 3], [3, 4, 3]),  # a list of ids stays aligned with the lists beside it
        ([1], [hits(5), hits(6), hits(5)], [""], [5, 6, 5]),  # of Pick Hit
    ],
)
def test_lists_of_ids_are_loaded_in_order_and_hits_once(loader, image_id, of, image_ids, meant):
    assert loader.loaded_ids(image_id, of, image_ids) == meant


def test_an_empty_list_of_ids_is_told_as_that(loader):
    with pytest.raises(loader.NoSuchChoice, match="connected to image_id is empty.*Connect a search node's"):
        loader.loaded_ids([], [None], [""])


def test_a_written_id_is_not_taken_for_one_of_a_linked_ids_library(loader):
    """As where another pack's node joins both in a list."""
    from diffusion_toolkit.nodes.links import ImageId

    with pytest.raises(ValueError, match="several libraries: image ids are of 'archive', library_name is 'default'"):
        loader.Loader.execute([ImageId(3, "archive"), 5], ["default"], ["both"])


def test_no_image_is_loaded_that_nobody_chose(loader):
    """As where the node before was bypassed, or a search found nothing that a script could write into image_ids."""
    with pytest.raises(ValueError, match="No image is chosen. Connect the hits or the image_id"):
        loader.loaded_ids([0], [None], [""])


def test_the_longest_list_decides_and_last_values_are_repeated(loader):
    assert loader.aligned([1, 2], ["a"], [None, "b", "c"]) == [[1, 2, 2], ["a", "a", "a"], [None, "b", "c"]]


def test_what_is_zero_and_which_sizes_are_told_is_said_with_the_images_that_it_is_true_of(loader):
    def row(id_: int, half: str, sizes: str):
        image = SimpleNamespace(id=id_, width=64, height=48, asked_width=None, asked_height=None)
        return SimpleNamespace(image=image), half, sizes

    both = [row(1, loader.CLIP_L_ONLY, loader.OWN_SIZES), row(2, loader.CLIP_L_ONLY, loader.NO_SIZES)]
    assert loader.changes(both) == ["CLIP-L only: CLIP-G's half and the pooled output are zero", "with the size 64 x 48 (#1)"]
    assert loader.changes([row(1, loader.CLIP_G_ONLY, loader.NO_SIZES)]) == ["CLIP-G only: CLIP-L's half is zero"]
    assert loader.changes([row(1, loader.BOTH, loader.NO_SIZES)]) == []
