"""Push Away of many images: what is disliked is read once, cancel is heard, and a blank negative prompt is none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from host.comfy_models import import_comfy


@pytest.fixture(scope="module")
def node():
    import_comfy()
    from diffusion_toolkit.nodes.conditioning import push_away

    return push_away


def recalled(id_: int, negative: str | None = "ugly") -> SimpleNamespace:
    random = np.random.default_rng(id_)

    def side() -> SimpleNamespace:
        return SimpleNamespace(states=random.standard_normal((77, 2048)).astype(np.float16), pooled=random.standard_normal(1280).astype(np.float16))

    image = SimpleNamespace(id=id_, negative=negative, negative_id=None if negative is None else 7)
    return SimpleNamespace(image=image, positive=side(), negative=side())


def unheard(stage: str, done: int, total: int) -> None:
    pass


@pytest.mark.parametrize(("direction", "reads"), [("whole text", "_mean_token"), ("token by token", "repeated")])
def test_what_is_disliked_is_read_once_for_all_images(node, monkeypatch, direction, reads):
    from diffusion_toolkit.embedders.conditioning import mixing

    calls, read = [], getattr(mixing, reads)
    monkeypatch.setattr(mixing, reads, lambda *given: calls.append(1) or read(*given))
    made = node.push_all([recalled(1), recalled(2), recalled(3)], [recalled(9), recalled(10), recalled(11), recalled(12)], 0.5, direction, unheard)
    assert len(made) == 3 and len(calls) == 4 + 3


def test_cancel_is_heard_between_images(node):
    heard = []

    def progress(stage: str, done: int, total: int) -> None:
        heard.append((done, total))
        if done == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        node.push_all([recalled(n) for n in range(1, 6)], [recalled(9)], 0.5, node.WHOLE, progress)
    assert heard == [(0, 5), (1, 5), (2, 5)]


def test_what_the_node_shows_while_it_works_ends_with_all(node):
    heard = []
    node.push_all([recalled(1), recalled(2)], [], 0.5, node.WHOLE, lambda *told: heard.append(told))
    assert heard[-1] == ("Pushed", 2, 2)


@pytest.mark.parametrize("negative", [None, "", "  \n"])
def test_a_blank_negative_prompt_is_nothing_to_be_pushed_from(node, negative):
    one, other = recalled(1, negative), recalled(2)
    left, moved = node.push_all([one, other], [], 0.5, node.WHOLE, unheard)
    assert np.array_equal(left[0][0][0].numpy(), one.positive.states.astype(np.float32))
    assert not np.allclose(moved[0][0][0].numpy(), other.positive.states.astype(np.float32), atol=1e-2)


def test_a_strength_that_is_no_number_is_refused(node):
    with pytest.raises(ValueError, match="strength is nan. It takes a number from 0.0 to 10.0"):
        node.PushAway.execute(library_name="default", image_ids="1", strength=float("nan"))


@pytest.mark.parametrize(
    ("disliked", "told"), [([], "its negative"), ([5], "5"), ([1, 5], "5"), ([5, 6, 7], "5 and 6 and 7"), ([1, 5, 6, 7, 8], "4 images")]
)
def test_a_label_names_what_an_image_was_moved_away_from_and_never_itself(node, disliked, told):
    assert node.label(disliked, 1) == told


def test_an_image_is_not_moved_away_from_its_own_text(node):
    one, other = recalled(1), recalled(2)
    twin = SimpleNamespace(image=SimpleNamespace(id=3), positive=one.positive)
    assert node.same_text(one, [twin]) and not node.same_text(one, [twin, other]) and not node.same_text(one, [])
