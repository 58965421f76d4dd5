"""Exchange by safetensors: what is written comes back exactly, and nothing of a damaged or hostile file gets through."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_toolkit.embedders import exchange
from diffusion_toolkit.embedders.exchange import Embeddings, ExchangeError
from host.exchange_records import MADE_BY, assert_same, halves, read_all, record, write


@pytest.fixture
def written(tmp_path) -> Callable[..., Path]:
    """Write records into a safetensors file."""
    return partial(write, tmp_path)


def test_safetensors_give_back_exactly_what_was_written(written):
    records = [record(1), record(2, names=("image",), sides=()), record(3, names=("clip_l", "clip_g"), sides=("negative",)), record(4, (), ())]
    found = read_all(written(*records))
    for one, other in zip(records, found, strict=True):
        assert_same(one, other)
        assert other.about == one.about and other.made_by == MADE_BY


def test_safetensors_are_what_the_library_of_that_name_reads(written):
    from safetensors.numpy import load_file

    tensors = load_file(written(record(7), record(8)))
    assert tensors["clip_g"].dtype == np.float16 and tensors["clip_g"].shape == (2, 1280)
    start, end = tensors["token_states_rows"][1]
    assert np.array_equal(tensors["token_states"][start:end], record(8).states["positive"].states.astype(np.float16))


def test_a_text_that_many_images_share_is_written_once(written):
    from safetensors.numpy import load_file

    assert len(load_file(written(record(1), record(2), record(3)))["token_states"]) == 3 * 154 + 77


def test_some_rows_are_read_without_the_others(written):
    source = exchange.open_source(written(*(record(image_id) for image_id in range(1, 8))))
    assert source.count == 7
    assert [one.image_id for one in source.read(2, 3)] == [3, 4, 5]
    assert [one.image_id for one in source.read(6, 3)] == [7]


def test_what_fails_or_is_cancelled_leaves_no_file(tmp_path):
    for error in (KeyboardInterrupt, ExchangeError):
        with pytest.raises(error):
            with exchange.SafetensorsWriter(tmp_path / "some.safetensors", 2, MADE_BY) as writer:
                writer.add(record(1))
                raise error()
    with pytest.raises(ValueError, match="1 images of the 2"):
        with exchange.SafetensorsWriter(tmp_path / "some.safetensors", 2, MADE_BY) as writer:
            writer.add(record(1))
    with pytest.raises(KeyboardInterrupt):
        with exchange.ParquetWriter(tmp_path / "some.parquet", MADE_BY) as writer:
            writer.add(record(1))
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_places_of_millions_of_images_are_right_where_numpys_integers_have_32_bits(tmp_path):
    """As on Windows with NumPy 1."""
    starts = exchange.SafetensorsWriter(tmp_path / "some.safetensors", 3_000_000, MADE_BY)._starts
    assert starts["clip_g"] - starts["clip_l"] >= 3_000_000 * 768 * 2 and sorted(starts.values()) == list(starts.values())


def test_no_file_is_written_over(written, tmp_path):
    path = written(record(1))
    before = path.read_bytes()
    with pytest.raises(ExchangeError, match="is there already"):
        written(record(2))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_named(written, tmp_path):
    path = written(record(1))
    left = path.rename(path.with_name(f"{path.name}.part"))
    with pytest.raises(ExchangeError, match=f"its writer was killed and left {left.name} behind. Remove that file"):
        written(record(1))
    assert list(tmp_path.iterdir()) == [left]


def test_vectors_that_no_file_should_hold_are_not_written(written, tmp_path):
    for vector, said in ((np.full(768, np.nan), "NaN"), (np.zeros(768), "zero"), (np.ones(1280), "1280 numbers where 768"), (np.full(768, 1e6), "beyond float16")):
        with pytest.raises(ExchangeError, match=said):
            written(Embeddings(5, {"clip_l": vector}))
    assert list(tmp_path.iterdir()) == []


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with another header, whose tensors' bytes stay where they are."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    change(header)
    new = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(new)) + new + raw[8 + size :])
    return path


def overwritten(path: Path, name: str, place: int, values: np.ndarray) -> Path:
    """The file with other numbers in one of its tensors."""
    raw = bytearray(path.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    start = 8 + size + json.loads(raw[8 : 8 + size])[name]["data_offsets"][0] + place * values.itemsize
    raw[start : start + values.nbytes] = values.tobytes()
    path.write_bytes(raw)
    return path


def set_shape(name: str, shape: list[int]) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].update(shape=shape)


def set_told(name: str, text: str) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["__metadata__"].update({name: text})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_shape("clip_l", [1, 2, 384]), "clip_l of some.safetensors has 3 axes where 2 is needed"),
        (set_shape("clip_l", [2, 384]), r"\[2, 384\] where \[1, 768\] is needed"),
        (set_shape("token_states", [462, 1024]), "1024 wide where 2048 is needed"),
        (lambda header: header["clip_g"].update(dtype="BF16"), "clip_g of some.safetensors is of type BF16 where F16 or F32"),
        (lambda header: header["image_id"].update(dtype="F64"), "image_id of some.safetensors is of type F64"),
        (set_told("format", "pt"), "something else"),
        (set_told("version", "2"), "newer version"),
        (set_told("version", ""), "newer version"),
        (set_told("version", "9" * 5000), "newer version"),
        (set_told("encoders", "{"), "encoders of some.safetensors is no JSON"),
        (set_told("encoders", "[" * 100_000), "encoders of some.safetensors is no JSON"),
        (set_told("encoders", '{"clip_l": {"name": "x", "dims": 768}}'), "does not tell which encoder made its clip_l"),
        (set_told("encoders", '{"clip_l": "x"}'), "does not tell which encoder made its clip_l"),
        (set_shape("image_id", [1, 1]), "image_id of some.safetensors has 2 axes where 1 is needed"),
        (lambda header: header["clip_l"].update(data_offsets=[0, 10**15]), "no whole safetensors file"),
    ],
)
def test_a_header_that_is_wrong_is_told(written, change, said):
    with pytest.raises(ExchangeError, match=said):
        read_all(changed(written(record(1)), change))


@pytest.mark.parametrize(
    ("name", "place", "values", "said"),
    [
        ("clip_g", 1279, np.array([np.nan], np.float16), "clip_g of image 1 in some.safetensors has 1 numbers that are NaN"),
        ("image", 3, np.array([np.inf], np.float16), "image of image 1 in some.safetensors has 1 numbers that are infinite"),
        ("token_states", 5, np.array([np.nan], np.float16), "positive token states of image 1 in some.safetensors has 1 numbers that are NaN"),
        ("pooled_output", 0, np.zeros(1280, np.float16), "pooled output of The positive token states of image 1"),
        ("token_states_rows", 0, np.array([0, 2**40], np.int64), "token states of image 1 in some.safetensors should be at 0 to"),
        ("token_states_rows", 0, np.array([-154, 154], np.int64), "should be at -154 to 154"),
        ("token_states_rows", 0, np.array([100, 20], np.int64), "should be at 100 to 20"),
        ("token_states_rows", 0, np.array([0, 100], np.int64), "100 x 2048 where sections of 77 tokens"),
        ("about_rows", 0, np.array([0, 2**62], np.int64), "told of image 1 in some.safetensors should be at"),
        ("about", 0, np.array([200], np.uint8), "told of image 1 in some.safetensors is no JSON"),
    ],
)
def test_numbers_that_are_wrong_are_told_with_their_image(written, name, place, values, said):
    with pytest.raises(ExchangeError, match=said):
        read_all(overwritten(written(record(1)), name, place, values))


@pytest.mark.parametrize(("kind", "shape", "size"), [("BF16", [1, 8], 16), ("F8_E4M3", [1, 16], 16), ("F32", [], 4)])
def test_a_tensor_more_than_ours_is_not_looked_at(written, kind, shape, size):
    """Of a type that numpy lacks, or without rows."""

    def add(header: dict[str, Any]) -> None:
        end = max(part["data_offsets"][1] for name, part in header.items() if name != "__metadata__")
        header["of somebody else"] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}

    path = changed(written(record(1)), add)
    path.write_bytes(path.read_bytes() + bytes(size))
    assert_same(read_all(path)[0], record(1))


def test_rows_of_more_tokens_than_a_text_has_are_not_read(written, monkeypatch):
    path = overwritten(written(*(record(image_id) for image_id in range(1, 5))), "token_states_rows", 0, np.array([0, 4 * 154], np.int64))
    monkeypatch.setattr("diffusion_toolkit.embedders.exchange.safetensors_file.MOST_TOKENS", 3 * 154)
    with pytest.raises(ExchangeError, match="should be at 0 to 616 of 693, 462 at the most"):
        exchange.open_source(path).read(0, 1)


@pytest.mark.parametrize("raw", [b"", b"\x08", b"PK\x03\x04" + bytes(100), struct.pack("<Q", 2**62) + b"{}", b"\x02" + bytes(7) + b"{}"])
def test_a_file_that_is_no_safetensors_file_is_told(tmp_path, raw):
    path = tmp_path / "some.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ExchangeError, match="some.safetensors"):
        exchange.open_source(path)


def test_a_file_that_was_cut_off_is_told(written):
    path = written(record(1))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ExchangeError, match="no whole safetensors file"):
        exchange.open_source(path)


def test_a_textual_inversion_is_told_from_an_export(tmp_path):
    from safetensors.numpy import save_file

    save_file({"clip_l": halves(1, 3, 768), "clip_g": halves(2, 3, 1280)}, tmp_path / "spark.safetensors")
    with pytest.raises(ExchangeError, match="textual inversion"):
        exchange.open_source(tmp_path / "spark.safetensors")
