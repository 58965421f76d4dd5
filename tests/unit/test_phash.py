"""Perceptual hashes: ImageHash's bits, as a number that PostgreSQL takes."""

from __future__ import annotations

import io
import tracemalloc

import imagehash
import numpy as np
import pytest
from diffusion_toolkit.embedders.pictures.decode import read_image
from diffusion_toolkit.embedders.pictures.phash import phash
from PIL import Image


@pytest.fixture
def picture() -> np.ndarray:
    """Smooth, as pictures are: noise of 12 x 16, scaled up. uint8 [384, 512, 3]"""
    small = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((512, 384), Image.Resampling.BICUBIC))


def differing(a: int, b: int) -> int:
    return bin((a ^ b) % 2**64).count("1")


def test_it_is_imagehashs_own_number(picture: np.ndarray) -> None:
    assert f"{phash(picture) % 2**64:016x}" == str(imagehash.phash(Image.fromarray(picture)))


def test_it_fits_a_signed_bigint(picture: np.ndarray) -> None:
    assert {-(2**63) <= phash(image) < 2**63 for image in (picture, 255 - picture, picture[::-1])} == {True}


def test_scaling_and_recompressing_leave_it_nearly_as_it_is(picture: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture).resize((256, 192)).save(buffer, "JPEG", quality=60)
    assert differing(phash(picture), phash(np.asarray(Image.open(buffer)))) <= 4


def test_another_picture_has_another_hash(picture: np.ndarray) -> None:
    assert differing(phash(picture), phash(np.ascontiguousarray(picture[:, ::-1]))) > 12


def test_a_file_that_is_read_comes_with_its_hash(picture: np.ndarray, tmp_path) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").phash == phash(picture)


@pytest.mark.parametrize("size", [(1024, 1024), (1333, 767), (641, 2000)])
def test_large_pictures_are_hashed_nearly_as_imagehash_does(picture: np.ndarray, size: tuple[int, int]) -> None:
    large = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    theirs = int(str(imagehash.phash(Image.fromarray(large))), 16)
    assert differing(phash(large), theirs) <= 2
    assert differing(phash(large[:, ::-1]), theirs) > 12


def test_a_large_picture_of_one_colour_has_hardly_any_bits() -> None:
    assert differing(phash(np.full((1000, 777, 3), (200, 100, 50), np.uint8)), 0) <= 2


@pytest.mark.parametrize("size", [(150_000, 12), (12, 150_000)])
def test_a_narrow_picture_is_hashed_as_imagehash_does_in_little_memory(picture: np.ndarray, size: tuple[int, int]) -> None:
    narrow = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    theirs = int(str(imagehash.phash(Image.fromarray(narrow))), 16)
    tracemalloc.start()
    try:
        assert differing(phash(narrow), theirs) <= 2
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()
