"""Exchange by a folder of files of one image each, and what is no exchange file at all."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest
from diffusion_toolkit.embedders import exchange
from diffusion_toolkit.embedders.exchange import ExchangeError
from host.exchange_records import record, write

NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)


def test_a_folder_is_read_by_id_and_only_its_own_files(tmp_path):
    for image_id in (10, 9, 100):
        exchange.write_json(tmp_path, record(image_id), 64, 48, NOW)
    write(tmp_path, record(11), name="image_11.safetensors")
    (tmp_path / "notes.json").write_text("{}", encoding="utf-8")
    (tmp_path / "image_3_embeddings.json.part").write_text("{", encoding="utf-8")
    source = exchange.open_source(tmp_path)
    assert [one.image_id for one in source.read(0, 10)] == [9, 10, 11, 100]


def test_a_folder_without_exports_says_what_it_should_hold(tmp_path):
    with pytest.raises(ExchangeError, match="image_12_embeddings.json"):
        exchange.open_source(tmp_path)


def test_another_ending_names_those_that_are_read(tmp_path):
    (tmp_path / "some.pt").write_bytes(b"x")
    with pytest.raises(ExchangeError, match=".safetensors, .json, .parquet"):
        exchange.open_source(tmp_path / "some.pt")


def test_each_file_of_a_folder_is_asked_about_before_it_is_opened(tmp_path):
    """By whoever knows which files may be read."""

    def check(file: Path) -> None:
        asked.append(file.name)
        if "11" in file.name:
            raise PermissionError(file.name)

    asked: list[str] = []
    for image_id in (10, 11, 12):
        write(tmp_path, record(image_id), name=f"image_{image_id}.safetensors")
    source = exchange.open_source(tmp_path, check)
    assert [one.image_id for one in source.read(0, 1)] == [10] and source.has_states(2, 1)
    assert asked == ["image_10.safetensors", "image_12.safetensors"]
    with pytest.raises(PermissionError):
        source.read(1, 1)


def test_whether_images_have_states_of_both_sides_is_told_without_reading_them(tmp_path):
    both, one_side = record(1), record(2, sides=("positive",))
    source = exchange.open_source(write(tmp_path, both, both, one_side))
    assert [source.has_states(first, most) for first, most in ((0, 1), (0, 2), (0, 3), (2, 1), (0, 99))] == [True, True, False, False, False]
    exchange.write_json(tmp_path, record(12), 64, 48, NOW)
    assert not exchange.open_source(tmp_path / "image_12_embeddings.json").has_states(0, 1)
    write(tmp_path, both, name="image_1.safetensors")
    folder = exchange.open_source(tmp_path)
    assert folder.has_states(0, 1) and not folder.has_states(0, 2)
