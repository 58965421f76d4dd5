"""Exchange by Parquet: what is written comes back exactly, and nothing of a damaged or hostile file gets through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from diffusion_toolkit.embedders import exchange
from diffusion_toolkit.embedders.exchange import Embeddings, ExchangeError
from host.exchange_records import ABOUT, MADE_BY, assert_same, halves, read_all, record


@pytest.fixture
def table(tmp_path) -> Path:
    with exchange.ParquetWriter(tmp_path / "some.parquet", MADE_BY) as writer:
        for image_id in range(1, 1101):  # more than two groups of rows
            writer.add(Embeddings(image_id, {"clip_l": halves(image_id, 768)} if image_id % 2 else {}, about=ABOUT))
    return tmp_path / "some.parquet"


def test_parquet_gives_back_exactly_what_was_written(tmp_path):
    with exchange.ParquetWriter(tmp_path / "some.parquet", MADE_BY) as writer:
        writer.add(one := record(1, sides=()))
        writer.add(other := record(2, names=("image",), sides=()))
    found = read_all(tmp_path / "some.parquet")
    assert_same(found[0], one)
    assert_same(found[1], other)
    assert {name: found[0].about[name] for name in ABOUT} == ABOUT
    assert found[0].made_by == MADE_BY


def test_parquet_is_a_table_that_others_read(table):
    import pyarrow.parquet

    found = pyarrow.parquet.read_table(table)
    assert found.num_rows == 1100 and found.column("clip_l").null_count == 550
    assert found.column("seed")[0].as_py() == 2**64 - 1 and found.column("prompt_text")[0].as_py() == ABOUT["prompt"]
    assert str(found.schema.field("clip_g").type).startswith("fixed_size_list") and found.schema.field("clip_g").type.list_size == 1280


def test_rows_of_parquet_are_read_across_its_groups(table):
    source = exchange.open_source(table)
    assert source.count == 1100
    assert [one.image_id for one in source.read(510, 5)] == [511, 512, 513, 514, 515]
    assert source.read(1099, 5)[0].vectors == {}


def test_parquet_of_somebody_else_is_told(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"image_id": [1]}), tmp_path / "some.parquet")
    with pytest.raises(ExchangeError, match="something else"):
        exchange.open_source(tmp_path / "some.parquet")


def test_damaged_parquet_is_told(table):
    raw = table.read_bytes()
    for damaged in (b"", raw[:-200], b"PAR1" + raw[-200:], raw[:1000] + bytes(100_000) + raw[101_000:]):
        table.write_bytes(damaged)
        with pytest.raises(ExchangeError, match="some.parquet"):
            read_all(table)


def test_a_vector_of_nan_in_parquet_is_told(tmp_path):
    import pyarrow
    import pyarrow.parquet

    with exchange.ParquetWriter(tmp_path / "some.parquet", MADE_BY) as writer:
        writer.add(record(1, sides=()))
    found = pyarrow.parquet.read_table(tmp_path / "some.parquet")
    place = found.schema.get_field_index("clip_l")
    bad = pyarrow.array([np.full(768, np.nan, np.float32)], found.schema.field(place).type)
    pyarrow.parquet.write_table(found.set_column(place, found.schema.field(place), bad), tmp_path / "some.parquet")
    with pytest.raises(ExchangeError, match="clip_l of image 1 in some.parquet has 768 numbers that are NaN"):
        read_all(tmp_path / "some.parquet")


def test_without_pyarrow_parquet_says_how_to_get_it(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExchangeError, match="pip install pyarrow"):
        exchange.ParquetWriter(tmp_path / "some.parquet", MADE_BY)
