"""Pixels of real small files in every format, and the reasons given for files that are none."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from diffusion_toolkit.embedders.pictures.decode import ImageError, Ways, decode, read_image
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

RGB = np.array([[[250, 10, 10], [10, 250, 10], [10, 10, 250]], [[0, 0, 0], [128, 128, 128], [255, 255, 255]]], np.uint8)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def flat(width: int = 8, height: int = 8, colour: tuple[int, ...] = (200, 100, 50), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (width, height), colour)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "GIF"])
def test_lossless_formats_give_the_pixels_back(format: str) -> None:
    decoded = decode(encoded(Image.fromarray(RGB), format))
    assert np.array_equal(decoded.pixels, RGB)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"] + (["AVIF"] if features.check("avif") else []))
def test_lossy_formats_give_nearly_the_pixels(format: str) -> None:
    decoded = decode(encoded(flat(), format, quality=95))
    assert np.abs(decoded.pixels.astype(int) - (200, 100, 50)).max() <= 4


def test_width_and_height_are_those_of_the_pixels() -> None:
    decoded = decode(encoded(Image.fromarray(RGB)))
    assert (decoded.width, decoded.height, decoded.pixels.shape, decoded.pixels.dtype) == (3, 2, (2, 3, 3), np.uint8)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 270 degrees
    decoded = decode(encoded(Image.fromarray(RGB), exif=exif))
    assert np.array_equal(decoded.pixels, np.rot90(RGB, 3))


def test_alpha_is_dropped_not_blended() -> None:
    assert decode(encoded(flat(colour=(200, 100, 50, 0), mode="RGBA"))).pixels[0, 0].tolist() == [200, 100, 50]


def test_palette_with_transparency_gives_its_colours() -> None:
    image = Image.fromarray(RGB).quantize(6)
    assert np.array_equal(decode(encoded(image, transparency=bytes([0, 128, 255]))).pixels, RGB)


def test_greyscale_becomes_three_channels() -> None:
    assert decode(encoded(Image.new("L", (2, 2), 77))).pixels[0, 0].tolist() == [77, 77, 77]


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_16_bit_greyscale_is_scaled(format: str) -> None:
    grey = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert decode(encoded(grey, format)).pixels[0, :, 0].tolist() == [0, 100, 255]


def test_float_greyscale_is_scaled() -> None:
    grey = Image.fromarray(np.array([[0.0, 0.5, 1.0, np.nan]], np.float32))
    assert decode(encoded(grey, "TIFF")).pixels[0, :, 0].tolist() == [0, 128, 255, 0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[-5.0, 2.5, 254.6, 256.0, 300.0, np.nan]], np.float32), [0, 2, 255, 255, 255, 0]),
        (np.array([[-5, 0, 77, 255]], np.int32), [0, 0, 77, 255]),
        (np.array([[-5, 257 * 100, 65535, 70000]], np.int32), [0, 100, 255, 255]),
    ],
)
def test_grey_values_are_0_to_255_or_to_65535_where_any_is_more_and_what_lies_outside_is_clipped(values: np.ndarray, expected: list[int]) -> None:
    assert decode(encoded(Image.fromarray(values), "TIFF")).pixels[0].tolist() == [[value] * 3 for value in expected]


def test_cmyk_becomes_rgb() -> None:
    decoded = decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(decoded.pixels.astype(int) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_animation_gives_its_first_frame(format: str) -> None:
    data = encoded(flat(colour=(255, 0, 0)), format, save_all=True, append_images=[flat(colour=(0, 0, 255))])
    assert np.abs(decode(data).pixels.astype(int) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF"])
def test_truncated_file_is_an_image_error(format: str) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))
    data = encoded(noise, format)
    with pytest.raises(ImageError, match="damaged"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize(
    "format, length",
    [("JPEG", 20), ("TIFF", 20), ("GIF", 20), ("BMP", 16)] + ([("AVIF", 20)] if features.check("avif") else []),
)
def test_what_begins_as_a_picture_and_can_not_be_opened_is_not_said_to_be_none(format: str, length: int) -> None:
    with pytest.raises(ImageError, match=f"begins as a {format} file, and is damaged, cut short"):
        decode(encoded(flat(), format)[:length])


@pytest.mark.parametrize("format", ["PNG", "WEBP", "BMP"])
def test_what_can_be_opened_and_no_more_is_damaged(format: str) -> None:
    with pytest.raises(ImageError, match="the image is damaged"):
        decode(encoded(flat(), format)[:20])


def test_empty_file_says_so() -> None:
    with pytest.raises(ImageError, match="empty"):
        decode(b"")


def test_other_content_says_so() -> None:
    with pytest.raises(ImageError, match="it is no PNG"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")


def test_huge_dimensions_are_refused_before_decoding() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="too large|too many"):
        decode(bomb)


def test_read_image_hashes_the_content_of_the_file(tmp_path: Path) -> None:
    data = encoded(flat())
    (tmp_path / "a.png").write_bytes(data)
    assert read_image(tmp_path / "a.png").hash == blake3(data).digest()


def test_read_image_gives_size_time_and_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))
    os.utime(path, ns=(0, 1_700_000_000_000_000_000))
    image = read_image(path)
    assert (image.size, image.mtime_ns) == (path.stat().st_size, 1_700_000_000_000_000_000)
    assert (image.width, image.height) == (3, 2) and np.array_equal(image.pixels, RGB)


def test_a_damaged_avif_is_an_image_error() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (256, 1, 3))
    whole = encoded(Image.fromarray(ramp), "AVIF")
    kept = len(whole) * 9 // 10
    with pytest.raises(ImageError, match="damaged"):
        decode(whole[:kept] + bytes(len(whole) - kept))


@pytest.mark.parametrize("after_the_pixels", [False, True])
def test_a_large_packed_text_does_not_cost_the_picture(after_the_pixels: bool) -> None:
    text = b"workflow\0\0" + zlib.compress(b" " * 2_000_000)
    info = PngInfo()
    info.add(b"zTXt", text, after_idat=after_the_pixels)
    file = io.BytesIO()
    Image.new("RGB", (4, 2), "red").save(file, "PNG", pnginfo=info)
    assert decode(file.getvalue()).pixels.shape == (2, 4, 3)


def test_of_a_narrow_picture_that_is_read_for_its_vector_the_middle_alone_is_kept(tmp_path: Path) -> None:
    (tmp_path / "line.png").write_bytes(encoded(flat(3000, 2)))
    read, whole = (read_image(tmp_path / "line.png", ways=ways) for ways in (Ways(shrink=True), Ways()))
    assert read.pixels.shape == (2, 16, 3) and read.pixels.base is None
    assert whole.pixels.shape == (2, 3000, 3)
    assert (read.width, read.height, read.phash) == (3000, 2, whole.phash)


def test_a_file_that_is_too_large_for_a_picture_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion_toolkit.embedders.pictures.decode.MAX_BYTES", 1000)
    (tmp_path / "a.png").write_bytes(bytes(1001))
    with pytest.raises(ImageError, match="too many for a picture"):
        read_image(tmp_path / "a.png", ways=Ways(room=lambda size: pytest.fail("it waits for room")))
    with pytest.raises(ImageError, match="too many for a picture"):
        decode(tmp_path / "a.png")
