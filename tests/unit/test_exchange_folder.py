"""Exchange by a folder of files of one image each, and what is no exchange file at all."""

from __future__ import annotations

from datetime import datetime, timezone

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
