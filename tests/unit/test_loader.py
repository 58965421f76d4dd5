"""Which images the Loader loads where its inputs are lists."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def loader():
    import_comfy()
    from diffusion_toolkit.nodes import loader

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
        ([1], [None], [3, 4, 3], [3, 4, 3]),  # a list of ids stays aligned with the lists beside it
        ([1], [hits(5), hits(6), hits(5)], [""], [5, 6, 5]),  # of Pick Hit
    ],
)
def test_lists_of_ids_are_loaded_in_order_and_hits_once(loader, image_id, of, image_ids, meant):
    assert loader.loaded_ids(image_id, of, image_ids) == meant


def test_the_longest_list_decides_and_last_values_are_repeated(loader):
    assert loader.aligned([1, 2], ["a"], [None, "b", "c"]) == [[1, 2, 2], ["a", "a", "a"], [None, "b", "c"]]
