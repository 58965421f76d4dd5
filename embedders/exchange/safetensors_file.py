"""All of many images in one safetensors file, written as it comes and read by rows, so that memory does not grow with it.

Row i of each of these is of the same image; zeros where it has no such vector:

    image_id                        I64 [n]
    prompt, negative, image         F16 [n, 1024]       (BGE twice, CLIP-ViT-H)
    clip_l, negative_clip_l         F16 [n, 768]
    clip_g, negative_clip_g         F16 [n, 1280]
    pooled_output, negative_...     F16 [n, 1280]       SDXL's, of the token states
    token_states_rows, negative_... I64 [n, 2]          from and to, rows of `token_states`; 0, 0 for none
    about_rows                      I64 [n, 2]          from and to, bytes of `about`
    token_states                    F16 [tokens, 2048]  each distinct text once
    about                           U8  [bytes]         a JSON object of each image: prompts, settings, labels

`__metadata__` has `format`, `version` and, as JSON by family, the encoders: fingerprint, name, dimensions.
"""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .records import (
    MOST_TOKENS,
    POOLED_WIDTH,
    SIDES,
    STATES_WIDTH,
    VECTORS,
    Embeddings,
    ExchangeError,
    MadeBy,
    as_half,
    checked_states,
    checked_vector,
)
from .told import encoders_json, read_encoders, read_object
from .whole_file import whole_file

FORMAT, VERSION = "diffusion_toolkit_embeddings", 1
_PREFIX = {"positive": "", "negative": "negative_"}
_SPOOLED = 8 << 20  # bytes of `about` in memory; beyond it they wait on the disk
_BYTES = {"I64": 8, "F16": 2, "U8": 1}
_LARGEST_ABOUT = 16 << 20  # bytes of one image's


