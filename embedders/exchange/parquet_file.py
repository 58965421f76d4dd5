"""One row an image as Parquet, for datasets: pandas, polars, DuckDB and the like open it. It has no token states.

Vectors are lists of float32, null where the image has none; what is known of the image stands in columns of its own, so that a table can
be asked by them. The encoders stand in the schema's metadata under `diffusion_toolkit`. The lists are not of a fixed length by their type,
as they once were: pyarrow before 26 can't read such a column that has a null in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from .records import VECTORS, Embeddings, ExchangeError, MadeBy, checked_vector
from .told import encoders_json, read_encoders
from .whole_file import whole_file

if TYPE_CHECKING:
    import pyarrow

_KEY = b"diffusion_toolkit"
_ROWS = 512  # of a row group: 15 MB, which is what a writer and a reader have in memory
_MOST_ROWS = 4 * _ROWS  # of a row group that is read
_MOST_BYTES = 1 << 30  # of one, by its own word
_BATCH = 64  # rows in memory as they are read: 2 MB
_TEXTS = ("prompt_text", "negative_text", "path", "sampler", "scheduler", "checkpoint", "generator", "namespace", "hash", "hashed_by")
_WHOLE = ("width", "height", "asked_width", "asked_height", "steps", "rating")
_BROKEN = ("cfg", "guidance", "denoise")
_JSON = ("loras", "prompt_texts", "negative_texts")  # their values are lists; of texts, what CLIP-G and CLIP-L were given
_NAMED = {"prompt": "prompt_text", "negative_prompt": "negative_text"}  # `prompt` and `negative` are vectors


class ParquetWriter:
    """Takes records in order, as a context manager; the file is there when the block ends well."""

    def __init__(self, path: Path, made_by: Mapping[str, MadeBy]) -> None:
        self._pa = _pyarrow()
        self._path, self._pending = path, []
        self._schema = _schema(self._pa).with_metadata({_KEY: encoders_json(made_by).encode()})

    def __enter__(self) -> ParquetWriter:
        import pyarrow.parquet

        with ExitStack() as stack:
            file = stack.enter_context(whole_file(self._path))
            self._writer = pyarrow.parquet.ParquetWriter(file, self._schema, compression="zstd", use_dictionary=list(_TEXTS))
            stack.callback(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._failed = kind is not None
        self._stack.__exit__(kind, error, trace)

    def add(self, record: Embeddings) -> None:
        """The next image."""
        self._pending.append(record)
        if len(self._pending) == _ROWS:
            self._write()

    def _write(self) -> None:
        rows, self._pending = [_row(record) for record in self._pending], []
        if rows:
            self._writer.write_table(self._pa.Table.from_pylist(rows, schema=self._schema), row_group_size=_ROWS)

    def _close(self) -> None:
        if not self._failed:
            self._write()
        self._writer.close()


class ParquetSource:
    """A file of `ParquetWriter`, read by row groups; ExchangeError where it is another, or not as it says."""

    def __init__(self, path: Path) -> None:
        pa = _pyarrow()
        import pyarrow.parquet

        self.name, self.notes, self._error = path.name, [], pa.ArrowException
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
            schema = self._file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise ExchangeError(f"{path.name} is no whole Parquet file ({str(error)[:200]}). Export it again.") from error
        if _KEY not in (schema.metadata or {}):
            raise ExchangeError(f"{path.name} is a Parquet file of something else: it does not name the encoders. Load Embeddings "
                                "reads what Export Embeddings writes.")
        self._made_by = read_encoders(schema.metadata[_KEY].decode("utf-8", "replace"), path.name)
        wanted = _schema(pa)
        for column in wanted:
            if column.name not in schema.names or not _is_as_wanted(pa, schema.field(column.name).type, column.type):
                found = schema.field(column.name).type if column.name in schema.names else "not there"
                raise ExchangeError(f"The column {column.name} of {path.name} is {found} where {column.type} is needed. Export it again.")
        self.count = self._file.metadata.num_rows
        self._rows: Iterator[dict[str, Any]] = iter(())
        self._next = -1  # the row that `_rows` gives next

    def read(self, first: int, most: int) -> list[Embeddings]:
        """The images from row `first` on, `most` at the most; those after the last that were read cost no second way to them."""
        if first != self._next:
            self._rows = self._rows_from(first)
        self._next = -1  # until these are read well
        try:
            rows = list(islice(self._rows, most))
        except ExchangeError:
            raise
        except (self._error, OSError, ValueError, OverflowError) as error:  # also text that is not UTF-8, and times of no calendar
            raise ExchangeError(f"{self.name} can't be read ({str(error)[:200]}): it is damaged. Export it again.") from error
        if len(rows) < min(most, self.count - first):
            raise ExchangeError(f"{self.name} has fewer rows than it says: it is damaged. Export it again.")
        self._next = first + len(rows)
        return [self._record(row) for row in rows]

    def has_states(self, first: int, most: int) -> bool:
        """This format has none."""
        return False

    def _rows_from(self, first: int) -> Iterator[dict[str, Any]]:
        """Some in memory at a time: packed, a group may take next to nothing of the file."""
        start = 0
        for number in range(self._file.num_row_groups):
            group = self._file.metadata.row_group(number)
            if start + group.num_rows > first:
                if group.num_rows > _MOST_ROWS or group.total_byte_size > _MOST_BYTES:
                    told = f"{group.num_rows} rows and {group.total_byte_size} bytes"
                    raise ExchangeError(f"{self.name} has a group of {told}: it was not written by this package. Export it again.")
                place = start
                for batch in self._file.iter_batches(_BATCH, row_groups=[number]):
                    yield from batch.slice(min(max(first - place, 0), batch.num_rows)).to_pylist()
                    place += batch.num_rows
            start += group.num_rows

    def _record(self, row: dict[str, Any]) -> Embeddings:
        image_id = row.pop("image_id")
        if image_id is None:
            raise ExchangeError(f"{self.name} has a row without an image_id: it is damaged. Export it again.")
        vectors = {}
        for name, (_, dims) in VECTORS.items():
            given = row.pop(name)
            if given is not None:
                where = f"The vector {name} of image {image_id} in {self.name}"
                vectors[name] = checked_vector(np.array(given, np.float32), dims, where)
        about = {name: value for name, value in row.items() if value is not None}
        for name, column in _NAMED.items():
            about[name] = about.pop(column, None)
        about |= {name: self._parsed(about[name], name, image_id) for name in _JSON if name in about}
        if isinstance(about.get("created"), datetime):
            about["created"] = about["created"].isoformat()
        return Embeddings(image_id, vectors, {}, about, self._made_by)

    def _parsed(self, text: str, name: str, image_id: int) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            where = f"The {name} of image {image_id} in {self.name}"
            raise ExchangeError(f"{where} is no JSON ({type(error).__name__}): the file is damaged. Export it again.") from error


def _row(record: Embeddings) -> dict[str, Any]:
    about = {_NAMED.get(name, name): value for name, value in record.about.items()}
    row: dict[str, Any] = {"image_id": record.image_id}
    row |= {name: about.get(name) for name in (*_TEXTS, *_WHOLE, *_BROKEN, "seed")}
    row |= {name: json.dumps(about.get(name), ensure_ascii=False) for name in _JSON}
    seed = row["seed"]
    row["seed"] = seed if seed is not None and 0 <= seed < 2**64 else None
    row["labels"] = about.get("labels") or []
    row["created"] = datetime.fromisoformat(about["created"]) if about.get("created") else None
    for name, (_, dims) in VECTORS.items():
        vector = record.vectors.get(name)
        where = f"the vector {name} of image {record.image_id}"
        row[name] = None if vector is None else checked_vector(vector, dims, where)
    return row


def _schema(pa: Any) -> pyarrow.Schema:
    columns: Sequence[tuple[str, Any]] = [
        ("image_id", pa.int64()),
        *((name, pa.string()) for name in (*_TEXTS, *_JSON)),
        ("labels", pa.list_(pa.string())),
        *((name, pa.int64()) for name in _WHOLE),
        *((name, pa.float64()) for name in _BROKEN),
        ("seed", pa.uint64()),
        ("created", pa.timestamp("us", tz="UTC")),
        *((name, pa.list_(pa.float32())) for name in VECTORS),
    ]
    return pa.schema(columns)


def _is_as_wanted(pa: Any, found: Any, wanted: Any) -> bool:
    """A list of a fixed length will do: earlier versions wrote vectors so."""
    if pa.types.is_fixed_size_list(found) and pa.types.is_list(wanted):
        return found.value_type == wanted.value_type
    return found == wanted


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        import sys

        if isinstance(error, ModuleNotFoundError) and error.name == "pyarrow":
            told = f'which is not installed. Run "{sys.executable}" -m pip install pyarrow and restart ComfyUI'
        else:  # such as one that is for a newer NumPy
            told = f"which can't be used here ({error}). Install another version of it, or what it asks for, and restart ComfyUI"
        raise ExchangeError(f"Parquet needs the package pyarrow, {told}, or choose safetensors.") from error
    return pyarrow
