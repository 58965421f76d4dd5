"""Interpolate Conditioning of many steps: no image is passed over, what stays the same is shared, memory has a limit, cancel is heard."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from host.comfy_models import import_comfy

AT = [step / 8 for step in range(9)]


@pytest.fixture(scope="module")
def node():
    import_comfy()
    from diffusion_toolkit.nodes.conditioning import interpolate_conditioning

    return interpolate_conditioning


def recalled(value: float, sections: int = 1) -> SimpleNamespace:
    states = np.broadcast_to(np.float16(value), (77 * sections, 2048))  # takes no memory
    return SimpleNamespace(states=states, pooled=np.full(1280, value, np.float16), source="exact")


def unheard(stage: str, done: int, total: int) -> None:
    pass


def test_fewer_steps_than_images_are_refused(node):
    with pytest.raises(ValueError, match="5 steps pass over some of 6 images. Raise steps to 6"):
        node.InterpolateConditioning.execute(library_name="default", image_ids="1 2 3 4 5 6", steps=5)


@pytest.mark.parametrize("spherical", [False, True])
def test_a_negative_that_all_share_is_made_once(node, spherical):
    one = recalled(1.0)
    positives, negatives = node.steps_through([[recalled(1.0), recalled(2.0)], [one, one]], AT, spherical, unheard)
    assert len({states.data_ptr() for [[states, _]] in negatives}) == 1 and len(negatives) == len(AT)
    assert len({states.data_ptr() for [[states, _]] in positives}) == len(AT)
    assert [float(states[0, 5, 5]) for [[states, _]] in positives][::8] == [1.0, 2.0]


def test_steps_that_would_take_gigabytes_are_refused_before_any_is_made(node):
    at, sides = [step / 255 for step in range(256)], [[recalled(1.0, 3), recalled(2.0, 4)], [recalled(3.0, 3), recalled(4.0, 4)]]
    with pytest.raises(ValueError, match="256 steps through texts this long would take 3.9 GB of memory, 2 GB are the most. Lower steps to about 13"):
        node.steps_through(sides, at, False, unheard)
    fits = [recalled(1.0, 1), recalled(2.0, 1)]
    assert len(node.steps_through([fits, [fits[0]] * 2], at[::16] + [1.0], False, unheard)[0]) == 17


def test_cancel_is_heard_between_steps(node):
    def progress(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        node.steps_through([[recalled(1.0), recalled(2.0)]], AT, False, progress)


def test_images_that_steps_pass_closely_are_told_with_a_number_that_meets_them(node):
    assert node.not_met(4, 3) == ["4 steps pass closely by images between the ends: 5 steps would meet each"]
    assert not node.not_met(5, 3) and not node.not_met(3, 2)


def test_neighbours_with_the_same_prompt_are_named_since_nothing_moves_between_them(node):
    one, other = recalled(1.0), recalled(2.0)
    images = [SimpleNamespace(image=SimpleNamespace(id=id_), positive=of) for id_, of in ((1, one), (2, one), (3, other), (4, one))]
    assert node.unmoved(images) == ["The positive stays the same between #1 and #2: they have the same prompt"]
    assert node.unmoved(images[1:]) == []
    assert node.unmoved(images[:1] * 9)[0].endswith("#1 and #1 and 2 more pairs: they have the same prompt")
