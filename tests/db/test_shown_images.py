"""The pictures of what a node found in a library."""

from __future__ import annotations

import json
import os

import pytest
from diffusion_toolkit import db
from host.comfy_models import import_comfy


@pytest.fixture
def shown(library, conn, root, image, monkeypatch):
    """`nodes.survey.shown_images`, and three images whose files are gone, the last of them huge."""
    import_comfy()
    from diffusion_toolkit.nodes.survey import shown_images

    monkeypatch.setattr(shown_images, "drawn", lambda picture, file: {"filename": f"{picture.shape[1]}.png"})
    sizes = (8, 16, 100_000)
    ids = [db.write_images(conn, root, [image(n, width=size, height=size)])[0] for n, size in enumerate(sizes, start=1)]
    conn.commit()
    return shown_images, ids


def test_an_image_that_is_named_twice_is_held_once(library, shown):
    shown_images, (small, large, _) = shown
    both = shown_images.load_pictures(library, [small, small, small, large], "pairs", 2)
    first, second = both.halves()
    assert first.tensors[0] is first.tensors[1] is second.tensors[0] and second.tensors[1].shape == (1, 16, 16, 3)
    assert [line.split()[0] for line in second.lines] == [f"#{small}", f"#{large}"] and second.shown[1] == {"filename": "16.png"}
    assert shown_images.load_pictures(library, [], "pairs", 0).halves()[1].tensors == []


def test_an_image_that_was_removed_after_it_was_found_is_plain_grey_in_its_place(library, shown):
    shown_images, (small, large, _) = shown
    with library.connection() as conn:
        conn.execute("DELETE FROM images WHERE id = %s", [small])
    pictures = shown_images.load_pictures(library, [large, small, large], "pairs", 2)
    assert [tensor.shape[1] for tensor in pictures.tensors] == [16, 64, 16] and pictures.shown[1] == {"filename": "64.png"}
    assert pictures.lines[1] == f"#{small}  [it was removed from the library meanwhile]"


def test_an_image_that_is_removed_before_it_is_hashed_is_passed_over(library, shown):
    _, ids = shown
    from diffusion_toolkit.nodes.survey import find_duplicates

    def beside_a_prune(stage: str, done: int, total: int) -> None:
        with library.connection() as conn:
            conn.execute("DELETE FROM images WHERE id = %s", [ids[0]])

    assert find_duplicates.hash_pictures(library, None, beside_a_prune).startswith("2 pictures could not be opened")


def test_pictures_that_take_too_much_memory_are_refused_before_one_is_made(library, shown):
    shown_images, ids = shown
    with pytest.raises(ValueError, match=r"of 3 images would take 120\.0 GB of memory.*Lower clusters to about 1\."):
        shown_images.load_pictures(library, ids, "clusters", 3)


def test_a_report_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    import_comfy()
    from diffusion_toolkit.embedders.exchange import ExchangeError
    from diffusion_toolkit.nodes.survey import shown_images

    place = tmp_path / "report.json"
    monkeypatch.setattr(shown_images, "report_place", lambda name: place)
    assert json.loads(open(shown_images.save_report("report", {"word": "\u65e5"}), encoding="utf-8").read()) == {"word": "\u65e5"}
    place.unlink()

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExchangeError, match="No space left"):
        shown_images.save_report("report", {})
    assert os.listdir(tmp_path) == []
