"""Exchange files: what is written comes back exactly, and nothing of a damaged or hostile file gets through."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_toolkit.embedders import exchange
from diffusion_toolkit.embedders.exchange import VECTORS, Embeddings, ExchangeError, MadeBy, States

MADE_BY = {family: MadeBy(family * 4, f"the {family} model", dims) for family, dims in dict(VECTORS.values()).items()}
MADE_BY["token_states"] = MadeBy("5" * 64, "SDXL CLIP", 2048)
ABOUT = {
    "prompt": "a fox \U0001f98a in the snow", "negative_prompt": "blurry", "width": 64, "height": 48, "seed": 2**64 - 1, "steps": 20,
    "cfg": 6.5, "loras": [{"name": "x"}], "labels": ["sea"], "created": "2025-03-01T14:05:00+00:00", "hash": "ab" * 32,
    "prompt_texts": ["a fox", "a fox \U0001f98a in the snow"], "negative_texts": None,
}  # fmt: skip


def halves(seed: int, *shape: int) -> np.ndarray:
    """Numbers that float16 holds, as all are that the library stores."""
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float16).astype(np.float32)


def record(image_id: int, names: tuple[str, ...] = tuple(VECTORS), sides: tuple[str, ...] = ("positive", "negative")) -> Embeddings:
    vectors = {name: halves(image_id * 10 + place, VECTORS[name][1]) for place, name in enumerate(VECTORS) if name in names}
    of_side = {"positive": (image_id, 154), "negative": (10_000, 77)}  # all share one negative prompt
    states = {side: States(halves(key, tokens, 2048), halves(key + 1, 1280), key) for side, (key, tokens) in of_side.items() if side in sides}
    return Embeddings(image_id, vectors, states, {**ABOUT, "id": image_id})


@pytest.fixture
def written(tmp_path) -> Callable[..., Path]:
    """Write records into a safetensors file."""

    def write(*records: Embeddings, name: str = "some.safetensors") -> Path:
        with exchange.SafetensorsWriter(tmp_path / name, len(records), MADE_BY) as writer:
            for one in records:
                writer.add(one)
        return tmp_path / name

    return write


def read_all(path: Path) -> list[Embeddings]:
    source = exchange.open_source(path)
    return source.read(0, source.count)


def assert_same(one: Embeddings, other: Embeddings) -> None:
    assert one.image_id == other.image_id
    assert one.vectors.keys() == other.vectors.keys() and one.states.keys() == other.states.keys()
    for name in one.vectors:
        assert np.array_equal(one.vectors[name], other.vectors[name]), name
    for side in one.states:
        assert np.array_equal(one.states[side].states, other.states[side].states)
        assert np.array_equal(one.states[side].pooled, other.states[side].pooled)


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


def test_no_file_is_written_over(written, tmp_path):
    path = written(record(1))
    before = path.read_bytes()
    with pytest.raises(ExchangeError, match="is there already"):
        written(record(2))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


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
        ("token_states_rows", 0, np.array([0, 2**40]), "token states of image 1 in some.safetensors should be at 0 to"),
        ("token_states_rows", 0, np.array([-154, 154]), "should be at -154 to 154"),
        ("token_states_rows", 0, np.array([100, 20]), "should be at 100 to 20"),
        ("token_states_rows", 0, np.array([0, 100]), "100 x 2048 where sections of 77 tokens"),
        ("about_rows", 0, np.array([0, 2**62]), "told of image 1 in some.safetensors should be at"),
        ("about", 0, np.array([200], np.uint8), "told of image 1 in some.safetensors is no JSON"),
    ],
)
def test_numbers_that_are_wrong_are_told_with_their_image(written, name, place, values, said):
    with pytest.raises(ExchangeError, match=said):
        read_all(overwritten(written(record(1)), name, place, values))


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


def test_a_folder_is_read_by_id_and_only_its_own_files(tmp_path, written):
    for image_id in (10, 9, 100):
        exchange.write_json(tmp_path, record(image_id), 64, 48, NOW)
    written(record(11), name="image_11.safetensors")
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