class SafetensorsWriter:
    """Takes the records of `n` images in order, as a context manager; the file is there when the block ends well."""

    def __init__(self, path: Path, n: int, made_by: Mapping[str, MadeBy]) -> None:
        self._path, self._n, self._made_by = path, n, dict(made_by)
        self._row = self._tokens = self._about_bytes = 0
        self._written: dict[int | None, tuple[int, int]] = {}  # rows of token_states by the key of their text
        fixed: dict[str, tuple[str, tuple[int, ...]]] = {"image_id": ("I64", (n,)), "about_rows": ("I64", (n, 2))}
        fixed |= {f"{_PREFIX[side]}token_states_rows": ("I64", (n, 2)) for side in SIDES}
        fixed |= {name: ("F16", (n, dims)) for name, (_, dims) in VECTORS.items()}
        fixed |= {f"{_PREFIX[side]}pooled_output": ("F16", (n, POOLED_WIDTH)) for side in SIDES}
        self._fixed = fixed
        # The header comes first and names sizes that are only known at the end: room is left for the largest.
        self._room = -(-len(self._header(2**60, 2**60)) // 8) * 8
        self._starts, place = {}, 8 + self._room
        for name, (kind, shape) in fixed.items():
            self._starts[name] = place
            place += _BYTES[kind] * math.prod(shape)
        self._states_start = place

    def __enter__(self) -> SafetensorsWriter:
        with ExitStack() as stack:
            self._file = stack.enter_context(whole_file(self._path))
            self._about = stack.enter_context(tempfile.SpooledTemporaryFile(_SPOOLED))
            self._file.truncate(self._states_start)  # zeros, which is what is not written
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._finish()
        except BaseException as failed:
            self._stack.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._stack.__exit__(kind, error, trace)

    def add(self, record: Embeddings) -> None:
        """The next image."""
        row = self._row
        if row == self._n:
            raise ValueError(f"more than the {self._n} images that were announced")
        self._put("image_id", row, np.array([record.image_id], "<i8"))
        for name, vector in record.vectors.items():
            dims = VECTORS[name][1]
            where = f"the vector {name} of image {record.image_id}"
            self._put(name, row, as_half(checked_vector(vector, dims, where), where))
        for side, states in record.states.items():
            where = f"the {side} token states of image {record.image_id}"
            rows = self._written.get(states.key) or self._append_states(states.states, states.key, where)
            self._put(f"{_PREFIX[side]}token_states_rows", row, np.array(rows, "<i8"))
            self._put(f"{_PREFIX[side]}pooled_output", row, as_half(states.pooled, where))
        about = json.dumps(record.about, ensure_ascii=False).encode("utf-8", "replace")
        self._about.write(about)
        self._put("about_rows", row, np.array([self._about_bytes, self._about_bytes + len(about)], "<i8"))
        self._about_bytes += len(about)
        self._row += 1

    def _append_states(self, states: np.ndarray, key: int | None, where: str) -> tuple[int, int]:
        if states.ndim != 2 or states.shape[1] != STATES_WIDTH:
            raise ExchangeError(f"{where} have the shape {list(states.shape)} where [tokens, {STATES_WIDTH}] is needed.")
        self._file.seek(self._states_start + self._tokens * STATES_WIDTH * 2)
        self._file.write(as_half(states, where).tobytes())
        rows = (self._tokens, self._tokens + len(states))
        self._tokens = rows[1]
        if key is not None:
            self._written[key] = rows
        return rows

    def _put(self, name: str, row: int, values: np.ndarray) -> None:
        self._file.seek(self._starts[name] + row * values.nbytes)
        self._file.write(values.tobytes())

    def _finish(self) -> None:
        if self._row != self._n:
            raise ValueError(f"{self._row} images of the {self._n} that were announced")
        self._file.seek(self._states_start + self._tokens * STATES_WIDTH * 2)
        self._about.seek(0)
        shutil.copyfileobj(self._about, self._file)
        header = self._header(self._tokens, self._about_bytes)
        self._file.seek(0)
        self._file.write(self._room.to_bytes(8, "little") + header.ljust(self._room))

    def _header(self, tokens: int, about_bytes: int) -> bytes:
        told = {"format": FORMAT, "version": str(VERSION), "encoders": encoders_json(self._made_by)}
        header: dict[str, Any] = {"__metadata__": told}
        place = 0
        for name, (kind, shape) in {
            **self._fixed, "token_states": ("F16", (tokens, STATES_WIDTH)), "about": ("U8", (about_bytes,))
        }.items():  # fmt: skip
            size = _BYTES[kind]
            for length in shape:
                size *= length
            header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [place, place + size]}
            place += size
        return json.dumps(header, separators=(",", ":")).encode()


