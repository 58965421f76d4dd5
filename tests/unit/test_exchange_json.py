"""Exchange by DiffusionToolkit's JSON: what is written comes back exactly, and what is wrong is told by field."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_toolkit.embedders import exchange
from diffusion_toolkit.embedders.exchange import Embeddings, ExchangeError
from host.exchange_records import read_all, record

NOW = datetime(2026, 11, 21, 12, 30, 5, 250_000, timezone(timedelta(hours=1)))


def test_the_json_of_diffusion_toolkit_comes_back_exactly(tmp_path):
    one = record(12)
    path = exchange.write_json(tmp_path, one, 64, 48, NOW)
    assert path.name == "image_12_embeddings.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    assert list(content) == ["ImageId", "ClipL", "ClipG", "ImageEmbedding", "Width", "Height", "Timestamp"]
    assert (content["ImageId"], content["Width"], content["Height"]) == (12, 64, 48)
    assert content["Timestamp"] == "2026-11-21T11:30:05.2500000Z"
    [found] = read_all(path)
    for name in ("clip_l", "clip_g", "image"):
        assert np.array_equal(found.vectors[name], one.vectors[name])
    assert found.about == {"width": 64, "height": 48, "timestamp": "2026-11-21T11:30:05.2500000Z"} and not found.made_by


def test_numbers_in_json_are_as_short_as_they_can_be(tmp_path):
    vector = np.full(768, 0.1, np.float32)
    vector[1] = 1e-05
    text = exchange.write_json(tmp_path, Embeddings(1, {"clip_l": vector}), 1, 1, NOW).read_text(encoding="utf-8")
    assert "    0.1,\n    1e-05,\n" in text and "0.10000000149" not in text


def test_vectors_that_an_image_lacks_are_null_in_json(tmp_path):
    path = exchange.write_json(tmp_path, record(3, names=("image",)), 64, 48, NOW)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["ClipL"] is None and content["ClipG"] is None
    assert list(read_all(path)[0].vectors) == ["image"]


def dotnet(tmp_path: Path, **changes: Any) -> Path:
    """A file as DiffusionToolkit's serializer writes it: with a time of seven places and numbers such as 1E-05."""
    content = {
        "ImageId": 5, "ClipL": [1.0, *[0.5] * 767], "ClipG": [0.25] * 1280, "ImageEmbedding": [-0.5] * 1024, "Width": 1024, "Height": 768,
        "Timestamp": "2025-11-12T10:20:30.1234567Z", **changes,
    }  # fmt: skip
    path = tmp_path / "image_5_embeddings.json"
    path.write_text(json.dumps(content, indent=2).replace("1.0,", "1E-05,", 1), encoding="utf-8-sig")
    return path


def test_what_dotnet_writes_is_read(tmp_path):
    [found] = read_all(dotnet(tmp_path))
    assert found.vectors["clip_l"][0] == np.float32(1e-05)
    assert found.about["timestamp"] == "2025-11-12T10:20:30.1234567Z"


def test_an_image_vector_from_before_the_projection_is_left_out_and_told(tmp_path):
    source = exchange.open_source(dotnet(tmp_path, ImageEmbedding=[0.1] * 1280))
    [found] = source.read(0, 1)
    assert sorted(found.vectors) == ["clip_g", "clip_l"]
    assert "before its projection" in source.notes[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ClipL": [0.1] * 767}, "ClipL of image_5_embeddings.json has 767 numbers where 768 are needed"),
        ({"ClipG": [0.1] * 768}, "ClipG of image_5_embeddings.json has 768 numbers where 1280"),
        ({"ClipG": "0.1"}, "ClipG of image_5_embeddings.json is no list"),
        ({"ClipG": {"0": 0.1}}, "is no list"),
        ({"ClipL": [[0.1] * 768]}, "is no number"),
        ({"ClipL": [True] * 768}, "'True' at place 0"),
        ({"ClipL": [0.1] * 767 + ["x"]}, "'x' at place 767"),
        ({"ClipL": [0.1] * 767 + [None]}, "'None' at place 767"),
        ({"ClipL": [float("nan")] * 768}, "a number that is NaN"),
        ({"ClipL": [float("-inf")] * 768}, "a number that is -Infinity"),
        ({"ClipL": [1e39] * 768}, "768 numbers that are infinite"),
        ({"ClipL": [10**400] * 768}, "too large"),
        ({"ClipL": [0] * 768}, "zero in all of its 768 numbers"),
        ({"ImageId": "5"}, "ImageId of image_5_embeddings.json is '5'"),
        ({"ImageId": -1}, "where a whole number is needed"),
        ({"Width": 10.5}, "Width of image_5_embeddings.json is '10.5'"),
        ({"Height": None}, "Height of image_5_embeddings.json is 'None'"),
        ({"Timestamp": "yesterday"}, "Timestamp of image_5_embeddings.json is 'yesterday'"),
        ({"Timestamp": "2026-13-45T00:00:00Z"}, "which is no time"),
        ({"ClipL": None, "ClipG": None, "ImageEmbedding": None}, "neither ClipL nor ClipG nor ImageEmbedding"),
    ],
)
def test_json_that_is_wrong_is_told_by_field(tmp_path, changes, said):
    with pytest.raises(ExchangeError, match=said):
        read_all(dotnet(tmp_path, **changes))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"null", b"\xff\xfe{", b"[" * 100_000, b'{"ImageId": 1e999, "Width": 1}'])
def test_what_is_no_json_of_an_image_is_told(tmp_path, raw):
    path = tmp_path / "image_5_embeddings.json"
    path.write_bytes(raw)
    with pytest.raises(ExchangeError, match=path.name):
        read_all(path)


def test_json_that_no_image_needs_so_much_of_is_not_taken_apart(tmp_path):
    path = dotnet(tmp_path)
    path.write_bytes(path.read_bytes() + b" " * (4 << 20))
    with pytest.raises(ExchangeError, match="larger than 4 MiB"):
        read_all(path)


def test_an_id_that_dotnet_can_not_hold_is_refused(tmp_path):
    with pytest.raises(ExchangeError, match="2147483647"):
        exchange.write_json(tmp_path, record(2**31), 64, 48, NOW)
    assert list(tmp_path.iterdir()) == []
