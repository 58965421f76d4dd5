"""Exchange by Parquet: what is written comes back exactly, and nothing of a damaged or hostile file gets through."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

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
    import pyarrow
    import pyarrow.parquet

    found = pyarrow.parquet.read_table(table)
    assert found.num_rows == 1100 and found.column("clip_l").null_count == 550
    assert found.column("seed")[0].as_py() == 2**64 - 1 and found.column("prompt_text")[0].as_py() == ABOUT["prompt"]
    assert found.schema.field("clip_g").type == pyarrow.list_(pyarrow.float32())


def test_parquet_with_lists_of_a_fixed_length_is_read(table):
    """As earlier versions wrote it; without nulls, since pyarrow before 26 reads no others."""
    import pyarrow
    import pyarrow.parquet

    found = pyarrow.parquet.read_table(table).take(list(range(0, 1100, 2)))  # those that have a clip_l
    fixed = pyarrow.FixedSizeListArray.from_arrays(found.column("clip_l").combine_chunks().flatten(), 768)
    found = found.set_column(found.schema.get_field_index("clip_l"), pyarrow.field("clip_l", fixed.type), fixed)
    pyarrow.parquet.write_table(found, table)
    assert np.array_equal(exchange.open_source(table).read(0, 1)[0].vectors["clip_l"], halves(1, 768))


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


def with_column(path: Path, name: str, values: list[Any], kind: Any = None) -> Path:
    """The file with other values in a column, which are of type `kind` until they are taken for the column's."""
    import pyarrow
    import pyarrow.parquet

    found = pyarrow.parquet.read_table(path)
    place = found.schema.get_field_index(name)
    column = pyarrow.array(values, kind or found.schema.field(place).type).view(found.schema.field(place).type)
    pyarrow.parquet.write_table(found.set_column(place, found.schema.field(place), column), path)
    return path


@pytest.fixture
def row(tmp_path) -> Path:
    """A file of one image."""
    with exchange.ParquetWriter(tmp_path / "some.parquet", MADE_BY) as writer:
        writer.add(record(1, sides=()))
    return tmp_path / "some.parquet"


def test_a_vector_of_nan_in_parquet_is_told(row):
    with pytest.raises(ExchangeError, match="clip_l of image 1 in some.parquet has 768 numbers that are NaN"):
        read_all(with_column(row, "clip_l", [np.full(768, np.nan, np.float32)]))


@pytest.mark.parametrize(
    ("name", "value", "kind", "said"),
    [
        ("loras", "{", "string", "loras of image 1 in some.parquet is no JSON"),
        ("prompt_texts", "[" * 100_000, "string", "prompt_texts of image 1 in some.parquet is no JSON"),
        ("loras", "9" * 5000, "string", "loras of image 1 in some.parquet is no JSON"),
        ("created", 2**62, "int64", "some.parquet can't be read"),
        ("prompt_text", b"\xff\xfe", "binary", "some.parquet can't be read"),
    ],
)
def test_other_content_of_parquet_that_is_wrong_is_told(row, name, value, kind, said):
    import pyarrow

    with pytest.raises(ExchangeError, match=said):
        read_all(with_column(row, name, [value], getattr(pyarrow, kind)()))


def test_parquet_whose_few_bytes_are_many_vectors_is_refused(row):
    """A vector that is null takes no room in the file, and 28 kB a row in memory."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(row)
    nulls = pyarrow.table({field.name: pyarrow.nulls(3000, field.type) for field in schema}, schema=schema)
    pyarrow.parquet.write_table(nulls, row)
    before = pyarrow.default_memory_pool().max_memory()
    with pytest.raises(ExchangeError, match="a group of 3000 rows"):
        exchange.open_source(row).read(0, 1)
    assert pyarrow.default_memory_pool().max_memory() == before


def test_images_one_after_another_take_each_group_of_rows_once(table, monkeypatch):
    import pyarrow.parquet

    begun = []
    batches = pyarrow.parquet.ParquetFile.iter_batches
    monkeypatch.setattr(pyarrow.parquet.ParquetFile, "iter_batches", lambda self, *given, **named: begun.append(named) or batches(self, *given, **named))
    source = exchange.open_source(table)
    assert [source.read(place, 1)[0].image_id for place in range(1100)] == list(range(1, 1101))
    assert begun == [{"row_groups": [0]}, {"row_groups": [1]}, {"row_groups": [2]}]


def test_a_seed_that_parquet_has_no_room_for_is_left_out(tmp_path):
    with exchange.ParquetWriter(tmp_path / "some.parquet", MADE_BY) as writer:
        for image_id, seed in ((1, -1), (2, 2**64), (3, 2**64 - 1)):
            writer.add(Embeddings(image_id, {}, about={**ABOUT, "seed": seed}))
    assert [one.about.get("seed") for one in read_all(tmp_path / "some.parquet")] == [None, None, 2**64 - 1]


def test_without_pyarrow_parquet_says_how_to_get_it(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExchangeError, match="pip install pyarrow"):
        exchange.ParquetWriter(tmp_path / "some.parquet", MADE_BY)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"), "which is not installed. Run .* -m pip install pyarrow and restart"),
        (ImportError("pyarrow requires NumPy 2.0 or newer, found 1.26.4"), r"which can't be used here \(pyarrow requires NumPy 2.0 or newer"),
    ],
)
def test_why_there_is_no_pyarrow_is_told(tmp_path, monkeypatch, error, told):
    imported = builtins.__import__

    def lacking(name, *more, **others):
        if name == "pyarrow":
            raise error
        return imported(name, *more, **others)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ExchangeError, match=f"Parquet needs the package pyarrow, {told}.* or choose safetensors"):
        exchange.ParquetWriter(tmp_path / "some.parquet", MADE_BY)
