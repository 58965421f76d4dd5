"""What fills up the shorter side of a mix of two sides, and that the node tells it where it is not exact."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def node():
    import_comfy()
    from diffusion_toolkit.nodes.conditioning import mix_conditioning

    return mix_conditioning


def recalled(value: float, sections: int = 1, source: str = "exact, from stored token states") -> SimpleNamespace:
    states = np.full((77 * sections, 2048), value, np.float16)
    return SimpleNamespace(positive=SimpleNamespace(states=states, pooled=np.full(1280, value, np.float16), source=source))


@pytest.mark.parametrize(
    ("empty", "filled", "note"),
    [
        (recalled(3.0).positive, 3.0, ""),
        (recalled(3.0, source="APPROXIMATION from two vectors").positive, 3.0, "filled up with the empty text: APPROXIMATION from two vectors"),
        (None, 1.0, "filled up with repeats of itself"),
    ],
)
def test_the_shorter_side_is_filled_up_with_the_empty_text_and_told_where_that_is_not_exact(node, empty, filled, note):
    recall = SimpleNamespace(empty=lambda: empty)
    mixed, said = node.mix([recalled(2.0, sections=2)], [1.0], [recalled(1.0)], node.AVERAGE, "positive", recall)
    assert mixed.states[0, 0] == 1.0 and mixed.states[100, 0] == filled and (mixed.states[:, 768:] == 2.0).all()
    assert note in said and bool(said) == bool(note)


def test_hits_without_scores_are_told_as_that_where_they_are_to_weigh(node):
    hits = SimpleNamespace(hits=[SimpleNamespace(image_id=1, score=0.0), SimpleNamespace(image_id=2, score=0.0)])
    with pytest.raises(ValueError, match="a score above 0, which hits of List Images have not"):
        node.image_shares([1, 2], hits, "", node.BY_SCORE)


def test_sides_of_one_length_need_no_empty_text(node):
    def empty():
        raise AssertionError("the empty text was asked for")

    mixed, said = node.mix([recalled(2.0)], [1.0], [recalled(1.0)], node.AVERAGE, "positive", SimpleNamespace(empty=empty))
    assert mixed.states.shape == (77, 2048) and said == ""
