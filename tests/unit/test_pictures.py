"""The picture of a stored image, as the graph gets it, and how many of them it gets."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from host.comfy_models import import_comfy
from PIL import Image


def test_a_picture_is_handed_over_without_a_warning(tmp_path: Path) -> None:
    import_comfy()
    from diffusion_toolkit.nodes.pictures import picture_of

    drawn = np.random.default_rng(7).integers(0, 256, (8, 8, 4), np.uint8)
    for pixels in (drawn[:, :, :3], drawn):  # the first is Pillow's own memory, which is read-only
        Image.fromarray(pixels).save(tmp_path / "a.png")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            picture, note = picture_of(None, tmp_path / "a.png", "")
        assert note == "" and np.array_equal((picture[0] * 255).round().numpy().astype(np.uint8), drawn[:, :, :3])


def images(count: int, side: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(width=side, height=side)] * count


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Say how many GB of memory this machine has."""
    import_comfy()
    from diffusion_toolkit import db

    return lambda gigabytes: monkeypatch.setattr(db, "machine_memory", lambda: gigabytes * 10**9)


def test_pictures_that_half_of_the_memory_cannot_hold_are_refused_with_the_widget_to_lower(machine) -> None:
    from diffusion_toolkit.nodes.pictures import check_memory

    machine(16)
    for count, side in ((600, 1024), (150, 2048), (39, 4096), (1000, 768)):
        check_memory(images(count, side), "top_k", count)
    with pytest.raises(ValueError, match=r"pictures of 1,000 images would take 12\.6 GB .* 8\.0 GB are the most on this machine\. Lower top_k to about 635\."):
        check_memory(images(1000, 1024), "top_k", 1000)
    with pytest.raises(ValueError, match=r"Lower pairs to about 198\."):  # of two pictures each
        check_memory(images(400, 1296), "pairs", 200)
    machine(32)
    check_memory(images(1000, 1024), "top_k", 1000)
    machine(4)  # SDXL runs on none such; a swap file is the person's own affair
    check_memory(images(600, 1024), "top_k", 600)


def test_no_picture_of_a_search_is_opened_where_they_are_too_many(machine) -> None:
    from diffusion_toolkit.nodes.search.asking import Found
    from diffusion_toolkit.nodes.search.hits import hit_values

    machine(16)
    with pytest.raises(ValueError, match=r"Lower top_k to about 39\."):
        hit_values(Found(None, images(100, 4096)))


def test_each_output_of_a_search_and_each_setting_that_its_hits_hand_on_is_of_its_own_name(machine) -> None:
    from diffusion_toolkit import db
    from diffusion_toolkit.nodes.links import Hits
    from diffusion_toolkit.nodes.search.asking import Found
    from diffusion_toolkit.nodes.search.hits import hit_outputs, hit_result, hit_values

    told = {"seed": 5, "steps": 6, "cfg": 1.5, "sampler": "heun", "scheduler": "karras", "checkpoint": "a.ckpt"}
    sizes = {"width": 8, "height": 16, "asked_width": 24, "asked_height": 32, "prompt": "a fox", "negative": "rain", "prompt_confidence": "exact"}
    image = SimpleNamespace(id=9, files=[], **told, **sizes)
    found = Found(Hits("default", (db.Hit(9, 0.5, 1),)), [image])
    values, shown = hit_values(found)
    given = {name: [value] for name, value in {**told, "prompt": "a fox", "negative_prompt": "rain", "width": 24, "height": 32}.items()}
    assert values["hits"].given == given and given.items() <= values.items()
    assert (values["score"], values["image_id"], values["path"]) == ([0.5], [9], [""])
    gives = dict(zip((output.id for output in hit_outputs()), hit_result(values, shown, []).result))
    assert gives.keys() == values.keys() and all(gives[name] is values[name] for name in values)
