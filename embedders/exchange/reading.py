"""Open a file, or a folder of files of one image each, of any of the formats, told by its ending."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .dotnet_json import read_json
from .parquet_file import ParquetSource
from .records import Embeddings, ExchangeError
from .safetensors_file import SafetensorsSource

SUFFIXES = (".safetensors", ".json", ".parquet")
_OF_ONE_IMAGE = re.compile(r"image_(\d{1,19})(_embeddings\.json|\.safetensors)")


class Source(Protocol):
    """Images that can be read some at a time. `notes` says what was left out, and grows as it is read."""

    name: str
    count: int
    notes: list[str]

    def read(self, first: int, most: int) -> list[Embeddings]:
        """The images from number `first`, counted from 0, `most` at the most; ExchangeError where they are damaged."""
        ...

    def has_states(self, first: int, most: int) -> bool:
        """Whether each of these has token states of both sides, without reading them."""
        ...


def open_source(path: Path, check: Callable[[Path], object] = Path.stat) -> Source:
    """What `path` holds; ExchangeError where it is nothing of ours.

    `check` is given each file of a folder before it is opened, and raises where it may not be: names in a folder are links too.
    """
    if path.is_dir():
        source: Source = _Folder(path, check)
    elif path.suffix.lower() == ".safetensors":
        source = SafetensorsSource(path)
    elif path.suffix.lower() == ".parquet":
        source = ParquetSource(path)
    elif path.suffix.lower() == ".json":
        source = _Json(path)
    else:
        raise ExchangeError(f"{path.name} ends in none of {', '.join(SUFFIXES)}. Name a file or folder that Export Embeddings wrote.")
    if not source.count:
        raise ExchangeError(f"{path.name} holds no image.")
    return source


class _Json:
    count = 1

    def __init__(self, path: Path) -> None:
        self.name, self.notes, self._path = path.name, [], path

    def read(self, first: int, most: int) -> list[Embeddings]:
        if first or most < 1:
            return []
        record, self.notes = read_json(self._path)
        return [record]

    def has_states(self, first: int, most: int) -> bool:
        return False


class _Folder:
    """The files of one image each in a folder, by id. Only those that are asked for are opened."""

    def __init__(self, path: Path, check: Callable[[Path], object]) -> None:
        self.name, self.notes, self._check = path.name, [], check
        found = [(int(match[1]), file) for file in path.iterdir() if (match := _OF_ONE_IMAGE.fullmatch(file.name))]
        if not found:
            raise ExchangeError(
                f"The folder {path.name} has no files such as image_12_embeddings.json or image_12.safetensors. Name one that Export "
                "Embeddings or DiffusionToolkit wrote, or a file in it."
            )
        self._files = [file for _, file in sorted(found)]
        self.count = len(self._files)

    def read(self, first: int, most: int) -> list[Embeddings]:
        records = []
        for file in self._files[first : first + most]:
            source = self._opened(file)
            records += source.read(0, 1)
            self.notes += source.notes
        return records

    def has_states(self, first: int, most: int) -> bool:
        files = self._files[first : first + most]
        return all(file.suffix == ".safetensors" and self._opened(file).has_states(0, 1) for file in files)

    def _opened(self, file: Path) -> Source:
        self._check(file)
        return open_source(file, self._check)