class SafetensorsSource:
    """A file of `SafetensorsWriter`, read by rows; ExchangeError where it is another, or not as it says."""

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.name, self.notes = path.name, []
        try:
            self._file = safe_open(path, framework="numpy")
            self._names = set(self._file.keys())
            told = self._file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise ExchangeError(f"{path.name} is no whole safetensors file ({error}). Export it again.") from error
        if told.get("format") != FORMAT:
            raise ExchangeError(f"{path.name} is a safetensors file of something else. {self._advice()}")
        version = told.get("version", "")
        if not version.isdecimal() or len(version) > 9 or int(version) > VERSION:
            raise ExchangeError(f"{path.name} was written by a newer version of this package. Update it to read the file.")
        self._made_by = read_encoders(told.get("encoders", ""), path.name)
        self.count = self._shape("image_id", 1, ("I64",))[0]
        for name, (_, dims) in VECTORS.items():
            if name in self._names:
                self._expect(name, [self.count, dims], ("F16", "F32"))
        for side in SIDES:
            self._expect(f"{_PREFIX[side]}pooled_output", [self.count, POOLED_WIDTH], ("F16", "F32"))
            self._expect(f"{_PREFIX[side]}token_states_rows", [self.count, 2], ("I64",))
        self._expect("about_rows", [self.count, 2], ("I64",))
        self._tokens, width = self._shape("token_states", 2, ("F16", "F32"))
        if width != STATES_WIDTH:
            raise ExchangeError(f"token_states of {self.name} is {width} wide where {STATES_WIDTH} is needed: it is not SDXL's.")
        [self._about_bytes] = self._shape("about", 1, ("U8",))
        of_sides = [f"{_PREFIX[side]}{name}" for side in SIDES for name in ("pooled_output", "token_states_rows")]
        self._columns = ["image_id", "about_rows", *of_sides, *(name for name in VECTORS if name in self._names)]

    def read(self, first: int, most: int) -> list[Embeddings]:
        """The images from row `first` on, `most` at the most."""
        rows = range(first, min(first + most, self.count))
        columns = {name: self._rows(name, rows.start, rows.stop) for name in self._columns}
        return [self._record(columns, row - first) for row in rows]

    def has_states(self, first: int, most: int) -> bool:
        """Whether each of these images has token states of both sides."""
        if first >= self.count:
            return True
        rows = [self._rows(f"{_PREFIX[side]}token_states_rows", first, min(first + most, self.count)) for side in SIDES]  # [n, 2] each
        return all(bool((one[:, 1] > one[:, 0]).all()) for one in rows)

    def _record(self, columns: Mapping[str, np.ndarray], row: int) -> Embeddings:
        image_id = int(columns["image_id"][row])
        vectors, states = {}, {}
        for name, (_, dims) in VECTORS.items():
            if name in columns and columns[name][row].any():
                vectors[name] = checked_vector(columns[name][row], dims, f"The vector {name} of image {image_id} in {self.name}")
        for side in SIDES:
            where = f"The {side} token states of image {image_id} in {self.name}"
            start, end = self._range(columns[f"{_PREFIX[side]}token_states_rows"][row], self._tokens, where, MOST_TOKENS)
            if end > start:
                states[side] = checked_states(
                    self._rows("token_states", start, end), columns[f"{_PREFIX[side]}pooled_output"][row], where
                )
        where = f"What is told of image {image_id} in {self.name}"
        start, end = self._range(columns["about_rows"][row], self._about_bytes, where, _LARGEST_ABOUT)
        about = read_object(self._rows("about", start, end).tobytes(), where) if end > start else {}
        return Embeddings(image_id, vectors, states, about, self._made_by)

    def _range(self, given: Sequence[int], length: int, where: str, most: int) -> tuple[int, int]:
        start, end = (int(place) for place in given)
        if not 0 <= start <= end <= length or end - start > most:
            raise ExchangeError(f"{where} should be at {start} to {end} of {length}, {most} at the most: the file is damaged. Export it again.")
        return start, end

    def _rows(self, name: str, start: int, end: int) -> np.ndarray:
        return self._file.get_slice(name)[start:end]

    def _expect(self, name: str, shape: list[int], kinds: Sequence[str]) -> None:
        found = self._shape(name, len(shape), kinds)
        if found != shape:
            raise ExchangeError(f"{name} of {self.name} has the shape {found} where {shape} is needed. Export it again.")

    def _shape(self, name: str, axes: int, kinds: Sequence[str]) -> list[int]:
        if name not in self._names:
            raise ExchangeError(f"{self.name} has no {name}: it is not as this package writes it. Export it again.")
        part = self._file.get_slice(name)
        if part.get_dtype() not in kinds:
            raise ExchangeError(f"{name} of {self.name} is of type {part.get_dtype()} where {' or '.join(kinds)} is needed.")
        if len(part.get_shape()) != axes:
            raise ExchangeError(f"{name} of {self.name} has {len(part.get_shape())} axes where {axes} is needed.")
        return list(part.get_shape())

    def _advice(self) -> str:
        if {"clip_l", "clip_g"} & self._names:
            return "It looks like a textual inversion: put it into models/embeddings and write embedding:its_name into a prompt."
        return "This node reads what Export Embeddings writes; a model belongs into Load Checkpoint, Load LoRA or the like."
