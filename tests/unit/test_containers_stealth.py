"""Text hidden in pixels, written here after the public descriptions of the form."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from diffusion_toolkit.embedders.metadata import read_metadata
from diffusion_toolkit.embedders.pictures.decode import read_image
from host.sampled_graphs import basic
from host.small_files import chunk
from PIL import Image

TEXT = "a red fox \u96ea\nNegative prompt: blurry\nSteps: 20, Sampler: Euler, Seed: 5" * 3
FORMS = ["stealth_pnginfo", "stealth_pngcomp", "stealth_rgbinfo", "stealth_rgbcomp"]


def hidden(form: str, text: str | bytes = TEXT, size: tuple[int, int] = (60, 50), length: int | None = None) -> np.ndarray:
    """uint8 [height, width, 3 or 4] with `text` in its lowest bits; `length` in bits as it is said to be."""
    width, height = size
    channels = 4 if "png" in form else 3
    data = text.encode() if isinstance(text, str) else text
    if form.endswith("comp"):
        data = gzip.compress(data)
    data = form.encode() + (8 * len(data) if length is None else length).to_bytes(4, "big") + data
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, channels), np.uint8)
    where = pixels[:, :, 3:] if channels == 4 else pixels
    columns = where.transpose(1, 0, 2).reshape(-1)
    columns[: len(bits)] = (columns[: len(bits)] & 0xFE) | bits
    where[...] = columns.reshape(width, height, -1).transpose(1, 0, 2)
    return pixels


def encoded(pixels: np.ndarray, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_hidden_text_is_found_in_a_png(form: str) -> None:
    found = read_metadata(encoded(hidden(form)))
    assert found.raw == {"stealth": TEXT.encode()} and found.problem is None
    assert found.places == {"stealth": "stealth alpha" if "png" in form else "stealth RGB"}


@pytest.mark.parametrize("size", [(60, 50), (300, 7), (1200, 2), (2, 1200), (2400, 1)])
def test_hidden_text_is_found_in_images_of_every_shape(size: tuple[int, int]) -> None:
    for form in FORMS:
        assert read_metadata(encoded(hidden(form, "a red fox", size))).raw == {"stealth": b"a red fox"}


def filtered(pixels: np.ndarray, kind: int) -> bytes:
    """A PNG whose rows are all filtered in one way, by PNG's own definition of the five."""
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, width * channels).astype(int)
    up = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    left = np.hstack([np.zeros((height, channels), int), rows[:, :-channels]])
    corner = np.hstack([np.zeros((height, channels), int), up[:, :-channels]])
    guess = left + up - corner
    away = [abs(guess - other) for other in (left, up, corner)]
    paeth = np.where((away[0] <= away[1]) & (away[0] <= away[2]), left, np.where(away[1] <= away[2], up, corner))
    packed = (rows - [0 * rows, left, up, (left + up) // 2, paeth][kind]) % 256
    data = b"".join(bytes((kind,)) + row.astype(np.uint8).tobytes() for row in packed)
    header = struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("form", FORMS)
def test_hidden_text_is_found_behind_every_filter(form: str, kind: int) -> None:
    pixels = hidden(form)
    data = filtered(pixels, kind)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
    assert read_metadata(data).raw == {"stealth": TEXT.encode()}


def test_hidden_text_is_found_in_a_lossless_webp() -> None:
    data = encoded(hidden("stealth_pngcomp"), "WEBP", lossless=True, exact=True)
    assert read_metadata(data).raw == {"stealth": TEXT.encode()}


@pytest.mark.parametrize("form", FORMS)
def test_read_image_looks_at_the_pixels_it_has_decoded(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded_again(data: bytes) -> None:
        pytest.fail("the pixels were decoded twice")

    monkeypatch.setattr("diffusion_toolkit.embedders.metadata.decoded_pixels", decoded_again)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned when shown: the text runs down the columns as they are stored
    (tmp_path / "a.png").write_bytes(encoded(hidden(form), exif=exif))
    image = read_image(tmp_path / "a.png")
    assert image.metadata.raw == {"stealth": TEXT.encode()}
    assert image.pixels.shape == (60, 50, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "L"])
def test_no_pixel_is_decoded_of_an_image_that_hides_nothing(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 4), np.uint8)).convert(mode)
    file = io.BytesIO()
    noise.save(file, "PNG")
    monkeypatch.setattr("diffusion_toolkit.embedders.metadata.decoded_pixels", lambda data: pytest.fail("decoded"))
    assert read_metadata(file.getvalue()).raw == {}


def test_no_pixel_is_decoded_of_an_image_that_ends_before_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion_toolkit.embedders.metadata.decoded_pixels", lambda data: pytest.fail("decoded"))
    whole = filtered(hidden("stealth_pngcomp"), 0)
    assert read_metadata(whole[:45]).raw == {} == read_metadata(whole[:33] + chunk(b"aBCD", b"") * 2000 + whole[33:]).raw


def test_hidden_text_is_not_looked_for_where_a_prompt_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("prompt", json.dumps(basic()))
    found = read_metadata(encoded(hidden("stealth_pngcomp"), pnginfo=info))
    assert found.raw.keys() == {"prompt"} and found.prompt == ("a red fox", "a red fox")


@pytest.mark.parametrize("form", FORMS)
def test_a_hidden_text_that_is_said_to_be_longer_than_the_image_is_left_unread(form: str) -> None:
    for length in (0, 2**32 - 1, 60 * 50 * 4 * 8):
        found = read_metadata(encoded(hidden(form, length=length)))
        assert found.raw == {} and "hidden text" in (found.problem or "")


def test_a_hidden_bomb_and_a_hidden_text_that_does_not_unpack_are_left_unread() -> None:
    bomb = read_metadata(encoded(hidden("stealth_pngcomp", b" " * 20_000_000, (400, 400))))
    assert bomb.raw == {} and "more than" in (bomb.problem or "")
    damaged = read_metadata(encoded(hidden("stealth_rgbcomp", length=80)))
    assert damaged.raw.keys() <= {"stealth"}
    pixels = hidden("stealth_pnginfo")
    pixels[:, :, 3] = hidden("stealth_pngcomp")[:, :, 3]
    pixels[10:40, 4:20, 3] ^= 1
    assert "unpacked" in (read_metadata(encoded(pixels)).problem or "")
